package gen

import "math"

// Elementary functions. Each is a few units in the last place from the true value over the whole range; NaN gives NaN.

// Polynomials were fitted for least relative error in float64 and rounded one coefficient at a time.
var (
	// e^r = 1 + r + r^2*P(r), |r| <= ln(2)/2: error 3.4e-9.
	expPoly = []float32{0.49999994, 0.16666517, 0.041668285, 0.00836925, 0.0013820468}
	// tanh(a) = a + a^3*P(a^2), a < 0.625: error 4.6e-9.
	tanhPoly = []float32{-0.3333328, 0.1333141, -0.05373714, 0.020630825, -0.005695813}
	// The upper tail of the normal distribution, Q(t) = e^(-t^2/2) * N(t)/D(t), 0 <= t <= 13.5: error 2.7e-8.
	tailNum = []float32{0.5, 0.4361474, 0.1816467, 0.040098358, 0.0040370436}
	tailDen = []float32{1, 1.6701797, 1.1958997, 0.46527752, 0.100518887, 0.0101192285}
)

const (
	expHigh = 89   // above, e^x is Inf
	expLow  = -105 // below, e^x is 0
	// ln 2 in two parts: n times the first is exact for the n that occur.
	ln2High = 0.693359375
	ln2Low  = -2.12194440e-4
	// Adding it rounds to an integer and leaves that integer in the low bits.
	magic = 12582912
)

// horner sets register p to the polynomial of register x.
func (k kernel) horner(coef []float32, x, p int) {
	k.set(coef[len(coef)-1], k.r(p))
	for i := len(coef) - 2; i >= 0; i-- {
		k.opC("VFMADD213PS", coef[i], k.r(x)+", "+k.r(p))
	}
}

// exp replaces x by e^x, using t, p and q. Registers 14 and 13 hold expLow and, where the argument may be positive,
// expHigh. The order of the operands of VMAXPS and VMINPS lets NaN through.
func (k kernel) exp(x, t, p, q int, positive bool) {
	r := k.r
	k.op("VMAXPS %s, %s, %[1]s", r(x), r(14))
	if positive {
		k.op("VMINPS %s, %s, %[1]s", r(x), r(13))
	}
	k.set(magic, r(t))
	k.opC("VFMADD231PS", math.Log2E, r(x)+", "+r(t)) // t = n + magic
	k.opC("VSUBPS", magic, r(t)+", "+r(q))           // q = n
	k.opC("VFNMADD231PS", ln2High, r(q)+", "+r(x))
	k.opC("VFNMADD231PS", ln2Low, r(q)+", "+r(x))
	k.horner(append([]float32{1, 1}, expPoly...), x, p)
	if k.isa == avx512 {
		k.op("VSCALEFPS %s, %s, %s", r(q), r(p), r(x))
		return
	}
	// 2^n in two factors, so that results below the normal range come out rounded and not as zero.
	k.op("VPSLLD $23, %s, %s", r(t), r(q)) // n<<23, the magic bits fall out
	k.op("VPSRAD $24, %s, %s", r(q), r(t)) // n>>1
	k.op("VPSLLD $23, %s, %[1]s", r(t))
	k.op("VPSUBD %s, %s, %[2]s", r(t), r(q)) // (n - n>>1)<<23
	k.opC("VPADDD", 1, r(t)+", "+r(t))       // the bits of 1.0 are the bias
	k.opC("VPADDD", 1, r(q)+", "+r(q))
	k.op("VMULPS %s, %s, %[2]s", r(t), r(p))
	k.op("VMULPS %s, %s, %s", r(q), r(p), r(x))
}

// bounds loads what exp needs.
func (k kernel) bounds() {
	k.set(expLow, k.r(14))
	k.set(expHigh, k.r(13))
}

const signBit, magnitudeBits = 0x80000000, 0x7fffffff

func bitsOf(w uint32) float32 { return math.Float32frombits(w) }

// choose sets dst to a where the sign bit of by is set, else b.
func (k kernel) choose(by, a, b, dst int) {
	if k.isa == avx512 {
		k.op("VPMOVD2M %s, K2", k.r(by))
		k.op("VBLENDMPS %s, %s, K2, %s", k.r(a), k.r(b), k.r(dst))
		return
	}
	k.op("VBLENDVPS %s, %s, %s, %s", k.r(by), k.r(a), k.r(b), k.r(dst))
}

