package model

import "github.com/parelm/pare/model/tensor"

// packed replaces quantized tensors by the tensors that compressed-tensors checkpoints keep them in.
func packed(ts []*tensor.Tensor, conf *object) ([]*tensor.Tensor, error) {
	for _, t := range ts {
		if !isFloat(t.Codec) {
			return nil, tensor.Errorf(ErrUnsupported, "", t.Name, "is %s, which only GGUF files hold", t.Codec.Name())
		}
	}
	return ts, nil
}
