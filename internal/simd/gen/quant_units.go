package gen

import (
	"fmt"
	"strings"
)

// Kernels of AVX-512 for one row of activations and tiles whose headers lie among the codes, each ahead of the blocks it is for
// (a unit, see matrix_layout.go). A matrix is then read byte after byte from front to back: one stream, which what fetches ahead in
// the CPU follows at the full rate of memory. Headers at the front of a tile are a second stream when they are read along with the
// codes, and when they are read before, nothing multiplies meanwhile.

// unitHeader is how scales lie in the header of a unit.
type unitHeader struct {
	name   string
	blocks int // of a unit
	bytes  int // of its header
}

var (
	header16 = unitHeader{"16", 2, 64}   // a float16 for each of two blocks
	headerQ4 = unitHeader{"Q4K", 8, 320} // two float16, and two bytes for each block
	headerQ6 = unitHeader{"Q6K", 8, 288} // a float16, and two signed bytes for each block
)

var matUnits = []struct {
	codes
	kind
	unitHeader
}{
	{codes8, signed, header16}, {codes4, centred, header16}, {codes5, centred, header16}, {codesIQ4, signed, header16},
	{codes4, affine, headerQ4}, {codes5, affine, headerQ4},
	{codes6, centredHalf, headerQ6},
}

const matUnitParams = "dst *float32, tile *byte, q *int8, meta *float32, off int, blocks int, tiles int, init int"

