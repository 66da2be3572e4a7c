package quantize

import (
	"fmt"
	"sort"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
)

// feedback is what GPTQ needs to know of the inputs of a matrix: in which order its columns are rounded, and how the error
// of a column is passed on to those behind it.
type feedback struct {
	key    feedbackKey
	order  []int     // columns by place
	dead   []bool    // by place: no input was ever active
	cost   []float32 // by column: what a rounding error costs once later columns have made up for it, 1/U_ii² = R_ii²
	blocks []feedbackBlock
	base   float32 // what was added to the diagonal to begin with
	note   string
}

type feedbackKey struct {
	sorted bool
	frac   float64
	block  int
}

// feedbackBlock passes errors on to the columns of one block, at places [lo, hi).
type feedbackBlock struct {
	before *simd.PackedB // R of rows [0, lo) times U of the block, [lo, hi-lo]; nil for the first
	within []float32     // U_ij / U_ii, [hi-lo, hi-lo], above the diagonal
}

// feedbackOf returns the feedback of a point's inputs, made once for all matrices that read them; blocks is nil where the
// Hessian cannot be factorised. frac of the mean diagonal is added to it and rises tenfold until it can; beyond 1 is no more.
//
// With J the exchange of rows, JHJ = LLᵀ gives H = RRᵀ for the upper triangular R = JLJ. H is symmetric: its lower half is
// the room for L, and is written again in the end.
func feedbackOf(p *calib.Point, sorted bool, frac float64, block int) *feedback {
	key := feedbackKey{sorted, frac, block}
	if f, ok := p.Kept.(*feedback); ok && f.key == key {
		return f
	}
	n := p.Width
	f := &feedback{key: key, order: make([]int, n), dead: make([]bool, n)}
	diagonal := make([]float64, n)
	for i := range n {
		f.order[i], diagonal[i] = i, p.Hessian[i*(n+1)]
	}
	if sorted {
		sort.SliceStable(f.order, func(i, j int) bool { return diagonal[f.order[i]] > diagonal[f.order[j]] })
	}
	for i, c := range f.order {
		f.dead[i] = diagonal[c] == 0
	}
	f.base = float32(damping(diagonal, frac))
	for ; frac <= 1; frac *= 10 {
		f.arrange(p.Hessian, diagonal, damping(diagonal, frac))
		if calib.Cholesky(p.Hessian, n) {
			f.pass(p.Hessian, n, block)
			break
		}
		f.note = fmt.Sprintf("damping raised to %g", frac*10)
	}
	for i, d := range diagonal {
		p.Hessian[i*(n+1)] = d
	}
	p.Mirror()
	if f.blocks == nil {
		f.note = "the Hessian cannot be factorised: rounded to nearest"
	}
	p.Kept = f
	return f
}

// arrange writes H + damping below and on its own diagonal, in the order of columns from the last to the first.
func (f *feedback) arrange(h, diagonal []float64, damping float64) {
	n := len(f.order)
	par.For(n, 16, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			r := f.order[n-1-i]
			row := h[i*n : i*n+i+1]
			for j := range row[:i] {
				c := f.order[n-1-j]
				row[j] = h[min(r, c)*n+max(r, c)]
			}
		}
	})
	for i := range n {
		d := diagonal[f.order[n-1-i]]
		if f.dead[n-1-i] {
			d = 1
		}
		h[i*(n+1)] = d + damping
	}
}

// pass makes the blocks of L, the lower triangle of h.
func (f *feedback) pass(h []float64, n, block int) {
	r := func(i, j int) float64 { return h[(n-1-i)*n+n-1-j] } // i <= j
	f.cost = make([]float32, n)
	for i, c := range f.order {
		if !f.dead[i] {
			f.cost[c] = float32(r(i, i) * r(i, i))
		}
	}
	f.blocks = make([]feedbackBlock, (n+block-1)/block)
	par.For(len(f.blocks), 1, func(from, to int) {
		for k := from; k < to; k++ {
			lo, hi := k*block, min((k+1)*block, n)
			size := hi - lo
			b := &f.blocks[k]
			u := inverse(size, func(i, j int) float64 { return r(lo+i, lo+j) })
			b.within = make([]float32, size*size)
			u32 := make([]float32, size*size)
			for i := range size {
				for j := i; j < size; j++ {
					u32[i*size+j], b.within[i*size+j] = float32(u[i*size+j]), float32(u[i*size+j]/u[i*size+i])
				}
			}
			if lo == 0 {
				continue
			}
			above := make([]float32, lo*size)
			for i := range lo {
				for j := range size {
					above[i*size+j] = float32(r(i, lo+j))
				}
			}
			m := make([]float32, lo*size)
			simd.Gemm(m, size, above, size, false, u32, size, false, lo, size, size, false)
			b.before = simd.PackB(m, size, false, size, lo)
		}
	})
}

// inverse returns the inverse of an upper triangular matrix.
func inverse(n int, r func(i, j int) float64) []float64 {
	u := make([]float64, n*n)
	for i := n - 1; i >= 0; i-- {
		ui := u[i*n : (i+1)*n]
		for k := i + 1; k < n; k++ { // row i is made of the rows below
			x := r(i, k)
			for j, v := range u[k*n+k : (k+1)*n] {
				ui[k+j] -= x * v
			}
		}
		d := 1 / r(i, i)
		for j := i + 1; j < n; j++ {
			ui[j] *= d
		}
		ui[i] = d
	}
	return u
}

// damping returns what is added to the diagonal of a Hessian: a share of its mean, columns that were never active counting as
// one.
func damping(diagonal []float64, frac float64) float64 {
	var trace float64
	for _, d := range diagonal {
		if d != 0 {
			trace += d
		} else {
			trace++
		}
	}
	return frac * trace / float64(len(diagonal))
}
