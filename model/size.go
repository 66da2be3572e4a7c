package model

import (
	"context"

	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// Outline returns a model of a configuration whose weights are all zero and take no memory: its shapes, formats and
// files are those that a model like m would have. Plans are made with outlines.
func (m *Model) Outline(c *Config) *Model {
	o := &Model{Config: c, Graph: Draw(c), Path: m.Path, side: m.side, tensors: map[*Weight]*tensor.Tensor{}}
	common := map[Role]codec.Codec{}
	for _, w := range m.Graph.Weights {
		if common[w.Role] == nil {
			common[w.Role] = m.tensors[w].Codec
		}
	}
	for _, w := range o.Graph.Weights {
		f := common[w.Role]
		if f == nil {
			f = common[RoleMatrix]
		}
		if old := m.Graph.Weight(w.Name); old != nil {
			f = m.tensors[old].Codec
		}
		o.tensors[w] = Zeros(w, f)
	}
	return o
}

// Zeros returns a tensor for a weight that reads as zero bytes and takes no memory.
func Zeros(w *Weight, f codec.Codec) *tensor.Tensor {
	return &tensor.Tensor{Name: w.Name, Codec: f, Shape: w.Shape(), Src: zeros{}}
}

type zeros struct{}

func (zeros) ReadRows(dst []byte, _, _ int) error {
	clear(dst)
	return nil
}

// SizeHF returns the bytes of all files that SaveHF would write.
func (m *Model) SizeHF(ctx context.Context) (int64, error) {
	s := &sizeSink{}
	err := m.SaveHF(ctx, s)
	return s.total, err
}

// SizeGGUF returns the bytes of the file that SaveGGUF would write.
func (m *Model) SizeGGUF(ctx context.Context, o GGUFOptions) (int64, error) {
	s := &sizeSink{}
	f, err := s.Create("model.gguf")
	if err != nil {
		return 0, err
	}
	if err = m.SaveGGUF(ctx, f, o); err == nil {
		err = f.Close()
	}
	return s.total, err
}

// sizeSink counts instead of writing. Writers of containers give it their full size and no rows.
type sizeSink struct{ total int64 }

func (s *sizeSink) Create(string) (SinkFile, error) { return &sizeFile{s: s}, nil }

type sizeFile struct {
	s   *sizeSink
	end int64
}

func (f *sizeFile) WriteAt(p []byte, off int64) (int, error) {
	f.end = max(f.end, off+int64(len(p)))
	return len(p), nil
}

func (f *sizeFile) Close() error {
	f.s.total += f.end
	return nil
}

// grow notes the size that a container of these tensors will have.
func (f *sizeFile) grow(size int64) { f.end = max(f.end, size) }
