package simd

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestTwins compares kernels with plain Go at every length up to 257: products with quantized weights bit by bit, the
// others within their bounds. It is small enough for an emulator.
func TestTwins(t *testing.T) {
	for _, format := range append(quantNames(), "f32", "f16", "bf16") {
		t.Run(format, func(t *testing.T) { twinProducts(t, format) })
	}
	t.Run("rows", twinRows)
}

// with runs f under an implementation.
func with(i implementation, f func()) {
	old := inUse()
	use(i)
	defer use(old)
	f()
}

func implementations() (all []implementation) {
	for i := range implementationNames {
		if available(implementation(i)) {
			all = append(all, implementation(i))
		}
	}
	return all
}

// twinProducts multiplies up to 7 rows of activations with a matrix of 19 rows in every implementation.
func twinProducts(t *testing.T, format string) {
	r := rand.New(rand.NewPCG(71, 72))
	unit := 1
	if f := lookupQuant(format); f != nil {
		if unit = f.values; unit == 0 {
			unit = 2
		}
	}
	var lengths []int
	for n := unit; n <= max(257, unit); n += unit * max(1, 32/unit-1) {
		lengths = append(lengths, n)
	}
	for _, cols := range append(lengths, (600/unit+1)*unit) {
		const rows = 19
		seed := r.Uint64()
		n := []int{1, 2, 3, 7}[r.IntN(4)]
		x, start := random(r, n*cols), random(r, n*rows)
		for i := range x {
			if format == "bf16" { // where bfloat16 meets bfloat16 they are rounded so
				x[i] = brainToFloat(floatToBrain(x[i]))
			}
		}
		var want []float32
		for _, i := range implementations() {
			got := append([]float32(nil), start...)
			var m *Matrix
			with(i, func() {
				w := rand.New(rand.NewPCG(seed, 0))
				m, _ = newTestMatrix(t, w, format, rows, cols, func() float32 { return (w.Float32() - 0.4) / 16 })
				var a Acts
				a.Reset(x, n, cols)
				a.Want(m.Form(false))
				a.Quantize(0, n)
				m.Mul(got, rows, &a, 0, rows, true)
			})
			if i == generic {
				want = got
				continue
			}
			for j, v := range got {
				same := math.Float32bits(v) == math.Float32bits(want[j])
				if m.quant == nil || m.quant.kind == kindSA { // the minimum takes the codes' offset along, or does not
					same = math.Abs(float64(v-want[j])) <= 3e-5*math.Sqrt(float64(cols))
				}
				if !same {
					t.Fatalf("%s %s, %d columns, %d rows: [%d,%d] is %v, in plain Go %v", implementationNames[i], format, cols, n, j/rows, j%rows, v, want[j])
				}
			}
		}
	}
}

// twinRows goes through the kernels over rows of float32.
func twinRows(t *testing.T) {
	r := rand.New(rand.NewPCG(73, 74))
	close := func(name string, i implementation, n int, got, want []float32, bound float64) {
		t.Helper()
		for j, v := range got {
			if d := math.Abs(float64(v) - float64(want[j])); !(d <= bound*(1+math.Abs(float64(want[j])))) {
				t.Fatalf("%s %s of %d values: [%d] is %v, in plain Go %v", implementationNames[i], name, n, j, v, want[j])
			}
		}
	}
	for n := 1; n <= 257; n++ {
		x, y, w, b := random(r, n), random(r, n), random(r, n), random(r, n)
		for i := range x {
			x[i] *= 9
		}
		want := map[string][]float32{}
		for _, i := range implementations() {
			with(i, func() {
				for _, k := range []struct {
					name  string
					bound float64
					run   func(dst []float32)
				}{
					{"dot", 1e-5, func(dst []float32) { dst[0] = Dot(x, y) }}, {"sum", 1e-5, func(dst []float32) { dst[0] = Sum(x) }},
					{"sum of squares", 1e-5, func(dst []float32) { dst[0] = SumSquares(x) }}, {"max", 0, func(dst []float32) { dst[0] = max(Max(x), -1e9) }},
					{"add", 0, func(dst []float32) { Add(dst, x, y) }}, {"mul", 0, func(dst []float32) { Mul(dst, x, y) }},
					{"scale", 0, func(dst []float32) { Scale(dst, x, 0.3) }}, {"axpy", 1e-6, func(dst []float32) { copy(dst, y); Axpy(dst, x, 0.7) }},
					{"exp", 3e-7, func(dst []float32) { Exp(dst, x) }}, {"tanh", 3e-7, func(dst []float32) { Tanh(dst, x) }},
					{"sigmoid", 3e-7, func(dst []float32) { Sigmoid(dst, x) }}, {"silu", 3e-7, func(dst []float32) { SiLU(dst, x) }},
					{"gelu", 3e-7, func(dst []float32) { GELU(dst, x) }}, {"gelu tanh", 5e-7, func(dst []float32) { GELUTanh(dst, x) }},
					{"softmax", 1e-6, func(dst []float32) { Softmax(dst, x) }}, {"norm", 1e-5, func(dst []float32) { RMSNorm(dst, x, w, 1e-6) }},
					{"layer norm", 1e-4, func(dst []float32) { LayerNorm(dst, x, w, b, 1e-6) }},
					{"rope", 1e-5, func(dst []float32) { copy(dst, x); RoPEHalf(dst[:n/2*2], y[:n/2], w[:n/2]) }},
					{"rope pairs", 1e-5, func(dst []float32) { copy(dst, x); RoPEPairs(dst[:n/2*2], y[:n/2], w[:n/2]) }},
				} {
					dst := make([]float32, n)
					k.run(dst)
					if i == generic {
						want[k.name] = dst
					} else {
						close(k.name, i, n, dst, want[k.name], k.bound)
					}
				}
			})
		}
	}
}
