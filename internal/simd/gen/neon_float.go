package gen

import "math"

// Rows of float32: see float.go for what the kernels do. A reduction adds lane by lane and the lanes in a fixed order.

func armFloat(f *file) {
	armReductions(f)
	two := func(name, op string) {
		k := newArm(f, name+"Vector", "", "dst *float32, x *float32, y *float32, n int", "")
		k.inAll("dst", "x", "y", "n")
		k.sweep("R3", []string{"R0", "R1", "R2"}, 4, func(u, off int, one bool) {
			k.get("R1", off, 2*u, one)
			k.get("R2", off, 2*u+1, one)
			k.v3(op, 2*u, 2*u, 2*u+1)
			k.put(2*u, "R0", off, one)
		})
		k.done()
	}
	two("add", "FADD")
	two("mul", "FMUL")

	k := newArm(f, "scaleVector", "", "dst *float32, x *float32, n int, a float32, b float32", "")
	k.inAll("dst", "x", "n")
	k.splat("a", 30)
	k.splat("b", 31)
	k.sweep("R2", []string{"R0", "R1"}, 4, func(u, off int, one bool) {
		k.get("R1", off, u, one)
		k.v2("MOV", 8+u, 31)
		k.v3("FMLA", 8+u, u, 30)
		k.put(8+u, "R0", off, one)
	})
	k.done()

	k = newArm(f, "axpyVector", "", "y *float32, x *float32, n int, a float32", "")
	k.inAll("y", "x", "n")
	k.splat("a", 30)
	k.sweep("R2", []string{"R0", "R1"}, 4, func(u, off int, one bool) {
		k.get("R0", off, u, one)
		k.get("R1", off, 8+u, one)
		k.v3("FMLA", u, 8+u, 30)
		k.put(u, "R0", off, one)
	})
	k.done()

	armNormalize(f)
	armRope(f)
}

func armNormalize(f *file) {
	k := newArm(f, "normalizeVector", "", "dst *float32, x *float32, w *float32, b *float32, n int, mean float32, inv float32", "")
	k.inAll("dst", "x", "w", "b", "n")
	k.splat("mean", 30)
	k.splat("inv", 31)
	k.sweep("R4", []string{"R0", "R1", "R2", "R3"}, 2, func(u, off int, one bool) {
		k.get("R1", off, u, one)
		k.get("R2", off, 4+u, one)
		k.get("R3", off, 8+u, one)
		k.v3("FSUB", u, u, 30)
		k.v3("FMUL", u, u, 31)
		k.v3("FMLA", 8+u, u, 4+u)
		k.put(8+u, "R0", off, one)
	})
	k.done()

	k = newArm(f, "normalizeRMSVector", "", "dst *float32, x *float32, w *float32, n int, inv float32", "")
	k.inAll("dst", "x", "w", "n")
	k.splat("inv", 31)
	k.sweep("R3", []string{"R0", "R1", "R2"}, 4, func(u, off int, one bool) {
		k.get("R1", off, u, one)
		k.get("R2", off, 8+u, one)
		k.v3("FMUL", u, u, 31)
		k.v3("FMUL", u, u, 8+u)
		k.put(u, "R0", off, one)
	})
	k.done()
}

// armJoin adds (or compares) registers 0 to 3 and then the lanes.
func (k *arm) armJoin(op string) {
	k.v3(op, 0, 0, 1)
	k.v3(op, 2, 2, 3)
	k.v3(op, 0, 0, 2)
	k.v3(op+"P", 0, 0, 0)
	k.v3(op+"P", 0, 0, 0)
}

