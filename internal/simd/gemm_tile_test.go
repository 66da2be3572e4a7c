package simd

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Tile has the bits of Gemm, with A by rows or by columns, B packed or plain.
func TestTile(t *testing.T) {
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(71, 72))
		for _, m := range []int{1, 5, 6, 12, 37} {
			for _, k := range []int{1, 8, 31} {
				const n, ldc = 48, 50
				a, b := newArena(t, 2).place(m*k, 0), random(r, k*n)
				fill(r, a, -1, 1)
				packed := make([]float32, n*k)
				PackPanels(packed, b, n, false, n, k)
				for _, transposed := range []bool{false, true} {
					for _, accumulate := range []bool{false, true} {
						want := random(r, m*ldc)
						lda, row, col := k, k, 1
						if transposed {
							lda, row, col = m, 1, m
						}
						fromPanels, fromRows := append([]float32{}, want...), append([]float32{}, want...)
						Gemm(want, ldc, a, lda, transposed, b, n, false, m, n, k, accumulate)
						Tile(fromPanels, ldc, a, row, col, packed, 16*k, 16, m, n, k, accumulate)
						Tile(fromRows, ldc, a, row, col, b, 16, n, m, n, k, accumulate)
						for i, w := range want {
							if fromPanels[i] != w || fromRows[i] != w {
								t.Fatalf("%d x %d, transposed %v: value %d is %v, %v, want %v", m, k, transposed, i, fromPanels[i], fromRows[i], w)
							}
						}
					}
				}
			}
		}
	})
}

func TestSoftmaxGrad(t *testing.T) {
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(73, 74))
		const rows = 3
		for n := range 70 {
			ld := n + 3
			p, dp := newArena(t, 1).place(2*ld+n, 0), newArena(t, 1).place(2*ld+n, 0)
			fill(r, p, -30, 0)
			fill(r, dp, -2, 2)
			s, g := append([]float32{}, p...), append([]float32{}, dp...)
			lse, delta := random(r, rows), random(r, rows)
			for i := range lse {
				lse[i]++
			}
			SoftmaxGrad(p, dp, ld, rows, n, lse, delta)
			for i := range p {
				e, d := float64(s[i]), float64(g[i])
				if row := i / ld; i%ld < n {
					e = math.Exp(float64(s[i] - lse[row]))
					d = e * float64(g[i]-delta[row])
				}
				if math.Abs(float64(p[i])-e) > 1e-6*math.Abs(e) || math.Abs(float64(dp[i])-d) > 1e-6*math.Abs(d) {
					t.Fatalf("%d values, place %d: %v, %v, want %v, %v", n, i, p[i], dp[i], e, d)
				}
			}
		}
	})
}
