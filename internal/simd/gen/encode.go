package gen

import (
	"fmt"
	"math"
)

// encodeFile: the searches of the block formats' encoders.
func encodeFile() *file {
	f := &file{name: "encode", about: `
Searches for the scales of block formats, eight groups at a time, one in each lane: values lie as [n][8]. Each lane does
in the order of its values what the scalar search does, product and sum rounded one by one, so that the bits are the
same. Slots of the state are those of Fit8.`}
	groups8(f)
	weightKernels(f)
	fitAffine(f, "fitAffine8", false)
	fitAffine(f, "fitAffineAbs8", true)
	fitSymmetric(f)
	fitDescend(f)
	fitIQ4(f)
	codesKernel(f, "codesMul", "sets l = inverse*(x-least) to the nearest integer, clamped to [lo,hi], minus lo.", false)
	codesKernel(f, "codesDiv", "sets l = (x+least)/inverse to the nearest integer, clamped to [lo,hi], minus lo.", true)
	roundIQ4(f)
	encodeQ8(f)
	return f
}

// Slots of Fit8.
const (
	slotScale = iota
	slotMinus
	slotInverse
	slotLeast
	slotSumW
	slotBest
	slotNow
	slotTop
	slotSumX
	slotFirst
	slotEmpty
	slotTrial
)

func slot(i int) string { return fmt.Sprintf("%d(BX)", 32*i) }

// encoder is a kernel whose values lie at SI and weights at DI, with its state at BX.
type encoder struct{ *fn }

func (k encoder) word(bits uint32, reg int) { k.op("VPBROADCASTD %s, Y%d", k.file.const32(bits), reg) }

func (k encoder) float(x float32, reg int) {
	k.op("VBROADCASTSS %s, Y%d", k.file.const32(math.Float32bits(x)), reg)
}

func (k encoder) get(s, reg int) { k.op("VMOVUPS %s, Y%d", slot(s), reg) }
func (k encoder) put(reg, s int) { k.op("VMOVUPS Y%d, %s", reg, slot(s)) }

// values runs body over the places of a group with their byte offset in AX. n is in R8.
func (k encoder) values(body func()) {
	top := k.label("value")
	k.op("XORQ AX, AX")
	k.op("MOVQ R8, CX")
	k.at(top)
	body()
	k.op("ADDQ $32, AX")
	k.op("DECQ CX")
	k.op("JNE %s", top)
}

// Constant registers: the numbers that rounding and clamping need.
const (
	regMagic = 15 // 1.5 * 2^23: adding it rounds to an integer in the lower 23 bits
	regMask  = 14 // those bits
	regBias  = 13 // 2^22
	regHi    = 12
	regLo    = 11
)

// rounding loads what nearest needs.
func (k encoder) rounding() {
	k.float(0x1.8p23, regMagic)
	k.word(0x7fffff, regMask)
	k.word(0x400000, regBias)
}

// nearest rounds register r to integers as the scalar function of that name, and clamps them.
func (k encoder) nearest(r int) {
	k.op("VADDPS Y%d, Y%d, Y%[2]d", regMagic, r)
	k.op("VPAND Y%d, Y%d, Y%[2]d", regMask, r)
	k.op("VPSUBD Y%d, Y%d, Y%[2]d", regBias, r)
	k.op("VPMINSD Y%d, Y%d, Y%[2]d", regHi, r)
	k.op("VPMAXSD Y%d, Y%d, Y%[2]d", regLo, r)
}

// groups8: eight groups of n values side by side.
func groups8(f *file) {
	k := encoder{f.newFn("groups8", "groups8 sets dst[i][g] = src[g][i] for eight groups g of n values; n is a multiple of 8.",
		"dst *float32, src *float32, n int", "")}
	k.load("dst", "DI")
	k.load("src", "SI")
	k.load("n", "CX")
	k.op("LEAQ (CX*4), DX")
	k.op("LEAQ (DX)(DX*2), R8")
	k.op("LEAQ (SI)(DX*4), R9")
	k.loop("CX", 8, func() {
		transpose8(k.fn, "SI", "R9", "DX", "R8", func(c int) string { return fmt.Sprintf("%d(DI)", 32*c) })
		k.op("ADDQ $32, SI")
		k.op("ADDQ $32, R9")
		k.op("ADDQ $256, DI")
	})
	k.ret()
}

