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
	lookup := func(name string) (*tensor.Tensor, bool) {
		if t, ok := files.Tensor(name); ok {
			return t, true
		}
		if short, ok := strings.CutPrefix(name, c.Family.Prefix); ok {
			return files.Tensor(short)
		}
		return nil, false
	}
	if err := m.assemble(hfSlots(m.Graph, c.Family), lookup); err != nil {
		files.Close()
		return nil, err
	}
	return m, nil
}
