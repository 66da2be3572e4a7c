package distill

import (
	"bytes"
	"fmt"
	"math"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/train"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// Scale tuning: the student is quantized already, its codes stay as they are, and the scales and minima of its blocks learn from
// the teacher (Kim et al. 2023, PEQA, arXiv:2305.14152; here with minima, and with the scales of scales of k-quants). A block is
//
//	x = D*S[g]*q - M*T[g]
//
// The parameters are changes, 0 at the start, in units that make one learning rate fit all:
//
//	D = D0 (1 + a),  S = round(S0 + u b),  T = round(T0 + u c),  M = M0 (1 + d), or M0 + 8 D0 d where T is fixed
//
// with u half of the range that the format has for S or T. D and M are rounded to float16 where the format stores that, S and T to
// whole numbers; gradients pass through the rounding. So the forward pass sees the very bytes that will be written.
//
//	dL/dD = sum of S q dx,  dL/dS = D sum of q dx,  dL/dT = -M sum of dx,  dL/dM = -sum of T dx  (over the group or the block)

// Norms and biases, which stay in full precision and scale or move whole channels, are tuned as well: v = v0 + r e, r the root mean
// square of v0.

// scales are the latents of one quantized weight.
type scales struct {
	t      *tensor.Tensor
	layout *codec.ScaleLayout
	data   []byte    // as it was stored
	codes  []float32 // of every value
	block  int       // bytes of a block
	values int       // of a block
	groups int       // of a block
	group  int       // values in a group

	// Where the parameters of D, M, S and T begin; equal to the next where the format has none.
	atM, atS, atT, end int
}

// newScales returns the latents of a weight, or nil for one that is not quantized.
func newScales(t *tensor.Tensor) (*scales, error) {
	values, size := t.Codec.Block()
	if values == 1 {
		return nil, nil
	}
	layout, err := codec.ScalesOf(t.Codec)
	if err != nil {
		return nil, err
	}
	s := &scales{t: t, layout: layout, block: size, values: values, groups: layout.Groups, group: layout.Group}
	if values == 0 { // a row is a block
		s.block, s.values, s.group = t.RowBytes(), t.Cols(), t.Cols()
	}
	if s.data, err = t.ReadRaw(0, t.Rows()); err != nil {
		return nil, err
	}
	n := len(s.data) / s.block
	s.atM, s.end = n, n
	if layout.Min {
		s.end += n
	}
	if s.atS = s.end; layout.S[0] != layout.S[1] {
		s.end += n * s.groups
	}
	if s.atT = s.end; layout.T[0] != layout.T[1] {
		s.end += n * s.groups
	}
	return s, s.split()
}

// split takes the codes out of the blocks, and makes sure that the parameters can be written back.
func (s *scales) split() error {
	unit, one, was := bytes.Clone(s.data), s.layout.New(), s.layout.New()
	for at := 0; at < len(unit); at += s.block {
		b := unit[at : at+s.block]
		s.layout.Get(b, was)
		s.layout.Put(b, was)
		if !bytes.Equal(b, s.data[at:at+s.block]) {
			return fmt.Errorf("block %d of %s holds scales that cannot be written back: D %g, M %g", at/s.block, s.t.Codec.Name(), was.D, was.M)
		}
		s.layout.Put(b, one)
	}
	s.codes = make([]float32, len(unit)/s.block*s.values)
	s.t.Codec.Decode(s.codes, unit)
	return nil
}

// Initial returns no change to any scale.
func (s *scales) Initial() ([]float32, error) { return make([]float32, s.end), nil }

// unit is what a change of 1 of S or T means.
func unit(r [2]int) float32 { return float32(r[1]-r[0]+1) / 2 }

// minUnit is what a change of 1 of M means.
func (s *scales) minUnit(was *codec.Scales) float32 {
	if s.layout.T[0] == s.layout.T[1] {
		return 8 * was.D
	}
	return was.M
}

// at sets now to the parameters of block i, before D and M are rounded.
func (s *scales) at(i int, p []float32, was, now *codec.Scales) {
	s.layout.Get(s.data[i*s.block:], was)
	now.D, now.M = was.D*(1+p[i]), was.M
	if s.layout.Min {
		now.M += s.minUnit(was) * p[s.atM+i]
	}
	whole := func(from, to []int, at int, r [2]int) {
		copy(to, from)
		for g := range to {
			if r[0] != r[1] {
				v := math.RoundToEven(float64(float32(from[g]) + unit(r)*p[at+i*s.groups+g]))
				to[g] = int(max(float64(r[0]), min(float64(r[1]), v)))
			}
		}
	}
	whole(was.S, now.S, s.atS, s.layout.S)
	whole(was.T, now.T, s.atT, s.layout.T)
	if s.layout.Tied() {
		now.M = now.D
	}
}

// blocksTogether is how many blocks a thread takes at once.
const blocksTogether = 256

// Encode writes changed scales into the blocks.
func (s *scales) Encode(p []float32) (*tensor.Tensor, error) {
	data := bytes.Clone(s.data)
	bad := make([]int, (len(data)/s.block+blocksTogether-1)/blocksTogether)
	par.For(len(data)/s.block, blocksTogether, func(lo, hi int) {
		was, now := s.layout.New(), s.layout.New()
		for i := lo; i < hi; i++ {
			s.at(i, p, was, now)
			if s.layout.Half {
				bound := func(v float32) float32 { return max(-65504, min(65504, v)) }
				now.D, now.M = bound(now.D), bound(now.M)
			}
			if now.D-now.D != 0 || now.M-now.M != 0 {
				bad[lo/blocksTogether] = i + 1
			}
			s.layout.Put(data[i*s.block:(i+1)*s.block], now)
		}
	})
	for _, i := range bad {
		if i > 0 {
			return nil, fmt.Errorf("scale of block %d is %w", i-1, train.ErrNotFinite)
		}
	}
	return tensor.FromBytes(s.t.Name, s.t.Codec, s.t.Shape, data), nil
}

// Pull sums the gradient of values into those of the parameters.
func (s *scales) Pull(p, grad []float32) []float32 {
	out := make([]float32, s.end)
	par.For(len(s.data)/s.block, blocksTogether, func(lo, hi int) {
		was, now := s.layout.New(), s.layout.New()
		for i := lo; i < hi; i++ {
			s.at(i, p, was, now)
			s.pull(i, grad[i*s.values:(i+1)*s.values], was, now, out)
		}
	})
	return out
}

func (s *scales) pull(i int, grad []float32, was, now *codec.Scales, out []float32) {
	codes := s.codes[i*s.values : (i+1)*s.values]
	var dD, dM float32
	for g := range s.groups {
		var dq, d float32 // sums of q dx and of dx
		for k, x := range grad[g*s.group : (g+1)*s.group] {
			dq += codes[g*s.group+k] * x
			d += x
		}
		dD += float32(now.S[g]) * dq
		dM -= float32(now.T[g]) * d
		if s.atT > s.atS {
			out[s.atS+i*s.groups+g] = unit(s.layout.S) * now.D * dq
		}
		if s.end > s.atT {
			out[s.atT+i*s.groups+g] = -unit(s.layout.T) * now.M * d
		}
	}
	if s.layout.Tied() {
		dD += dM
	}
	out[i] = was.D * dD
	if s.layout.Min {
		out[s.atM+i] = s.minUnit(was) * dM
	}
}

// vector is the latent of a norm or bias.
type vector struct {
	t    *tensor.Tensor
	was  []float32
	unit float32
}

func newVector(t *tensor.Tensor) (*vector, error) {
	v := &vector{t: t}
	var err error
	v.was, err = t.Float32()
	var sum float64
	for _, x := range v.was {
		sum += float64(x) * float64(x)
	}
	v.unit = float32(math.Sqrt(sum / float64(max(1, len(v.was)))))
	return v, err
}

// Initial returns no change to any value; changes are in units of the root of the mean square.
func (v *vector) Initial() ([]float32, error) { return make([]float32, len(v.was)), nil }

// Encode returns the changed vector in float32.
func (v *vector) Encode(p []float32) (*tensor.Tensor, error) {
	out := make([]float32, len(p))
	for i := range out {
		out[i] = v.was[i] + v.unit*p[i]
	}
	return tensor.FromFloat32(v.t.Name, v.t.Shape, out), nil
}

// Pull scales by the unit.
func (v *vector) Pull(_, grad []float32) []float32 {
	out := make([]float32, len(grad))
	for i := range out {
		out[i] = v.unit * grad[i]
	}
	return out
}

// scaleLatents returns the latents of all quantized weights of a model, and of its vectors.
func scaleLatents(m *model.Model) (map[*model.Weight]train.Latent, error) {
	out := map[*model.Weight]train.Latent{}
	some := false
	for _, w := range m.Graph.Weights {
		if w.Role == model.RoleVector {
			v, err := newVector(m.Tensor(w))
			if err != nil {
				return nil, err
			}
			out[w] = v
			continue
		}
		s, err := newScales(m.Tensor(w))
		if err != nil {
			return nil, fmt.Errorf("tune scales: weight %s: %w", w.Name, err)
		}
		if s != nil {
			out[w], some = s, true
		}
	}
	if !some {
		return nil, fmt.Errorf("tune scales: no weight of the student is quantized; tune the scales of what a quantize stage made")
	}
	return out, nil
}
