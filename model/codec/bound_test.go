package codec

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"testing"
)

// bounds states, for every format that encodes, how far a value may come back from what it was: in parts of the largest
// magnitude of its block. The formats that search are let off more than half a step: they give up single values,
// the more so with importances. Formats not listed keep values exactly or hold other things than weights.
var bounds = map[string]float64{
	"f16": 0x1p-11, "bf16": 0x1p-8, "f8_e4m3": 0.0625, "f8_e5m2": 0.125, "fp8": 0.0625,
	"q8_0": 0.0046, "q8_1": 0.0046, "q8_k": 0.0041,
	"q4_0": 0.2, "q4_1": 0.19, "q5_0": 0.1, "q5_1": 0.1, "mxfp4": 0.26, "nvfp4": 0.18, "iq4_nl": 0.19, "iq4_xs": 0.27,
	"q2_k": 0.9, "q3_k": 0.5, "q4_k": 0.2, "q5_k": 0.1, "q6_k": 0.075,
	"tq1_0": 0.501, "tq2_0": 0.501, "q2_0": 0.501,
	"int4": 0.07, "int4g32": 0.07, "int4g128": 0.07, "int8": 0.0042, "int8g64": 0.0042, "uint4": 0.07, "uint4g32": 0.07, "uint8": 0.0042, "uint8g128": 0.0042,
}

// boundBlocks is how many random blocks each format sees; PARE_LONG=1 makes it a million.
func boundBlocks(values int) int {
	if os.Getenv("PARE_LONG") != "" {
		return 1_000_000
	}
	return 200_000 / values
}

// TestBounds encodes and decodes random blocks and holds the error to the stated bound.
func TestBounds(t *testing.T) {
	for name, bound := range bounds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Lookup(name)
			if err != nil {
				t.Fatal(err)
			}
			n, _ := c.Block()
			n = max(n, 32) // plain types and whole rows
			rb, err := RowBytes(c, n)
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(uint64(len(name)), 5))
			x, y, w, b := make([]float32, n), make([]float32, n), make([]float32, n), make([]byte, rb)
			worst := 0.0
			for i := range boundBlocks(n) {
				size := math.Exp(r.NormFloat64())
				for j := range x {
					x[j] = float32(r.NormFloat64() * size)
					if i%3 == 1 { // heavy tails
						x[j] /= float32(math.Sqrt(r.ExpFloat64()) + 0.05)
					}
					w[j] = float32(r.ExpFloat64()) + 0.1
				}
				importance := w
				if i%2 == 0 {
					importance = nil
				}
				c.Encode(b, x, importance)
				c.Decode(y, b)
				worst = max(worst, relative(x, y))
			}
			if worst > bound {
				t.Errorf("error %.4f of the largest magnitude, the bound is %.4f", worst, bound)
			}
			if worst < bound/6 {
				t.Errorf("error %.4f of the largest magnitude: the bound of %.4f says nothing", worst, bound)
			}
		})
	}
}

// relative returns the largest error in parts of the largest magnitude.
func relative(x, y []float32) float64 {
	var top, worst float64
	for i, v := range x {
		top = max(top, math.Abs(float64(v)))
		worst = max(worst, math.Abs(float64(v)-float64(y[i])))
	}
	if top == 0 {
		return worst
	}
	return worst / top
}

// encoders returns all formats that encode, group formats of every kind among them.
func encoders(t testing.TB) []Codec {
	var out []Codec
	for _, name := range append(Names(), "int4g32", "int4", "int8g64", "int8", "uint4g32", "uint4", "uint8g128", "uint8") {
		c, err := Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		if CanEncode(c) {
			out = append(out, c)
		}
	}
	return out
}

