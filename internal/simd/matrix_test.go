package simd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"
)

// quantNames are the quantized formats the tests go through.
func quantNames() []string {
	return []string{"q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs", "mxfp4",
		"int4", "int4g32", "int4g128", "int8", "int8g64", "uint4", "uint4g32", "uint8", "uint8g96"}
}

// halfFields lists where a stored block has half-precision numbers.
var halfFields = map[string][]int{"q8_0": {0}, "q4_0": {0}, "q4_1": {0, 2}, "q5_0": {0}, "q5_1": {0, 2}, "q2_k": {80, 82}, "q3_k": {108},
	"q4_k": {0, 2}, "q5_k": {0, 2}, "q6_k": {208}, "iq4_nl": {0}, "iq4_xs": {0}}

// randomRows returns stored rows with random codes. The numbers that scale whole blocks are those of scale, in order.
func randomRows(r *rand.Rand, f *quantFormat, rows, cols int, scale func() float32) []byte {
	n, err := f.rowBytes(cols)
	if err != nil {
		panic(err)
	}
	b := make([]byte, rows*n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	for row := range rows {
		x := b[row*n : (row+1)*n]
		step := f.bytes
		if f.values == 0 {
			step = n
		}
		for at := 0; at < n; at += step {
			for _, h := range halfFields[f.name] {
				le.PutUint16(x[at+h:], floatToHalf(scale()))
			}
			if f.group.bits != 0 {
				le.PutUint32(x[at:], math.Float32bits(scale()))
				if f.group.offset {
					le.PutUint32(x[at+4:], math.Float32bits(scale()*7))
				}
			}
			if f.name == "mxfp4" {
				x[at] = byte(math.Float32bits(scale())>>23) + 1
			}
		}
	}
	return b
}

// value returns what the quantized form stands for.
func (a *Acts) value(row, col int) float32 {
	b := col / blockCols
	if t := &a.tiled; t.on {
		g, lane := row/tileRows16, row%tileRows16
		return float32(t.q[g*t.qs+b/2*1024+64*lane+col%(2*blockCols)]) * t.d[g*t.ds+b*tileRows16+lane]
	}
	if g := &a.grouped; g.on {
		group, lane := row/groupRows, row%groupRows
		return float32(g.q[group*g.qs+(b*groupRows+lane)*blockCols+col%blockCols]) * g.meta[group*g.ms+b*groupRows+lane]
	}
	q, meta := a.row(row)
	return float32(q[col]) * meta[b]
}

func newTestMatrix(t testing.TB, r *rand.Rand, format string, rows, cols int, scale func() float32) (*Matrix, []float32) {
	m, err := NewMatrix(format, rows, cols)
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	if m.quant != nil {
		data = randomRows(r, m.quant, rows, cols, scale)
	} else {
		x := random(r, rows*cols)
		data = make([]byte, rows*m.rowBytes)
		switch format {
		case "f32":
			StoreF32(data, x)
		case "f16":
			F32ToF16(data, x)
		case "bf16":
			F32ToBF16(data, x)
		}
	}
	if r.IntN(2) == 0 {
		m.RoundFast()
	}
	for at := 0; at < rows; { // in chunks of any size
		n := min(rows-at, 1+r.IntN(20))
		m.Pack(at, data[at*m.rowBytes:(at+n)*m.rowBytes])
		at += n
	}
	w := make([]float32, rows*cols)
	for i := range rows {
		m.Row(w[i*cols:(i+1)*cols], i)
	}
	return m, w
}

// Decoded rows of the golden files have the values that ggml gives them, bit for bit.
func TestRowGolden(t *testing.T) {
	for format, want := range map[string]string{
		"q8_0":   "21fb138f1de73cbc7a576a8091ded8511356ab77bc369d194026618c1698a232",
		"q4_0":   "58547eff22ab1deb2cbda9431fbc62a3584394f8a8c49a277f1df3e7ee48e2cc",
		"q4_1":   "651156b30cd4cbf94c77d9c3c18b9d5821407cbde0f7b8e5348438bb516cb72d",
		"q5_0":   "8c18bbf9592f0aa5d96a1fa9730261e0457127c117f48cd5174ffac710cdb1a6",
		"q5_1":   "199f43c9d9dcef7a5c1d90a65cf37b8127bb3e49f449b726af132e6f4ba9e5fb",
		"q2_k":   "4a9a18309f46f5b9e757c697c866fd0aa71c5027156df8f1b57bad4841ca3208",
		"q3_k":   "85e0514aa12867f0e7ee44e545ac60945966fe049d3c6a2d6f5294015d6e98a0",
		"q4_k":   "722548f008ebbd8f863de6b7a0674672c7b96f133b58bb24acbf040d0c723c51",
		"q5_k":   "c4604e1efc6fe75904f565f10a04e2eecc70b022640ca771108d6e56604c3124",
		"q6_k":   "9f0c21ab8ff4c945ca164a2e102dcc5125f058c8374f0d28c8d3c38621b0de9c",
		"iq4_nl": "e04de74d3d0ef29902eecba0db568d881bb9b23538f9c7d0fc0a627bee3fbcc5",
		"iq4_xs": "9bf735cb67bcf646deac6f74b7e46273068fadff18db797bbb7ada2633080fcc",
		"mxfp4":  "b1116a80ca2b59c2f115a5b031bd31acd13ffb4bb32d82932120033acff0eff8",
	} {
		data, err := os.ReadFile("testdata/" + format + ".q")
		if err != nil {
			t.Fatal(err)
		}
		m, err := NewMatrix(format, 8, 1024)
		if err != nil {
			t.Fatal(err)
		}
		m.Pack(0, data)
		x, raw := make([]float32, 8*1024), make([]byte, 4*8*1024)
		for r := range 8 {
			m.Row(x[r*1024:(r+1)*1024], r)
		}
		StoreF32(raw, x)
		if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s: decoded values differ from ggml's", format)
		}
	}
}

