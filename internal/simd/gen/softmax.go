package gen

import (
	"fmt"
	"math"
)

// Scores of a page of keys become exponentials, all steps of all rows in one go: a page is too short for a call each. One page's
// exponentials take less than those of funcs.go: the argument is not positive, and what is below the normal range need not be exact.
func softmaxFile() *file {
	f := &file{name: "softmax", about: `
Rows of scores become exponentials relative to the largest: see softmax.go. One kernel does for both widths.`}
	softmaxRows(f, false)
	softmaxRows(f, true)
	wordFactors(f)
	return f
}

// pagePoly is the polynomial of 2^f = 1 + f*P(f), |f| <= 1/2, fitted for least relative error: 9.4e-8.
var pagePoly = []float32{0.693147004, 0.240222454, 0.0555070639, 0.00967136025, 0.00132715411}

// Registers that keep their values over all rows, behind the six in which two vectors become exponentials.
const (
	pageSum    = 6 // and 7
	pageOffset = 8 // less the reference of the row
	pagePolyAt = 9 // the polynomial from its third value on
	pageMagic  = 13
	pageLow    = 14
	pageLog2E  = 15
)

// softmaxRows writes the kernel for rows of n scores, a multiple of 16, ldx apart. A float32 at top becomes the reference of its row,
// the one at sum the sum. Exponentials replace the scores, and what is at top before is the least that the reference may be; or they go
// out as words, times the factors of each of the blocks, for rows of words ldp apart, and no reference is given.
func softmaxRows(f *file, words bool) {
	name, params := "softmaxFloats", "x *float32, ldx int, n int, rows int, top *float32, sum *float32"
	if words {
		name, params = "softmaxWords", "p *int16, ldp int, x *float32, ldx int, factor *float32, step int, blocks int, n int, rows int, top *float32, sum *float32"
	}
	k := kernel{f.newFn(name, "", params, ""), avx2}
	k.load("x", "SI")
	k.load("top", "BX")
	k.load("sum", "R13")
	k.load("ldx", "R15")
	k.load("rows", "R12")
	if words {
		k.load("p", "DI")
		k.load("ldp", "R14")
		k.load("step", "R9")
	}
	k.set(math.Log2E, k.r(pageLog2E))
	k.set(-127, k.r(pageLow))
	k.set(magic, k.r(pageMagic))
	for i, c := range pagePoly[1:] {
		k.set(c, k.r(pagePolyAt+i))
	}
	k.loop("R12", 1, func() {
		if words {
			k.op("MOVQ DI, R8")
			k.load("factor", "DX")
			k.set(float32(math.Inf(-1)), "Y0")
		} else {
			k.op("VBROADCASTSS (BX), Y0")
		}
		k.op("VMOVAPS Y0, Y1")
		k.load("n", "CX")
		k.op("MOVQ SI, AX")
		k.loop("CX", 16, func() {
			k.op("VMAXPS (AX), Y0, Y0")
			k.op("VMAXPS 32(AX), Y1, Y1")
			k.op("ADDQ $64, AX")
		})
		k.op("VMAXPS Y1, Y0, Y0")
		k.fold("VMAXPS", 0, 1)
		k.op("VMOVSS X0, (BX)")
		k.opC("VMAXPS", -math.MaxFloat32, "Y0, Y0") // no score at all: exponentials of -Inf
		k.op("VBROADCASTSS X0, Y%d", pageOffset)
		k.opC("VXORPS", bitsOf(signBit), fmt.Sprintf("Y%d, Y%[1]d", pageOffset))
		k.zero(pageSum)
		k.zero(pageSum + 1)
		k.load("n", "CX")
		k.op("MOVQ SI, AX")
		k.loop("CX", 16, func() {
			for h := range 2 {
				x := 3 * h
				k.op("VADDPS %d(AX), Y%d, Y%d", 32*h, pageOffset, x)
				k.pageExp(x, x+1, x+2)
				k.op("VADDPS Y%d, Y%d, Y%[2]d", x, pageSum+h)
				if !words {
					k.op("VMOVUPS Y%d, %d(AX)", x, 32*h)
				}
			}
			if words {
				k.products()
			}
			k.op("ADDQ $64, AX")
		})
		k.op("VADDPS Y%d, Y%d, Y0", pageSum+1, pageSum)
		k.fold("VADDPS", 0, 1)
		k.op("VMOVSS X0, (R13)")
		if words {
			k.op("LEAQ (DI)(R14*2), DI")
		}
		k.op("LEAQ (SI)(R15*4), SI")
		k.op("ADDQ $4, BX")
		k.op("ADDQ $4, R13")
	})
	k.ret()
}