func armReductions(f *file) {
	begin := func(name, params string) *arm {
		k := newArm(f, name, "", params, "float32")
		k.in("n", "R2")
		k.in("x", "R0")
		for i := range 4 {
			k.zero(i)
		}
		return k
	}
	k := begin("dotVector", "x *float32, y *float32, n int")
	k.in("y", "R1")
	k.sweep("R2", []string{"R0", "R1"}, 4, func(u, off int, one bool) {
		k.get("R0", off, 4+u, one)
		k.get("R1", off, 8+u, one)
		k.v3("FMLA", u, 4+u, 8+u)
	})
	k.armJoin("FADD")
	k.answer(0)

	k = begin("sumVector", "x *float32, n int")
	k.sweep("R2", []string{"R0"}, 4, func(u, off int, one bool) {
		k.get("R0", off, 4+u, one)
		k.v3("FADD", u, u, 4+u)
	})
	k.armJoin("FADD")
	k.answer(0)

	k = begin("sumSquaresVector", "x *float32, mean float32, n int")
	k.splat("mean", 30)
	k.sweep("R2", []string{"R0"}, 4, func(u, off int, one bool) {
		k.get("R0", off, 4+u, one)
		k.v3("FSUB", 4+u, 4+u, 30)
		if one {
			k.first(4 + u)
		}
		k.v3("FMLA", u, 4+u, 4+u)
	})
	k.armJoin("FADD")
	k.answer(0)

	k = newArm(f, "maxVector", "returns the largest of x, a NaN if there is one, -Inf for none: FMAX hands NaN on.", "x *float32, n int", "float32")
	k.in("n", "R2")
	k.in("x", "R0")
	for i := range 4 {
		k.bits(math.Float32bits(float32(math.Inf(-1))), i)
	}
	k.sweep("R2", []string{"R0"}, 4, func(u, off int, one bool) {
		k.get("R0", off, 4+u, one)
		if one {
			k.dupS(4, 4, 0)
		}
		k.v3("FMAX", u, u, 4+u)
	})
	k.armJoin("FMAX")
	k.answer(0)
}

func armRope(f *file) {
	k := newArm(f, "ropeHalfVector", "", "x *float32, y *float32, cos *float32, sin *float32, n int", "")
	k.inAll("x", "y", "cos", "sin", "n")
	ptrs := []string{"R0", "R1", "R2", "R3"}
	k.sweep("R4", ptrs, 1, func(_, off int, one bool) {
		for i, p := range ptrs {
			k.get(p, off, i, one)
		}
		k.rotate()
		k.put(4, "R0", off, one)
		k.put(5, "R1", off, one)
	})
	k.done()

	k = newArm(f, "ropePairsVector", "", "x *float32, cos *float32, sin *float32, n int", "")
	k.inAll("x", "cos", "sin", "n")
	k.repeat("R3", 8, func() {
		k.op("VLD2 (R0), [V0.S4, V1.S4]")
		k.ldq("R1", 0, 2)
		k.ldq("R2", 0, 3)
		k.rotate()
		k.op("VST2 [V4.S4, V5.S4], (R0)")
		k.add(32, "R0")
		k.add(16, "R1")
		k.add(16, "R2")
	})
	k.done()
}

// rotate: registers 4, 5 = x*cos - y*sin, y*cos + x*sin of registers 0 to 3.
func (k *arm) rotate() {
	k.v3("FMUL", 4, 0, 2)
	k.v3("FMUL", 5, 1, 2)
	k.v3("FMLS", 4, 1, 3)
	k.v3("FMLA", 5, 0, 3)
}

// horner sets p to the polynomial of x, using t.
func (k *arm) horner(coef []float32, x, p, t int) {
	k.num(coef[len(coef)-1], p)
	for i := len(coef) - 2; i >= 0; i-- {
		k.num(coef[i], t)
		k.v3("FMLA", t, p, x)
		p, t = t, p
	}
	if len(coef)%2 == 0 { // it ends in the other register
		k.v2("MOV", t, p)
	}
}