// The group formats: their definition, spelled out.
func TestRowGroup(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		format string
		cols   int
	}{{"int4", 70}, {"int4g32", 96}, {"int8", 50}, {"int8g64", 128}, {"uint4", 96}, {"uint4g32", 64}, {"uint8", 34}, {"uint8g96", 192}} {
		m, w := newTestMatrix(t, r, c.format, 20, c.cols, r.Float32)
		f := m.quant
		again := rand.New(rand.NewPCG(5, 5))
		data := randomRows(again, f, 20, c.cols, again.Float32)
		m.Pack(0, data)
		group := c.cols
		if f.values > 0 {
			group = f.values
		}
		for row := range 20 {
			m.Row(w[:c.cols], row)
			b := data[row*m.rowBytes:]
			for at := 0; at < c.cols; at += group {
				scale := math.Float32frombits(le.Uint32(b))
				zero := float32(0)
				b = b[4:]
				if f.group.offset {
					zero = math.Float32frombits(le.Uint32(b))
					b = b[4:]
				}
				for i := range group {
					var code int
					if f.group.bits == 4 {
						code = int(b[i/2] >> (i % 2 * 4) & 15)
						if !f.group.offset {
							code -= 8
						}
					} else if code = int(b[i]); !f.group.offset {
						code = int(int8(b[i]))
					}
					if want := scale * (float32(code) - zero); w[at+i] != want {
						t.Fatalf("%s row %d column %d: %v, want %v", c.format, row, at+i, w[at+i], want)
					}
				}
				b = b[group*f.group.bits/8:]
			}
		}
	}
}

func shapeFor(format string, r *rand.Rand) (rows, cols int) {
	unit := 1
	if f := lookupQuant(format); f != nil {
		if unit = f.values; unit == 0 {
			unit = 2
		}
	}
	cols = unit * (1 + r.IntN(max(2, 700/unit)))
	if r.IntN(4) == 0 {
		cols = unit * (1 + r.IntN(max(2, 5000/unit))) // several chunks
	}
	return 1 + r.IntN(50), cols
}

