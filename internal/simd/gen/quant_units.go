package gen

import (
	"fmt"
	"strings"
)

// Kernels of AVX-512 for one row of activations or a few and tiles whose headers lie among the codes, each ahead of the blocks it is for
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
	// A float32 for any number of blocks, which the caller tells, and for affine codes another one that goes with it.
	headerF32 = unitHeader{"F32", 0, 0}
)

var matUnits = []struct {
	codes
	kind
	unitHeader
}{
	{codes8, signed, header16}, {codes4, centred, header16}, {codes5, centred, header16}, {codesIQ4, signed, header16},
	{codes4, affine, headerQ4}, {codes5, affine, headerQ4},
	{codes6, centredHalf, headerQ6},
	{codes4, centred, headerF32}, {codes4, affine, headerF32}, {codes8, signed, headerF32}, {codes8, signedAffine, headerF32},
}

// sideAhead is how far ahead rows of tiles side by side are asked for, in bytes, to the second cache.
const sideAhead = 1024

const matUnitParams = "dst *float32, ld int, tile *byte, q *int8, qs int, meta *float32, ms int, off int, blocks int, unit int, tiles int, init int"

// unitShapes lists how many rows of activations and how many tiles side by side the kernels take: more than one are more than one
// stream of memory.
var unitShapes = [][2]int{{1, 1}, {2, 1}, {3, 1}, {4, 1}, {8, 1}, {1, 4}}