// weightKernels: how much the squared error of each value counts.
func weightKernels(f *file) {
	k := encoder{f.newFn("weighSpread8", "weighSpread8 sets w = sqrt(mean of x*x) + |x| in each of eight groups of n values.",
		"w *float32, x *float32, n int", "")}
	k.load("w", "DI")
	k.load("x", "SI")
	k.load("n", "R8")
	k.word(0x7fffffff, 3)
	k.op("VXORPS X0, X0, X0")
	k.values(func() {
		k.op("VMOVUPS (SI)(AX*1), Y1")
		k.op("VMULPS Y1, Y1, Y1")
		k.op("VADDPS Y1, Y0, Y0")
	})
	k.op("VCVTSI2SSQ R8, X1, X1")
	k.op("VBROADCASTSS X1, Y1")
	k.op("VDIVPS Y1, Y0, Y0")
	k.op("VSQRTPS Y0, Y0")
	k.values(func() {
		k.op("VANDPS (SI)(AX*1), Y3, Y1")
		k.op("VADDPS Y1, Y0, Y1")
		k.op("VMOVUPS Y1, (DI)(AX*1)")
	})
	k.ret()

	k = encoder{f.newFn("weighImportance", "weighImportance sets w = importance * sqrt(sigma2 + x*x); n counts values and is a multiple of 8.",
		"w *float32, importance *float32, x *float32, n int, sigma2 float32", "")}
	k.load("w", "DI")
	k.load("importance", "DX")
	k.load("x", "SI")
	k.load("n", "CX")
	k.op("VBROADCASTSS %s, Y3", k.arg("sigma2"))
	k.loop("CX", 8, func() {
		k.op("VMOVUPS (SI), Y0")
		k.op("VMULPS Y0, Y0, Y0")
		k.op("VADDPS Y0, Y3, Y0")
		k.op("VSQRTPS Y0, Y0")
		k.op("VMULPS (DX), Y0, Y0")
		k.op("VMOVUPS Y0, (DI)")
		k.op("ADDQ $32, SI")
		k.op("ADDQ $32, DX")
		k.op("ADDQ $32, DI")
	})
	k.ret()
}

