package quantize

import (
	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
)

// taskValues is how many weights one task handles.
const taskValues = 1 << 17

// forRows splits rows into tasks with fixed borders.
func forRows(rows, cols int, f func(lo, hi int)) {
	par.For(rows, max(1, taskValues/max(cols, 1)), f)
}

// energies sets errs[r] and sums[r] to the output energies of rows [lo,hi): of W-Q and of W, with q the decoded rows. With
// statistics the measure is w H wᵀ, or the diagonal of H where only that is known.
func (p *Problem) energies(lo, hi int, q []float32, errs, sums []float64) {
	n := p.Cols
	w := p.W[lo*n : hi*n]
	diff := make([]float32, len(q))
	for i := range q {
		diff[i] = w[i] - q[i]
	}
	if p.Inputs == nil || p.Inputs.Hessian == nil {
		for r := range hi - lo {
			for j := range n {
				weight := 1.0
				if p.Inputs != nil {
					weight = p.Inputs.SumSq[j]
				}
				d, v := float64(diff[r*n+j]), float64(w[r*n+j])
				errs[lo+r] += weight * d * d
				sums[lo+r] += weight * v * v
			}
		}
		return
	}
	h := p.hessian32()
	t := make([]float32, len(q))
	for _, m := range []struct {
		v   []float32
		out []float64
	}{{diff, errs}, {w, sums}} {
		simd.Gemm(t, n, m.v, n, false, h, n, false, hi-lo, n, n, false)
		for r := range hi - lo {
			var s float64
			for j := range n {
				s += float64(t[r*n+j]) * float64(m.v[r*n+j])
			}
			m.out[lo+r] = max(s, 0)
		}
	}
}

// hessian32 returns the Hessian in float32, made once.
func (p *Problem) hessian32() []float32 {
	p.once.Do(func() {
		p.h32 = make([]float32, len(p.Inputs.Hessian))
		for i, v := range p.Inputs.Hessian {
			p.h32[i] = float32(v)
		}
	})
	return p.h32
}