// exp replaces x by e^x, using t, p, q and u. FMAX and FMIN hand NaN on. See kernel.exp.
func (k *arm) exp(x, t, p, q, u int) {
	k.num(expLow, u)
	k.v3("FMAX", x, x, u)
	k.num(expHigh, u)
	k.v3("FMIN", x, x, u)
	k.num(magic, t)
	k.num(math.Log2E, u)
	k.v3("FMLA", t, x, u) // n + magic
	k.num(magic, q)
	k.v3("FSUB", q, t, q) // n
	k.num(ln2High, u)
	k.v3("FMLS", x, q, u)
	k.num(ln2Low, u)
	k.v3("FMLS", x, q, u)
	k.horner(append([]float32{1, 1}, expPoly...), x, p, u)
	k.shl(32, 23, q, t)
	k.sshr(32, 24, t, q)
	k.shl(32, 23, t, t)
	k.v3("SUB", q, q, t)
	k.num(1, u)
	k.v3("ADD", t, t, u)
	k.v3("ADD", q, q, u)
	k.v3("FMUL", p, p, t)
	k.v3("FMUL", x, p, q)
}

// sigmoid sets s to 1/(1+e^-x), x in register 0; register 1 is -|x|. See kernel.sigmoid.
func (k *arm) sigmoid(s int) {
	k.exp(1, 2, 3, 4, 5)
	k.num(1, 2)
	k.v3("FADD", 3, 1, 2)
	k.sshr(32, 31, 4, 0)
	k.v3("BSL", 4, 1, 2) // e where x is negative
	k.v3("FDIV", s, 4, 3)
}

func armFunctions(f *file) {
	unary := func(name string, body func(k *arm)) {
		k := newArm(f, name+"Vector", "", "dst *float32, x *float32, n int", "")
		k.inAll("dst", "x", "n")
		k.table()
		k.sweep("R2", []string{"R0", "R1"}, 1, func(_, off int, one bool) {
			k.get("R1", off, 0, one)
			body(k)
			k.put(0, "R0", off, one)
		})
		k.done()
		k.endTable()
	}
	negative := func(k *arm) {
		k.word32(signBit, 1)
		k.v3("ORR", 1, 0, 1)
	}
	unary("exp", func(k *arm) { k.exp(0, 1, 2, 3, 4) })
	unary("sigmoid", func(k *arm) {
		negative(k)
		k.sigmoid(0)
	})
	unary("silu", func(k *arm) {
		negative(k)
		k.sigmoid(6)
		k.v3("FMUL", 0, 0, 6)
	})
	unary("geluTanh", (*arm).geluTanh)
	unary("gelu", (*arm).gelu)
	unary("tanh", (*arm).tanh)
	for _, store := range []bool{true, false} {
		armExpSum(f, store)
	}
	armSoftmaxGrad(f)
}

func (k *arm) geluTanh() {
	const c = 1.5957691216057308 // 2*sqrt(2/pi)
	k.v2("MOV", 7, 0)
	k.v3("FMUL", 2, 0, 0)
	k.num(c*0.044715, 3)
	k.num(c, 1)
	k.v3("FMLA", 1, 2, 3)
	k.v3("FMUL", 1, 1, 0)
	k.word32(signBit, 2)
	k.v3("ORR", 1, 1, 2)
	k.sigmoid(6)
	k.v3("FMUL", 0, 7, 6)
}

// gelu: see its namesake.
func (k *arm) gelu() {
	k.word32(magnitudeBits, 6)
	k.v3("AND", 7, 0, 6)
	k.num(15, 6)
	k.v3("FMIN", 7, 7, 6) // t
	k.v3("FMUL", 1, 7, 7) // h
	k.v2("MOV", 16, 1)
	k.v3("FMLS", 16, 7, 7) // h - t^2, minus its rounding error l
	k.num(-0.5, 2)
	k.v3("FMUL", 1, 1, 2)
	k.exp(1, 2, 3, 4, 5)
	k.num(0.5, 3)
	k.num(1, 2)
	k.v3("FMLA", 2, 16, 3) // 1 - l/2
	k.v3("FMUL", 1, 1, 2)
	k.horner(tailNum, 7, 2, 3)
	k.v3("FMUL", 1, 1, 2)
	k.horner(tailDen, 7, 3, 4)
	k.v3("FDIV", 1, 1, 3) // Q
	k.zero(2)
	k.v3("FMAX", 0, 0, 2)
	k.v3("FMLS", 0, 1, 7)
}

