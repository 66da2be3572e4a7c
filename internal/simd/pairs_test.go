package simd

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Products of words with bytes are exact in the integers, and all implementations give the bits of plain Go.
func TestMulPairs(t *testing.T) {
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(81, 82))
		for _, pairs := range []int{1, 2, 3, 8, 9, 16, 32} {
			for m := 1; m <= 11; m++ {
				panels, step := 1+r.IntN(3), 2*panel*pairs+r.IntN(5)
				lda, ldc, lds := 2*pairs+r.IntN(3), panel*panels+r.IntN(20), 1+r.IntN(3)
				a, b := make([]int16, (m-1)*lda+2*pairs), make([]int8, (panels-1)*step+2*panel*pairs)
				for i := range a {
					a[i] = int16(r.Uint32())
				}
				for i := range b {
					b[i] = int8(max(-127, int(int8(r.Uint32()))))
				}
				if r.IntN(4) == 0 { // the largest sums there can be
					for i := range a {
						a[i] = WordMax
					}
					for i := range b {
						b[i] = 127
					}
				}
				d, s, c := random(r, panels*panel), random(r, (m-1)*lds+1), random(r, (m-1)*ldc+panels*panel)
				var next []int8
				if m%2 == 0 {
					d = nil
					next = b[:1]
				}
				for _, accumulate := range []bool{false, true} {
					got, want := append([]float32(nil), c...), append([]float32(nil), c...)
					MulPairs(got, ldc, a, lda, m, b, step, pairs, panels, d, s, lds, accumulate, next)
					for i := range m {
						for j := range panels * panel {
							var sum int64
							for l := range 2 * pairs {
								sum += int64(a[i*lda+l]) * int64(b[j/panel*step+l/2*32+2*(j%panel)+l%2])
							}
							y, at := float32(sum), i*ldc+j
							if d != nil {
								y *= d[j]
							}
							if accumulate {
								want[at] = float32(float64(y)*float64(s[i*lds]) + float64(c[at]))
							} else {
								want[at] = y * s[i*lds]
							}
						}
					}
					for i, v := range got {
						if v != want[i] {
							t.Fatalf("%d rows, %d pairs, %d panels, accumulate %v: value %d is %v, want %v", m, pairs, panels, accumulate, i, v, want[i])
						}
					}
				}
			}
		}
	})
}

func TestWords(t *testing.T) {
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(83, 84))
		for n := range 70 {
			p, x, w := make([]int16, n), random(r, n), random(r, n)
			for i := range w {
				w[i] *= 40000
			}
			if n > 3 {
				x[1], w[1], x[2], w[2], x[3], w[3] = 1, 2.5, 1, 1e9, -1, 1e9
			}
			Words(p, x, w)
			for i, v := range p {
				if want := min(max(math.RoundToEven(float64(x[i]*w[i])), math.MinInt16), math.MaxInt16); float64(v) != want {
					t.Fatalf("%v times %v became %d, want %v", x[i], w[i], v, want)
				}
			}
		}
		x, q, d := random(r, 96), make([]int16, 96), make([]float32, 3)
		for i := range 32 {
			x[32+i] *= 1e-32
		}
		QuantizeWords(q, d, x)
		largest := [3]int16{}
		for i, v := range x {
			largest[i/32] = max(largest[i/32], q[i], -q[i])
			if e := math.Abs(float64(v) - float64(q[i])*float64(d[i/32])); i/32 != 1 && e > 0.51*float64(d[i/32]) {
				t.Fatalf("%v became %d times %v", v, q[i], d[i/32])
			}
		}
		if largest != [3]int16{WordMax, 0, WordMax} || d[1] != 0 {
			t.Fatalf("the largest words are %v, the scales %v", largest, d)
		}
	})
}
