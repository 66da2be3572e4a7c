package simd

import (
	"math/rand/v2"
	"testing"
)

// TestDoubleTile expects the bits of plain Go, whose sums are fused multiply-adds too, of every implementation.
func TestDoubleTile(t *testing.T) {
	r := rand.New(rand.NewPCG(81, 82))
	for k := range 40 {
		const ldc = 11
		a, b, start := make([]float64, DoubleRows*k), make([]float64, DoubleColumns*k), make([]float64, DoubleRows*ldc)
		for _, v := range [][]float64{a, b, start} {
			for i := range v {
				v[i] = r.NormFloat64()
			}
		}
		var want []float64
		for _, i := range implementations() {
			got := append([]float64(nil), start...)
			with(i, func() { DoubleTile(got, ldc, a, b, k) })
			if i == generic {
				want = got
			}
			for j, v := range got {
				if v != want[j] {
					t.Fatalf("%s, %d steps: [%d,%d] is %v, in plain Go %v", implementationNames[i], k, j/ldc, j%ldc, v, want[j])
				}
			}
		}
		for j, v := range want { // against the definition
			if row, col := j/ldc, j%ldc; col < DoubleColumns {
				sum := start[j]
				for l := range k {
					sum -= a[DoubleRows*l+row] * b[DoubleColumns*l+col]
				}
				if d := v - sum; d > 1e-12 || d < -1e-12 {
					t.Fatalf("%d steps: [%d,%d] is %v, want %v", k, row, col, v, sum)
				}
			} else if v != start[j] {
				t.Fatalf("%d steps: wrote beside the tile", k)
			}
		}
	}
}
