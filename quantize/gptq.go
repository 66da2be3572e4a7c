package quantize

// GPTQ (Frantar et al. 2023): round the columns of W one after the other and let the columns still to come make up for
// the error. With H = XXᵀ + damping and U the upper triangular factor of H⁻¹ = UᵀU, rounding column i leaves
//
//	e = (w_i - q_i) / U_ii,   w_j -= e U_ij  for j > i    (eq. 2 and 3 in the Cholesky form, algorithm 1)
//
// Rows are independent. Columns are worked in blocks. With H = R Rᵀ, R upper triangular and U = R⁻¹, what the errors E of
// all columns before a block add to it is
//
//	E R_before,block U_block    (U_block: the block of U on the diagonal)
//
// with E = W - Q of the weights as they were: of U only blocks on its diagonal are needed, no inverse of H, and the sum
// is one matrix product. Group parameters are fitted when the first column of a group comes up, on the weights
// as they stand at the start of its block, as the reference implementation does; with blocks of one group (the default)
// that means with all updates in. Any grid will do as target: besides integer groups, the block formats of ggml, whose
// scales are then searched with the inputs' mean squares as importances.

import (
	"context"
	"fmt"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model/codec"
)

func init() {
	algorithms["gptq"] = func() Algorithm {
		return &GPTQ{ActOrder: "static", DampeningFrac: 0.01, Clip: true, Sweeps: 4}
	}
}

// GPTQ is rounding with error feedback.
type GPTQ struct {
	// ActOrder is the order of columns: none (as they are), static (by falling mean square of the inputs; groups stay as
	// they are and are fitted beforehand), or group (likewise, groups following the order; needs a format that stores it).
	ActOrder string `yaml:"actorder"`
	// DampeningFrac is added to the diagonal of the Hessian as a share of its mean. It rises tenfold until the
	// factorisation succeeds; at 1 the matrix is rounded to nearest instead, and the report says so.
	DampeningFrac float64 `yaml:"dampening_frac"`
	// BlockSize is how many columns are worked at once, whole groups; 0 means one group, or 128 where a group is a whole row.
	BlockSize int `yaml:"block_size"`
	// Clip searches the range of each group of an integer format instead of taking that of its weights. Formats of ggml
	// always search.
	Clip bool `yaml:"clip"`
	// Sweeps is how often the codes are gone over once more at the end, each set to the best one given all others.
	Sweeps int  `yaml:"sweeps"`
	values bool // keep the values before sweeps, for tests
}

// Needs asks for the Hessian.
func (a *GPTQ) Needs() *calib.Needs { return &calib.Needs{Hessian: true} }

// Solve rounds the matrix. Without statistics it rounds to nearest and says so.
func (a *GPTQ) Solve(ctx context.Context, p *Problem) (*Result, error) {
	if a.ActOrder == "group" {
		return nil, fmt.Errorf("actorder group needs a format that stores the order of columns; use static")
	}
	q, note, err := a.solve(ctx, p)
	if err != nil {
		return nil, err
	}
	rtn := &RTN{Importance: true, Clip: a.Clip}
	if q == nil {
		plain, err := rtn.Solve(ctx, p)
		if err == nil {
			plain.Note = note
		}
		return plain, err
	}
	return p.better(ctx, p.finish(q.data, note), rtn, "rounding to nearest does better")
}

// solution is the encoded rows and, for tests, the values in the order of columns they were rounded in.
type solution struct {
	data  []byte
	order []int
	value []float32
}

// solve returns nil and a note when the matrix cannot be solved.
func (a *GPTQ) solve(ctx context.Context, p *Problem) (*solution, string, error) {
	g, err := gridOf(p.Codec)
	if err != nil {
		return nil, err.Error() + ": rounded to nearest", nil
	}
	if p.Inputs == nil || p.Inputs.Hessian == nil {
		return nil, "no calibration inputs: rounded to nearest", nil
	}
	switch a.ActOrder {
	case "", "none", "static", "group":
	default:
		return nil, "", fmt.Errorf("actorder is %q, must be none, static or group", a.ActOrder)
	}
	rb, err := codec.RowBytes(p.Codec, p.Cols)
	if err != nil {
		return nil, "", err
	}
	w := &gptqWork{p: p, g: g, static: a.ActOrder == "static", rb: rb, sweeps: a.Sweeps}
	if w.group = g.values; w.group == 0 {
		w.group, w.static = p.Cols, true // parameters of whole rows are fitted once, before any update
	}
	if w.block = a.BlockSize; w.block == 0 {
		if w.block = w.group; g.values == 0 {
			w.block = 128
		}
	}
	if g.values != 0 {
		w.block = (w.block + w.group - 1) / w.group * w.group
	}
	if w.feedback = feedbackOf(p.Inputs, a.ActOrder == "static" || a.ActOrder == "group", a.DampeningFrac, w.block); w.blocks == nil {
		return nil, w.note, nil
	}
	w.out = solution{data: make([]byte, p.Rows*rb), order: w.order}
	if a.values {
		w.out.value = make([]float32, len(p.W))
	}
	if !g.own || a.Clip {
		w.importance = w.cost
	}
	if w.sweeps > 0 {
		p.hessian32()
		w.damping = w.base
	}
	par.For(p.Rows, min(gptqRows, max(gptqRows/4, p.Rows/8)), func(lo, hi int) {
		if ctx.Err() == nil {
			w.rows(lo, hi)
		}
	})
	return &w.out, w.note, ctx.Err()
}