// sigmoid sets register s to 1/(1+e^-x), x in register 0, w (register 1) = -|x|, which is lost. From e = e^-|x| it is
// 1/(1+e) or e/(1+e), so nothing cancels or overflows.
func (k kernel) sigmoid(s int) {
	r := k.r
	k.exp(1, 2, 3, 4, false)
	k.set(1, r(2))
	k.op("VADDPS %s, %s, %s", r(1), r(2), r(3)) // 1 + e
	k.choose(0, 1, 2, 2)
	k.op("VDIVPS %s, %s, %s", r(3), r(2), r(s))
}

func functions(f *file, v isa) {
	unary := func(name, doc string, body func(k kernel)) {
		k := newKernel(f, v, name, doc, "dst *float32, x *float32, n int", "")
		k.load("n", "CX")
		k.load("dst", "DI")
		k.load("x", "SI")
		k.bounds()
		k.sweep([]string{"SI", "DI"}, 1, func(_, d int, part bool) {
			k.from("SI", d, 0, part)
			body(k)
			k.to(0, "DI", d, part)
		})
		k.ret()
	}
	unary("exp", "sets dst = e^x.", func(k kernel) { k.exp(0, 1, 2, 3, true) })
	negative := func(k kernel) { k.opC("VORPS", bitsOf(signBit), v.r(0)+", "+v.r(1)) }
	unary("sigmoid", "sets dst = 1/(1+e^-x).", func(k kernel) {
		negative(k)
		k.sigmoid(0)
	})
	unary("silu", "sets dst = x/(1+e^-x).", func(k kernel) {
		negative(k)
		k.sigmoid(2)
		k.op("VMULPS %s, %s, %[2]s", v.r(2), v.r(0))
	})
	unary("geluTanh", "sets dst = x/2*(1+tanh(sqrt(2/pi)*(x+0.044715x^3))).", geluTanh)
	unary("gelu", "sets dst = x*Phi(x), Phi the normal distribution function.", gelu)
	unary("tanh", "sets dst = tanh x.", tanh)
	for _, store := range []bool{true, false} {
		expSum(f, v, store)
	}
}

// geluTanh: (1+tanh u)/2 is the sigmoid of 2u.
func geluTanh(k kernel) {
	r := k.r
	const c = 1.5957691216057308 // 2*sqrt(2/pi)
	k.op("VMULPS %s, %[1]s, %s", r(0), r(2))
	k.set(c*0.044715, r(1))
	k.opC("VFMADD213PS", c, r(2)+", "+r(1))
	k.op("VMULPS %s, %s, %[2]s", r(0), r(1))
	k.opC("VORPS", bitsOf(signBit), r(1)+", "+r(1))
	k.sigmoid(2)
	k.op("VMULPS %s, %s, %[2]s", r(2), r(0))
}

// gelu: with t = |x|, Q(t) = e^(-t^2/2) N(t)/D(t) and x*Phi(x) = max(x,0) - t*Q(t). The square's rounding error goes into the
// exponential as a factor, else it would grow with t.
func gelu(k kernel) {
	r := k.r
	k.opC("VANDPS", bitsOf(magnitudeBits), r(0)+", "+r(5))
	k.set(15, r(6))
	k.op("VMINPS %s, %s, %s", r(5), r(6), r(6)) // t: Q(15) is 0; NaN stays
	k.op("VMULPS %s, %[1]s, %s", r(6), r(1))    // h = t^2
	k.op("VMOVAPS %s, %s", r(1), r(7))
	k.op("VFMSUB231PS %s, %[1]s, %s", r(6), r(7)) // l = t^2 - h
	k.opC("VMULPS", -0.5, r(1)+", "+r(1))
	k.exp(1, 2, 3, 4, false)
	k.set(1, r(2))
	k.opC("VFMADD231PS", -0.5, r(7)+", "+r(2)) // 1 - l/2
	k.op("VMULPS %s, %s, %[2]s", r(2), r(1))
	k.horner(tailNum, 6, 2)
	k.op("VMULPS %s, %s, %[2]s", r(2), r(1))
	k.horner(tailDen, 6, 3)
	k.op("VDIVPS %s, %s, %[2]s", r(3), r(1)) // Q
	k.op("VXORPS %s, %[1]s, %[1]s", r(2))
	k.op("VMAXPS %s, %s, %[1]s", r(0), r(2)) // max(x,0); NaN stays
	k.op("VFNMADD231PS %s, %s, %s", r(1), r(6), r(0))
}

