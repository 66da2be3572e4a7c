package simd

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Products of words with bytes are exact in the integers, and all implementations give the bits of plain Go.
func TestMulPairs(t *testing.T) {
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(81, 82))
		for _, pairs := range []int{1, 2, 3, 8, 9, 16, 32} {
			for m := 1; m <= 11; m++ {
				p := PairsShape{Form: RowForm(r.IntN(3)), Rows: m, Pairs: pairs, Panels: 1 + r.IntN(4), Blocks: 1 + r.IntN(3), S: 3 + r.IntN(3)}
				if p.Form == RowSigned && pairs != 16 || pairs%2 != 0 {
					p.Form = RowWords
				}
				p.B, p.A, p.C = 2*panel*pairs+r.IntN(5), 6*pairs+r.IntN(3), panel*p.Panels+r.IntN(20)
				p.BlockA, p.BlockB, p.BlockD = 2*pairs, p.Panels*p.B+r.IntN(3), panel*p.Panels+r.IntN(2)
				p.BlockS = 1
				if r.IntN(2) == 0 {
					p.BlockS, p.S = m, 1
				}
				if r.IntN(2) == 0 {
					p.BlockC = m * p.C
				}
				last := p.Blocks - 1
				a, b := make([]int16, (m-1)*p.A+last*p.BlockA+2*pairs), make([]int8, last*p.BlockB+(p.Panels-1)*p.B+2*panel*pairs)
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
				values := slices.Clone(a)
				for at := 0; p.Form != RowWords && at+2*pairs <= len(a); at++ {
					if k := at % p.A / p.BlockA; at%p.A%p.BlockA != 0 || k > last {
						continue
					}
					block, value := a[at:][:2*pairs], values[at:][:2*pairs]
					if p.Form == RowSigned {
						var codes [32]int8
						var sum int32
						for i, v := range value {
							codes[i] = int8(max(-127, v>>8))
							value[i] = int16(codes[i])
							sum += int32(codes[i])
						}
						signedRow(block, codes[:], sum)
						continue
					}
					for i, v := range value {
						block[i] = min(v&math.MaxInt16, WordMax)
						value[i] = (block[i] + 64) / 128
					}
					unsignedRow(block)
				}
				d, s, c := random(r, last*p.BlockD+p.Panels*panel), random(r, (m-1)*p.S+last*p.BlockS+1), random(r, last*p.BlockC+(m-1)*p.C+p.Panels*panel)
				var next []int8
				if m%2 == 0 {
					d = nil
					next = b[:1]
				}
				for _, accumulate := range []bool{false, true} {
					got, want := append([]float32(nil), c...), append([]float32(nil), c...)
					MulPairs(got, a, b, d, s, &p, accumulate, next)
					for k := range p.Blocks {
						for i := range m {
							for j := range p.Panels * panel {
								var sum int64
								for l := range 2 * pairs {
									sum += int64(values[k*p.BlockA+i*p.A+l]) * int64(b[k*p.BlockB+j/panel*p.B+l/2*32+2*(j%panel)+l%2])
								}
								y, at := float32(sum), k*p.BlockC+i*p.C+j
								if d != nil {
									y *= d[k*p.BlockD+j]
								}
								if accumulate || k > 0 && p.BlockC == 0 {
									want[at] = float32(float64(y)*float64(s[i*p.S+k*p.BlockS]) + float64(want[at]))
								} else {
									want[at] = y * s[i*p.S+k*p.BlockS]
								}
							}
						}
					}
					for i, v := range got {
						if v != want[i] {
							t.Fatalf("%+v, accumulate %v: value %d is %v, want %v", p, accumulate, i, v, want[i])
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
		bytes, again, scale, scales := make([]int16, 96), make([]int8, 96), make([]float32, 3), make([]float32, 3)
		QuantizeBytes(bytes, scale, x)
		QuantizeRow(again, scales, x)
		if !slices.Equal(scale, scales) {
			t.Fatalf("scales %v of bytes, and %v", scale, scales)
		}
		// The products with a unit matrix are what the row holds.
		ident, c := make([]int8, 2*512), make([]float32, 96)
		for i := range 32 {
			ident[i/16*512+i/2*32+2*(i%16)+i%2] = 1
		}
		MulPairs(c, bytes, ident, nil, []float32{1, 1, 1}, &PairsShape{Form: RowSigned, Rows: 3, Pairs: 16, Panels: 2, C: 32, A: 32, B: 512, S: 1, Blocks: 1}, false, nil)
		for i, v := range c {
			if v != float32(again[i]) {
				t.Fatalf("%v became the byte %v, want %v", x[i], v, again[i])
			}
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
