package simd

import (
	"math/rand/v2"
	"testing"
)

// Products with panels have the same bits as those with any other number of rows.
func TestPanels(t *testing.T) {
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(61, 62))
		const m, k, panels = 37, 29, 3
		a, b := random(r, m*k), random(r, panels*k*16)
		whole, one := make([]float32, m*panels*16), make([]float32, panels*16)
		MulPanels(whole, panels*16, a, k, m, b, k*16, 16, panels, k, false)
		for i := range m {
			MulPanels(one, panels*16, a[i*k:], k, 1, b, k*16, 16, panels, k, false)
			for j, v := range one {
				if v != whole[i*panels*16+j] {
					t.Fatalf("row %d: %v alone, %v among others", i, v, whole[i*panels*16+j])
				}
				var want float64
				for l := range k {
					want += float64(a[i*k+l]) * float64(b[j/16*k*16+l*16+j%16])
				}
				if diff := float64(v) - want; diff > 1e-5 || diff < -1e-5 {
					t.Fatalf("[%d,%d] is %v, want %v", i, j, v, want)
				}
			}
		}
		x, c, s := random(r, 64), make([]int8, 64), make([]float32, 2)
		QuantizeRow(c, s, x)
		for i, v := range x {
			if e := float64(v - float32(c[i])*s[i/32]); e > 0.5001*float64(s[i/32]) || e < -0.5001*float64(s[i/32]) {
				t.Fatalf("%v became %d times %v", v, c[i], s[i/32])
			}
		}
	})
}
