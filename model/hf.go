package model

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/parelm/pare/model/safetensors"
	"github.com/parelm/pare/model/tensor"
)

// hfSlots lists the stored tensors of a Hugging Face checkpoint.
func hfSlots(g *Graph, f *Family) []slot { return slots(g, f.HF) }

// openHF opens a directory with config.json and safetensors.
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
	files, err := safetensors.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	side, err := sideFiles(dir)
	if err != nil {
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

// bindHF finds the weights among the tensors of a checkpoint, packed ones included.
func (m *Model) bindHF(files *safetensors.File) error {
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
	u, err := m.Config.hf.packing(lookup)
	if err != nil {
		return err
	}
	var failed error
	err = m.assemble(hfSlots(m.Graph, f), func(name string) (*tensor.Tensor, bool) {
		t, ok := lookup(name)
		if !ok && u != nil && failed == nil {
			t, ok, failed = u.open(name)
		}
		return t, ok
	})
	if failed != nil {
		return failed
	}
	return err
}
