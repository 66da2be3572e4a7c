package gen

import (
	"fmt"
	"strings"
)

// Kernels of AVX2 for one row of activations and formats whose headers hold bytes: a header is the scales in float16 of a section of
// 8 blocks, where there are minimums a second such array, and for each block 32 bytes that are multiplied with them. They go several
// tiles side by side as those of quant_tiles.go do.
//
// No scale is decoded for its own sake. Sums of products of 16 bits are widened by a multiplication with ones elsewhere; here that is
// one with the bytes of the scales, which makes the integer sum times the scale. That is less than 2^24, so the float operations
// that follow give the same bits: (d*s)*isum and d*(s*isum) both round one exact product. Only the sign of a zero may differ.

// sectionBlocks is the blocks of a section, blockScales the bytes of one in a header.
const sectionBlocks, blockScales = 8, 32

// numBytes is what the kernels keep of each tile: 16 float sums, and the section's scales and those of minimums as float32.
const numBytes = 3 * 64

const matSectionParams = "nums *float32, codes *byte, headers *byte, step int, q *int8, meta *float32, off int, sections int, groups int"

func sectionFile() *file {
	f := &file{name: "matsection", about: `
Quantized weights times one row of activations, several tiles side by side, AVX2, for headers of bytes. See matrix_layout.go for the
layout and vecGeneric in matrix_quant.go for the meaning.`}
	var b strings.Builder
	fmt.Fprintf(&b, "// matSectionKernel runs the kernel of those codes for groups of that many tiles.\n")
	fmt.Fprintf(&b, "func matSectionKernel(c codeLayout, tiles int, %s) {\n\tswitch int(c)<<4 | tiles {\n", matSectionParams)
	for _, m := range []struct {
		codes
		kind
	}{{codes4, affine}, {codes5, affine}, {codes6, centredHalf}} {
		for tiles := 2; tiles > 0; tiles-- {
			k := sectionMul{tileMul{newQuantKernel(f, avx2, fmt.Sprintf("matSection%sx%d", m.codes.name, tiles), "", matSectionParams, m.codes), m.kind, tiles}}
			k.write()
			fmt.Fprintf(&b, "\tcase int(size%s)<<4 | %d:\n\t\t%s(%s)\n", m.codes.name, tiles, k.fn.name, names(matSectionParams))
		}
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
		k.op("ADDQ $%d, R8", k.firstScale()-blockScales)
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

// firstScale is where the bytes begin in a header, behind the halves.
func (k sectionMul) firstScale() int {
	if k.kd.affine {
		return 64
	}
	return 32
}

// prepare makes the scales of the section float32. Signed bytes come 256 times too large, so these are that much smaller.
func (k sectionMul) prepare() {
	if !k.kd.affine {
		k.words(0x3b800000, 1) // 1/256
	}
	k.each(func(t, h int) {
		for disp := 0; disp < k.firstScale(); disp += 32 {
			k.op("VCVTPH2PS %d(%s), %s", disp+16*h, k.of(t, "R8"), k.r(0))
			if !k.kd.affine {
				k.op("VMULPS %s, %s, %[2]s", k.r(1), k.r(0))
			}
			k.op("VMOVUPS %s, %d(BX)", k.r(0), numBytes*t+64+2*disp+32*h)
		}
	})
}

func (k sectionMul) block() {
	if k.kd.half {
		k.dotHalves()
		k.floatsHalves()
	} else {
		k.dot(func(t, h int) string {
			k.op("VBROADCASTI128 (%s), %s", k.of(t, "R8"), k.r(extra))
			k.pick(h, "Pairs", 0x80008000, 0x00010001, extra, extra)
			return k.r(extra)
		})
		k.floats()
	}
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

// narrow is the register of the sums of part p of a block.
func (k sectionMul) narrow(p, t, h int) int { return 4*p + 2*t + h }

// dotHalves: products of codes of six bits and 16 columns add up modulo 2^16; less 32 times the activations, which is what code zero
// stands for, the sum fits.
func (k sectionMul) dotHalves() {
	const t0, t1 = 9, 10
	for g, group := range k.groups {
		k.acts(group)
		k.each(func(t, h int) {
			k.unpack(k.of(t, srcCodes), 0, g, h, func(i int) {
				act, sum := k.r(tileActs[indexOf(group, i)]), k.r(k.narrow(i/4, t, h))
				if g == 0 {
					k.op("VPMADDUBSW %s, %s, %s", act, k.r(code), sum)
					return
				}
				k.op("VPMADDUBSW %s, %s, %[2]s", act, k.r(code))
				k.op("VPADDW %s, %s, %[2]s", k.r(code), sum)
			})
		})
	}
	k.words(0x20202020, t0)
	k.op("VPMADDUBSW (%s), %s, %s", srcQ, k.r(t0), k.r(t1))
	for _, order := range []int{0x4e, 0xb1} {
		k.op("VPSHUFD $%d, %s, %s", order, k.r(t1), k.r(t0))
		k.op("VPADDW %s, %s, %[2]s", k.r(t0), k.r(t1))
	}
	k.op("VPERMQ $0x44, %s, %s", k.r(t1), k.r(t0))
	k.op("VPERMQ $0xEE, %s, %s", k.r(t1), k.r(t1))
	for p, zero := range []int{t0, t1} {
		k.each(func(t, h int) {
			sum := k.r(k.narrow(p, t, h))
			if h == 0 {
				k.op("VBROADCASTI128 %d(%s), %s", 16*p, k.of(t, "R8"), k.r(packed))
			}
			k.pick(h, "High", 0x00800080, 0x01000100, packed, code) // to the upper bytes, for their sign
			k.op("VPSUBW %s, %s, %[2]s", k.r(zero), sum)
			k.op("VPMADDWD %s, %s, %[2]s", k.r(code), sum)
		})
	}
}

// floatsHalves: sum += (d*isum)*da for both parts, with isum times the scale already.
func (k sectionMul) floatsHalves() {
	const da = extra
	k.op("VBROADCASTSS (R10), %s", k.r(da))
	k.each(func(t, h int) {
		sum, nums := k.r(tileSum), numBytes*t+32*h
		k.op("VMOVUPS %d(BX), %s", nums, sum)
		for p := range 2 {
			isum := k.r(k.narrow(p, t, h))
			k.op("VCVTDQ2PS %s, %[1]s", isum)
			k.op("VMULPS %d(BX), %s, %[2]s", nums+64, isum)
			k.op("VFMADD231PS %s, %s, %s", k.r(da), isum, sum)
		}
		k.op("VMOVUPS %s, %d(BX)", sum, nums)
	})
}