// fitAffine: see fitAffineGeneric.
func fitAffine(f *file, name string, absolute bool) {
	k := encoder{f.newFn(name, name+" is FitAffine8.", "fit *float32, x *float32, w *float32, n int, nmax int, count int, first float32, step float32", "")}
	k.load("fit", "BX")
	k.load("x", "SI")
	k.load("w", "DI")
	k.load("n", "R8")
	k.load("nmax", "R10")
	k.load("count", "R11")
	k.op("LEAQ %d(BX), DX", 32*slotTrial)
	k.rounding()
	k.op("VMOVQ R10, X%d", regHi)
	k.op("VPBROADCASTD X%d, Y%[1]d", regHi)
	k.op("VPXOR X%d, X%[1]d, X%[1]d", regLo)

	// Range and sums.
	k.op("VMOVUPS (SI), Y0") // least
	k.op("VMOVAPS Y0, Y1")   // top
	k.op("VMOVUPS (DI), Y2") // sum of w
	k.op("VMULPS Y2, Y0, Y3")
	top := k.label("range")
	k.op("MOVQ $32, AX")
	k.op("LEAQ -1(R8), CX")
	k.at(top)
	k.op("VMOVUPS (SI)(AX*1), Y4")
	k.op("VMOVUPS (DI)(AX*1), Y5")
	k.op("VMINPS Y0, Y4, Y0")
	k.op("VMAXPS Y1, Y4, Y1")
	k.op("VADDPS Y5, Y2, Y2")
	k.op("VMULPS Y5, Y4, Y6")
	k.op("VADDPS Y6, Y3, Y3")
	k.op("ADDQ $32, AX")
	k.op("DECQ CX")
	k.op("JNE %s", top)
	k.op("VMINPS Y0, Y%d, Y0", regLo)
	k.op("VCMPPS $0x1A, Y0, Y1, Y6") // not top > least
	k.put(6, slotEmpty)
	k.put(0, slotNow)
	k.put(0, slotLeast)
	k.put(0, slotFirst)
	k.put(1, slotTop)
	k.put(2, slotSumW)
	k.put(3, slotSumX)

	// The grid over the whole range.
	k.op("VSUBPS Y0, Y1, Y7")
	k.op("VCVTDQ2PS Y%d, Y8", regHi)
	k.op("VDIVPS Y7, Y8, Y1") // inverse
	k.float(1, 9)
	k.op("VDIVPS Y1, Y9, Y3") // scale
	k.put(1, slotInverse)
	k.put(3, slotScale)
	code := func() {
		k.op("VMOVUPS (SI)(AX*1), Y6")
		k.op("VSUBPS Y0, Y6, Y7")
		k.op("VMULPS Y1, Y7, Y7")
		k.nearest(7)
		k.op("VCVTDQ2PS Y7, Y7")
		k.op("VMOVUPS Y7, (DX)(AX*1)")
	}
	k.values(code)
	k.err(3, 0, absolute)
	k.put(2, slotBest)

	// The ladder. Y0 least, Y1 inverse, Y2-Y4 sums of w*l, w*l*l, w*l*x.
	next, end := k.label("grid"), k.label("fitted")
	k.op("XORQ R9, R9")
	k.at(next)
	k.op("CMPQ R9, R11")
	k.op("JGT %s", end)
	k.get(slotNow, 0)
	k.op("VCVTSI2SSQ R9, X5, X5")
	k.op("VMULSS %s, X5, X5", k.arg("step"))
	k.op("VADDSS %s, X5, X5", k.arg("first"))
	k.op("VCVTSI2SSQ R10, X6, X6")
	k.op("VADDSS X6, X5, X5")
	k.op("VBROADCASTSS X5, Y5")
	k.get(slotTop, 6)
	k.op("VSUBPS Y0, Y6, Y6")
	k.op("VDIVPS Y6, Y5, Y1")
	for i := 2; i < 5; i++ {
		k.op("VXORPS X%d, X%[1]d, X%[1]d", i)
	}
	k.values(func() {
		code()
		k.op("VMULPS (DI)(AX*1), Y7, Y8")
		k.op("VADDPS Y8, Y2, Y2")
		k.op("VMULPS Y7, Y8, Y9")
		k.op("VADDPS Y9, Y3, Y3")
		k.op("VMULPS Y6, Y8, Y8")
		k.op("VADDPS Y8, Y4, Y4")
	})
	k.get(slotSumW, 5)
	k.get(slotSumX, 6)
	k.op("VMULPS Y3, Y5, Y7")
	k.op("VMULPS Y2, Y2, Y8")
	k.op("VSUBPS Y8, Y7, Y7") // d
	k.op("VMULPS Y4, Y5, Y8")
	k.op("VMULPS Y2, Y6, Y9")
	k.op("VSUBPS Y9, Y8, Y8")
	k.op("VDIVPS Y7, Y8, Y8") // a
	k.op("VMULPS Y6, Y3, Y9")
	k.op("VMULPS Y4, Y2, Y10")
	k.op("VSUBPS Y10, Y9, Y9")
	k.op("VDIVPS Y7, Y9, Y9")                     // b
	k.op("VCMPPS $0x1E, Y%d, Y7, Y7", regLo)      // d > 0
	k.op("VMOVUPS Y7, %d(BX)", 32*(slotTrial+32)) // kept for the end
	k.op("VCMPPS $0x1E, Y%d, Y9, Y10", regLo)     // b > 0
	k.op("VDIVPS Y3, Y4, Y4")                     // sumXL/sumL2
	k.op("VBLENDVPS Y10, Y4, Y8, Y3")             // a
	k.op("VANDNPS Y9, Y10, Y4")                   // b
	k.err(3, 4, absolute)                         // Y2
	k.get(slotBest, 5)
	k.op("VCMPPS $0x11, Y5, Y2, Y6") // e < best
	k.op("VANDPS %d(BX), Y6, Y6", 32*(slotTrial+32))
	for _, s := range []struct{ slot, reg int }{{slotBest, 2}, {slotInverse, 1}, {slotLeast, 0}, {slotScale, 3}, {slotNow, 4}} {
		k.get(s.slot, 5)
		k.op("VBLENDVPS Y6, Y%d, Y5, Y5", s.reg)
		k.put(5, s.slot)
	}
	k.op("INCQ R9")
	k.op("JMP %s", next)

	k.at(end)
	k.get(slotEmpty, 6)
	for _, s := range []int{slotScale, slotInverse, slotLeast} {
		k.op("VANDNPS %s, Y6, Y0", slot(s))
		k.put(0, s)
	}
	k.get(slotNow, 0)
	k.op("VBLENDVPS Y6, %s, Y0, Y0", slot(slotFirst))
	k.word(0x80000000, 1)
	k.op("VXORPS Y1, Y0, Y0")
	k.put(0, slotMinus)
	k.ret()
}

