package quantize

// GPTQ (Frantar et al. 2023): round the columns of W one after the other and let the columns still to come make up for
// the error. With H = XXᵀ + damping and U the upper triangular factor of H⁻¹ = UᵀU, rounding column i leaves
//
//	e = (w_i - q_i) / U_ii,   w_j -= e U_ij  for j > i    (eq. 2 and 3 in the Cholesky form, algorithm 1)
//
// Rows are independent given U. Columns are worked in blocks: inside a block updates are applied at once, behind it all
// together as one matrix product. Group parameters are fitted when the first column of a group comes up, on the weights
// as they stand at the start of its block, as the reference implementation does; with blocks of one group (the default)
// that means with all updates in. Any grid will do as target: besides integer groups, the block formats of ggml, whose
// scales are then searched with the inputs' mean squares as importances.

import (
	"context"
	"fmt"
	"sort"

	"gonum.org/v1/gonum/lapack/lapack64"
	"gonum.org/v1/gonum/mat"

	"github.com/parelm/pare/internal/calib"
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
	// BlockSize is how many columns are worked at once; 0 means one group, or 128 where a group is a whole row.
	BlockSize int `yaml:"block_size"`
	// Clip searches the range of each group of an integer format instead of taking that of its weights. Formats of ggml
	// always search.
	Clip bool `yaml:"clip"`
	// Sweeps is how often the codes are gone over once more at the end, each set to the best one given all others.
	Sweeps int `yaml:"sweeps"`
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
	plain, err := (&RTN{Importance: true, Clip: a.Clip}).Solve(ctx, p)
	if err != nil {
		return nil, err
	}
	if q == nil {
		plain.Note = note
		return plain, nil
	}
	return better(p.finish(q.data, note), plain, "rounding to nearest does better"), nil
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
	order := make([]int, p.Cols)
	for i := range order {
		order[i] = i
	}
	if a.ActOrder == "static" || a.ActOrder == "group" {
		h := p.Inputs.Hessian
		sort.SliceStable(order, func(i, j int) bool { return h[order[i]*(p.Cols+1)] > h[order[j]*(p.Cols+1)] })
	}
	u, dead, note := factor(p.Inputs.Hessian, order, a.DampeningFrac)
	if u == nil {
		return nil, note, nil
	}
	rb, err := codec.RowBytes(p.Codec, p.Cols)
	if err != nil {
		return nil, "", err
	}
	w := &gptqWork{p: p, g: g, u: u, order: order, dead: dead, static: a.ActOrder == "static", rb: rb,
		out: solution{data: make([]byte, p.Rows*rb), order: order, value: make([]float32, len(p.W))}}
	if w.group = g.values; w.group == 0 {
		w.group, w.static = p.Cols, true // parameters of whole rows are fitted once, before any update
	}
	if w.block = a.BlockSize; w.block == 0 {
		if w.block = w.group; g.values == 0 {
			w.block = 128
		}
	}
	if !g.own || a.Clip {
		// What a rounding error costs once later columns have made up for it: e²/U_ii².
		w.importance = make([]float32, p.Cols)
		for i, c := range order {
			if !dead[i] {
				w.importance[c] = 1 / (u[i*p.Cols+i] * u[i*p.Cols+i])
			}
		}
	}
	if w.sweeps = a.Sweeps; w.sweeps > 0 {
		p.hessian32()
		w.damping = float32(damping(p.Inputs.Hessian, p.Cols, a.DampeningFrac))
	}
	forRows(p.Rows, p.Cols, func(lo, hi int) {
		if ctx.Err() == nil {
			w.rows(lo, hi)
		}
	})
	return &w.out, note, ctx.Err()
}

type gptqWork struct {
	p            *Problem
	g            *grid
	u            []float32 // upper triangular, in the order of columns
	order        []int
	dead         []bool // by place in the order
	static       bool
	group, block int
	rb           int
	importance   []float32
	sweeps       int
	damping      float32
	out          solution
}

