package distill

import (
	"fmt"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/train"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// Quantization-aware training (Jacob et al. 2018, arXiv:1712.05877): the weights are trained, but the forward pass sees them
// as the target format rounds them, with the very encoder that writes the result. With W the weights and Q the rounding
//
//	forward: Q(W),   backward: dL/dW = dL/dQ
//
// (straight-through, Bengio et al. 2013). What comes out is Q(W), bit for bit what the last forward pass saw.

// rounded are the latents of a weight that is rounded to a format.
type rounded struct {
	t *tensor.Tensor
	c codec.Codec
}

// Initial returns the weights themselves.
func (r *rounded) Initial() ([]float32, error) { return r.t.Float32() }

// Encode rounds. Rows are encoded one by one, as the quantizer does it.
func (r *rounded) Encode(p []float32) (*tensor.Tensor, error) {
	rows, cols := r.t.Rows(), r.t.Cols()
	out := tensor.FromBytes(r.t.Name, r.c, r.t.Shape, nil)
	size := out.RowBytes()
	data := make([]byte, rows*size)
	par.For(rows, max(1, 1<<14/cols), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			r.c.Encode(data[i*size:(i+1)*size], p[i*cols:(i+1)*cols], nil)
		}
	})
	return tensor.FromBytes(r.t.Name, r.c, r.t.Shape, data), nil
}

// Pull goes straight through: the gradient of what was rounded is that of the weights.
func (r *rounded) Pull(_, grad []float32) []float32 { return grad }

// roundedLatents returns the latents of the weights that have a format to be rounded to.
func roundedLatents(m *model.Model, formats map[*model.Weight]codec.Codec) (map[*model.Weight]train.Latent, error) {
	out := map[*model.Weight]train.Latent{}
	for _, w := range m.Graph.Weights {
		c := formats[w]
		if c == nil {
			continue
		}
		t := m.Tensor(w)
		if !codec.CanEncode(c) {
			return nil, fmt.Errorf("weight %s: pare reads %s and does not write it", w.Name, c.Name())
		}
		if _, err := codec.RowBytes(c, t.Cols()); err != nil {
			return nil, fmt.Errorf("weight %s: %w", w.Name, err)
		}
		out[w] = &rounded{t, c}
	}
	return out, nil
}