// pageExp replaces x, which is not positive, by e^x, using t and p: 2^n * 2^f for y = n + f, n added to the exponent. From y = -127
// down that is 0, since then f is 0; above it and below -126 it is a number of that magnitude.
func (k kernel) pageExp(x, t, p int) {
	r := k.r
	k.op("VMULPS %s, %s, %[2]s", r(pageLog2E), r(x))
	k.op("VMAXPS %s, %s, %[1]s", r(x), r(pageLow)) // in this order NaN goes through
	k.op("VADDPS %s, %s, %s", r(pageMagic), r(x), r(t))
	k.op("VSUBPS %s, %s, %s", r(pageMagic), r(t), r(p))
	k.op("VSUBPS %s, %s, %[2]s", r(p), r(x))
	k.op("VPSLLD $23, %s, %[1]s", r(t))
	last := len(pagePoly) - 1
	k.op("VMOVAPS %s, %s", r(pagePolyAt+last-1), r(p))
	for i := last - 1; i > 0; i-- {
		k.op("VFMADD213PS %s, %s, %s", r(pagePolyAt+i-1), r(x), r(p))
	}
	k.opC("VFMADD213PS", pagePoly[0], r(x)+", "+r(p))
	k.opC("VFMADD213PS", 1, r(x)+", "+r(p))
	k.op("VPADDD %s, %s, %s", r(t), r(p), r(x))
}

// products stores the words of 16 exponentials, in registers 0 and 3, for each block: words at R8, factors at DX.
func (k kernel) products() {
	k.load("blocks", "R10")
	k.op("MOVQ DX, R11")
	k.op("MOVQ R8, R15")
	block := func() {
		for h := range 2 {
			k.op("VMULPS %d(R11), Y%d, Y%d", 32*h, 3*h, 3*h+1)
			k.op("VCVTPS2DQ Y%d, Y%[1]d", 3*h+1)
		}
		k.packWords(1, 4)
		k.op("VMOVDQU Y1, (R15)")
		k.op("LEAQ (R11)(R9*4), R11")
		k.op("LEAQ (R15)(R9*2), R15")
	}
	for _, unroll := range []int{2, 1} { // heads of 64 values have two
		k.loop("R10", unroll, func() {
			for range unroll {
				block()
			}
		})
	}
	k.load("ldx", "R15")
	k.op("ADDQ $64, DX")
	k.op("ADDQ $32, R8")
}

// wordFactors writes the kernel for blocks of n scales, a multiple of 16, step apart: factors are the scales times word over the
// largest, whose quotient by word goes to unit, and at least tiny.
func wordFactors(f *file) {
	k := kernel{f.newFn("wordFactors", "", "factor *float32, unit *float32, d *float32, step int, blocks int, n int, tiny float32, word float32", ""), avx2}
	k.load("factor", "DI")
	k.load("unit", "BX")
	k.load("d", "SI")
	k.load("step", "R9")
	k.load("blocks", "R12")
	k.loop("R12", 1, func() {
		k.broadcast("tiny", 0)
		k.op("VMOVAPS Y0, Y1")
		each := func(body func()) {
			k.load("n", "CX")
			k.op("XORQ AX, AX")
			k.loop("CX", 16, func() {
				body()
				k.op("ADDQ $64, AX")
			})
		}
		each(func() {
			for h := range 2 {
				k.op("VMAXPS %d(SI)(AX*1), Y%d, Y%[2]d", 32*h, h)
			}
		})
		k.op("VMAXPS Y1, Y0, Y0")
		k.fold("VMAXPS", 0, 1)
		k.op("VMOVSS %s, X2", k.arg("word"))
		k.op("VDIVSS X2, X0, X1")
		k.op("VMOVSS X1, (BX)")
		k.op("VDIVSS X0, X2, X2")
		k.op("VBROADCASTSS X2, Y2")
		each(func() {
			for h := range 2 {
				k.op("VMULPS %d(SI)(AX*1), Y2, Y%d", 32*h, h)
				k.op("VMOVUPS Y%d, %d(DI)(AX*1)", h, 32*h)
			}
		})
		k.op("LEAQ (DI)(R9*4), DI")
		k.op("LEAQ (SI)(R9*4), SI")
		k.op("ADDQ $4, BX")
	})
	k.ret()
}