// Products against float64, with the activations as they are after quantization.
func TestMulAgainstFloat(t *testing.T) {
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 12))
		for _, format := range append(quantNames(), "f32", "f16", "bf16") {
			for range 6 {
				rows, cols := shapeFor(format, r)
				m, w := newTestMatrix(t, r, format, rows, cols, func() float32 { return (r.Float32() - 0.3) / 8 })
				n := 1 + r.IntN(30)
				x := random(r, n*cols)
				var a Acts
				a.Reset(x, n, cols)
				a.Want(Bytes | Brains)
				a.Quantize(0, n)
				for i := range x { // the values that stand for them
					switch m.Form(false) {
					case Bytes:
						x[i] = a.value(i/cols, i%cols)
					case Brains:
						x[i] = brainToFloat(floatToBrain(x[i]))
					}
				}
				add := r.IntN(2) == 0
				ld := rows + r.IntN(3)
				dst := random(r, n*ld)
				was := append([]float32(nil), dst...)
				m.Mul(dst, ld, &a, 0, rows, add)
				for i := range n {
					for j := range ld {
						got := dst[i*ld+j]
						if j >= rows {
							if got != was[i*ld+j] {
								t.Fatalf("%s: wrote behind row %d", format, i)
							}
							continue
						}
						var want, size float64
						if add {
							want = float64(was[i*ld+j])
							size = math.Abs(want)
						}
						for l := range cols {
							p := float64(w[j*cols+l]) * float64(x[i*cols+l])
							want += p
							size += math.Abs(p)
						}
						if d := math.Abs(float64(got) - want); !(d <= 2e-6*size+1e-30) {
							t.Fatalf("%s %dx%d n=%d: [%d,%d] = %v, want %v (error %.2g of %.3g)", format, rows, cols, n, i, j, got, want, d/size, size)
						}
					}
				}
			}
		}
	})
}

// The result for a row of activations has the same bits alone, among others, and for any split of the rows of the weight.
func TestMulInvariance(t *testing.T) {
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(21, 22))
		for _, format := range append(quantNames(), "f32", "f16", "bf16") {
			rows, cols := shapeFor(format, r)
			rows += 70
			m, _ := newTestMatrix(t, r, format, rows, cols, func() float32 { return r.Float32() / 8 })
			const most = 29
			x := random(r, most*cols)
			want := make([]float32, most*rows)
			start := random(r, most*rows)
			for i := range most {
				var a Acts
				a.Reset(x[i*cols:(i+1)*cols], 1, cols)
				a.Want(m.Form(false))
				a.Quantize(0, 1)
				copy(want[i*rows:], start[i*rows:(i+1)*rows])
				m.Mul(want[i*rows:], rows, &a, 0, rows, true)
			}
			var a Acts
			step := 1
			if impl == generic {
				step = 7
			}
			for n := 1; n <= most; n += step {
				from := r.IntN(most - n + 1)
				a.Reset(x[from*cols:(from+n)*cols], n, cols)
				a.Want(m.Form(false))
				for i := range n { // in any order
					a.Quantize(n-1-i, n-i)
				}
				got := append([]float32(nil), start[from*rows:(from+n)*rows]...)
				for lo := 0; lo < rows; {
					hi := min(rows, lo+1+r.IntN(60))
					m.Mul(got[lo:], rows, &a, lo, hi, true)
					lo = hi
				}
				for i, v := range got {
					if math.Float32bits(v) != math.Float32bits(want[from*rows+i]) {
						t.Fatalf("%s %dx%d n=%d: [%d,%d] is %v, alone %v", format, rows, cols, n, i/rows, i%rows, v, want[from*rows+i])
					}
				}
			}
		}
	})
}

