package model

import (
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/parelm/pare/model/tensor"
)

// Model is a checkpoint: its configuration, the graph drawn from it, and the tensors of the graph's weights, opened
// lazily. A Model made by pruning or quantizing is the same thing with other tensors.
type Model struct {
	Config   *Config
	Graph    *Graph
	Path     string   // where it was opened; empty for models made in memory
	Warnings []string // what a careful user should know about the checkpoint

	tensors map[*Weight]*tensor.Tensor
	side    side
	close   []io.Closer
	files   []string // that hold the tensors

	activations bool // see RoundActivations
	tokenScales bool // see RoundsActivations
	gptq        bool // see PackGPTQ
	adapted     bool // see Adapted
}

// Tensor returns the tensor of a weight of the graph, named canonically and shaped as the graph says.
func (m *Model) Tensor(w *Weight) *tensor.Tensor { return m.tensors[w] }

// With returns a model of the same graph whose tensors are those of m but for the given ones.
func (m *Model) With(tensors map[*Weight]*tensor.Tensor) *Model {
	n := *m
	n.close, n.files = nil, nil
	n.tensors = make(map[*Weight]*tensor.Tensor, len(m.tensors))
	for w, t := range m.tensors {
		n.tensors[w] = t
	}
	for w, t := range tensors {
		n.tensors[w] = t
	}
	return &n
}

// Bytes returns the stored bytes of all weights.
func (m *Model) Bytes() int64 {
	var n int64
	for _, w := range m.Graph.Weights {
		n += m.tensors[w].Bytes()
	}
	return n
}

// FileBytes returns the size of the files that hold the tensors, all parts of a split model counted; of a model made in memory,
// the bytes of its weights. Files beside them that nothing reads do not count.
func (m *Model) FileBytes() int64 {
	var n int64
	for _, name := range m.files {
		st, err := os.Stat(name)
		if err != nil {
			return m.Bytes()
		}
		n += st.Size()
	}
	if n == 0 {
		return m.Bytes()
	}
	return n
}

// Close closes the files behind the tensors.
func (m *Model) Close() error {
	var first error
	for _, c := range m.close {
		if err := c.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Open opens a checkpoint: a Hugging Face directory, a .gguf file, an artifact directory that holds one of the two, a
// nanoGPT checkpoint (.pt, .pth) or a llama2.c file (.bin).
func Open(path string) (*Model, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return openFile(path)
	}
	if _, err := os.Stat(filepath.Join(path, "config.json")); err == nil {
		return openHF(path)
	}
	if _, err := os.Stat(filepath.Join(path, peftConfig)); err == nil {
		return openPEFT(path)
	}
	if found, _ := filepath.Glob(filepath.Join(path, "*.gguf")); len(found) == 1 {
		return openGGUF(found[0])
	}
	return nil, tensor.Errorf(ErrInvalid, path, "", "holds no config.json and no single .gguf file")
}

// openFile opens a checkpoint that is one file.
func openFile(path string) (*Model, error) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".gguf":
		return openGGUF(path)
	case ".pt", ".pth":
		return openNanoGPT(path)
	case ".bin":
		return openLlama2C(path)
	case ".safetensors":
		return nil, tensor.Errorf(ErrUnsupported, path, "", "holds weights alone; open the directory, in which config.json says what they are")
	}
	return nil, tensor.Errorf(ErrUnsupported, path, "", "is neither a directory with config.json nor a .gguf, .pt, .pth or llama2.c .bin file")
}

// assemble binds stored tensors to the weights of the graph. lookup finds a stored tensor by name.
func (m *Model) assemble(slots iter.Seq[slot], lookup func(name string) (*tensor.Tensor, bool)) error {
	m.tensors = map[*Weight]*tensor.Tensor{}
	slabs := map[*Weight][]tensor.Part{}
	for s := range slots {
		t, ok := lookup(s.name)
		if !ok {
			return tensor.Errorf(ErrCorrupt, m.Path, fmt.Sprintf("tensor %q", s.name), "is missing")
		}
		s.standUp(t)
		if err := s.check(t); err != nil {
			return tensor.Errorf(ErrInvalid, m.Path, fmt.Sprintf("tensor %q", s.name), "%v", err)
		}
		views, err := s.split(t)
		if err != nil {
			return tensor.Errorf(ErrUnsupported, m.Path, fmt.Sprintf("tensor %q", s.name), "%v", err)
		}
		for j, w := range s.weights {
			if s.expert >= 0 {
				slabs[w] = append(slabs[w], tensor.Part{T: views[j], Span: tensor.Span{Lo: 0, Hi: views[j].Rows()}})
				continue
			}
			m.tensors[w] = views[j]
		}
	}
	for _, w := range m.Graph.Weights {
		if parts := slabs[w]; parts != nil {
			t, err := tensor.Concat(w.Name, w.Shape(), parts)
			if err != nil {
				return tensor.Errorf(ErrUnsupported, m.Path, fmt.Sprintf("tensor %q", w.Name), "%v", err)
			}
			m.tensors[w] = t
		}
	}
	return nil
}
