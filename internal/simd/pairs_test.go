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
				for range 2 {
					newPairsCase(r, m, pairs).run(t)
				}
			}
		}
	})
}

// pairsCase is operands of MulPairs, and the values that the rows stand for: those of page q of block k and row i start at
// k*BlockA+i*A+q*PageA.
type pairsCase struct {
	PairsShape
	a, values []int16
	b         [][]int8 // of pages, and what their lanes are multiplied by
	d         [][]float32
	c, s      []float32
}

func newPairsCase(r *rand.Rand, m, pairs int) *pairsCase {
	x := &pairsCase{PairsShape: PairsShape{Form: RowForm(r.IntN(3)), Rows: m, Blocks: 1 + r.IntN(3), S: 3 + r.IntN(3)}}
	p, count, panels := &x.PairsShape, 1+r.IntN(6), 1+r.IntN(4)
	if p.Form == RowSigned && pairs != 16 || pairs%2 != 0 {
		p.Form = RowWords
	}
	block := 2 * pairs
	if p.Form == RowUnsigned || p.Form == RowWords && r.IntN(2) == 0 {
		p.PageA, block = 2*pairs, 2*pairs*count
	}
	p.B, p.A, p.C = 2*panel*pairs+r.IntN(5), p.Blocks*block+r.IntN(3), panel*panels+r.IntN(20)
	p.BlockA, p.BlockB, p.BlockD = block, panels*p.B+r.IntN(3), panel*panels+r.IntN(2)
	p.BlockS = 1
	if r.IntN(2) == 0 {
		p.BlockS, p.S = m, 1
	}
	if r.IntN(2) == 0 {
		p.BlockC = m * p.C
	}
	if p.Form != RowUnsigned && r.IntN(2) == 0 {
		p.PageC = p.Blocks * m * p.C
	}
	last, largest := p.Blocks-1, r.IntN(4) == 0 // the largest sums there can be
	x.a = make([]int16, (m-1)*p.A+p.Blocks*block)
	for i := range x.a {
		if x.a[i] = int16(r.Uint32()); largest {
			x.a[i] = WordMax
		}
	}
	p.Pairs, p.Panels, p.LastPairs, p.LastPanels = pairs, panels, pairs, panels
	if r.IntN(2) == 0 {
		if p.Form != RowUnsigned {
			p.LastPanels = 1 + r.IntN(panels)
		}
		if p.Form != RowSigned {
			p.LastPairs = min(pairs, (2+r.IntN(pairs))/2*2)
		}
	}
	sizeD := last*p.BlockD + panels*panel
	if p.AtD, p.AtB = -1, r.IntN(9); p.Form != RowUnsigned && r.IntN(2) == 0 {
		p.AtD = 4 * r.IntN(3)
		p.AtB += p.AtD + 4*sizeD
	}
	p.Ahead = r.IntN(2)
	for range count {
		b := make([]int8, last*p.BlockB+(panels-1)*p.B+2*panel*pairs)
		for i := range b {
			if b[i] = int8(max(-127, int(int8(r.Uint32())))); largest {
				b[i] = 127
			}
		}
		x.b, x.d = append(x.b, b), append(x.d, random(r, sizeD))
	}
	x.values = slices.Clone(x.a)
	for i := range m {
		for k := range p.Blocks {
			x.narrow(x.a[i*p.A+k*block:][:block], x.values[i*p.A+k*block:][:block])
		}
	}
	x.s, x.c = random(r, (m-1)*p.S+last*p.BlockS+1), random(r, (count-1)*p.PageC+last*p.BlockC+(m-1)*p.C+panels*panel)
	return x
}

// narrow makes a row's words of a block what the form says.
func (x *pairsCase) narrow(block, values []int16) {
	switch x.Form {
	case RowSigned:
		var codes [32]int8
		var sum int32
		for i, v := range values {
			codes[i] = int8(max(-127, v>>8))
			values[i] = int16(codes[i])
			sum += int32(codes[i])
		}
		signedRow(block, codes[:], sum)
	case RowUnsigned:
		for i, v := range values {
			block[i] = min(v&math.MaxInt16, WordMax)
			values[i] = (block[i] + 64) / 128
		}
		unsignedRow(block)
	}
}

func (x *pairsCase) run(t *testing.T) {
	t.Helper()
	pages := make([][]byte, len(x.b))
	for q, b := range x.b {
		pages[q] = make([]byte, x.AtB+len(b)+1)
		if x.AtD >= 0 {
			copy(pages[q][x.AtD:], BytesOf(x.d[q]))
		}
		copy(Int8s(pages[q][x.AtB:]), b)
	}
	for i, accumulate := range []bool{false, true} {
		got, want := slices.Clone(x.c), slices.Clone(x.c)
		MulPairs(got, x.a, pages, pages[i%len(pages):], x.s, &x.PairsShape, accumulate)
		for q := range pages {
			_, panels := x.size(q, len(pages))
			through := x.Form == RowUnsigned
			if through && q > 0 {
				break
			}
			for k := range x.Blocks {
				for i := range x.Rows {
					for j := range panels * panel {
						y, s := float32(x.sum(q, k, i, j)), x.s[i*x.S+k*x.BlockS]
						if through {
							var sum int64
							for q := range pages {
								sum += x.sum(q, k, i, j)
							}
							y = float32(sum)
						}
						if x.AtD >= 0 {
							y *= x.d[q][k*x.BlockD+j]
						}
						if to := &want[q*x.PageC+k*x.BlockC+i*x.C+j]; accumulate || k > 0 && x.BlockC == 0 || q > 0 && x.PageC == 0 {
							*to = float32(float64(y)*float64(s) + float64(*to))
						} else {
							*to = y * s
						}
					}
				}
			}
		}
		for i, v := range got {
			if v != want[i] {
				t.Fatalf("%+v, %d pages, accumulate %v: value %d is %v, want %v", x.PairsShape, len(pages), accumulate, i, v, want[i])
			}
		}
	}
}

// sum is row i times column j of block k of a page.
func (x *pairsCase) sum(q, k, i, j int) (sum int64) {
	pairs, _ := x.size(q, len(x.b))
	for l := range 2 * pairs {
		sum += int64(x.values[k*x.BlockA+i*x.A+q*x.PageA+l]) * int64(x.b[q][k*x.BlockB+j/panel*x.B+l/2*32+2*(j%panel)+l%2])
	}
	return sum
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
		page := make([]byte, len(ident))
		copy(Int8s(page), ident)
		MulPairs(c, bytes, [][]byte{page}, nil, []float32{1, 1, 1}, &PairsShape{Form: RowSigned, Rows: 3, LastPairs: 16, LastPanels: 2, C: 32, A: 32, B: 512, S: 1, Blocks: 1, AtD: -1}, false)
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