// gptqRows is how many rows a task takes at most: for each of them the second moment comes from memory several times and is packed,
// which few rows would not pay.
const gptqRows = 256

type gptqWork struct {
	*feedback
	p            *Problem
	g            *grid
	static       bool
	group, block int
	rb           int
	importance   []float32 // by column
	sweeps       int
	damping      float32
	out          solution
}

// rows solves rows [lo,hi).
func (w *gptqWork) rows(lo, hi int) {
	n, rows := w.p.Cols, hi-lo
	e, q := make([]float32, rows*n), make([]float32, rows*n) // w - q and q, in the order of columns
	cells := make([][]*cell, rows)
	for r := range cells {
		cells[r] = make([]*cell, (n+w.group-1)/w.group)
		if w.static {
			for k := range cells[r] {
				cells[r][k] = w.fit(w.p.W[(lo+r)*n+k*w.group:(lo+r)*n+min((k+1)*w.group, n)], k, nil)
			}
		}
	}
	v := make([]float32, rows*w.block)
	for k, b := range w.blocks {
		lo1, hi1 := k*w.block, min((k+1)*w.block, n)
		size := hi1 - lo1
		for r := range rows {
			for i := range size {
				v[r*size+i] = w.value(lo+r, lo1+i)
			}
		}
		if lo1 > 0 {
			simd.GemmPacked(v, size, e, n, false, b.before, rows, true)
		}
		for r := range rows {
			w.round(lo+r, lo1, cells[r], v[r*size:(r+1)*size], b.within, e[r*n:(r+1)*n], q[r*n:(r+1)*n])
		}
	}
	if w.out.value != nil {
		copy(w.out.value[lo*n:], q)
	}
	if w.sweeps > 0 {
		w.sweep(cells, e, q)
	}
	for r := range cells {
		at := w.out.data[(lo+r)*w.rb : (lo+r+1)*w.rb]
		size := len(at) / len(cells[r])
		for k, c := range cells[r] {
			c.put(at[k*size : (k+1)*size])
		}
	}
}

// value returns the weight of a row at a place of the order; columns that no input reaches count as zero.
func (w *gptqWork) value(row, place int) float32 {
	if w.dead[place] {
		return 0
	}
	return w.p.W[row*w.p.Cols+w.order[place]]
}

// round rounds a row's columns of one block, from place lo on. v is their values with the errors of all columns before the
// block fed back.
func (w *gptqWork) round(row, lo int, cells []*cell, v, within, e, q []float32) {
	size := len(v)
	start := v
	if !w.static { // groups are fitted on the values at the start of the block
		start = append([]float32(nil), v...)
	}
	for i := range v {
		at := lo + i
		c := at
		if w.static {
			c = w.order[at]
		} else if at%w.group == 0 {
			cells[at/w.group] = w.fit(start[i:min(i+w.group, size)], at/w.group, w.order)
		}
		q[at] = cells[c/w.group].round(c%w.group, v[i])
		e[at] = w.value(row, at) - q[at]
		if d := v[i] - q[at]; i+1 < size && d != 0 {
			simd.Axpy(v[i+1:], within[i*size+i+1:(i+1)*size], -d)
		}
	}
}

// fit fixes the parameters of group k, whose values are x. order maps places to columns, nil where groups are in column
// order.
func (w *gptqWork) fit(x []float32, k int, order []int) *cell {
	var importance []float32
	if w.importance != nil {
		importance = make([]float32, len(x))
		for i := range importance {
			c := k*w.group + i
			if order != nil {
				c = order[c]
			}
			importance[i] = w.importance[c]
		}
	}
	return w.g.fit(x, importance)
}
