package gen

import (
	"fmt"
	"strings"
)

// Quantized weights: see quant.go for the layout. Four rows of a plane are a vector of 16 bytes, which SDOT multiplies with
// the four activations of a lane: no code is too large for a signed byte, so one way does for all. Without SDOT, products
// become 16 bits wide, are added in pairs, which fit, and those to 32 bits.

// armLevels are the implementations with byte products of their own.
var armLevels = []struct {
	name string
	impl string
	dot  bool
	acts []int // rows of activations that a kernel takes
}{
	{"NEON", "neon", false, []int{2, 1}},
	{"Dot", "dotprod", true, []int{3, 2, 1}},
}

// armKinds are the kinds that kernels for several rows differ by: signed codes need nothing of their own here.
var armKinds = []kind{signed, centred, affine, centredHalf, affineHalf}

func armQuant(f *file) {
	for _, c := range allCodes {
		armExpand(f, c)
	}
	for _, l := range armLevels {
		for _, m := range matVecs {
			armMatVec(f, l.name, l.dot, m.codes, m.kind)
		}
		for _, kd := range armKinds {
			for _, a := range l.acts {
				armMatMul(f, l.name, l.dot, kd, a)
			}
		}
	}
}

// Registers that all of them keep: masks and a table. 27 and 28 are for unpacking.
const (
	armMask1, armMask2, armTable = 31, 30, 29
	armPacked, armExtra          = 28, 27
)

func (k *arm) codeConstants(c codes) {
	for i, w := range c.consts {
		k.bits(w, armMask1-i)
	}
	if c.table == nil {
		return
	}
	for i := 0; i < 16; i += 4 {
		k.tab = append(k.tab, uint32(c.table[i])|uint32(c.table[i+1])<<8|uint32(c.table[i+2])<<16|uint32(c.table[i+3])<<24)
	}
	k.table()
	k.ldq("R10", 0, armTable)
}

// shift8 shifts bits of bytes from position a to b.
func (k *arm) shift8(from, a, b, to int) {
	switch {
	case a > b:
		k.ushr(8, a-b, to, from)
	case a < b:
		k.shl(8, b-a, to, from)
	case from != to:
		k.v2("MOV", to, from)
	}
}

// merge ORs bits at position a of a plane's bytes into the code, at position b under the second mask.
func (k *arm) merge(base string, off, a, b, code int) {
	k.ldq(base, off, armExtra)
	k.shift8(armExtra, a, b, armExtra)
	k.v3("AND", armExtra, armExtra, armMask2)
	k.v3("ORR", code, code, armExtra)
}

// unpack makes the vectors of group g for quarter h of the rows from the block at base, handing each to use in register code.
func (k *arm) unpack(c codes, base string, g, h, code int, use func(i int)) {
	off := 16 * h
	if c.name == "8" {
		k.ldq(base, 64*g+off, code)
		use(g)
		return
	}
	k.ldq(base, 64*g+off, armPacked)
	width := 8 / len(c.groups[g])
	for j, i := range c.groups[g] {
		from := armPacked
		if j > 0 {
			k.shift8(armPacked, width*j, 0, code)
			from = code
		}
		if j < len(c.groups[g])-1 {
			k.v3("AND", code, from, armMask1)
		}
		switch c.name {
		case "5":
			k.merge(base, 256+off, i, 4, code)
		case "6":
			k.merge(base, 256+i/4*64+off, i%4*2, 4, code)
		case "3":
			k.merge(base, 128+off, i, 2, code)
		case "IQ4", "FP4":
			k.v3("TBL", code, armTable, code)
		}
		use(i)
	}
}

func armExpand(f *file, c codes) {
	if c.name == "8" {
		return
	}
	k := newArm(f, "expand"+c.name+"NEON", "", "dst *byte, codes *byte, blocks int", "")
	k.inAll("dst", "codes", "blocks")
	k.codeConstants(c)
	k.repeat("R2", 1, func() {
		for g := range c.groups {
			for h := range 4 {
				k.unpack(c, "R1", g, h, 0, func(i int) { k.stq(0, "R0", 64*i+16*h) })
			}
		}
		k.add(c.bytes, "R1")
		k.add(512, "R0")
	})
	k.done()
	k.endTable()
}

// product adds to isum the products of the codes in register code with lane i of the activations in register q. Without
// SDOT it uses t and t+1.
func (k *arm) product(isum, code, q, i, t int) {
	if k.dot {
		k.sdotE(isum, code, q, i)
		return
	}
	k.dupS(t, q, i)
	k.smull2(t+1, code, t)
	k.v3("SMULL", t, code, t)
	k.v3("ADDP.8H", t, t, t+1)
	k.v2("SADALP.8H", isum, t)
}