// Integer sums are exact: with scales of 1 all arithmetic is, so every implementation gives the integers that int64 does,
// the largest codes and activations included.
func TestMulExact(t *testing.T) {
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(31, 32))
		for _, format := range quantNames() {
			for mode := range 3 {
				cols := 768
				const rows, n = 33, 14
				f := lookupQuant(format)
				data := randomRows(r, f, rows, cols, func() float32 { return 1 })
				if mode > 0 {
					extremeCodes(f, data, rows, byte(0xff*(mode-1)))
				}
				m, err := NewMatrix(format, rows, cols)
				if err != nil {
					t.Fatal(err)
				}
				m.Pack(0, data)
				x := make([]float32, n*cols)
				for i := range x {
					x[i] = float32(r.IntN(255) - 127)
					if mode > 0 {
						x[i] = 127 // all of one sign
						if i/cols%2 == 1 {
							x[i] = -127
						}
						if i/cols >= 10 && r.IntN(2) == 0 {
							x[i] = -x[i]
						}
					}
					if i%blockCols == 0 {
						x[i] = 127 // the scale of the block is 1
					}
				}
				w := make([]float32, cols)
				for _, k := range []int{1, n} {
					var a Acts
					a.Reset(x[:k*cols], k, cols)
					a.Quantize(0, k)
					dst := make([]float32, k*rows)
					m.Mul(dst, rows, &a, 0, rows, false)
					for j := range rows {
						m.Row(w, j)
						for i := range k {
							var want int64
							for l, v := range w {
								want += int64(v*2) * int64(x[i*cols+l])
							}
							if got := dst[i*rows+j]; 2*float64(got) != float64(want) && math.Abs(float64(want)) < 1<<24 {
								t.Fatalf("%s mode %d: n=%d [%d,%d] is %v, want %v", format, mode, k, i, j, got, float64(want)/2)
							}
						}
					}
				}
			}
		}
	})
}

// extremeCodes sets all codes and small scales of stored rows to the extreme b of bits, keeping the outer scales.
func extremeCodes(f *quantFormat, data []byte, rows int, b byte) {
	n := len(data) / rows
	for row := range rows {
		x := data[row*n : (row+1)*n]
		step := f.bytes
		if f.values == 0 {
			step = n
		}
		for at := 0; at < n; at += step {
			keep := map[int]bool{}
			for _, h := range halfFields[f.name] {
				keep[h], keep[h+1] = true, true
			}
			if f.group.bits != 0 {
				for i := range 8 {
					keep[i] = i < 4 || f.group.offset
				}
			}
			if f.name == "mxfp4" {
				keep[0] = true
			}
			for i := range step {
				if !keep[i] {
					x[at+i] = b
				}
			}
			if f.name == "q6_k" { // keep sums below 2^24: signed scales of 2
				for i := 192; i < 208; i++ {
					x[at+i] = 2
				}
			}
		}
	}
}

// Activations are quantized to the same bytes by every implementation.
func TestQuantize(t *testing.T) {
	r := rand.New(rand.NewPCG(41, 42))
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, cols := range []int{1, 31, 32, 33, 64, 100, 256, 1000} {
		var rows [][]float32
		for range 20 {
			x := random(r, cols)
			s := float32(math.Exp2(float64(r.IntN(60) - 30)))
			for i := range x {
				x[i] *= s
			}
			rows = append(rows, x)
		}
		zero, tiny, ties, special := make([]float32, cols), make([]float32, cols), make([]float32, cols), random(r, cols)
		for i := range tiny {
			tiny[i] = 1e-38
			ties[i] = float32(i%127) + 0.5
		}
		ties[0] = 127
		special[cols-1] = inf
		rows = append(rows, zero, tiny, ties, special)
		special = random(r, cols)
		special[cols/2] = nan
		rows = append(rows, special)
		for n, x := range rows {
			var first *Acts
			everyImplementation(t, func(t *testing.T) {
				a := &Acts{}
				a.Reset(x, 1, cols)
				a.Quantize(0, 1)
				if first == nil {
					first = a
				}
				for i := range a.q[:a.blocks*blockCols] {
					if a.q[i] != first.q[i] {
						t.Fatalf("%d columns, row %d: code %d is %d, not %d", cols, n, i, a.q[i], first.q[i])
					}
				}
				for i, v := range a.meta[:a.metaStep] {
					if math.Float32bits(v) != math.Float32bits(first.meta[i]) && v == v {
						t.Fatalf("%d columns, row %d: number %d is %v, not %v", cols, n, i, v, first.meta[i])
					}
				}
				for i, v := range x {
					d := a.meta[i/blockCols]
					switch {
					case n == 20 || n == 21:
						if d != 0 || a.q[i] != 0 {
							t.Fatalf("a block of zeros has scale %v", d)
						}
					case n < 23 && math.Abs(float64(d)*float64(a.q[i])-float64(v)) > 0.50001*float64(d):
						t.Fatalf("%d columns, row %d: %v becomes %d times %v", cols, n, v, a.q[i], d)
					}
				}
				if n >= 23 {
					m, _ := NewMatrix("q8_0", 1, 32*((cols+31)/32))
					m.Pack(0, make([]byte, m.rowBytes))
					wide := make([]float32, m.cols)
					copy(wide, x)
					a.Reset(wide, 1, m.cols)
					a.Quantize(0, 1)
					dst := []float32{0}
					m.Mul(dst, 1, a, 0, 1, false)
					if dst[0] == dst[0] && !math.IsInf(float64(dst[0]), 0) {
						t.Fatalf("row %d with Inf or NaN gives %v", n, dst[0])
					}
				}
			})
		}
	}
}