func unitFile() *file {
	f := &file{name: "matunit", about: `
Quantized weights times one row of activations, headers among the codes, AVX-512. See matrix_layout.go for the layout and vecGeneric in
matrix_quant.go for the meaning. Sums of a block are exact integers; the float operations that follow are the same, in the same order,
as in the kernels for several rows, so both give the same bits.`}
	var b strings.Builder
	fmt.Fprintf(&b, "// matUnitKernel runs the kernel of those codes and that kind for that many tiles, one behind the other.\n")
	fmt.Fprintf(&b, "func matUnitKernel(c codeLayout, kd codeKind, %s) {\n\tswitch int(c)<<4 | int(kd) {\n", matUnitParams)
	for _, m := range matUnits {
		name := "matUnit" + m.codes.name + m.kind.name
		k := unitMul{newQuantKernel(f, avx512, name, "", matUnitParams, m.codes), m.kind, m.unitHeader}
		k.above = m.codes.limit == 0
		k.write()
		fmt.Fprintf(&b, "\tcase int(size%s)<<4 | int(kind%s):\n\t\t%s(%s)\n", m.codes.name, m.kind.name, k.fn.name, names(matUnitParams))
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n")
	f.table = b.String()
	unitScales(f)
	return f
}

// unitMul is a kernel: dst[16t+r] (+)= row r of tile t times q.
type unitMul struct {
	quantKernel
	kd     kind
	header unitHeader
}

// Registers: the sum of the tile in 0, integer sums in 2 and 3, a scale in 4 and a minimum in 5, those of the unit in 6 and 7.
//
// General registers: DI the unit, SI activations, R10 their scales, R11 their other numbers, BX dst, CX counts blocks, AX tiles.
func (k unitMul) write() {
	k.load("tile", srcCodes)
	k.load("tiles", "AX")
	k.load("dst", "BX")
	k.unpackConstants()
	k.loop("AX", 1, func() {
		k.load("q", srcQ)
		k.load("meta", "R10")
		k.load("off", "R11")
		k.op("ADDQ R10, R11")
		k.load("blocks", "CX")
		k.initSums([]int{0}, "BX")
		k.loop("CX", k.header.blocks, func() { k.unit(k.header.blocks) })
		if k.header.name == "16" {
			k.loop("CX", 1, func() { k.unit(1) })
		}
		k.op("VMOVUPS %s, (BX)", k.r(0))
		k.op("ADDQ $64, BX")
	})
	k.ret()
}

// unit multiplies with n blocks behind one header.
func (k unitMul) unit(n int) {
	if k.header.name != "16" {
		k.op("VCVTPH2PS (%s), %s", srcCodes, k.r(6))
	}
	if k.kd.affine { // the minimum is taken away
		k.op("VCVTPH2PS 32(%s), %s", srcCodes, k.r(7))
		k.op("VPXORD %s, %s, %[2]s", k.r(8), k.r(7))
	}
	for line := 64; line < k.header.bytes; line += 64 { // in the order of memory
		k.op("PREFETCHT0 %d(%s)", line, srcCodes)
	}
	for b := range n {
		for l := 0; l < k.codes.bytes && k.codes.name == "6"; l += 64 { // whose many instructions leave the CPU little to look ahead
			k.op("PREFETCHT1 %d(%s)", 512+k.header.bytes+b*k.codes.bytes+l, srcCodes)
		}
		k.block(b)
	}
	k.op("ADDQ $%d, %s", k.header.bytes+n*k.codes.bytes, srcCodes)
	k.op("ADDQ $%d, %s", 32*n, srcQ)
	k.op("ADDQ $%d, R10", 4*n)
	k.op("ADDQ $%d, R11", 4*n*k.kd.parts())
}

// unpackConstants loads the sign bits too.
func (k unitMul) unpackConstants() {
	k.quantKernel.unpackConstants()
	if k.kd.affine {
		k.words(0x80000000, 8)
	}
}

func (k unitMul) block(b int) {
	for p := range 2 {
		if k.kd.affine || p >= k.kd.parts() {
			k.op("VPXORD %s, %[1]s, %[1]s", k.r(2+p))
		} else { // signed codes become unsigned by adding 128
			k.op("VPBROADCASTD %d(R11), %s", 4*(k.kd.parts()*b+p), k.r(2+p))
		}
	}
	for i := range 8 {
		k.vector(k.header.bytes+b*k.codes.bytes, i)
		k.op("VPDPBUSD.BCST %d(%s), %s, %s", 32*b+4*i, srcQ, k.r(code), k.r(2+i/4))
	}
	if !k.kd.half {
		k.op("VPADDD %s, %s, %[2]s", k.r(3), k.r(2))
	}
	for p := range k.kd.parts() {
		k.scales(b, p)
		k.op("VCVTDQ2PS %s, %[1]s", k.r(2+p))
		k.op("VMULPS %s, %s, %[2]s", k.r(4), k.r(2+p))
		k.op("VFMADD231PS.BCST %d(R10), %s, %s", 4*b, k.r(2+p), k.r(0))
		if k.kd.affine {
			k.op("VFMADD231PS.BCST %d(R11), %s, %s", 4*b, k.r(5), k.r(0))
		}
	}
}

// vector makes vector i of the codes at disp. Operands come straight from memory: a CPU looks so many instructions ahead, and the fewer a
// block takes the more of it is on its way.
func (k unitMul) vector(disp, i int) {
	plane := func(p int) string { return fmt.Sprintf("%d(%s)", disp+64*p, srcCodes) }
	if k.codes.name == "8" {
		k.op("VPXORD %s, %s, %s", plane(i), k.r(mask1), k.r(code))
		return
	}
	if i < 4 {
		k.op("VPANDD %s, %s, %s", plane(i), k.r(mask1), k.r(code))
	} else {
		k.op("VPSRLD $4, %s, %s", plane(i-4), k.r(code))
		k.op("VPANDD %s, %s, %[2]s", k.r(mask1), k.r(code))
	}
	switch k.codes.name {
	case "IQ4":
		k.op("VPSHUFB %s, %s, %[1]s", k.r(code), k.r(mask2))
	case "5":
		k.mergeBits(plane(4), i, 4)
	case "6":
		k.mergeBits(plane(4+i/4), i%4*2, 4)
	}
}

// mergeBits ORs bits at position a of the bytes of a plane in memory into the code, at position b under mask2.
func (k unitMul) mergeBits(plane string, a, b int) {
	switch {
	case a > b:
		k.op("VPSRLD $%d, %s, %s", a-b, plane, k.r(extra))
	case a < b:
		k.op("VPSLLD $%d, %s, %s", b-a, plane, k.r(extra))
	default:
		k.op("VPTERNLOGD $0xF8, %s, %s, %s", plane, k.r(mask2), k.r(code))
		return
	}
	k.op("VPTERNLOGD $0xF8, %s, %s, %s", k.r(extra), k.r(mask2), k.r(code))
}

// scales makes the scale of part p of block b, and its minimum.
func (k unitMul) scales(b, p int) {
	number := func(extend string, disp, unit, to int) {
		k.op("%s %d(%s), %s", extend, disp, srcCodes, k.r(to))
		k.op("VCVTDQ2PS %s, %[1]s", k.r(to))
		k.op("VMULPS %s, %s, %[2]s", k.r(unit), k.r(to))
	}
	switch k.header {
	case header16:
		k.op("VCVTPH2PS %d(%s), %s", 32*b, srcCodes, k.r(4))
	case headerQ4:
		number("VPMOVZXBD", 64+32*b, 6, 4)
		number("VPMOVZXBD", 80+32*b, 7, 5)
	case headerQ6:
		number("VPMOVSXBD", 32+32*b+16*p, 6, 4)
	}
}

// unitScales: n scales in float16 from the headers of units of two blocks, which lie step bytes apart, as float32.
func unitScales(f *file) {
	k := newKernel(f, avx512, "unitScales", "", "scales *float32, headers *byte, step int, n int", "")
	k.load("scales", "DI")
	k.load("headers", "SI")
	k.load("step", "DX")
	k.load("n", "CX")
	for _, n := range []int{2, 1} {
		k.loop("CX", n, func() {
			for i := range n {
				k.op("VCVTPH2PS %d(SI), %s", 32*i, k.r(i))
				k.op("VMOVUPS %s, %d(DI)", k.r(i), 64*i)
			}
			k.op("ADDQ $%d, DI", 64*n)
			k.op("ADDQ DX, SI")
		})
	}
	k.ret()
}
