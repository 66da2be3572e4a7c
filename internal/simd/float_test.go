package simd

import (
	"math"
	"math/rand/v2"
	"testing"
)

// reduction is a function from rows to a number, with its meaning and the sum of magnitudes errors are relative to.
type reduction struct {
	name string
	run  func(x, y []float32) float32
	want func(x, y []float32) (value, size float64)
}

var reductions = []reduction{
	{"Dot", Dot, func(x, y []float32) (s, z float64) {
		for i, v := range x {
			p := float64(v) * float64(y[i])
			s, z = s+p, z+math.Abs(p)
		}
		return
	}},
	{"Sum", func(x, _ []float32) float32 { return Sum(x) }, func(x, _ []float32) (s, z float64) {
		for _, v := range x {
			s, z = s+float64(v), z+math.Abs(float64(v))
		}
		return
	}},
	{"SumSquares", func(x, _ []float32) float32 { return SumSquares(x) }, func(x, _ []float32) (s, z float64) {
		for _, v := range x {
			s += float64(v) * float64(v)
		}
		return s, s
	}},
	{"Max", func(x, _ []float32) float32 { return Max(x) }, func(x, _ []float32) (s, z float64) {
		s = math.Inf(-1)
		for _, v := range x {
			s = math.Max(s, float64(v))
		}
		return s, 0
	}},
	{"LogSumExp", func(x, _ []float32) float32 { return LogSumExp(x) }, func(x, _ []float32) (s, z float64) {
		for _, v := range x {
			s += math.Exp(float64(v))
		}
		return math.Log(s), math.Abs(math.Log(s)) + 1
	}},
}

func TestReductions(t *testing.T) {
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		a, b := newArena(t, 1), newArena(t, 1)
		for _, c := range reductions {
			lengths(func(n, o int) {
				x, y := a.place(n, o), b.place(n, o)
				fill(r, x, -2, 2)
				fill(r, y, -2, 2)
				got := float64(c.run(x, y))
				want, size := c.want(x, y)
				if got != want && !(math.Abs(got-want) <= 1e-6*size) {
					t.Fatalf("%s: n=%d offset=%d: %v, want %v", c.name, n, o, got, want)
				}
			})
		}
	})
}

// Long rows are added in chunks; the error must not grow.
func TestReductionsLong(t *testing.T) {
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for _, n := range []int{4095, 4096, 4097, 10000, 1 << 18} {
			x, y := random(r, n), random(r, n)
			for i := range x {
				x[i] += 1 // one sign: rounding errors pile up
			}
			for _, c := range reductions {
				got := float64(c.run(x, y))
				if want, size := c.want(x, y); got != want && !(math.Abs(got-want) <= 5e-7*size) {
					t.Errorf("%s: n=%d: %v, want %v", c.name, n, got, want)
				}
			}
		}
	})
}

// mapping is a function from rows to a row.
type mapping struct {
	name string
	run  func(dst, x, y, z []float32)
	want func(dst []float64, x, y, z []float32)
	tol  float64 // relative
}

func each(f func(x, y, z float64) float64) func(dst []float64, x, y, z []float32) {
	return func(dst []float64, x, y, z []float32) {
		for i, v := range x {
			dst[i] = f(float64(v), float64(y[i]), float64(z[i]))
		}
	}
}

func elementary(name string, f function, run func(dst, x []float32)) mapping {
	return mapping{name, func(dst, x, _, _ []float32) { run(dst, x) },
		each(func(x, _, _ float64) float64 { return functions[f](x) }), 1e-6}
}