// rows solves rows [lo,hi).
func (w *gptqWork) rows(lo, hi int) {
	n, rows := w.p.Cols, hi-lo
	v := make([]float32, rows*n) // in the order of columns
	for r := range rows {
		for i, c := range w.order {
			if !w.dead[i] {
				v[r*n+i] = w.p.W[(lo+r)*n+c]
			}
		}
	}
	cells := make([][]*cell, rows) // by group
	for r := range cells {
		cells[r] = make([]*cell, (n+w.group-1)/w.group)
		if w.static {
			for k := range cells[r] {
				cells[r][k] = w.fit(w.p.W[(lo+r)*n:(lo+r+1)*n], k, nil)
			}
		}
	}
	errs := make([]float32, rows*w.block)
	for lo1 := 0; lo1 < n; lo1 += w.block {
		hi1 := min(lo1+w.block, n)
		size := hi1 - lo1
		for r := range rows {
			row := v[r*n : (r+1)*n]
			local := append([]float32(nil), row[lo1:hi1]...)
			e := errs[r*size : (r+1)*size]
			for i := range local {
				at := lo1 + i
				c := at
				if w.static {
					c = w.order[at]
				} else if at%w.group == 0 {
					cells[r][at/w.group] = w.fit(row, at/w.group, w.order)
				}
				q := cells[r][c/w.group].round(c%w.group, local[i])
				d := (local[i] - q) / w.u[at*n+at]
				u := w.u[at*n+lo1 : at*n+hi1]
				for j := i + 1; j < size; j++ {
					local[j] -= d * u[j]
				}
				e[i] = -d
				w.out.value[(lo+r)*n+at] = q
			}
		}
		if hi1 < n {
			simd.Gemm(v[hi1:], n, errs, size, false, w.u[lo1*n+hi1:], n, false, rows, n-hi1, size, true)
		}
	}
	if w.sweeps > 0 {
		w.sweep(lo, cells)
	}
	for r := range cells {
		at := w.out.data[(lo+r)*w.rb : (lo+r+1)*w.rb]
		size := len(at) / len(cells[r])
		for k, c := range cells[r] {
			c.put(at[k*size : (k+1)*size])
		}
	}
}

// fit fixes the parameters of group k on a row. order maps places of the row to columns, nil where the row is in column
// order.
func (w *gptqWork) fit(row []float32, k int, order []int) *cell {
	lo, hi := k*w.group, min((k+1)*w.group, len(row))
	var importance []float32
	if w.importance != nil {
		importance = make([]float32, hi-lo)
		for i := range importance {
			c := lo + i
			if order != nil {
				c = order[c]
			}
			importance[i] = w.importance[c]
		}
	}
	return w.g.fit(row[lo:hi], importance)
}

// factor returns U, upper triangular with UᵀU = (H + λI)⁻¹, rows and columns in the given order, in float32. Columns that
// were never active (H_ii = 0) count as independent and are marked dead. nil means that no λ below the mean diagonal
// makes the matrix positive definite.
//
// With J the exchange of rows, JHJ = LLᵀ gives H = RRᵀ for the upper triangular R = JLJ, so U = R⁻¹: one factorisation and
// one triangular inverse.
func factor(hessian []float64, order []int, frac float64) (u []float32, dead []bool, note string) {
	n := len(order)
	dead = make([]bool, n)
	var trace float64
	for i, c := range order {
		d := hessian[c*n+c]
		dead[i] = d == 0
		if dead[i] {
			d = 1
		}
		trace += d
	}
	for ; frac <= 1; frac *= 10 {
		a := make([]float64, n*n)
		for i := range n {
			for j := range n {
				// Reversed order, so that the lower factor of a is R upside down.
				v := hessian[order[n-1-i]*n+order[n-1-j]]
				if i == j {
					if dead[n-1-i] {
						v = 1
					}
					v += frac * trace / float64(n)
				}
				a[i*n+j] = v
			}
		}
		sym := mat.NewSymDense(n, a)
		raw := sym.RawSymmetric()
		tri, ok := lapack64.Potrf(raw) // upper factor V of JHJ = VᵀV: L = Vᵀ
		if !ok {
			note = fmt.Sprintf("damping raised to %g", frac*10)
			continue
		}
		if !lapack64.Trtri(tri) {
			continue
		}
		u = make([]float32, n*n)
		for i := range n {
			for j := i; j < n; j++ {
				u[i*n+j] = float32(tri.Data[(n-1-j)*tri.Stride+n-1-i])
			}
		}
		return u, dead, note
	}
	return nil, nil, "the Hessian cannot be factorised: rounded to nearest"
}