// tanh: a polynomial near zero, where 1 - 2/(e^2a+1) would cancel.
func tanh(k kernel) {
	r := k.r
	k.opC("VANDPS", bitsOf(magnitudeBits), r(0)+", "+r(5)) // a
	k.op("VADDPS %s, %[1]s, %s", r(5), r(1))
	k.exp(1, 2, 3, 4, true)
	k.set(1, r(2))
	k.op("VADDPS %s, %s, %[2]s", r(2), r(1))
	k.set(2, r(3))
	k.op("VDIVPS %s, %s, %[2]s", r(1), r(3))
	k.op("VSUBPS %s, %s, %[2]s", r(3), r(2)) // far from zero
	k.op("VMULPS %s, %[1]s, %s", r(5), r(6)) // a^2
	k.horner(tanhPoly, 6, 3)
	k.op("VMULPS %s, %s, %[2]s", r(6), r(3))
	k.op("VFMADD213PS %s, %[1]s, %s", r(5), r(3)) // a + a*a^2*P
	k.opC("VSUBPS", 0.625, r(5)+", "+r(4))
	k.choose(4, 3, 2, 2)
	k.opC("VANDPS", bitsOf(signBit), r(0)+", "+r(0))
	k.op("VORPS %s, %s, %[2]s", r(2), r(0))
}

// expSum: the middle pass of softmax.
func expSum(f *file, v isa, store bool) {
	name, doc, params := "expSum", "returns the sum of e^(x-max).", "x *float32, n int, max float32"
	if store {
		name, doc, params = "expSumStore", "sets dst = e^(x-max) and returns the sum of dst.", "dst *float32, "+params
	}
	k := newKernel(f, v, name, doc, params, "float32")
	k.load("n", "CX")
	ptrs := []string{"SI"}
	if store {
		k.load("dst", "DI")
		ptrs = append(ptrs, "DI")
	}
	k.load("x", "SI")
	k.set(expLow, v.r(14))
	k.broadcast("max", 12)
	k.zero(11)
	k.sweep(ptrs, 1, func(_, d int, part bool) {
		k.from("SI", d, 0, part)
		k.op("VSUBPS %s, %s, %[2]s", v.r(12), v.r(0))
		k.exp(0, 1, 2, 3, false)
		if store {
			k.to(0, "DI", d, part)
		}
		k.keep(0, part)
		k.op("VADDPS %s, %s, %[2]s", v.r(0), v.r(11))
	})
	k.fold("VADDPS", 11, 1)
	k.result(11)
}

// rotations of pairs of values (rotary position embedding).
func rotations(f *file, v isa) {
	k := newKernel(f, v, "ropeHalf", "rotates the pairs (x[i], y[i]) by the angles whose cosine and sine are given.",
		"x *float32, y *float32, cos *float32, sin *float32, n int", "")
	regs := map[string]string{"x": "SI", "y": "DI", "cos": "DX", "sin": "BX"}
	for _, p := range []string{"x", "y", "cos", "sin"} {
		k.load(p, regs[p])
	}
	k.load("n", "CX")
	k.sweep([]string{"SI", "DI", "DX", "BX"}, 1, func(_, d int, part bool) {
		for i, p := range []string{"x", "y", "cos", "sin"} {
			k.from(regs[p], d, i, part)
		}
		k.op("VMULPS %s, %s, %s", v.r(3), v.r(1), v.r(4)) // y*sin
		k.op("VMULPS %s, %s, %s", v.r(3), v.r(0), v.r(5)) // x*sin
		k.op("VFMSUB231PS %s, %s, %s", v.r(2), v.r(0), v.r(4))
		k.op("VFMADD231PS %s, %s, %s", v.r(2), v.r(1), v.r(5))
		k.to(4, "SI", d, part)
		k.to(5, "DI", d, part)
	})
	k.ret()

	k = newKernel(f, v, "ropePairs", "rotates the pairs (x[2i], x[2i+1]); n counts values and is a multiple of 8.",
		"x *float32, cos *float32, sin *float32, n int", "")
	k.load("x", "SI")
	k.load("cos", "DX")
	k.load("sin", "BX")
	k.load("n", "CX")
	k.loop("CX", 8, func() { // ymm in both widths: heads are short
		k.op("VMOVUPS (SI), Y0")
		k.op("VPMOVZXDQ (DX), Y1")
		k.op("VPMOVZXDQ (BX), Y2")
		k.op("VMOVSLDUP Y1, Y1") // each cosine twice
		k.op("VMOVSLDUP Y2, Y2")
		k.op("VPERMILPS $0xB1, Y0, Y3") // neighbours swapped
		k.op("VMULPS Y2, Y3, Y3")
		k.op("VFMADDSUB213PS Y3, Y1, Y0") // even: x*cos - y*sin, odd: y*cos + x*sin
		k.op("VMOVUPS Y0, (SI)")
		k.op("ADDQ $32, SI")
		k.op("ADDQ $16, DX")
		k.op("ADDQ $16, BX")
	})
	k.ret()
}