var mappings = []mapping{
	{"Add", func(dst, x, y, _ []float32) { Add(dst, x, y) }, each(func(x, y, _ float64) float64 { return x + y }), 1e-7},
	{"Mul", func(dst, x, y, _ []float32) { Mul(dst, x, y) }, each(func(x, y, _ float64) float64 { return x * y }), 1e-7},
	{"Scale", func(dst, x, _, _ []float32) { Scale(dst, x, 1.7) }, each(func(x, _, _ float64) float64 { return x * float64(float32(1.7)) }), 1e-7},
	{"Axpy", func(dst, x, y, _ []float32) { copy(dst, y); Axpy(dst, x, 1.7) },
		each(func(x, y, _ float64) float64 { return y + x*float64(float32(1.7)) }), 2e-7},
	elementary("Exp", fnExp, Exp),
	elementary("Tanh", fnTanh, Tanh),
	elementary("Sigmoid", fnSigmoid, Sigmoid),
	elementary("SiLU", fnSiLU, SiLU),
	elementary("GELU", fnGELU, GELU),
	elementary("GELUTanh", fnGELUTanh, GELUTanh),
	{"Softmax", func(dst, x, _, _ []float32) { Softmax(dst, x) }, func(dst []float64, x, _, _ []float32) {
		var s float64
		for i, v := range x {
			dst[i] = math.Exp(float64(v))
			s += dst[i]
		}
		for i := range dst {
			dst[i] /= s
		}
	}, 1e-6},
	{"RMSNorm", func(dst, x, y, _ []float32) { RMSNorm(dst, x, y, 1e-5) }, func(dst []float64, x, y, _ []float32) {
		var s float64
		for _, v := range x {
			s += float64(v) * float64(v)
		}
		for i, v := range x {
			dst[i] = float64(v) / math.Sqrt(s/float64(len(x))+1e-5) * float64(y[i])
		}
	}, 1e-6},
	{"LayerNorm", func(dst, x, y, z []float32) { LayerNorm(dst, x, y, z, 1e-5) }, func(dst []float64, x, y, z []float32) {
		var m, s float64
		for _, v := range x {
			m += float64(v) / float64(len(x))
		}
		for _, v := range x {
			s += (float64(v) - m) * (float64(v) - m)
		}
		for i, v := range x {
			dst[i] = (float64(v)-m)/math.Sqrt(s/float64(len(x))+1e-5)*float64(y[i]) + float64(z[i])
		}
	}, 1e-6},
}

func TestMappings(t *testing.T) {
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		var arenas [4]*arena
		for i := range arenas {
			arenas[i] = newArena(t, 1)
		}
		want := make([]float64, 300)
		for _, c := range mappings {
			lengths(func(n, o int) {
				dst := arenas[0].place(n, o)
				x, y, z := arenas[1].place(n, o), arenas[2].place(n, o), arenas[3].place(n, o)
				fill(r, x, -3, 3)
				fill(r, y, -3, 3)
				fill(r, z, -3, 3)
				c.want(want[:n], x, y, z)
				c.run(dst, x, y, z)
				arenas[0].check(c.name, n, o)
				for i := range dst {
					// The terms of a sum may cancel: a few units of the largest operand are allowed then.
					if d := math.Abs(float64(dst[i]) - want[i]); !(d <= c.tol*(math.Abs(want[i])+1e-3)+slack(c.name)) {
						t.Fatalf("%s: n=%d offset=%d: [%d] of %v is %v, want %v", c.name, n, o, i, x[i], dst[i], want[i])
					}
				}
				// In place: the same bits.
				again := append([]float32(nil), dst...)
				if c.name != "Axpy" {
					c.run(x, x, y, z)
					for i := range again {
						if math.Float32bits(x[i]) != math.Float32bits(again[i]) {
							t.Fatalf("%s: n=%d: in place [%d] is %v, not %v", c.name, n, i, x[i], again[i])
						}
					}
				}
			})
		}
	})
}

// slack is what functions with sums of operands up to 3 may be off by, whatever the result.
func slack(name string) float64 {
	switch name {
	case "Add", "Axpy", "LayerNorm":
		return 2e-6
	}
	return 0
}

// The elementary functions over the whole range of float32: relative error below 1e-6, of results that are not
// next to the end of the range.
func TestElementaryRange(t *testing.T) {
	var x []float32
	for e := -149.0; e < 128; e += 0.37 {
		v := float32(math.Exp2(e))
		x = append(x, v, -v)
	}
	for v := float32(-110); v < 110; v += 0.0173 {
		x = append(x, v)
	}
	inf := float32(math.Inf(1))
	x = append(x, 0, float32(math.Copysign(0, -1)), math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32)
	everyImplementation(t, func(t *testing.T) {
		dst := make([]float32, len(x))
		for _, c := range mappings[4:10] {
			f := map[string]function{"Exp": fnExp, "Tanh": fnTanh, "Sigmoid": fnSigmoid, "SiLU": fnSiLU, "GELU": fnGELU, "GELUTanh": fnGELUTanh}[c.name]
			c.run(dst, x, nil, nil)
			worst, at := 0.0, 0
			for i, v := range x {
				want := float32(functions[f](float64(v)))
				if want == dst[i] || math.IsInf(float64(want), 0) && dst[i] >= math.MaxFloat32 {
					continue
				}
				rel := math.Abs(float64(dst[i])-functions[f](float64(v))) / (math.Abs(functions[f](float64(v))) + 0x1p-120)
				if c.name == "GELUTanh" && v < -4 {
					rel /= float64(v) * float64(v) / 8 // the rounding of the cubic grows into the exponential
				}
				if !(rel <= worst) {
					worst, at = rel, i
				}
			}
			t.Logf("%s: worst relative error %.2g at %v", c.name, worst, x[at])
			if !(worst <= 1e-6) {
				t.Errorf("%s(%v) = %v, want %v", c.name, x[at], dst[at], functions[f](float64(x[at])))
			}
			special := []float32{float32(math.NaN()), inf, -inf, float32(math.NaN()), 1, 2, 3, 4, 5}
			out := make([]float32, len(special))
			c.run(out, special, nil, nil)
			if !math.IsNaN(float64(out[0])) || !math.IsNaN(float64(out[3])) || math.IsNaN(float64(out[1])) {
				t.Errorf("%s of NaN, Inf, -Inf, NaN: %v", c.name, out)
			}
		}
	})
}