// armMatVec: dst[16] (+)= the tile's rows times q. Sums in registers 16 to 19, integer sums in 20 to 23 and, for the second
// half of a block where scales change there, 8 to 11.
func armMatVec(f *file, level string, dot bool, c codes, kd kind) {
	k := newArm(f, "matVec"+c.name+kd.name+level, "", matVecParams, "")
	k.dot = dot
	k.in("dst", "R0")
	k.in("codes", "R1")
	k.in("scales", "R2")
	k.in("mins", "R3")
	k.in("q", "R4")
	k.in("meta", "R5")
	k.in("off", "R6")
	k.in("blocks", "R7")
	k.op("ADD R5, R6, R6")
	k.codeConstants(c)
	k.startVec(4)
	isum := func(p, h int) int { return []int{20, 8}[p] + h }
	k.repeat("R7", 1, func() {
		for l := 0; l < c.bytes; l += 64 {
			k.op("PRFM %d(R1), PLDL1KEEP", prefetch+l)
		}
		k.ldq("R4", 0, 0)
		k.ldq("R4", 16, 1)
		for p := range kd.parts() {
			k.start(kd, "R6", p, 7, func(h int) int { return isum(p, h) })
		}
		for g := range c.groups {
			for h := range 4 {
				k.unpack(c, "R1", g, h, 2, func(i int) {
					p := 0
					if kd.half {
						p = i / 4
					}
					k.product(isum(p, h), 2, i/4, i%4, 4)
				})
			}
		}
		k.lds("R5", 0, 6)
		for p := range kd.parts() {
			if kd.affine {
				k.lds("R6", 4*p, 7)
			}
			for h := range 4 {
				k.toFloat(kd, isum(p, h), 16+h, 64*p+16*h, 6, 7, 3)
			}
		}
		k.add(c.bytes, "R1")
		k.add(32, "R4")
		k.add(64*kd.parts(), "R2")
		k.add(64*kd.parts(), "R3")
		k.add(4, "R5")
		k.add(4*kd.parts(), "R6")
	})
	for h := range 4 {
		k.stq(16+h, "R0", 16*h)
	}
	k.done()
	k.endTable()
}

// start sets the integer sums of part p to zero, or to minus zero's code times the sum of the activations, from base.
func (k *arm) start(kd kind, base string, p, t int, isum func(h int) int) {
	if kd.centred {
		k.lds(base, 4*p, t)
	}
	for h := range 4 {
		if kd.centred {
			k.dupS(isum(h), t, 0)
		} else {
			k.zero(isum(h))
		}
	}
}

// toFloat adds an integer sum to a float sum: scales at R2+off, minimums at R3+off, the scale of the activations and their
// other number in lane 0 of da and other.
func (k *arm) toFloat(kd kind, isum, sum, off, da, other, t int) {
	k.v2("SCVTF", isum, isum)
	k.ldq("R2", off, t)
	k.v3("FMUL", isum, isum, t)
	k.fmlaE(sum, isum, da, 0)
	if kd.affine {
		k.ldq("R3", off, t)
		k.fmlaE(sum, t, other, 0)
	}
}

// armMatMul is a kernel for acts rows of activations at a time, with codes as bytes: see matMul. Float sums in registers
// from 0 on, integer sums behind them, then the rows' activations, then what passes through.
func armMatMul(f *file, level string, dot bool, kd kind, acts int) {
	k := newArm(f, fmt.Sprintf("matMul%sx%d%s", kd.name, acts, level), "", matMulParams, "")
	k.dot = dot
	sum := func(t, h int) int { return 4*t + h }
	isum := func(t, h int) int { return 4*acts + 4*t + h }
	act := func(t, i int) int { return 8*acts + 2*t + i }
	free := 10 * acts // code; then two for products without SDOT
	k.in("ld", "R0")
	k.op("LSL $2, R0, R0")
	k.in("qs", "R1")
	k.in("ms", "R4")
	k.in("dst", "R13")
	k.in("q", "R14")
	k.in("meta", "R15")
	k.in("groups", "R16")
	k.repeat("R16", 1, func() {
		k.in("codes", "R5")
		k.in("scales", "R2")
		k.in("mins", "R3")
		k.in("off", "R6")
		k.in("blocks", "R7")
		k.op("MOVD R14, R8")
		k.op("MOVD R15, R11")
		k.moveSums(acts, sum)
		k.repeat("R7", 1, func() {
			k.matMulBlock(kd, acts, sum, isum, act, free)
		})
		k.op("MOVD R13, R9")
		for t := range acts {
			for h := range 4 {
				k.stq(sum(t, h), "R9", 16*h)
			}
			k.op("ADD R0, R9, R9")
		}
		k.op("MOVD R9, R13")
		for range acts {
			k.op("ADD R1, R14, R14")
			k.op("ADD R4, R15, R15")
		}
	})
	k.done()
}

// moveSums loads the sums from dst, or zeroes them where init is 0.
func (k *arm) moveSums(acts int, sum func(t, h int) int) {
	zero, ready := k.label("zero"), k.label("ready")
	k.in("init", "R9")
	k.op("CBZ R9, %s", zero)
	k.op("MOVD R13, R9")
	for t := range acts {
		for h := range 4 {
			k.ldq("R9", 16*h, sum(t, h))
		}
		k.op("ADD R0, R9, R9")
	}
	k.op("B %s", ready)
	k.at(zero)
	for i := range 4 * acts {
		k.zero(i)
	}
	k.at(ready)
}

