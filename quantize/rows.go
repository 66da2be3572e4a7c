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

// measuredRows is on how many rows errors are measured; of longer matrices evenly spread ones stand for all.
const measuredRows = 512

// sampled returns the rows that errors are measured on.
func sampled(rows int) []int {
	step := (rows + measuredRows - 1) / measuredRows
	var out []int
	for r := 0; r < rows; r += step {
		out = append(out, r)
	}
	return out
}

// gather copies rows of W.
func (p *Problem) gather(rows []int) []float32 {
	w := make([]float32, 0, len(rows)*p.Cols)
	for _, r := range rows {
		w = append(w, p.W[r*p.Cols:(r+1)*p.Cols]...)
	}
	return w
}

// energy returns the output energy of a matrix of that many rows on the inputs: tr(V H Vᵀ), or with the diagonal of H alone
// where no more is known, or that of the values themselves.
func (p *Problem) energy(v []float32, rows int) float64 {
	n := p.Cols
	sums := make([]float64, rows)
	var t []float32 // v H
	if p.Inputs != nil && p.Inputs.Hessian != nil {
		t = make([]float32, rows*n)
		simd.Gemm(t, n, v, n, false, p.hessian32(), n, false, rows, n, n, false)
	}
	forRows(rows, n, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			for j, x := range v[r*n : (r+1)*n] {
				switch {
				case t != nil:
					sums[r] += float64(t[r*n+j]) * float64(x)
				case p.Inputs != nil:
					sums[r] += p.Inputs.SumSq[j] * float64(x) * float64(x)
				default:
					sums[r] += float64(x) * float64(x)
				}
			}
		}
	})
	var sum float64
	for _, s := range sums {
		sum += max(s, 0)
	}
	return sum
}

// heldEnergy is energy on the rows that were held out of calibration.
func (p *Problem) heldEnergy(v []float32, rows int) float64 {
	held := len(p.Inputs.Held) / p.Cols
	y := make([]float32, rows*held)
	simd.Gemm(y, held, v, p.Cols, false, p.Inputs.Held, p.Cols, true, rows, held, p.Cols, false)
	var sum float64
	for _, x := range y {
		sum += float64(x) * float64(x)
	}
	return sum
}

// hessian32 returns the Hessian in float32, made once a point.
func (p *Problem) hessian32() []float32 { return p.Inputs.Hessian32() }
