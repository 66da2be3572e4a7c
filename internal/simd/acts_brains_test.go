package simd

import (
	"math"
	"math/rand/v2"
	"testing"
)

// promptWeight is the weight of row r and column l that a prompt meets: computed as kernels for other rows mean it, then rounded.
func promptWeight(m *Matrix, r, l int) float32 {
	t, lane, b, at := r/tileRows16, r%tileRows16, l/blockCols, l%blockCols
	if m.quant == nil {
		return brainToFloat(le.Uint16(m.tile(t)[4*(l/2*tileRows16+lane)+l%2*2:]))
	}
	f := m.quant
	var c [blockCols]int16
	codesOf(&c, f.codes, m.codes(t, b), lane)
	d, low := f.scalesOf(m.header(t, b), m.inSection(b), lane)
	p, code := 0, int(c[at])
	if f.kind.half() {
		p = at / 16
	}
	if f.kind == kindSA {
		code += 128
	}
	if f.kind.affine() {
		return brainToFloat(floatToBrain(fma(d[p], float32(code), low[p])))
	}
	if f.kind == kindC || f.kind == kindCH {
		code -= f.zero
	}
	return brainToFloat(floatToBrain(d[p] * float32(code)))
}

// promptChain is the sum that tiles of bfloat16 make of products of a row, starting from sum ("TDPBF16PS", Intel's Software Developer's
// Manual): in every 32 columns the even and the odd ones are a chain each.
func promptChain(sum float32, w, x []float32) float32 {
	for len(w) > 0 {
		var part [2]float32
		n := min(blockCols, len(w))
		for i := range n {
			part[i%2] = fma(w[i], x[i], part[i%2])
		}
		sum += part[0] + part[1]
		w, x = w[n:], x[n:]
	}
	return sum
}

// A prompt's products have the bits of promptChain, whatever rows and columns of the result are computed together.
func TestPromptProducts(t *testing.T) {
	if !PromptsFast() {
		t.Skip("this CPU has no tiles of bfloat16")
	}
	r := rand.New(rand.NewPCG(51, 52))
	for _, format := range append(quantNames(), "bf16") {
		for range 3 {
			rows, cols := shapeFor(format, r)
			rows += r.IntN(300)
			m, _ := newTestMatrix(t, r, format, rows, cols, func() float32 { return (r.Float32() - 0.3) / 8 })
			m.RoundFast()
			if m.Form(true) != Tiled {
				t.Fatalf("%s: activations of a prompt want form %d", format, m.Form(true))
			}
			weights := make([][]float32, rows)
			for i := range weights {
				for l := range cols {
					weights[i] = append(weights[i], promptWeight(m, i, l))
				}
			}
			n := 1 + r.IntN(80)
			x := random(r, n*cols)
			var a Acts
			a.Reset(x, n, cols)
			a.Want(Tiled)
			for i := range n { // in any order
				a.Quantize(n-1-i, n-i)
			}
			rounded := make([]float32, len(x))
			for i, v := range x {
				rounded[i] = brainToFloat(floatToBrain(v))
			}
			add := r.IntN(2) == 0
			ld := rows + r.IntN(3)
			dst := random(r, n*ld)
			was := append([]float32(nil), dst...)
			for lo := 0; lo < rows; {
				hi := min(rows, lo+1+r.IntN(200))
				m.Mul(dst[lo:], ld, &a, lo, hi, add)
				lo = hi
			}
			for i := range n {
				for j := range ld {
					got, want := dst[i*ld+j], was[i*ld+j]
					if j < rows {
						if !add {
							want = 0
						}
						want = promptChain(want, weights[j], rounded[i*cols:(i+1)*cols])
					}
					if math.Float32bits(got) != math.Float32bits(want) {
						t.Fatalf("%s %dx%d n=%d: [%d,%d] is %v, want %v", format, rows, cols, n, i, j, got, want)
					}
				}
			}
		}
	}
}

// Rows of any length are rounded to the nearest bfloat16, at any place, and nothing beside them is read or written.
func TestRoundBrains(t *testing.T) {
	if !brainDots() {
		t.Skip("this CPU does not multiply bfloat16")
	}
	r := rand.New(rand.NewPCG(53, 54))
	a, b := newArena(t, 1), newArena(t, 1)
	lengths(func(n, o int) {
		x := a.place(n, o)
		fill(r, x, -4, 4)
		words := (n + 1) / 2 // float32s that hold n of bfloat16
		to := b.place(words, o)
		dst := BytesOf(to)[4*words-2*n:]
		RoundBrains(dst, x)
		for i, v := range x {
			if got, want := le.Uint16(dst[2*i:]), floatToBrain(v); got != want {
				t.Fatalf("n=%d offset=%d: [%d] %v became %#x, want %#x", n, o, i, v, got, want)
			}
		}
		b.check("RoundBrains", words, o)
	})
}

// pairChain is the sum that products of pairs make, likewise ("VDPBF16PS", Intel's Architecture Instruction Set Extensions Programming Reference).
func pairChain(sum float32, w, x []float32) float32 {
	for i := 0; i < len(w); i += 2 {
		sum = fma(w[i], x[i], fma(w[i+1], x[i+1], sum))
	}
	return sum
}

