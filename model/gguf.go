package model

import "github.com/parelm/pare/model/tensor"

func openGGUF(path string) (*Model, error) {
	return nil, tensor.Errorf(ErrUnsupported, path, "", "GGUF is not read yet")
}