// matMulBlock does one block: codes at R5, activations of row 0 at R8 and R1 further for each row, numbers at R11 and R4
// further, the other numbers R6 behind them.
func (k *arm) matMulBlock(kd kind, acts int, sum, isum, act func(a, b int) int, free int) {
	for p := range kd.parts() {
		k.op("MOVD R8, R9")
		k.op("ADD R11, R6, R12")
		for t := range acts {
			for i := range 2 {
				if !kd.half || i == p {
					k.ldq("R9", 16*i, act(t, i))
				}
			}
			k.start(kd, "R12", p, free, func(h int) int { return isum(t, h) })
			k.op("ADD R1, R9, R9")
			k.op("ADD R4, R12, R12")
		}
		first, n := 0, 8
		if kd.half {
			first, n = 4*p, 4
		}
		for i := first; i < first+n; i++ {
			for h := range 4 {
				k.ldq("R5", 64*i+16*h, free)
				for t := range acts {
					k.product(isum(t, h), free, act(t, i/4), i%4, free+1)
				}
			}
		}
		k.op("MOVD R11, R9")
		k.op("ADD R11, R6, R12")
		for t := range acts { // the activations have passed
			k.lds("R9", 0, 8*acts)
			if kd.affine {
				k.lds("R12", 4*p, 8*acts+1)
			}
			k.op("ADD R4, R9, R9")
			k.op("ADD R4, R12, R12")
			for h := range 4 {
				k.toFloat(kd, isum(t, h), sum(t, h), 64*p+16*h, 8*acts, 8*acts+1, free)
			}
		}
	}
	k.add(512, "R5")
	k.add(32, "R8")
	k.add(64*kd.parts(), "R2")
	k.add(64*kd.parts(), "R3")
	k.add(4, "R11")
	if kd.half {
		k.add(4, "R6") // twice as many numbers as scales
	}
}

// armTables writes the Go functions that pick a kernel.
func armTables() string {
	var b strings.Builder
	fmt.Fprintf(&b, "// Code generated by internal/simd/gen. DO NOT EDIT.\n\n//go:build arm64 && !purego\n\npackage simd\n\n")
	fmt.Fprintf(&b, "// gemmTile runs the register tile of that shape.\nfunc gemmTile(rows, panels int, c *float32, ldc int, a *float32, ars, acs int, b *float32, bps, bst, k, init int) {\n\tswitch rows<<4 | panels {\n")
	for _, s := range gemmShapes(avx2) {
		fmt.Fprintf(&b, "\tcase %d<<4 | %d:\n\t\tgemm%[1]dx%[2]dNEON(c, ldc, a, ars, acs, b, bps, bst, k, init)\n", s[0], s[1])
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n\n")
	fmt.Fprintf(&b, "// matVecKernel runs the kernel of those codes and that kind.\nfunc matVecKernel(c codeLayout, kd codeKind, %s) {\n\tswitch int(impl)<<8 | int(c)<<4 | int(kd) {\n", matVecParams)
	for _, l := range armLevels {
		for _, m := range matVecs {
			fmt.Fprintf(&b, "\tcase int(%s)<<8 | int(size%s)<<4 | int(kind%s):\n\t\tmatVec%[2]s%[3]s%[4]s(%[5]s)\n", l.impl, m.codes.name, m.kind.name, l.name, names(matVecParams))
		}
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n\n")
	fmt.Fprintf(&b, "// matMulKernel runs the kernel of that kind and that many rows of activations; codes are bytes here, whatever their size.\n")
	fmt.Fprintf(&b, "func matMulKernel(_ codeLayout, kd codeKind, acts int, %s) {\n\tif kd == kindSA {\n\t\tkd = kindA\n\t}\n\tswitch int(impl)<<16 | int(kd)<<8 | acts {\n", matMulParams)
	for _, l := range armLevels {
		for _, kd := range armKinds {
			for _, a := range l.acts {
				fmt.Fprintf(&b, "\tcase int(%s)<<16 | int(kind%s)<<8 | %d:\n\t\tmatMul%[2]sx%[3]d%[4]s(%[5]s)\n", l.impl, kd.name, a, l.name, names(matMulParams))
			}
		}
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n\n")
	fmt.Fprintf(&b, "// expandKernel unpacks codes to bytes.\nfunc expandKernel(c codeLayout, dst *byte, codes *byte, blocks int, _, _, _ int) {\n\tswitch c {\n")
	for _, c := range allCodes {
		if c.name != "8" {
			fmt.Fprintf(&b, "\tcase size%s:\n\t\texpand%[1]sNEON(dst, codes, blocks)\n", c.name)
		}
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n")
	return b.String()
}