// err sets Y2 to the weighted error of the codes at DX for a scale and a minimum.
func (k encoder) err(scale, least int, absolute bool) {
	k.op("VXORPS X2, X2, X2")
	if absolute {
		k.word(0x7fffffff, 10)
	}
	k.values(func() {
		k.op("VMULPS (DX)(AX*1), Y%d, Y7", scale)
		k.op("VADDPS Y%d, Y7, Y7", least)
		k.op("VSUBPS (SI)(AX*1), Y7, Y7")
		if absolute {
			k.op("VANDPS Y10, Y7, Y7")
		} else {
			k.op("VMULPS Y7, Y7, Y7")
		}
		k.op("VMULPS (DI)(AX*1), Y7, Y7")
		k.op("VADDPS Y7, Y2, Y2")
	})
}

// largest sets Y0 to the value of largest magnitude and Y1 to that magnitude, of the values at SI. Y2-Y4 are scratch.
func (k encoder) largest() {
	k.word(0x7fffffff, 4)
	k.op("VXORPS X0, X0, X0")
	k.op("VXORPS X1, X1, X1")
	k.values(func() {
		k.op("VMOVUPS (SI)(AX*1), Y2")
		k.op("VANDPS Y4, Y2, Y3")
		k.op("VCMPPS $0x1E, Y1, Y3, Y5")
		k.op("VBLENDVPS Y5, Y2, Y0, Y0")
		k.op("VBLENDVPS Y5, Y3, Y1, Y1")
	})
}

// search emits the grids of a symmetric search: try sets Y2 and Y3 to the sums of w*l*x and w*l*l for the inverse scale in
// Y1. setup puts the first inverse, of top in Y0, into Y1; grid that of the step in the float X5, which runs from first.
func (k encoder) search(steps int, skipMiddle, anySign bool, setup, grid, try func()) {
	k.put(0, slotTop)
	k.float(tinyGroup, 2)
	k.op("VCMPPS $0x11, Y2, Y1, Y2") // magnitude < tiny
	k.put(2, slotEmpty)
	setup()
	k.put(1, slotInverse)
	try()
	k.op("VXORPS X4, X4, X4")
	k.op("VDIVPS Y3, Y2, Y5")
	if anySign {
		k.op("VCMPPS $0x04, Y4, Y3, Y6") // not equal 0
	} else {
		k.op("VCMPPS $0x1E, Y4, Y3, Y6")
	}
	k.op("VANDPS Y6, Y5, Y5") // scale
	k.put(5, slotScale)
	k.op("VMULPS Y2, Y5, Y5")
	k.put(5, slotBest)
	next, end := k.label("grid"), k.label("fitted")
	k.op("MOVQ $%d, R9", -steps)
	k.at(next)
	k.op("CMPQ R9, $%d", steps)
	k.op("JGT %s", end)
	skip := k.label("skip")
	if skipMiddle {
		k.op("TESTQ R9, R9")
		k.op("JEQ %s", skip)
	}
	k.op("VCVTSI2SSQ R9, X5, X5")
	k.get(slotTop, 0)
	grid()
	try()
	k.op("VXORPS X4, X4, X4")
	k.op("VCMPPS $0x1E, Y4, Y3, Y6") // suml2 > 0
	k.op("VMULPS Y2, Y2, Y4")
	k.op("VMULPS %s, Y3, Y5", slot(slotBest))
	k.op("VCMPPS $0x1E, Y5, Y4, Y4")
	k.op("VANDPS Y4, Y6, Y6")
	k.op("VDIVPS Y3, Y2, Y5")
	k.op("VMULPS Y2, Y5, Y4")
	for _, s := range []struct{ slot, reg int }{{slotScale, 5}, {slotBest, 4}, {slotInverse, 1}} {
		k.get(s.slot, 0)
		k.op("VBLENDVPS Y6, Y%d, Y0, Y0", s.reg)
		k.put(0, s.slot)
	}
	if skipMiddle {
		k.at(skip)
	}
	k.op("INCQ R9")
	k.op("JMP %s", next)
	k.at(end)
	k.get(slotEmpty, 6)
	for _, s := range []int{slotScale, slotInverse} {
		k.op("VANDNPS %s, Y6, Y0", slot(s))
		k.put(0, s)
	}
	k.ret()
}

