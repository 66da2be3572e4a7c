package calib

import (
	"math"
	"testing"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/rng"
)

// gram returns a positive definite matrix.
func gram(n int) []float64 {
	s := rng.New(5)
	x := make([]float64, n*n)
	for i := range x {
		x[i] = s.Normal()
	}
	a := make([]float64, n*n)
	for i := range n {
		for j := range n {
			for k := range n {
				a[i*n+j] += x[i*n+k] * x[j*n+k]
			}
		}
		a[i*n+i] += 0.1
	}
	return a
}

// TestCholesky multiplies the factor out again, for sizes around the borders of blocks, and looks that nothing above the
// diagonal is touched and threads do not matter.
func TestCholesky(t *testing.T) {
	defer par.SetThreads(0)
	for _, n := range []int{1, 2, 7, 47, 48, 191, 192, 193, 200, 391} {
		a := gram(n)
		var first []float64
		for threads := 1; threads <= 3; threads++ {
			par.SetThreads(threads)
			l := append([]float64(nil), a...)
			for i := range n {
				for j := i + 1; j < n; j++ {
					l[i*n+j] = 77
				}
			}
			if !Cholesky(l, n) {
				t.Fatalf("%d rows: not positive definite", n)
			}
			if first == nil {
				first = l
			}
			for i := range n {
				for j := range n {
					if l[i*n+j] != first[i*n+j] || j > i && l[i*n+j] != 77 {
						t.Fatalf("%d rows, %d threads: [%d,%d] is %v", n, threads, i, j, l[i*n+j])
					}
				}
			}
		}
		for i := range n {
			for j := range i + 1 {
				var s float64
				for k := range j + 1 {
					s += first[i*n+k] * first[j*n+k]
				}
				if d := math.Abs(s - a[i*n+j]); !(d < 1e-11*math.Sqrt(a[i*n+i]*a[j*n+j])) {
					t.Fatalf("%d rows: (LLᵀ)[%d,%d] is %v, want %v", n, i, j, s, a[i*n+j])
				}
			}
		}
	}
}

// TestCholeskyRefuses looks for the end of definiteness in every block.
func TestCholeskyRefuses(t *testing.T) {
	for _, at := range []int{0, 5, 191, 192, 250} {
		const n = 260
		a := gram(n)
		a[at*n+at] = -1
		if Cholesky(a, n) {
			t.Errorf("row %d is negative, and nobody saw it", at)
		}
	}
}
