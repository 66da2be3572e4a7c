package quantize

// Rotations (Ashkboos et al. 2024, QuaRot; Liu et al. 2024, SpinQuant with fixed rotations): the residual stream is seen in
// another basis, and so are the values of each attention head. With Q orthogonal every matrix W that reads the stream
// becomes W diag(γ) Qᵀ, γ being the scale of the norm before it, and every one that writes it Q W: the model computes what
// it did, and no file format or program has to know. A random Hadamard basis has no outlier channels, which is what makes
// coarse grids lose less.
//
// The papers turn LayerNorm models into RMSNorm models first, as SliceGPT does, which is another architecture. Here Q leaves
// the vector of ones where it is, so that the mean stays the mean and the norm may stay what it is. A tied head becomes a
// matrix of its own, since the last norm's scale moves into it alone. Rotations inside of layers that have to be computed
// while the model runs are left out: no other program would load the files.

import (
	"fmt"
	"math"
	"sync"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// rotationSeed draws the signs; one draw is as good as another.
const rotationSeed = 1

// Prepare returns the model that is quantized: m itself, or m in another basis where Rotate says so. Weights are turned when
// they are read; m must stay open. Plan and Apply want the prepared model; Run prepares by itself, and leaves m as it is where the
// rotation does not help.
func (s *Settings) Prepare(m *model.Model) (*model.Model, error) {
	switch s.Rotate {
	case "", "none":
		return m, nil
	case "hadamard":
		return rotate(m)
	}
	return nil, fmt.Errorf("rotate is %q, must be none or hadamard", s.Rotate)
}

// rotate turns the residual stream and the value heads of a model.
func rotate(m *model.Model) (*model.Model, error) {
	r, err := m.Graph.Rotation()
	if err == nil && r.Tied {
		if m, err = m.Untied(); err == nil {
			r, err = m.Graph.Rotation()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be rotated: %w", m.Config.Family.Name, err)
	}
	x := &rotation{m: m, kept: &kept{}, views: map[*model.Weight]*turnedRows{}, out: map[*model.Weight]*tensor.Tensor{}}
	stream, err := newTurn(r.Width, r.Mean, rotationSeed)
	if err != nil {
		return nil, fmt.Errorf("the model cannot be rotated: %w", err)
	}
	for _, w := range r.Columns {
		x.view(w).cols = stream
	}
	for _, w := range r.Rows {
		x.view(w).setRows(stream)
	}
	for _, n := range r.Norms {
		if err := x.norm(n, stream); err != nil {
			return nil, err
		}
	}
	for _, h := range r.Heads {
		heads, err := newTurn(h.Dim, false, rotationSeed)
		if err != nil {
			continue // heads of an odd size stay as they are
		}
		for _, w := range h.Before {
			x.view(w).setRows(heads)
		}
		x.view(h.After).cols = heads
	}
	return x.model()
}

// rotation is a rotate under way.
type rotation struct {
	m     *model.Model
	kept  *kept
	views map[*model.Weight]*turnedRows
	out   map[*model.Weight]*tensor.Tensor
}

func (x *rotation) view(w *model.Weight) *turnedRows {
	v := x.views[w]
	if v == nil {
		v = &turnedRows{from: x.m.Tensor(w), kept: x.kept}
		x.views[w] = v
	}
	return v
}

// norm moves a norm's scale into its readers; its shift, divided by the scale, is turned.
func (x *rotation) norm(n model.ScaledNorm, stream *turn) error {
	scale, shift := n.Norm.Weight(0), n.Norm.Weight(1)
	gamma, err := scaleOf(x.m, n.Norm, map[*model.Node][]float32{})
	if err != nil {
		return err
	}
	if shift != nil {
		beta, err := x.m.Tensor(shift).Float32()
		if err != nil {
			return err
		}
		for i, b := range beta {
			if gamma[i] == 0 && b == 0 {
				continue
			}
			if beta[i] = b / gamma[i]; math.IsInf(float64(beta[i]), 0) {
				return tensor.Errorf(model.ErrUnsupported, x.m.Path, fmt.Sprintf("tensor %q", shift.Name),
					"channel %d has shift %g and scale %g, which cannot move into the layers behind: the model cannot be rotated", i, b, gamma[i])
			}
		}
		stream.apply(beta)
		if err := x.set(shift, beta); err != nil {
			return err
		}
	}
	if scale != nil {
		one := make([]float32, scale.Len())
		if !n.Norm.Norm.PlusOne {
			copy(one, ones(len(one)))
		}
		if err := x.set(scale, one); err != nil {
			return err
		}
		for _, w := range n.Readers {
			x.view(w).scale = gamma
		}
	}
	return nil
}

// set replaces a vector, in the format that it has.
func (x *rotation) set(w *model.Weight, v []float32) error {
	t, err := tensor.Convert(tensor.FromFloat32(w.Name, w.Shape(), v), x.m.Tensor(w).Codec)
	x.out[w] = t
	return err
}

// model returns the turned model. Matrices are float32 until they are rounded; vectors keep their format.
func (x *rotation) model() (*model.Model, error) {
	f32, err := codec.Lookup("f32")
	if err != nil {
		return nil, err
	}
	for w, v := range x.views {
		if n, _ := v.from.Codec.Block(); n != 1 {
			return nil, tensor.Errorf(model.ErrInvalid, x.m.Path, fmt.Sprintf("tensor %q", w.Name),
				"is already quantized as %s: rotating it would round it again", v.from.Codec.Name())
		}
		t := &tensor.Tensor{Name: w.Name, Codec: f32, Shape: w.Shape(), Src: v}
		if w.Role == model.RoleVector {
			if t, err = tensor.Convert(t, v.from.Codec); err != nil {
				return nil, err
			}
		}
		x.out[w] = t
	}
	return x.m.With(x.out), nil
}

// turnedRows is a matrix in another basis: columns multiplied by scale, then turned, and rows turned.
type turnedRows struct {
	from  *tensor.Tensor
	scale []float32
	cols  *turn
	rows  *turn

	kept *kept
}

// kept is the last stretch of rows that was worked out, of all matrices of a model.
type kept struct {
	mu     sync.Mutex
	of     *turnedRows
	lo, hi int
	x      []float32
}

// setRows turns the rows; those of a vector are its columns.
func (v *turnedRows) setRows(t *turn) {
	if v.from.Rows() == 1 {
		v.cols = t
	} else {
		v.rows = t
	}
}

// plain returns the plain format that a matrix had before it was turned; nil for matrices that were not, or had float32.
func plain(t *tensor.Tensor) codec.Codec {
	if v, ok := t.Src.(*turnedRows); ok && v.from.Codec.Name() != "f32" {
		return v.from.Codec
	}
	return nil
}

// ReadRows turns rows on the way. Where rows mix, all that mix are worked out and kept until the last of them or another matrix is read.
func (v *turnedRows) ReadRows(dst []byte, lo, hi int) error {
	f32, err := codec.Lookup("f32")
	if err != nil {
		return err
	}
	n := v.from.Cols()
	if v.rows == nil {
		x := make([]float32, (hi-lo)*n)
		if err := v.read(x, lo, hi); err != nil {
			return err
		}
		f32.Encode(dst, x, nil)
		return nil
	}
	k := v.kept
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of != v || lo < k.lo || hi > k.hi {
		size := len(v.rows.signs)
		k.of, k.lo, k.hi = nil, lo/size*size, (hi+size-1)/size*size
		k.x = make([]float32, (k.hi-k.lo)*n)
		if err := v.read(k.x, k.lo, k.hi); err != nil {
			return err
		}
		v.turnRows(k.x)
		k.of = v
	}
	f32.Encode(dst, k.x[(lo-k.lo)*n:(hi-k.lo)*n], nil)
	if hi == k.hi {
		k.of, k.x = nil, nil
	}
	return nil
}

// read reads rows, scales and turns their columns.
func (v *turnedRows) read(x []float32, lo, hi int) error {
	n := v.from.Cols()
	if err := v.from.ReadFloat32(x, lo, hi); err != nil {
		return err
	}
	forRows(hi-lo, n, func(a, b int) {
		for r := a; r < b; r++ {
			row := x[r*n : (r+1)*n]
			for j := range v.scale {
				row[j] *= v.scale[j]
			}
			if v.cols != nil {
				v.cols.apply(row)
			}
		}
	})
	return nil
}

// turnRows turns every stretch of rows, a few columns at a time.
func (v *turnedRows) turnRows(x []float32) {
	const width = 16
	n, size := v.from.Cols(), len(v.rows.signs)
	for top := 0; top < len(x); top += size * n {
		par.For(n, width, func(lo, hi int) {
			column := make([]float32, size)
			for j := lo; j < hi; j++ {
				for r := range column {
					column[r] = x[top+r*n+j]
				}
				v.rows.apply(column)
				for r, y := range column {
					x[top+r*n+j] = y
				}
			}
		})
	}
}
