package model

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/internal/container"
	"github.com/parelm/pare/model/safetensors"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/model/torch"
)

// hfSlots lists the stored tensors of a Hugging Face checkpoint.
func hfSlots(g *Graph, f *Family) []slot { return slots(g, f.hf) }

// openHF opens a directory with config.json and weights.
func openHF(dir string) (*Model, error) {
	c, err := readConfig(filepath.Join(dir, "config.json"))
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
	m.close, m.files = append(m.close, files), files.Files()
	if err := m.bindHF(files); err != nil {
		files.Close()
		return nil, err
	}
	return m, nil
}

// readConfig reads a config.json, which may be anything until it is read.
func readConfig(file string) (*Config, error) {
	f, size, err := container.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := container.ReadLimited(f, file, size, limits.Config)
	if err != nil {
		return nil, err
	}
	return ParseConfig(file, data)
}

// headTensor looks for a head that a tied model does not use. transformers ignores it too, so a checkpoint that was trained
// with a head of its own computes something else than its trainer thought.
func (m *Model) headTensor(get lookup) error {
	if !m.Config.Tied {
		return nil
	}
	name := ""
	for _, s := range m.Config.Family.hf {
		if s.Site == "head" {
			name = s.Name + ".weight"
		}
	}
	head, ok := get(name)
	embed := m.tensors[m.Graph.Weight("embed")]
	if !ok || embed == nil || head.Rows() == 0 {
		return nil
	}
	same := head.Codec == embed.Codec && sameShape(head.Shape, embed.Shape)
	for _, r := range []int{0, head.Rows() / 2, head.Rows() - 1} { // three rows tell
		if !same {
			break
		}
		a, err := head.ReadRaw(r, r+1)
		if err != nil {
			return err
		}
		b, err := embed.ReadRaw(r, r+1)
		if err != nil {
			return err
		}
		same = string(a) == string(b)
	}
	if !same {
		m.Warnings = append(m.Warnings, fmt.Sprintf("%s: %s differs from the embedding, but config.json ties the two: it is ignored, as transformers does", m.Path, name))
	}
	return nil
}

// tensorFiles are the open files that hold a checkpoint's tensors, of whatever container.
type tensorFiles interface {
	Tensor(name string) (*tensor.Tensor, bool)
	Files() []string
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
		if m.Config.hf.within != "" {
			for _, n := range within(name) {
				if t, ok := files.Tensor(n); ok {
					return t, true
				}
			}
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
	if c, ok := u.(*compressed); ok {
		m.activations = c.rounds
	}
	if m.tokenScales = m.Config.hf.roundsActivations(); m.tokenScales {
		m.Warnings = append(m.Warnings, "the checkpoint asks for activations rounded to eight bits with one scale a token: they are so where a model is evaluated; where it writes text they are rounded more finely, in blocks of 32 or not at all")
	}
	var failed error
	err = m.assemble(eachSlot(m.Graph, f.hf), func(name string) (*tensor.Tensor, bool) {
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
	if err != nil {
		return err
	}
	return m.headTensor(lookup)
}
