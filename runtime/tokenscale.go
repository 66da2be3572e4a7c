package runtime

import (
	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// tokenScales computes as programs do that load the schemes W8A8 and FP8: a token's input of an eight-bit matrix is rounded like a
// row of the matrix itself, to integers or small floats under one scale made for it at that moment (dynamic, per token, in the
// words of compressed-tensors). The matrix is decoded, so that nothing else is rounded.
type tokenScales struct {
	on     bool
	codecs map[*model.Weight]codec.Codec
	buf    []float32
}

// matrix returns the tensor to load for a weight.
func (s *tokenScales) matrix(w *model.Weight, t *tensor.Tensor) (*tensor.Tensor, error) {
	if name := t.Codec.Name(); !s.on || w.Role != model.RoleMatrix || len(w.Dims) != 2 || name != "int8" && name != "fp8" {
		return t, nil
	}
	f32, err := codec.Lookup("f32")
	if err != nil {
		return nil, err
	}
	if s.codecs == nil {
		s.codecs = map[*model.Weight]codec.Codec{}
	}
	s.codecs[w] = t.Codec
	return tensor.Convert(t, f32)
}

// codec returns how the input of layers that read the same value is rounded; nil where it is not.
func (s *tokenScales) codec(outs []linearOut) codec.Codec {
	if !s.on {
		return nil
	}
	return s.codecs[outs[0].w]
}

// round returns rows rounded with a scale each.
func (s *tokenScales) round(c codec.Codec, x []float32, rows, width int) []float32 {
	if len(s.buf) < rows*width {
		s.buf = make([]float32, rows*width)
	}
	size, err := codec.RowBytes(c, width)
	if err != nil {
		return x // rows of the matrix have it, and they are as long
	}
	par.For(rows, 8, func(lo, hi int) {
		row := make([]byte, size)
		for r := lo; r < hi; r++ {
			c.Encode(row, x[r*width:(r+1)*width], nil)
			c.Decode(s.buf[r*width:(r+1)*width], row)
		}
	})
	return s.buf[:rows*width]
}
