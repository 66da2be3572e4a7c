package model

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/parelm/pare/model/safetensors"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/model/torch"
)

// hfSlots lists the stored tensors of a Hugging Face checkpoint.
func hfSlots(g *Graph, f *Family) []slot { return slots(g, f.HF) }

// openHF opens a directory with config.json and weights.
func openHF(dir string) (*Model, error) {
	file := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c, err := ParseConfig(file, data)
	if err != nil {
		return nil, err
	}
	files, err := openTensors(dir)
	if err != nil {
		return nil, err
	}
	side, err := sideFiles(dir)
	if err != nil {
		files.Close()
		return nil, err
	}
	m := &Model{Config: c, Graph: Draw(c), Path: dir, Warnings: c.hf.warnings, side: side}
	m.close = append(m.close, files)
	if err := m.bindHF(files); err != nil {
		files.Close()
		return nil, err
	}
	return m, nil
}

// tensorFiles are the open files that hold a checkpoint's tensors, of whatever container.
type tensorFiles interface {
	Tensor(name string) (*tensor.Tensor, bool)
	Close() error
}

// openTensors opens the weights of a Hugging Face directory: safetensors, or else PyTorch archives.
func openTensors(dir string) (tensorFiles, error) {
	s, err := safetensors.OpenDir(dir)
	if err == nil {
		return s, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	t, err := torch.OpenDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, tensor.Errorf(ErrInvalid, dir, "", "holds config.json but no weights: neither model.safetensors nor pytorch_model.bin, nor an index of either")
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// bindHF finds the weights among the tensors of a checkpoint, packed ones included.
func (m *Model) bindHF(files tensorFiles) error {
	f := m.Config.Family
	lookup := func(name string) (*tensor.Tensor, bool) {
		if t, ok := files.Tensor(name); ok {
			return t, true
		}
		if short, ok := strings.CutPrefix(name, f.Prefix); ok {
			return files.Tensor(short)
		}
		return nil, false
	}
	u, err := m.Config.hf.quantization(lookup)
	if err != nil {
		return err
	}
	var failed error
	err = m.assemble(hfSlots(m.Graph, f), func(name string) (*tensor.Tensor, bool) {
		if u != nil && failed == nil {
			t, ok, err := u.open(name)
			if ok || err != nil {
				failed = err
				return t, ok
			}
		}
		return lookup(name)
	})
	if failed != nil {
		return failed
	}
	return err
}