func TestSpecialValues(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	everyImplementation(t, func(t *testing.T) {
		for n := 1; n < 70; n++ {
			for at := range n {
				x := make([]float32, n)
				for i := range x {
					x[i] = float32(-i) - 1
				}
				x[at] = nan
				if m := Max(x); m == m {
					t.Fatalf("Max with a NaN at %d of %d: %v", at, n, m)
				}
				x[at] = inf
				if m := Max(x); m != inf {
					t.Fatalf("Max with Inf at %d of %d: %v", at, n, m)
				}
				x[at] = 7
				if m := Max(x); m != 7 {
					t.Fatalf("Max with 7 at %d of %d: %v", at, n, m)
				}
				// A masked value has no share and does no harm.
				x[at] = -inf
				y := make([]float32, n)
				Softmax(y, x)
				if n > 1 && (y[at] != 0 || math.Abs(float64(Sum(y))-1) > 1e-6) {
					t.Fatalf("Softmax with -Inf at %d of %d: %v", at, n, y)
				}
			}
			x := make([]float32, n)
			for i := range x {
				x[i] = -inf
			}
			if Softmax(x, x); Sum(x) != 0 {
				t.Fatalf("Softmax of a masked row: %v", x)
			}
			for i := range x {
				x[i] = -inf
			}
			if v := LogSumExp(x); v != -inf {
				t.Fatalf("LogSumExp of a masked row: %v", v)
			}
			for i := range x {
				x[i] = 1e4
			}
			if Softmax(x, x); math.Abs(float64(x[0])*float64(n)-1) > 1e-6 {
				t.Fatalf("Softmax of large values: %v", x)
			}
		}
		z := []float32{float32(math.Copysign(0, -1)), 1, 2, 3, 4, 5, 6, 7, 8}
		if Scale(z, z, 1); math.Float32bits(z[0]) != 0x80000000 {
			t.Errorf("-0 scaled by 1 is %v", z[0])
		}
	})
}

func TestRoPE(t *testing.T) {
	everyImplementation(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 8))
		a, b, c := newArena(t, 1), newArena(t, 1), newArena(t, 1)
		lengths(func(n, o int) {
			if n > 128 {
				return
			}
			cos, sin := b.place(n, o), c.place(n, o)
			for i := range cos {
				s, co := math.Sincos(r.Float64() * 7)
				cos[i], sin[i] = float32(co), float32(s)
			}
			for _, half := range []bool{true, false} {
				x := a.place(2*n, o)
				fill(r, x, -2, 2)
				want := make([]float64, 2*n)
				for i := range n {
					p, q := 2*i, 2*i+1
					if half {
						p, q = i, i+n
					}
					u, v, co, s := float64(x[p]), float64(x[q]), float64(cos[i]), float64(sin[i])
					want[p], want[q] = u*co-v*s, v*co+u*s
				}
				if half {
					RoPEHalf(x, cos, sin)
				} else {
					RoPEPairs(x, cos, sin)
				}
				a.check("RoPE", 2*n, o)
				for i, w := range want {
					if math.Abs(float64(x[i])-w) > 5e-7 {
						t.Fatalf("half=%v n=%d: [%d] = %v, want %v", half, n, i, x[i], w)
					}
				}
			}
		})
	})
}

func TestUnequalLengths(t *testing.T) {
	x, y := make([]float32, 3), make([]float32, 4)
	for i, f := range []func(){
		func() { Dot(x, y) }, func() { Add(x, x, y) }, func() { Mul(y, x, y) }, func() { Scale(x, y, 1) }, func() { Axpy(x, y, 1) },
		func() { Exp(x, y) }, func() { Softmax(x, y) }, func() { RMSNorm(x, x, y, 0) }, func() { LayerNorm(x, x, x, y, 0) },
		func() { RoPEHalf(x, x, x) }, func() { RoPEPairs(y, x[:2], x) },
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

func BenchmarkRows(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	x, y, z := random(r, 4096), random(r, 4096), random(r, 4096)
	dst := make([]float32, 4096)
	for _, c := range reductions {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(4096 * 4)
			for b.Loop() {
				c.run(x, y)
			}
		})
	}
	for _, c := range mappings {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(4096 * 4)
			for b.Loop() {
				c.run(dst, x, y, z)
			}
		})
	}
}
