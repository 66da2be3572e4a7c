package gen

import (
	"fmt"
	"strings"
)

// Rows of a prompt on AMX in bfloat16: weights are dequantized to it, 16 rows by 32 columns at a time, in the order that the unit wants
// its second operand, and sums stay floats in tiles, so that nothing happens between blocks. Sums of a row and a weight are one chain
// over the blocks, whatever is beside them.

// brainBlock is the bytes of 16 rows of 32 columns in bfloat16.
const brainBlock = 1024

const (
	brainWeightsParams = "dst *byte, codes *byte, scales *float32, mins *float32, blocks int"
	amxBrainParams     = "dst *float32, ld int, w *byte, step int, x *byte, xs int, xb int, gs int, blocks int, groups int, panels int, init int, config *byte, next *byte, apart int, ahead int"
)

func amxBrainFile() *file {
	f := &file{name: "amxbrain", about: `
Rows of bfloat16 in tiles times weights in tiles, AMX, and the dequantizing of these. See acts_brains.go for the order of the rows.`}
	var b strings.Builder
	fmt.Fprintf(&b, "// brainWeightsKernel dequantizes blocks of signed codes, or of unsigned ones with minimums, with parts scales each.\n")
	fmt.Fprintf(&b, "func brainWeightsKernel(parts int, affine bool, %s) {\n\tswitch {\n", brainWeightsParams)
	for parts := 1; parts <= 2; parts++ {
		for _, affine := range []bool{false, true} {
			name, not := brainWeights(f, parts, affine), "!"
			if affine {
				not = ""
			}
			fmt.Fprintf(&b, "\tcase parts == %d && %saffine:\n\t\t%s(%s)\n", parts, not, name, names(brainWeightsParams))
		}
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n\n")
	fmt.Fprintf(&b, "// amxBrainKernel multiplies groups of 16 (acts is 1) or 32 (2) rows with panels of that many tiles of weights.\n")
	fmt.Fprintf(&b, "func amxBrainKernel(acts, tiles int, %s) {\n\tswitch acts<<4 | tiles {\n", amxBrainParams)
	for acts := 1; acts <= 2; acts++ {
		for tiles := 1; tiles <= 2; tiles++ {
			name := amxBrain(f, acts, tiles)
			fmt.Fprintf(&b, "\tcase %d<<4 | %d:\n\t\t%s(%s)\n", acts, tiles, name, names(amxBrainParams))
		}
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n")
	f.table = b.String()
	return f
}

// brainWeights: registers 0 to 3 are the four columns of a vector of codes, 4 and 5 pairs of them, 20 and 21 scale and minimum, 24 to 27
// constants. A code in the uppermost byte of a lane is a float of 2^24 times its value, which the scale takes back.
func brainWeights(f *file, parts int, affine bool) string {
	name := fmt.Sprintf("brainWeightsC%d", parts)
	convert := "VCVTDQ2PS"
	if affine {
		name = fmt.Sprintf("brainWeightsA%d", parts)
		convert = "VCVTUDQ2PS"
	}
	k := kernel{f.newFn(name, "", brainWeightsParams, ""), avx512}
	top := func(b uint32) string { // shuffles byte b of each lane to its top
		var bytes [4]uint32
		for lane := range bytes {
			bytes[lane] = (uint32(4*lane)+b)<<24 | 0x808080
		}
		f.datum(fmt.Sprintf("brainByte%d", b), bytes[:])
		return fmt.Sprintf("brainByte%d<>(SB)", b)
	}
	k.wordOrder(24)
	k.op("VBROADCASTI32X4 %s, Z25", top(1))
	k.op("VBROADCASTI32X4 %s, Z26", top(2))
	k.op("VPBROADCASTD %s, Z27", f.const32(0xff000000))
	k.op("VBROADCASTSS %s, Z28", f.const32(0x33800000)) // 2^-24
	k.load("dst", "DI")
	k.load("codes", "SI")
	k.load("scales", "R8")
	k.load("mins", "R9")
	k.load("blocks", "CX")
	k.loop("CX", 1, func() {
		for v := range 8 {
			if v%(8/parts) == 0 {
				k.op("VMULPS %d(R8), Z28, Z20", 64*(v/4%parts))
				if affine {
					k.op("VMOVUPS %d(R9), Z21", 64*(v/4%parts))
				}
			}
			k.op("VMOVDQU32 %d(SI), Z4", 64*v)
			k.op("VPSLLD $24, Z4, Z0")
			k.op("VPSHUFB Z25, Z4, Z1")
			k.op("VPSHUFB Z26, Z4, Z2")
			k.op("VPANDD Z27, Z4, Z3")
			for i := range 4 {
				k.op("%s Z%d, Z%[2]d", convert, i)
				if affine {
					k.op("VFMADD213PS Z21, Z20, Z%d", i)
				} else {
					k.op("VMULPS Z20, Z%d, Z%[1]d", i)
				}
			}
			for p := range 2 {
				k.brainPair(2*p, 2*p+1, fmt.Sprintf("%d(DI)", 64*(2*v+p)))
			}
		}
		k.op("ADDQ $512, SI")
		k.op("ADDQ $%d, DI", brainBlock)
		k.op("ADDQ $%d, R8", 64*parts)
		k.op("ADDQ $%d, R9", 64*parts)
	})
	k.ret()
	return name
}

// amxBrain: tiles 0 to 3 are sums (row by row of the register tile), 4 and 5 activations, 6 and 7 weights. SI walks over activations, DI
// over weights, R8 and R9 are the second of each, R10 the result, BX is how far the rows of activations are apart. AX, and R15 further, ask for what comes after all this, some bytes a block.
func amxBrain(f *file, acts, tiles int) string {
	name := fmt.Sprintf("amxBrain%dx%d", acts, tiles)
	k := kernel{f.newFn(name, "", amxBrainParams, ""), avx512}
	k.load("config", "AX")
	k.tileConfig("AX")
	k.op("MOVQ $64, DX")
	k.load("ld", "R11")
	k.op("SHLQ $2, R11")
	k.op("MOVQ R11, R13")
	k.op("SHLQ $4, R13") // 16 rows of the result
	k.load("gs", "R12")
	k.load("next", "AX")
	k.load("apart", "R15")
	k.frame = 8 // groups to go
	panel := k.label("panel")
	k.at(panel)
	k.load("dst", "R10")
	k.load("x", "SI")
	k.load("groups", "CX")
	k.op("MOVQ CX, 0(SP)")
	top, zero, ready := k.label("group"), k.label("zero"), k.label("ready")
	sums := func(load bool) {
		for a := range acts {
			at := "R10"
			if a == 1 {
				k.op("LEAQ (R10)(R13*1), BX")
				at = "BX"
			}
			for t := range tiles {
				if load {
					k.tileLoad(2*a+t, at, 64*t, "R11")
				} else {
					k.tileStore(2*a+t, at, 64*t, "R11")
				}
			}
		}
	}
	k.at(top)
	k.load("w", "DI")
	k.load("step", "R9")
	k.op("ADDQ DI, R9")
	k.op("LEAQ (SI)(R12*1), R8")
	k.load("blocks", "CX")
	k.op("CMPQ %s, $0", k.arg("init"))
	k.op("JEQ %s", zero)
	sums(true)
	k.op("JMP %s", ready)
	k.at(zero)
	for a := range acts {
		for t := range tiles {
			k.tileZero(2*a + t)
		}
	}
	k.at(ready)
	k.load("xs", "BX")
	k.loop("CX", 1, func() {
		k.op("PREFETCHT1 (AX)")
		k.op("PREFETCHT1 (AX)(R15*1)")
		k.op("ADDQ %s, AX", k.arg("ahead"))
		k.tileLoad(6, "DI", 0, "DX")
		k.tileLoad(4, "SI", 0, "BX")
		k.tileDotBrain(0, 4, 6)
		if tiles == 2 {
			k.tileLoad(7, "R9", 0, "DX")
			k.tileDotBrain(1, 4, 7)
		}
		if acts == 2 {
			k.tileLoad(5, "R8", 0, "BX")
			k.tileDotBrain(2, 5, 6)
			if tiles == 2 {
				k.tileDotBrain(3, 5, 7)
			}
		}
		k.op("ADDQ %s, SI", k.arg("xb"))
		k.op("ADDQ %s, R8", k.arg("xb"))
		k.op("ADDQ $%d, DI", brainBlock)
		k.op("ADDQ $%d, R9", brainBlock)
	})
	sums(false)
	k.load("blocks", "CX")
	k.op("IMULQ %s, CX", k.arg("xb"))
	k.op("SUBQ CX, SI")
	for range acts {
		k.op("ADDQ R12, SI")
		k.op("ADDQ R13, R10")
	}
	k.op("SUBQ $1, 0(SP)")
	k.op("JNE %s", top)
	k.load("step", "CX")
	k.op("IMULQ $%d, CX", tiles)
	k.op("ADDQ CX, %s", k.arg("w"))
	k.op("ADDQ $%d, %s", 64*tiles, k.arg("dst"))
	k.op("SUBQ $1, %s", k.arg("panels"))
	k.op("JNE %s", panel)
	k.tileRelease()
	k.ret()
	return name
}
