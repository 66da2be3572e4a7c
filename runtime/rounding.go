package runtime

import (
	"fmt"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// Rounding says how the inputs of matrices are rounded before they are multiplied. Programs that load the same file do it in
// different ways, and what a model predicts depends on it a little.
type Rounding string

const (
	// RoundKernels is this runtime's own: bytes with a scale for 32 values where a matrix is quantized.
	RoundKernels Rounding = ""
	// RoundFast is for those who write text, where RoundKernels is for those who measure models. It rounds more, where the CPU multiplies
	// what comes of it faster: to bfloat16 what meets matrices of bfloat16, all that a prompt meets (see Session.Prompt), and what attention over
	// a cache of floats meets; to bytes the queries and weights of attention over a cache of bytes.
	RoundFast Rounding = "fast"
	// RoundScheme computes as programs do that load the schemes W8A8 and FP8: where the checkpoint asks for it, a token's
	// input of an eight-bit matrix is rounded like a row of the matrix itself, to integers or small floats under one scale
	// made for it at that moment (dynamic, per token, in the words of compressed-tensors).
	RoundScheme Rounding = "scheme"
	// RoundGGML computes as ggml does, so llama.cpp and ollama: inputs become the type that its products want
	// (vec_dot_type), Q8_K for blocks of 256 values, Q8_0 for those of 32, and float16 or bfloat16 beside matrices of that kind.
	RoundGGML Rounding = "ggml"
)

// ParseRounding returns the rounding of a name.
func ParseRounding(name string) (Rounding, error) {
	switch r := Rounding(name); r {
	case RoundScheme, RoundGGML:
		return r, nil
	}
	return "", fmt.Errorf("rounding of activations %q: want %s or %s", name, RoundScheme, RoundGGML)
}

// rounder rounds inputs by another program's rule. The matrices in question are decoded, so that nothing else is rounded.
type rounder struct {
	rule   func(codec.Codec) codec.Codec // the format of the inputs of matrices in a format; nil leaves them to the kernels
	codecs map[*model.Weight]codec.Codec
	buf    []float32
}

// newRounder returns nil where kernels do all the rounding.
func newRounder(r Rounding, m *model.Model) (*rounder, error) {
	out := &rounder{codecs: map[*model.Weight]codec.Codec{}}
	switch {
	case r == RoundGGML:
		out.rule = codec.VecDot
	case r == RoundScheme && m.RoundsActivations():
		out.rule = func(c codec.Codec) codec.Codec {
			if name := c.Name(); name == "int8" || name == "fp8" {
				return c
			}
			return nil
		}
	case r == RoundScheme || r == RoundKernels || r == RoundFast:
		return nil, nil
	default:
		_, err := ParseRounding(string(r))
		return nil, err
	}
	return out, nil
}

// matrix returns the tensor to load for a weight.
func (r *rounder) matrix(w *model.Weight, t *tensor.Tensor) (*tensor.Tensor, error) {
	if r == nil || w.Role == model.RoleVector {
		return t, nil
	}
	c := r.rule(t.Codec)
	if c == nil {
		return t, nil
	}
	f32, err := codec.Lookup("f32")
	if err != nil {
		return nil, err
	}
	r.codecs[w] = c
	return tensor.Convert(t, f32)
}

// codec returns the format in which a matrix's input is rounded; nil where it is not.
func (r *rounder) codec(w *model.Weight) codec.Codec {
	if r == nil {
		return nil
	}
	return r.codecs[w]
}

// round returns a matrix's input, rows of width values, rounded for it. The result is good until the next call.
func (r *rounder) round(w *model.Weight, x []float32, rows, width int) []float32 {
	c := r.codec(w)
	if c == nil {
		return x
	}
	if len(r.buf) < rows*width {
		r.buf = make([]float32, rows*width)
	}
	par.For(rows, 8, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			row := r.buf[i*width:][:width]
			copy(row, x[i*width:])
			r.row(w, row)
		}
	})
	return r.buf[:rows*width]
}

// row rounds one row of a matrix's input where it lies.
func (r *rounder) row(w *model.Weight, x []float32) {
	c := r.codec(w)
	if c == nil {
		return
	}
	if size, err := codec.RowBytes(c, len(x)); err == nil { // rows of the matrix have it, and they are as long
		row := make([]byte, size)
		c.Encode(row, x, nil)
		c.Decode(x, row)
	}
}