// tinyGroup is the magnitude below which a group counts as zero.
const tinyGroup = 1e-15

// fitSymmetric: see fitSymmetricGeneric.
func fitSymmetric(f *file) {
	k := encoder{f.newFn("fitSymmetric8", "fitSymmetric8 is FitSymmetric8.", "fit *float32, x *float32, w *float32, n int, nmax int", "")}
	k.load("fit", "BX")
	k.load("x", "SI")
	k.load("w", "DI")
	k.load("n", "R8")
	k.load("nmax", "R10")
	k.op("LEAQ %d(BX), DX", 32*slotTrial)
	k.largest()
	k.values(func() { // products of weights and values
		k.op("VMOVUPS (SI)(AX*1), Y2")
		k.op("VMULPS (DI)(AX*1), Y2, Y2")
		k.op("VMOVUPS Y2, (DX)(AX*1)")
	})
	k.rounding()
	k.op("LEAQ -1(R10), R11")
	k.op("VMOVQ R11, X%d", regHi)
	k.op("VPBROADCASTD X%d, Y%[1]d", regHi)
	k.op("NEGQ R10")
	k.op("VMOVQ R10, X%d", regLo)
	k.op("VPBROADCASTD X%d, Y%[1]d", regLo)
	k.op("NEGQ R10")
	k.op("VCVTDQ2PS Y%d, Y10", regLo) // -nmax
	k.word(0x80000000, 9)
	k.search(9, true, true, func() {
		k.op("VDIVPS Y0, Y10, Y1")
	}, func() {
		k.op("VMULSS %s, X5, X5", k.file.const32(math.Float32bits(0.1)))
		k.op("VCVTSI2SSQ R10, X6, X6")
		k.op("VADDSS X6, X5, X5")
		k.op("VBROADCASTSS X5, Y5")
		k.op("VXORPS Y9, Y5, Y5")
		k.op("VDIVPS Y0, Y5, Y1")
	}, func() {
		k.op("VXORPS X2, X2, X2")
		k.op("VXORPS X3, X3, X3")
		k.values(func() {
			k.op("VMULPS (SI)(AX*1), Y1, Y7")
			k.nearest(7)
			k.op("VCVTDQ2PS Y7, Y7")
			k.op("VMULPS (DX)(AX*1), Y7, Y8")
			k.op("VADDPS Y8, Y2, Y2")
			k.op("VMULPS (DI)(AX*1), Y7, Y8")
			k.op("VMULPS Y7, Y8, Y8")
			k.op("VADDPS Y8, Y3, Y3")
		})
	})
}