// TestHardBlocks encodes blocks that are hard on arithmetic. Nothing may panic; what is finite and in the range of half
// scales keeps its sign and size; zeros stay zeros.
func TestHardBlocks(t *testing.T) {
	const n = 256
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	r := rand.New(rand.NewPCG(8, 9))
	fill := func(f func(i int) float32) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = f(i)
		}
		return x
	}
	one := func(v float32) []float32 {
		return fill(func(i int) float32 {
			if i == 77 {
				return v
			}
			return float32(math.Sin(float64(i))) * 0.01
		})
	}
	type block struct {
		name   string
		x      []float32
		finite bool // in a range that every format can hold
	}
	blocks := []block{
		{"zero", fill(func(int) float32 { return 0 }), true},
		{"negative zero", fill(func(int) float32 { return float32(math.Copysign(0, -1)) }), true},
		{"constant", fill(func(int) float32 { return 0.7 }), true},
		{"negative constant", fill(func(int) float32 { return -0.7 }), true},
		{"two values", fill(func(i int) float32 { return float32(i%2)*2 - 1 }), true},
		{"ramp", fill(func(i int) float32 { return float32(i) / n }), true},
		{"one value", fill(func(i int) float32 { return float32(i / 255) }), true},
		{"outlier", one(400), true},
		{"negative outlier", one(-400), true},
		{"tiny", fill(func(i int) float32 { return float32(i) * 1e-30 }), false},
		{"denormal", fill(func(i int) float32 { return math.Float32frombits(uint32(i)) }), false},
		{"huge", fill(func(i int) float32 { return float32(i-128) * 1e30 }), false},
		{"largest", fill(func(i int) float32 { return math.MaxFloat32 * float32(1-2*(i%2)) }), false},
		{"infinite", fill(func(int) float32 { return inf }), false},
		{"an infinity", one(inf), false},
		{"a negative infinity", one(-inf), false},
		{"NaN", fill(func(int) float32 { return nan }), false},
		{"a NaN", one(nan), false},
	}
	hard := 150
	if os.Getenv("PARE_LONG") != "" {
		hard = 1000
	}
	for i := range hard {
		size := math.Pow(10, float64(r.IntN(76)-38))
		blocks = append(blocks, block{"random bits", fill(func(j int) float32 {
			switch i % 3 {
			case 0:
				return math.Float32frombits(r.Uint32())
			case 1:
				return float32(r.NormFloat64() * size)
			}
			return float32(r.IntN(3)-1) * float32(size)
		}), false})
	}
	weights := [][]float32{nil, fill(func(int) float32 { return 1 }), fill(func(int) float32 { return 0 }), fill(func(i int) float32 { return float32(math.Pow(10, float64(i%60-30))) })}
	for _, c := range encoders(t) {
		rb, err := RowBytes(c, n)
		if err != nil {
			t.Fatal(err)
		}
		b, y := make([]byte, rb), make([]float32, n)
		for i, k := range blocks {
			w := weights[i%len(weights)]
			if k.finite {
				w = weights[i%2]
			}
			c.Encode(b, k.x, w)
			c.Decode(y, b)
			bound, ok := bounds[c.Name()]
			if !k.finite || !ok {
				continue
			}
			if e := relative(k.x, y); e > 1.3*bound { // these are harder than random ones
				t.Errorf("%s, %s: error %.4f of the largest magnitude", c.Name(), k.name, e)
			}
		}
	}
}

// TestBlocksStandAlone makes sure that without importances a row is the sequence of its blocks, whatever it is cut into.
func TestBlocksStandAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	const n = 1024
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	for _, c := range encoders(t) {
		values, size := c.Block()
		if values == 0 {
			continue
		}
		whole := make([]byte, n/values*size)
		c.Encode(whole, x, nil)
		parts := make([]byte, len(whole))
		for i := range n / values {
			c.Encode(parts[i*size:(i+1)*size], x[i*values:(i+1)*values], nil)
		}
		if !bytes.Equal(whole, parts) {
			t.Errorf("%s: a row differs from its blocks", c.Name())
		}
		y, z := make([]float32, n), make([]float32, n)
		c.Decode(y, whole)
		for i := range n / values {
			c.Decode(z[i*values:(i+1)*values], whole[i*size:(i+1)*size])
		}
		if !bytes.Equal(floatBytes(y), floatBytes(z)) {
			t.Errorf("%s: a row decodes to other values than its blocks", c.Name())
		}
	}
}

// TestRowBytes asks for rows that are no whole blocks.
func TestRowBytes(t *testing.T) {
	for name, n := range map[string]int{"q8_0": 31, "q4_k": 128, "int4g32": 48, "int4": 3, "uint8": 1} {
		c, err := Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := RowBytes(c, n); err == nil {
			t.Errorf("%s: a row of %d values takes %d bytes", name, n, b)
		}
	}
	for name, want := range map[string]int{"q8_0": 272, "q4_k": 144, "int4g32": 160, "int4": 132, "uint8": 264, "f32": 1024} {
		c, err := Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := RowBytes(c, 256); err != nil || b != want {
			t.Errorf("%s: 256 values take %d bytes (%v), want %d", name, b, err, want)
		}
	}
}
