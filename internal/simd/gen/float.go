package gen

import "math"

// Kernels over rows of float32.

func floatFile() *file {
	f := &file{name: "float", about: `
Rows of float32: maps and reductions. A reduction adds lane by lane and the lanes in a fixed order at the end, so its bits
depend on the length alone. Nothing outside [0,n) is read or written.`}
	for _, v := range isas {
		reductions(f, v)
		arithmetic(f, v)
		functions(f, v)
		softmaxGrad(f, v)
		rotations(f, v)
	}
	return f
}

func newKernel(f *file, v isa, name, doc, params, result string) kernel {
	if doc != "" {
		doc = name + v.name + " " + doc
	}
	return kernel{f.newFn(name+v.name, doc, params, result), v}
}

// reductions with four accumulators, enough to hide the latency of addition.
func reductions(f *file, v isa) {
	const acc = 0 // registers 0-3
	join := func(k kernel, op string) {
		k.op("%s %s, %s, %[3]s", op, v.r(1), v.r(0))
		k.op("%s %s, %s, %[3]s", op, v.r(3), v.r(2))
		k.op("%s %s, %s, %[3]s", op, v.r(2), v.r(0))
		k.fold(op, 0, 1)
	}
	begin := func(name, doc, params string) kernel {
		k := newKernel(f, v, name, doc, params, "float32")
		k.load("n", "CX")
		k.load("x", "SI")
		for i := range 4 {
			k.zero(acc + i)
		}
		return k
	}

	k := begin("dot", "returns the sum of x[i]*y[i].", "x *float32, y *float32, n int")
	k.load("y", "DI")
	k.sweep([]string{"SI", "DI"}, 4, func(u, d int, part bool) {
		k.from("SI", d, 4+u, part)
		if part {
			k.from("DI", d, 8, part)
			k.op("VFMADD231PS %s, %s, %s", v.r(8), v.r(4), v.r(acc))
			return
		}
		k.op("VFMADD231PS %d(DI), %s, %s", d, v.r(4+u), v.r(acc+u))
	})
	join(k, "VADDPS")
	k.result(0)

	k = begin("sum", "returns the sum of x.", "x *float32, n int")
	k.sweep([]string{"SI"}, 4, func(u, d int, part bool) {
		k.from("SI", d, 4+u, part)
		k.op("VADDPS %s, %s, %[2]s", v.r(4+u), v.r(acc+u))
	})
	join(k, "VADDPS")
	k.result(0)

	k = begin("sumSquares", "returns the sum of (x[i]-mean)^2.", "x *float32, mean float32, n int")
	k.broadcast("mean", 14)
	k.sweep([]string{"SI"}, 4, func(u, d int, part bool) {
		k.from("SI", d, 4+u, part)
		k.op("VSUBPS %s, %s, %[2]s", v.r(14), v.r(4+u))
		k.keep(4+u, part)
		k.op("VFMADD231PS %s, %[1]s, %s", v.r(4+u), v.r(acc+u))
	})
	join(k, "VADDPS")
	k.result(0)

	maximum(f, v)
}

// maximum: VMAXPS loses NaNs, so the largest magnitude is sought beside, as an integer: a NaN's is above that of Inf.
func maximum(f *file, v isa) {
	k := newKernel(f, v, "max", "returns the largest of x, a NaN if there is one, -Inf for none.", "x *float32, n int", "float32")
	const low, magnitude, sign = 14, 13, 12
	k.load("n", "CX")
	k.load("x", "SI")
	k.set(float32(math.Inf(-1)), v.r(low))
	k.set(float32(math.Float32frombits(0x7fffffff)), v.r(sign))
	for i := range 4 {
		k.op("VMOVAPS %s, %s", v.r(low), v.r(i))
	}
	k.zero(magnitude)
	k.sweep([]string{"SI"}, 4, func(u, d int, part bool) {
		k.from("SI", d, 4+u, part)
		k.bits("AND", "%s, %s, %s", v.r(sign), v.r(4+u), v.r(8+u%2))
		k.op("VPMAXSD %s, %s, %[2]s", v.r(8+u%2), v.r(magnitude))
		if part && v == avx512 {
			k.op("VMAXPS %s, %s, K1, %[2]s", v.r(4), v.r(0))
			return
		}
		if part {
			k.op("VBLENDVPS %s, %s, %s, %[2]s", v.r(maskReg), v.r(4), v.r(low))
		}
		k.op("VMAXPS %s, %s, %[2]s", v.r(4+u), v.r(u))
	})
	k.op("VMAXPS %s, %s, %[2]s", v.r(1), v.r(0))
	k.op("VMAXPS %s, %s, %[2]s", v.r(3), v.r(2))
	k.op("VMAXPS %s, %s, %[2]s", v.r(2), v.r(0))
	k.fold("VMAXPS", 0, 1)
	k.fold("VPMAXSD", magnitude, 1)
	number := k.label("number")
	k.op("VMOVD X%d, AX", magnitude)
	k.op("CMPL AX, $0x7f800000")
	k.op("JLE %s", number)
	k.op("VMOVAPS X%d, X0", magnitude)
	k.at(number)
	k.result(0)
}