// Kernels stay inside their operands: weights, activations and results lie between pages that fault.
func TestMulGuard(t *testing.T) {
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(51, 52))
		for _, format := range append(quantNames(), "f32", "f16", "bf16") {
			rows, cols := 32, 768
			m, _ := newTestMatrix(t, r, format, rows, cols, r.Float32)
			if m.quant != nil || format != "f32" {
				b := guarded(t, len(m.data)/4096+1)
				b = b[len(b)-len(m.data):]
				copy(b, m.data)
				m.data = b
			} else {
				b := newArena(t, len(m.values)/1024+1)
				v := b.place(len(m.values), -1)
				copy(v, m.values)
				m.values = v
			}
			for _, n := range []int{1, 2, 3, 5, 12, 13} {
				xs, out, meta := newArena(t, n*cols/1024+1), newArena(t, n), newArena(t, 5*n)
				x := xs.place(n*cols, -1)
				fill(r, x, -1, 1)
				var a Acts
				a.Reset(x, n, cols)
				a.Want(m.Form(false))
				if a.metaStep*n > len(meta.f) {
					t.Fatal("arena too small")
				}
				a.meta = meta.place(a.metaStep*n, -1)
				a.Quantize(0, n)
				for _, o := range []int{-1, 0, 3} {
					dst := out.place(n*rows, o)
					m.Mul(dst, rows, &a, 0, rows, false)
					out.check(fmt.Sprintf("%s n=%d", format, n), n*rows, o)
				}
			}
		}
	})
}

func TestMatrixErrors(t *testing.T) {
	for _, c := range []struct {
		format     string
		rows, cols int
	}{{"q4_0", 4, 33}, {"q4_k", 4, 128}, {"int4", 4, 33}, {"int4g128", 4, 192}, {"int4g33", 1, 66}, {"q9_0", 1, 32}, {"", 1, 1}, {"f32", 0, 1}, {"f32", 1, -1}, {"int4g032", 1, 32}} {
		if m, err := NewMatrix(c.format, c.rows, c.cols); err == nil {
			t.Errorf("%+v: %v", c, m)
		}
	}
	for _, name := range append(quantNames(), "f32", "f16", "bf16") {
		if !Packable(name) {
			t.Errorf("%s is not packable", name)
		}
	}
	if Packable("iq2_xs") || Packable("int3") || Packable("int4g16") {
		t.Error("Packable takes formats without kernels")
	}
	m, _ := NewMatrix("q4_0", 4, 32)
	var a Acts
	a.Reset(make([]float32, 64), 2, 32)
	for i, f := range []func(){
		func() { m.Pack(3, make([]byte, 36)) }, func() { m.Pack(0, make([]byte, 17)) }, func() { m.Row(make([]float32, 32), 4) },
		func() { a.Quantize(0, 1); m.Mul(make([]float32, 8), 4, &a, 0, 4, false) }, // the second row is not
		func() { a.Quantize(0, 2); m.Mul(make([]float32, 7), 4, &a, 0, 4, false) },
		func() { m.Mul(make([]float32, 8), 4, &a, 0, 5, false) }, func() { m.Mul(make([]float32, 8), 3, &a, 0, 4, false) },
		func() { a.Reset(make([]float32, 63), 2, 32) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("case %d: no panic", i)
				}
			}()
			f()
		}()
	}
}