// Panels of floats and of bytes, with any number of rows, times rows of bfloat16, against promptChain, or pairChain where there are no tiles. What lies
// behind the rows of a page is not to be met: it holds NaN.
func TestBrainPanels(t *testing.T) {
	if !brainDots() {
		t.Skip("this CPU does not multiply bfloat16")
	}
	defer use(inUse())
	if tiles {
		testBrainPanels(t, promptChain)
		use(avx512)
	}
	testBrainPanels(t, pairChain)
}

func testBrainPanels(t *testing.T, chain func(sum float32, w, x []float32) float32) {
	r := rand.New(rand.NewPCG(55, 56))
	for range 60 {
		rows, panels, depth := 1+r.IntN(70), 1+r.IntN(5), 1+r.IntN(100)
		size := BrainPanelBytes(depth)
		x := random(r, rows*size/32)
		a := make([]byte, 2*len(x))
		RoundBrains(a, x)
		for i := range x {
			x[i] = brainToFloat(le.Uint16(a[2*i:]))
		}
		b := make([]byte, panels*size)
		w := make([][]float32, panels*tileRows16) // columns
		kind := r.IntN(3)
		if kind == 1 {
			depth = (depth + 31) &^ 31
		}
		floats := testFloatPanels(r, b, size, depth, panels)
		for p := range panels {
			dst := b[p*size:][:size]
			bytes, scales := make([]int8, (depth+2)*tileRows16), random(r, (depth+2)*tileRows16)
			for i := range bytes {
				bytes[i] = int8(r.IntN(256) - 128)
			}
			at := func(l, j int) float32 { return float32(bytes[l/2*2*tileRows16+2*j+l%2]) }
			value := func(l, j int) float32 { return floats(l, p*tileRows16+j) }
			switch kind {
			case 0:
			case 1:
				const apart = 20
				scales = random(r, (depth/32)*apart)
				BytePanelColumns(dst, bytes, scales, apart, depth)
				value = func(l, j int) float32 { return at(l, j) * scales[l/32*apart+j] }
			default:
				scales[depth] = float32(math.NaN())
				BytePanelRows(dst, bytes, scales, depth)
				value = func(l, j int) float32 { return at(l, j) * scales[l] }
			}
			for j := range tileRows16 {
				column := make([]float32, size/32)
				for l := range depth {
					column[l] = brainToFloat(floatToBrain(value(l, j)))
				}
				w[p*tileRows16+j] = column
			}
		}
		add, ld := r.IntN(2) == 0, panels*tileRows16+r.IntN(3)
		c := random(r, rows*ld)
		was := append([]float32(nil), c...)
		MulBrainPanels(c, ld, a, size/16, rows, b, panels, size/brainBlock, add)
		for i := range rows {
			for j := range ld {
				got, want := c[i*ld+j], was[i*ld+j]
				if j < len(w) {
					if !add {
						want = 0
					}
					want = chain(want, w[j], x[i*size/32:(i+1)*size/32])
				}
				if math.Float32bits(got) != math.Float32bits(want) {
					t.Fatalf("kind %d, %d rows, %d panels of %d rows: [%d,%d] is %v, want %v", kind, rows, panels, depth, i, j, got, want)
				}
			}
		}
	}
}

// testFloatPanels makes panels of rows in one of the formats, whose panels lie side by side or one behind the other. It returns the values.
func testFloatPanels(r *rand.Rand, dst []byte, size, depth, panels int) func(l, j int) float32 {
	f := []Float{F32, F16, BF16}[r.IntN(3)]
	width := panels*tileRows16 + r.IntN(3)
	at := func(l, j int) int { return l*width + j }
	if r.IntN(2) == 0 {
		at = func(l, j int) int { return (j/tileRows16*depth+l)*tileRows16 + j%tileRows16 }
	}
	x := random(r, max(at(depth+1, tileRows16*panels-1), at(1, tileRows16*panels-1+depth*tileRows16))+1)
	for i := range x {
		x[i] = float32(math.NaN())
	}
	for l := range depth {
		for j := range panels * tileRows16 {
			x[at(l, j)] = r.Float32() - 0.5
		}
	}
	rows := FloatRows{f, BytesOf(x), 4 * at(1, 0), 4 * at(0, tileRows16), depth, panels}
	if f != F32 {
		rows.Data, rows.Step, rows.Between = make([]byte, 2*len(x)), rows.Step/2, rows.Between/2
		for i, v := range x {
			h := floatToBrain(v)
			if f == F16 {
				h = floatToHalf(v)
				x[i] = halfToFloat(h)
			} else {
				x[i] = brainToFloat(h)
			}
			le.PutUint16(rows.Data[2*i:], h)
		}
	}
	var next []byte
	if r.IntN(2) == 0 {
		next = make([]byte, 1)
	}
	for i := range dst {
		dst[i] = 0x7f
	}
	BrainPanels(dst, size, rows, next)
	return func(l, j int) float32 { return x[at(l, j)] }
}