// arithmetic: maps that are bound by memory.
func arithmetic(f *file, v isa) {
	two := func(name, doc, op string) {
		k := newKernel(f, v, name, doc, "dst *float32, x *float32, y *float32, n int", "")
		k.load("n", "CX")
		k.load("dst", "BX")
		k.load("x", "SI")
		k.load("y", "DI")
		k.sweep([]string{"BX", "SI", "DI"}, 4, func(u, d int, part bool) {
			k.from("SI", d, u, part)
			if part {
				k.from("DI", d, 4, part)
				k.op("%s %s, %s, %[3]s", op, v.r(4), v.r(0))
			} else {
				k.op("%s %d(DI), %s, %[3]s", op, d, v.r(u))
			}
			k.to(u, "BX", d, part)
		})
		k.ret()
	}
	two("add", "sets dst = x + y.", "VADDPS")
	two("mul", "sets dst = x * y.", "VMULPS")

	k := newKernel(f, v, "scale", "sets dst = a*x + b.", "dst *float32, x *float32, n int, a float32, b float32", "")
	k.load("n", "CX")
	k.load("dst", "BX")
	k.load("x", "SI")
	k.broadcast("a", 14)
	k.broadcast("b", 13)
	k.sweep([]string{"BX", "SI"}, 4, func(u, d int, part bool) {
		k.from("SI", d, u, part)
		k.op("VFMADD213PS %s, %s, %s", v.r(13), v.r(14), v.r(u))
		k.to(u, "BX", d, part)
	})
	k.ret()

	k = newKernel(f, v, "axpy", "sets y += a*x.", "y *float32, x *float32, n int, a float32", "")
	k.load("n", "CX")
	k.load("y", "BX")
	k.load("x", "SI")
	k.broadcast("a", 14)
	k.sweep([]string{"BX", "SI"}, 4, func(u, d int, part bool) {
		k.from("BX", d, u, part)
		if part {
			k.from("SI", d, 4, part)
			k.op("VFMADD231PS %s, %s, %s", v.r(4), v.r(14), v.r(0))
		} else {
			k.op("VFMADD231PS %d(SI), %s, %s", d, v.r(14), v.r(u))
		}
		k.to(u, "BX", d, part)
	})
	k.ret()

	k = newKernel(f, v, "normalize", "sets dst = (x-mean)*inv*w + b.", "dst *float32, x *float32, w *float32, b *float32, n int, mean float32, inv float32", "")
	k.load("n", "CX")
	k.load("dst", "BX")
	k.load("x", "SI")
	k.load("w", "DI")
	k.load("b", "DX")
	k.broadcast("mean", 14)
	k.broadcast("inv", 13)
	k.sweep([]string{"BX", "SI", "DI", "DX"}, 2, func(u, d int, part bool) {
		k.from("SI", d, u, part)
		k.from("DI", d, 4+u, part)
		k.from("DX", d, 8+u, part)
		k.op("VSUBPS %s, %s, %[2]s", v.r(14), v.r(u))
		k.op("VMULPS %s, %s, %[2]s", v.r(13), v.r(u))
		k.op("VFMADD213PS %s, %s, %s", v.r(8+u), v.r(4+u), v.r(u))
		k.to(u, "BX", d, part)
	})
	k.ret()

	k = newKernel(f, v, "normalizeRMS", "sets dst = x*inv*w.", "dst *float32, x *float32, w *float32, n int, inv float32", "")
	k.load("n", "CX")
	k.load("dst", "BX")
	k.load("x", "SI")
	k.load("w", "DI")
	k.broadcast("inv", 13)
	k.sweep([]string{"BX", "SI", "DI"}, 4, func(u, d int, part bool) {
		k.from("SI", d, u, part)
		k.op("VMULPS %s, %s, %[2]s", v.r(13), v.r(u))
		if part {
			k.from("DI", d, 4, part)
			k.op("VMULPS %s, %s, %[2]s", v.r(4), v.r(0))
		} else {
			k.op("VMULPS %d(DI), %s, %[2]s", d, v.r(u))
		}
		k.to(u, "BX", d, part)
	})
	k.ret()
}

// softmaxGrad: rows, because those of a block of attention are short.
func softmaxGrad(f *file, v isa) {
	k := newKernel(f, v, "softmaxGrad", "sets p = e^(p-lse[row]) and dp = p*(dp-delta[row]) in rows of n values, ld apart.",
		"p *float32, dp *float32, ld int, rows int, n int, lse *float32, delta *float32", "")
	for _, r := range [][2]string{{"p", "AX"}, {"dp", "BX"}, {"ld", "DX"}, {"rows", "R8"}, {"lse", "R9"}, {"delta", "R10"}} {
		k.load(r[0], r[1])
	}
	k.op("SHLQ $2, DX")
	k.set(expLow, v.r(14))
	k.loop("R8", 1, func() {
		k.op("MOVQ AX, SI")
		k.op("MOVQ BX, DI")
		k.load("n", "CX")
		k.op("VBROADCASTSS (R9), %s", v.r(12))
		k.op("VBROADCASTSS (R10), %s", v.r(11))
		k.sweep([]string{"SI", "DI"}, 1, func(_, d int, part bool) {
			k.from("SI", d, 0, part)
			k.from("DI", d, 4, part)
			k.op("VSUBPS %s, %s, %[2]s", v.r(12), v.r(0))
			k.op("VSUBPS %s, %s, %[2]s", v.r(11), v.r(4))
			k.exp(0, 1, 2, 3, false)
			k.op("VMULPS %s, %s, %[2]s", v.r(0), v.r(4))
			k.to(0, "SI", d, part)
			k.to(4, "DI", d, part)
		})
		k.op("ADDQ DX, AX")
		k.op("ADDQ DX, BX")
		k.op("ADDQ $4, R9")
		k.op("ADDQ $4, R10")
	})
	k.ret()
}
