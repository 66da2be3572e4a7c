package gen

import (
	"fmt"
	"strings"
)

// Kernels of AVX2 for one row of activations and Q4_K, whose headers hold bytes: a header is the scales of a section of 8 blocks in float16, then
// those of the minimums, and for each block 32 bytes that are multiplied with them. They go several tiles side by side as those of
// quant_tiles.go do.
//
// No scale is decoded for its own sake. Sums of products of 16 bits are widened by a multiplication with ones elsewhere; here that is
// one with the bytes of the scales, which makes the integer sum times the scale. That is less than 2^24, so the float operations
// that follow give the same bits: (d*s)*isum and d*(s*isum) both round one exact product. Only the sign of a zero may differ.

// sectionBlocks is the blocks of a section, blockScales the bytes of one in a header and firstScale where they begin, behind the halves.
const sectionBlocks, blockScales, firstScale = 8, 32, 64

// numBytes is what the kernels keep of each tile: 16 float sums, and the section's scales and those of minimums as float32.
const numBytes = 3 * 64

const matSectionParams = "nums *float32, codes *byte, headers *byte, step int, q *int8, meta *float32, off int, sections int, groups int"

func sectionFile() *file {
	f := &file{name: "matsection", about: `
Weights in Q4_K times one row of activations, several tiles side by side, AVX2. See matrix_layout.go for the
layout and vecGeneric in matrix_quant.go for the meaning.`}
	var b strings.Builder
	fmt.Fprintf(&b, "// matSectionKernel runs the kernel of Q4_K for groups of that many tiles.\n")
	fmt.Fprintf(&b, "func matSectionKernel(tiles int, %s) {\n\tswitch tiles {\n", matSectionParams)
	for tiles := 2; tiles > 0; tiles-- {
		k := sectionMul{tileMul{newQuantKernel(f, avx2, fmt.Sprintf("matSection%sx%d", codes4.name, tiles), "", matSectionParams, codes4), affine, tiles}}
		k.write()
		fmt.Fprintf(&b, "\tcase %d:\n\t\t%s(%s)\n", tiles, k.fn.name, names(matSectionParams))
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n")
	f.table = b.String()
	return f
}

// sectionMul is a kernel: the sums of tile t in nums += its rows times q, for groups of one or two tiles, which lie step bytes apart.
type sectionMul struct{ tileMul }

// General registers as in tileMul, but BX leads through nums and R9 counts blocks.
func (k sectionMul) write() {
	for _, p := range [][2]string{{"codes", srcCodes}, {"headers", "R8"}, {"step", "DX"}, {"q", srcQ}, {"meta", "R10"}, {"off", "R11"}, {"sections", "CX"}} {
		k.load(p[0], p[1])
	}
	k.op("ADDQ R10, R11")
	k.unpackConstants()
	k.load("groups", "AX")
	k.op("IMUL3Q $%d, DX, R12", k.tiles)
	k.op("IMULQ AX, R12")
	k.op("LEAQ -%d(R12), R13", blockScales)
	k.op("SUBQ $%d, R12", k.codes.bytes)
	tiles := func(bases []string, body func()) {
		k.load("nums", "BX")
		k.load("groups", "AX")
		k.loop("AX", 1, func() {
			body()
			k.op("ADDQ $%d, BX", numBytes*k.tiles)
			k.forward(bases)
		})
	}
	k.loop("CX", 1, func() {
		tiles([]string{"R8"}, k.prepare)
		k.op("SUBQ R13, R8")
		k.op("ADDQ $%d, R8", firstScale-blockScales)
		k.op("MOVQ $%d, R9", sectionBlocks)
		k.loop("R9", 1, func() {
			tiles([]string{srcCodes, "R8"}, k.block)
			k.op("SUBQ R12, %s", srcCodes)
			k.op("SUBQ R13, R8")
			k.op("ADDQ $32, %s", srcQ)
			k.op("ADDQ $4, R10")
			k.op("ADDQ $4, R11")
		})
	})
	k.ret()
}

// prepare makes the scales of the section float32.
func (k sectionMul) prepare() {
	k.each(func(t, h int) {
		for disp := 0; disp < firstScale; disp += 32 {
			k.op("VCVTPH2PS %d(%s), %s", disp+16*h, k.of(t, "R8"), k.r(0))
			k.op("VMOVUPS %s, %d(BX)", k.r(0), numBytes*t+64+2*disp+32*h)
		}
	})
}

func (k sectionMul) block() {
	k.dot(func(t, h int) string {
		k.op("VBROADCASTI128 (%s), %s", k.of(t, "R8"), k.r(extra))
		k.pick(h, "Pairs", 0x80008000, 0x00010001, extra, extra)
		return k.r(extra)
	})
	k.floats()
}

// pick takes the bytes of half h of the rows from register from, which has them all in both its halves. Control bytes are those of the
// first row, and what is added to them for the next one.
func (k sectionMul) pick(h int, name string, first, step uint32, from, to int) {
	var w []uint32
	for i := range uint32(8) {
		w = append(w, first+(8*uint32(h)+i)*step)
	}
	name = fmt.Sprintf("matsection%s%d", name, h)
	k.file.datum(name, w)
	k.op("VPSHUFB %s<>(SB), %s, %s", name, k.r(from), k.r(to))
}

// floats: sum += (d*isum)*da - (dmin*min)*other, with isum times the scale already.
func (k sectionMul) floats() {
	const da, other, low, mins = extra, packed, code, 10
	k.op("VBROADCASTSS (R10), %s", k.r(da))
	k.op("VBROADCASTSS (R11), %s", k.r(other))
	k.each(func(t, h int) {
		isum, sum, nums := k.r(tileWide+2*t+h), k.r(tileSum), numBytes*t+32*h
		if h == 0 {
			k.op("VBROADCASTI128 16(%s), %s", k.of(t, "R8"), k.r(mins))
		}
		k.pick(h, "Words", 0x80808000, 1, mins, low)
		k.op("VMOVUPS %d(BX), %s", nums, sum)
		k.op("VCVTDQ2PS %s, %[1]s", isum)
		k.op("VCVTDQ2PS %s, %[1]s", k.r(low))
		k.op("VMULPS %d(BX), %s, %[2]s", nums+64, isum)
		k.op("VMULPS %d(BX), %s, %[2]s", nums+128, k.r(low))
		k.op("VFMADD231PS %s, %s, %s", k.r(da), isum, sum)
		k.op("VFNMADD231PS %s, %s, %s", k.r(other), k.r(low), sum)
		k.op("VMOVUPS %s, %d(BX)", sum, nums)
	})
}