// fitDescend: see fitDescendGeneric. The codes are kept as float32 at DX.
func fitDescend(f *file) {
	k := encoder{f.newFn("fitDescend8", "fitDescend8 is FitDescend8.", "fit *float32, x *float32, n int, nmax int", "")}
	k.load("fit", "BX")
	k.load("x", "SI")
	k.load("n", "R8")
	k.load("nmax", "R10")
	k.op("LEAQ %d(BX), DX", 32*slotTrial)
	k.largest()
	k.float(tinyGroup, 2)
	k.op("VCMPPS $0x11, Y2, Y1, Y2")
	k.put(2, slotEmpty)
	k.rounding()
	k.op("LEAQ -1(R10), R11")
	k.op("VMOVQ R11, X%d", regHi)
	k.op("VPBROADCASTD X%d, Y%[1]d", regHi)
	k.op("NEGQ R10")
	k.op("VMOVQ R10, X%d", regLo)
	k.op("VPBROADCASTD X%d, Y%[1]d", regLo)
	k.op("VCVTDQ2PS Y%d, Y10", regLo)
	k.op("VDIVPS Y0, Y10, Y1")
	k.op("VXORPS X2, X2, X2") // sumlx
	k.op("VXORPS X3, X3, X3") // suml2
	k.values(func() {
		k.op("VMOVUPS (SI)(AX*1), Y6")
		k.op("VMULPS Y6, Y1, Y7")
		k.nearest(7)
		k.op("VCVTDQ2PS Y7, Y7")
		k.op("VMOVUPS Y7, (DX)(AX*1)")
		k.op("VMULPS Y6, Y6, Y8")
		k.op("VMULPS Y6, Y8, Y9")
		k.op("VMULPS Y7, Y9, Y9")
		k.op("VADDPS Y9, Y2, Y2")
		k.op("VMULPS Y7, Y8, Y9")
		k.op("VMULPS Y7, Y9, Y9")
		k.op("VADDPS Y9, Y3, Y3")
	})
	round, end := k.label("round"), k.label("fitted")
	k.op("MOVQ $5, R9")
	k.at(round)
	k.op("XORQ R11, R11")
	k.values(func() {
		k.op("VMOVUPS (SI)(AX*1), Y6")
		k.op("VMULPS Y6, Y6, Y8")      // w
		k.op("VMULPS Y6, Y8, Y9")      // w*v
		k.op("VMOVUPS (DX)(AX*1), Y0") // old code
		k.op("VMULPS Y0, Y9, Y1")
		k.op("VSUBPS Y1, Y2, Y1") // slx
		k.op("VMULPS Y0, Y8, Y4")
		k.op("VMULPS Y0, Y4, Y4")
		k.op("VSUBPS Y4, Y3, Y4") // sl2
		k.op("VMULPS Y4, Y6, Y7")
		k.op("VDIVPS Y1, Y7, Y7")
		k.nearest(7)
		k.op("VCVTDQ2PS Y7, Y7") // new code
		k.op("VXORPS X5, X5, X5")
		k.op("VCMPPS $0x1E, Y5, Y1, Y10") // slx > 0
		k.op("VCMPPS $0x04, Y0, Y7, Y5")
		k.op("VANDPS Y5, Y10, Y10")
		k.op("VMULPS Y7, Y9, Y9")
		k.op("VADDPS Y9, Y1, Y1")
		k.op("VMULPS Y7, Y8, Y8")
		k.op("VMULPS Y7, Y8, Y8")
		k.op("VADDPS Y8, Y4, Y4")
		k.op("VXORPS X5, X5, X5")
		k.op("VCMPPS $0x1E, Y5, Y4, Y5") // sl2 > 0
		k.op("VANDPS Y5, Y10, Y10")
		k.op("VMULPS Y1, Y1, Y5")
		k.op("VMULPS Y3, Y5, Y5")
		k.op("VMULPS Y2, Y2, Y6")
		k.op("VMULPS Y4, Y6, Y6")
		k.op("VCMPPS $0x1E, Y6, Y5, Y5")
		k.op("VANDPS Y5, Y10, Y10")
		k.op("VBLENDVPS Y10, Y7, Y0, Y0")
		k.op("VMOVUPS Y0, (DX)(AX*1)")
		k.op("VBLENDVPS Y10, Y1, Y2, Y2")
		k.op("VBLENDVPS Y10, Y4, Y3, Y3")
		k.op("VMOVMSKPS Y10, R10")
		k.op("ORQ R10, R11")
	})
	k.op("TESTQ R11, R11")
	k.op("JEQ %s", end)
	k.op("DECQ R9")
	k.op("JNE %s", round)
	k.at(end)
	k.op("VXORPS X4, X4, X4")
	k.op("VDIVPS Y3, Y2, Y5")
	k.op("VCMPPS $0x1E, Y4, Y3, Y6")
	k.op("VANDPS Y6, Y5, Y5")
	k.get(slotEmpty, 6)
	k.op("VANDNPS Y5, Y6, Y5")
	k.put(5, slotScale)
	k.ret()
}
