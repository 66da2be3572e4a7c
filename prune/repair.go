package prune

// Repair: with columns of W taken away, the best remaining W' for inputs of second moment H = XᵀX is the least-squares fit
// of W x by the kept inputs alone (Optimal Brain Surgeon with many weights at once):
//
//	W' = W H[:,K] (H[K,K] + λI)⁻¹
//
// λ is a small share of the mean diagonal; it rises until the factorisation succeeds.

import (
	"fmt"

	"gonum.org/v1/gonum/mat"
)

// damping is λ as a share of the mean diagonal.
const damping = 1e-3

// refit changes w, [rows, cols] row by row, in place: columns that do not stay become 0, the others their least-squares
// fit. It returns the relative error of the output, |(W-W')X|² / |WX|².
func refit(w []float32, cols int, hessian []float64, stays []bool) (float64, error) {
	var keep []int
	for j, s := range stays {
		if s {
			keep = append(keep, j)
		}
	}
	n, rows := len(keep), len(w)/cols
	h := mat.NewSymDense(cols, hessian)
	old := mat.NewDense(rows, cols, nil)
	for i, v := range w {
		old.Set(i/cols, i%cols, float64(v))
	}
	cross := mat.NewDense(cols, n, nil) // H[:,K]
	kept := mat.NewSymDense(n, nil)     // H[K,K]
	var trace float64
	for a, j := range keep {
		for i := range cols {
			cross.Set(i, a, h.At(i, j))
		}
		for b := a; b < n; b++ {
			kept.SetSym(a, b, h.At(j, keep[b]))
		}
		trace += h.At(j, j)
	}
	var chol mat.Cholesky
	for lambda := damping * trace / float64(n); ; lambda *= 10 {
		if lambda == 0 {
			lambda = 1 // inputs that are all zero: any weights do
		}
		damped := mat.NewSymDense(n, nil)
		damped.CopySym(kept)
		for a := range n {
			damped.SetSym(a, a, kept.At(a, a)+lambda)
		}
		if chol.Factorize(damped) {
			break
		}
		if lambda > trace {
			return 0, fmt.Errorf("the calibration statistics cannot be factorised")
		}
	}
	var right, fit mat.Dense
	right.Mul(old, cross)                                 // [rows, n]
	if err := chol.SolveTo(&fit, right.T()); err != nil { // fit is W'ᵀ; ill-conditioning is what λ is for
		if _, ok := err.(mat.Condition); !ok {
			return 0, err
		}
	}
	diff := mat.DenseCopyOf(old)
	clear(w)
	for a, j := range keep {
		for i := range rows {
			v := float32(fit.At(a, i))
			w[i*cols+j] = v
			diff.Set(i, j, diff.At(i, j)-float64(v))
		}
	}
	return energy(diff, h) / max(energy(old, h), 1e-300), nil
}

// energy returns the sum over rows of w H wᵀ.
func energy(w *mat.Dense, h *mat.SymDense) float64 {
	var wh mat.Dense
	wh.Mul(w, h)
	rows, _ := w.Dims()
	var sum float64
	for i := range rows {
		sum += mat.Dot(wh.RowView(i), w.RowView(i))
	}
	return sum
}