// tanh: see its namesake.
func (k *arm) tanh() {
	k.word32(magnitudeBits, 6)
	k.v3("AND", 7, 0, 6) // a
	k.v3("FADD", 1, 7, 7)
	k.exp(1, 2, 3, 4, 5)
	k.num(1, 2)
	k.v3("FADD", 1, 1, 2)
	k.num(2, 3)
	k.v3("FDIV", 3, 3, 1)
	k.v3("FSUB", 2, 2, 3) // far from zero
	k.v3("FMUL", 6, 7, 7) // a^2
	k.horner(tanhPoly, 6, 3, 4)
	k.v3("FMUL", 3, 3, 6)
	k.v2("MOV", 5, 7)
	k.v3("FMLA", 5, 3, 7) // a + a*a^2*P
	k.num(0.625, 4)
	k.v3("FSUB", 4, 7, 4)
	k.sshr(32, 31, 4, 4)
	k.v3("BSL", 4, 5, 2)
	k.word32(signBit, 5)
	k.v3("AND", 0, 0, 5)
	k.v3("ORR", 0, 0, 4)
}

func armExpSum(f *file, store bool) {
	name, params := "expSumVector", "x *float32, n int, max float32"
	if store {
		name, params = "expSumStoreVector", "dst *float32, "+params
	}
	k := newArm(f, name, "", params, "float32")
	k.in("x", "R0")
	k.in("n", "R2")
	ptrs := []string{"R0"}
	if store {
		k.in("dst", "R1")
		ptrs = append(ptrs, "R1")
	}
	k.table()
	k.splat("max", 30)
	k.zero(31)
	k.sweep("R2", ptrs, 1, func(_, off int, one bool) {
		k.get("R0", off, 0, one)
		k.v3("FSUB", 0, 0, 30)
		k.exp(0, 1, 2, 3, 4)
		if store {
			k.put(0, "R1", off, one)
		}
		if one {
			k.first(0)
		}
		k.v3("FADD", 31, 31, 0)
	})
	k.v3("FADDP", 31, 31, 31)
	k.v3("FADDP", 31, 31, 31)
	k.answer(31)
	k.endTable()
}

func armSoftmaxGrad(f *file) {
	k := newArm(f, "softmaxGradVector", "", "p *float32, dp *float32, ld int, rows int, n int, lse *float32, delta *float32", "")
	k.inAll("p", "dp", "ld", "rows", "n", "lse", "delta")
	k.table()
	k.op("LSL $2, R2, R2")
	k.repeat("R3", 1, func() {
		k.op("MOVD R0, R7")
		k.op("MOVD R1, R8")
		k.op("MOVD R4, R9")
		for i, r := range []string{"R5", "R6"} {
			k.lds(r, 0, 30+i)
			k.dupS(30+i, 30+i, 0)
			k.add(4, r)
		}
		k.sweep("R9", []string{"R7", "R8"}, 1, func(_, off int, one bool) {
			k.get("R7", off, 0, one)
			k.get("R8", off, 5, one)
			k.v3("FSUB", 0, 0, 30)
			k.v3("FSUB", 5, 5, 31)
			k.exp(0, 1, 2, 3, 4)
			k.v3("FMUL", 5, 5, 0)
			k.put(0, "R7", off, one)
			k.put(5, "R8", off, one)
		})
		k.op("ADD R2, R0, R0")
		k.op("ADD R2, R1, R1")
	})
	k.done()
	k.endTable()
}
