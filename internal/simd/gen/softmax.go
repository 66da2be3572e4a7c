package gen

import "math"

// Scores of a page of keys become exponentials, all steps of a row in one go: a page is too short for a call each.
func softmaxFile() *file {
	f := &file{name: "softmax", about: `
A row of scores becomes exponentials relative to the largest: see softmax.go. One kernel does for both widths.`}
	softmaxRow(f, false)
	softmaxRow(f, true)
	return f
}

// softmaxRow writes the kernel for n scores, a multiple of 16: the float32 at top is the least that the reference may be and becomes
// the reference, the one at sum becomes the sum. Exponentials replace the scores or, times the factors of each of the blocks, go
// out as words, for rows of scores ldx apart and of words ldp apart; no reference is given for words.
func softmaxRow(f *file, words bool) {
	name, params := "softmaxFloats", "x *float32, n int, top *float32, sum *float32"
	if words {
		name, params = "softmaxWords", "p *int16, ldp int, x *float32, ldx int, factor *float32, step int, blocks int, n int, rows int, top *float32, sum *float32"
	}
	k := kernel{f.newFn(name, "", params, ""), avx2}
	k.load("x", "SI")
	k.load("top", "BX")
	k.load("sum", "R13")
	k.set(expLow, "Y14")
	row := func() {
		k.load("n", "CX")
		k.op("MOVQ SI, AX")
		if words {
			k.set(float32(math.Inf(-1)), "Y0")
		} else {
			k.op("VBROADCASTSS (BX), Y0")
		}
		k.op("VMOVAPS Y0, Y1")
		k.loop("CX", 16, func() {
			k.op("VMAXPS (AX), Y0, Y0")
			k.op("VMAXPS 32(AX), Y1, Y1")
			k.op("ADDQ $64, AX")
		})
		k.op("VMAXPS Y1, Y0, Y0")
		k.fold("VMAXPS", 0, 1)
		k.op("VMOVSS X0, (BX)")
		k.op("VBROADCASTSS X0, Y11")
		k.opC("VMAXPS", -math.MaxFloat32, "Y11, Y11") // no score at all: exponentials of -Inf
		k.zero(12)
		k.zero(13)
		k.load("n", "CX")
		k.op("MOVQ SI, AX")
		k.loop("CX", 16, func() {
			for h := range 2 {
				x := 5 * h
				k.op("VMOVUPS %d(AX), Y%d", 32*h, x)
				k.op("VSUBPS Y11, Y%d, Y%[1]d", x)
				k.exp(x, x+1, x+2, x+3, false)
				k.op("VADDPS Y%d, Y%d, Y%[2]d", x, 12+h)
				if !words {
					k.op("VMOVUPS Y%d, %d(AX)", x, 32*h)
				}
			}
			if words {
				k.products()
			}
			k.op("ADDQ $64, AX")
		})
		k.op("VADDPS Y13, Y12, Y0")
		k.fold("VADDPS", 0, 1)
		k.op("VMOVSS X0, (R13)")
	}
	if !words {
		row()
		k.ret()
		return
	}
	k.load("p", "DI")
	k.load("ldp", "R14")
	k.load("ldx", "R15")
	k.load("step", "R9")
	k.load("rows", "R12")
	k.loop("R12", 1, func() {
		k.op("MOVQ DI, R8")
		k.load("factor", "DX")
		row()
		k.op("LEAQ (DI)(R14*2), DI")
		k.op("LEAQ (SI)(R15*4), SI")
		k.op("ADDQ $4, BX")
		k.op("ADDQ $4, R13")
	})
	k.ret()
}

// products stores the words of 16 exponentials, in registers 0 and 5, for each block: words at R8, factors at DX.
func (k kernel) products() {
	k.load("blocks", "R10")
	k.op("MOVQ DX, R11")
	k.op("MOVQ R8, R15")
	k.loop("R10", 1, func() {
		for h := range 2 {
			k.op("VMULPS %d(R11), Y%d, Y%d", 32*h, 5*h, 5*h+1)
			k.op("VCVTPS2DQ Y%d, Y%[1]d", 5*h+1)
		}
		k.packWords(1, 6)
		k.op("VMOVDQU Y1, (R15)")
		k.op("LEAQ (R11)(R9*4), R11")
		k.op("LEAQ (R15)(R9*2), R15")
	})
	k.load("ldx", "R15")
	k.op("ADDQ $64, DX")
	k.op("ADDQ $32, R8")
}