func unitFile() *file {
	f := &file{name: "matunit", about: `
Quantized weights times one row of activations or a few, headers among the codes, AVX-512. See matrix_layout.go for the layout, vecGeneric
in matrix_quant.go for the meaning and acts_groups.go for where the activations of several rows are. Sums of a block are exact integers; the
float operations that follow are the same, in the same order, in all kernels, so all give the same bits.`}
	var b strings.Builder
	fmt.Fprintf(&b, "// matUnitKernel runs the kernel of those codes and that kind for so many rows of activations and tiles, one behind the other, or in side\n")
	fmt.Fprintf(&b, "// rows of tiles, qs bytes and ld sums apart, of which one tile each is multiplied at a time.\n")
	fmt.Fprintf(&b, "func matUnitKernel(h headerLayout, c codeLayout, kd codeKind, acts, side int, %s) {\n\tswitch int(h)<<20 | int(c)<<16 | int(kd)<<12 | acts<<4 | side {\n", matUnitParams)
	for _, m := range matUnits {
		for _, s := range unitShapes {
			name := fmt.Sprintf("matUnit%s%s%sx%d", m.unitHeader.name, m.codes.name, m.kind.name, s[0])
			if s[1] > 1 {
				name += fmt.Sprintf("side%d", s[1])
			}
			k := unitMul{newQuantKernel(f, avx512, name, "", matUnitParams, m.codes), m.kind, m.unitHeader, s[0], s[1], 0}
			k.above = m.codes.limit == 0 // 128 is added to signed values
			k.write()
			fmt.Fprintf(&b, "\tcase int(header%s)<<20 | int(size%s)<<16 | int(kind%s)<<12 | %d<<4 | %d:\n\t\t%s(%s)\n", m.unitHeader.name, m.codes.name, m.kind.name, s[0], s[1], k.fn.name, names(matUnitParams))
		}
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n")
	f.table = b.String()
	unitScales(f)
	return f
}

// unitMul is a kernel: dst[t*ld+16j+r] (+)= row r of tile j times row t of the activations.
type unitMul struct {
	quantKernel
	kd     kind
	header unitHeader
	acts   int
	side   int // tiles side by side
	tile   int // the one in work
}

// Registers: float sums from 0 on, integer sums from 8 on. Of tiles side by side each has its own integer sums and numbers of a unit.
const (
	unitSideD    = 4
	unitSideDMin = 25

	unitISum  = 8
	unitCode  = 16 // a vector of codes
	unitExtra = 17
	unitScale = 18 // of the block
	unitMin   = 19
	unitD     = 20 // those of the unit
	unitDMin  = 21
	unitSign  = 22
	unitMask1 = 23
	unitMask2 = 24
)

// General registers: DI the unit, SI the activations of up to four rows and DX the distance of the next four, R10 their scales, R11 their
// other numbers and R8 the distance, BX dst and R9 the distance of rows, CX counts blocks, AX tiles. Of tiles side by side DX is the distance and
// R8 three times that, and R9 that of their results.
func (k unitMul) write() {
	k.load("tile", srcCodes)
	k.load("tiles", "AX")
	k.load("qs", "DX")
	if k.side > 1 {
		k.op("LEAQ (DX)(DX*2), R8")
	} else {
		k.load("ms", "R8")
	}
	k.load("ld", "R9")
	k.op("SHLQ $2, R9")
	k.unpackConstants()
	k.loop("AX", k.side, func() {
		k.load("q", srcQ)
		k.load("meta", "R10")
		k.load("off", "R11")
		k.op("ADDQ R10, R11")
		k.load("blocks", "CX")
		k.moveSums(true, "BX", "ADDQ R9, BX", k.acts*k.side, 1, func(t, _ int) int { return t })
		switch k.header {
		case headerF32:
			k.loop("CX", 1, k.group)
		case header16:
			k.loop("CX", k.header.blocks, func() { k.unit(k.header.blocks) })
			k.loop("CX", 1, func() { k.unit(1) })
		default:
			k.loop("CX", k.header.blocks, func() { k.unit(k.header.blocks) })
		}
		k.moveSums(false, "BX", "ADDQ R9, BX", k.acts*k.side, 1, func(t, _ int) int { return t })
		k.op("ADDQ $64, %s", k.arg("dst"))
	})
	k.ret()
}

// tiles calls f for each of the tiles side by side.
func (k unitMul) tiles(f func(k unitMul)) {
	for k.tile = 0; k.tile < k.side; k.tile++ {
		f(k)
	}
}

// at is the memory of the tile in work, disp bytes on.
func (k unitMul) at(disp int) string {
	switch {
	case k.tile == 0:
		return fmt.Sprintf("%d(%s)", disp, srcCodes)
	case k.tile == 3:
		return fmt.Sprintf("%d(%s)(R8*1)", disp, srcCodes)
	}
	return fmt.Sprintf("%d(%s)(DX*%d)", disp, srcCodes, k.tile)
}

// d and dMin are the registers of a unit's scale and minimum.
func (k unitMul) d() int {
	if k.side > 1 {
		return unitSideD + k.tile
	}
	return unitD
}

func (k unitMul) dMin() int {
	if k.side > 1 {
		return unitSideDMin + k.tile
	}
	return unitDMin
}

// unpackConstants loads masks, a table and the sign bits.
func (k unitMul) unpackConstants() {
	for i, w := range k.consts {
		k.words(w, unitMask1+i)
	}
	if k.codes.name == "8" {
		k.words(0x80808080, unitMask1)
	}
	k.loadTable(unitMask2)
	if k.apart() {
		k.words(0xf0f0f0f0, unitMask2)
	}
	if k.kd.affine {
		k.words(0x80000000, unitSign)
	}
}

// unit multiplies with n blocks behind one header.
func (k unitMul) unit(n int) {
	k.tiles(func(k unitMul) {
		if k.header.name != "16" {
			k.op("VCVTPH2PS %s, %s", k.at(0), k.r(k.d()))
		}
		if k.kd.affine { // the minimum is taken away
			k.op("VCVTPH2PS %s, %s", k.at(32), k.r(k.dMin()))
			k.op("VPXORD %s, %s, %[2]s", k.r(unitSign), k.r(k.dMin()))
		}
	})
	for b := range n {
		k.tiles(func(k unitMul) {
			k.fetch(b)
			for p := range k.kd.parts() {
				k.part(b, p)
			}
		})
	}
	k.op("ADDQ $%d, %s", k.header.bytes, srcCodes)
	k.advance(n)
}

// group multiplies with as many blocks as share a scale: R12 counts them, and CX lacks them but one in the end.
func (k unitMul) group() {
	k.load("unit", "R12")
	k.op("SUBQ R12, CX")
	k.op("INCQ CX")
	k.tiles(func(k unitMul) {
		k.op("VMOVUPS %s, %s", k.at(0), k.r(k.d()))
		if k.kd.affine {
			k.zero(k.dMin())
			k.op("VADDPS %s, %s, %[2]s", k.at(64), k.r(k.dMin()))
			k.op("VMULPS %s, %s, %[2]s", k.r(k.d()), k.r(k.dMin()))
		}
	})
	if k.kd.affine {
		k.op("ADDQ $64, %s", srcCodes)
	}
	k.op("ADDQ $64, %s", srcCodes)
	k.loop("R12", 1, func() {
		k.tiles(func(k unitMul) {
			k.fetch(0)
			k.part(0, 0)
		})
		k.advance(1)
	})
}

// advance leads the addresses on by n blocks.
func (k unitMul) advance(n int) {
	k.op("ADDQ $%d, %s", n*k.codes.bytes, srcCodes)
	k.op("ADDQ $%d, %s", n*k.lanes()*32, srcQ)
	k.op("ADDQ $%d, R10", n*k.lanes()*4)
	k.op("ADDQ $%d, R11", n*k.lanes()*4*k.kd.parts())
}

// fetch asks for codes far behind those of block b where so many instructions belong to a block that the CPU cannot look that far ahead by
// itself, or where it is one that does not. With the first block it asks for a header's lines too: here they come in the order of memory, and not in that of use.
func (k unitMul) fetch(b int) {
	at := k.header.bytes + b*k.codes.bytes
	ask := func(op string, disp, bytes int) (ops []string) {
		for l := 0; l < bytes; l += 64 {
			ops = append(ops, op+" "+k.at(disp+l))
		}
		return ops
	}
	if k.side > 1 {
		if b == 0 {
			k.ops(ask("PREFETCHT1", sideAhead, k.header.bytes))
		}
		k.ops(ask("PREFETCHT1", sideAhead+at, k.codes.bytes))
		return
	}
	if k.codes.name == "8" && k.acts < 8 { // so few instructions that nobody needs to be asked
		return
	}
	var near []string
	if b == 0 {
		near = ask("PREFETCHT0", 64, k.header.bytes-64)
	}
	switch {
	case k.acts == 8 || k.acts == 4:
		near = append(near, ask("PREFETCHT0", prefetch+at, k.codes.bytes)...)
	case k.acts == 1 && k.codes.name == "6":
		near = append(near, ask("PREFETCHT1", 512+at, k.codes.bytes)...)
	}
	k.nearOrFar(near, func(ahead int) (far []string) {
		if k.codes.name == "6" && ahead > aheads[0] {
			ahead += 1024 // measured: 4 % more than without, and than with 2048
		}
		if b == 0 {
			far = ask("PREFETCHT0", ahead, k.header.bytes)
		}
		return append(far, ask("PREFETCHT0", ahead+at, k.codes.bytes)...)
	})
}

// lanes is how many rows of activations lie side by side.
func (k unitMul) lanes() int {
	if k.acts == 1 {
		return 1
	}
	return 4 // a group, see acts_groups.go
}

// of is the address of number n of row t where every block has size bytes of each row.
func (k unitMul) of(base, distance string, t, size, n int) string {
	at := n/size*size*k.lanes() + t%k.lanes()*size + n%size
	if t >= k.lanes() {
		return fmt.Sprintf("%d(%s)(%s*1)", at, base, distance)
	}
	return fmt.Sprintf("%d(%s)", at, base)
}

// part does part p of block b: all of it, or 16 columns.
func (k unitMul) part(b, p int) {
	first, n, chains := 0, 8, 1
	if k.kd.half {
		first, n = 4*p, 4
	} else if k.acts < 4 || k.apart() { // sums on their way hide the latency
		chains = 2
	}
	isum := func(t, c int) int { return unitISum + (t+k.tile)*chains + c }
	scale, low := unitScale, unitMin
	if k.header == headerF32 {
		scale, low = k.d(), k.dMin()
	}
	other := func(t int) string { return k.of("R11", "R8", t, 4, 4*(k.kd.parts()*b+p)) }
	for t := range k.acts {
		for c := range chains {
			if k.kd.affine || c > 0 {
				k.op("VPXORD %s, %[1]s, %[1]s", k.r(isum(t, c)))
			} else { // signed codes become unsigned by adding 128
				k.op("VPBROADCASTD %s, %s", other(t), k.r(isum(t, c)))
			}
		}
	}
	for i := first; i < first+n; i++ {
		k.vector(k.header.bytes+b*k.codes.bytes, i)
		for t := range k.acts {
			k.op("VPDPBUSD.BCST %s, %s, %s", k.of(srcQ, "DX", t, 32, 32*b+4*i), k.r(unitCode), k.r(isum(t, i/4%chains)))
		}
	}
	k.scales(b, p)
	for t := range k.acts {
		s := k.r(isum(t, 0))
		if k.apart() {
			k.op("VPSRAD $4, %s, %[1]s", k.r(isum(t, 1)))
		}
		if chains == 2 {
			k.op("VPADDD %s, %s, %[2]s", k.r(isum(t, 1)), s)
		}
		k.op("VCVTDQ2PS %s, %[1]s", s)
		k.op("VMULPS %s, %s, %[2]s", k.r(scale), s)
		k.op("VFMADD231PS.BCST %s, %s, %s", k.of("R10", "R8", t, 4, 4*b), s, k.r(t+k.tile))
		if k.kd.affine {
			k.op("VFMADD231PS.BCST %s, %s, %s", other(t), k.r(low), k.r(t+k.tile))
		}
	}
}

// apart reports whether high nibbles stay where they are, 16 times what they stand for, and have sums of their own.
func (k unitMul) apart() bool { return k.codes.name == "4" && k.acts <= 4 }

// vector makes vector i of the codes at disp. Operands come straight from memory: a CPU looks so many instructions ahead, and the fewer a
// block takes the more of it is on its way.
func (k unitMul) vector(disp, i int) {
	plane := func(p int) string { return k.at(disp + 64*p) }
	code := k.r(unitCode)
	if k.codes.name == "8" {
		k.op("VPXORD %s, %s, %s", plane(i), k.r(unitMask1), code)
		return
	}
	if i < 4 {
		k.op("VPANDD %s, %s, %s", plane(i), k.r(unitMask1), code)
	} else if k.apart() {
		k.op("VPANDD %s, %s, %s", plane(i-4), k.r(unitMask2), code)
	} else {
		k.op("VPSRLD $4, %s, %s", plane(i-4), code)
		k.op("VPANDD %s, %s, %[2]s", k.r(unitMask1), code)
	}
	switch k.codes.name {
	case "IQ4":
		k.op("VPSHUFB %s, %s, %[1]s", code, k.r(unitMask2))
	case "5":
		k.mergeBits(plane(4), i, 4)
	case "6":
		k.mergeBits(plane(4+i/4), i%4*2, 4)
	}
}

// mergeBits ORs bits at position a of the bytes of a plane in memory into the code, at position b under the second mask.
func (k unitMul) mergeBits(plane string, a, b int) {
	switch {
	case a > b:
		k.op("VPSRLD $%d, %s, %s", a-b, plane, k.r(unitExtra))
	case a < b:
		k.op("VPSLLD $%d, %s, %s", b-a, plane, k.r(unitExtra))
	default:
		k.op("VPTERNLOGD $0xF8, %s, %s, %s", plane, k.r(unitMask2), k.r(unitCode))
		return
	}
	k.op("VPTERNLOGD $0xF8, %s, %s, %s", k.r(unitExtra), k.r(unitMask2), k.r(unitCode))
}

// scales makes the scale of part p of block b, and its minimum.
func (k unitMul) scales(b, p int) {
	number := func(extend string, disp, unit, to int) {
		k.op("%s %s, %s", extend, k.at(disp), k.r(to))
		k.op("VCVTDQ2PS %s, %[1]s", k.r(to))
		k.op("VMULPS %s, %s, %[2]s", k.r(unit), k.r(to))
	}
	switch k.header {
	case header16:
		k.op("VCVTPH2PS %s, %s", k.at(32*b), k.r(unitScale))
	case headerQ4:
		number("VPMOVZXBD", 64+32*b, k.d(), unitScale)
		number("VPMOVZXBD", 80+32*b, k.dMin(), unitMin)
	case headerQ6:
		number("VPMOVSXBD", 32+32*b+16*p, k.d(), unitScale)
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
