package gen

import (
	"fmt"
	"strings"
)

// Kernels for several rows of activations. Codes are unpacked to bytes first, a chunk that stays in the first cache, and
// then meet all rows.

// expand: dst[block][64 i] = vector i of the block, less the code of zero where there is one. In AVX-512 skip bytes lie behind every
// unit blocks.
func expand(f *file, v isa, c codes) {
	params := "dst *byte, codes *byte, blocks int"
	if v == avx512 { // AVX2's kernels take codes as they are
		params += ", zero int, unit int, skip int"
	}
	k := newQuantKernel(f, v, "expand"+c.name, "", params, c)
	k.load("dst", "BX")
	k.load("codes", srcCodes)
	k.load("blocks", "CX")
	k.unpackConstants()
	if v == avx512 {
		k.load("zero", "AX")
		k.op("VMOVD AX, X0")
		k.op("VPBROADCASTB X0, %s", k.r(0))
		k.load("unit", "R8")
		k.load("skip", "R9")
		k.op("MOVQ R8, R10")
	}
	k.loop("CX", 1, func() {
		if v == avx512 { // AVX2's kernels ask while they multiply
			k.ask(lines(srcCodes, c.bytes))
		}
		for g := range c.groups {
			for h := range k.halves() {
				k.unpack(srcCodes, 0, g, h, func(i int) {
					if v == avx512 {
						k.op("VPSUBB %s, %s, %[2]s", k.r(0), k.r(code))
					}
					k.op("%s %s, %d(BX)", k.move(), k.r(code), 64*i+32*h)
				})
			}
		}
		k.op("ADDQ $%d, %s", c.bytes, srcCodes)
		k.op("ADDQ $512, BX")
		if v == avx512 {
			more := k.label("more")
			k.op("SUBQ $1, R10")
			k.op("JNE %s", more)
			k.op("MOVQ R8, R10")
			k.op("ADDQ R9, %s", srcCodes)
			k.at(more)
		}
	})
	k.ret()
}

// matMuls lists the kernels for several rows. What matters of the codes is their size, which decides how sums are taken
// in AVX2 (quant_groups.go), so formats share them.
var matMuls = []struct {
	codes
	kind
}{
	{codes8, signed}, {codes8, signedAffine},
	{codes4, centred}, {codes4, affine}, {codes4, centredHalf}, {codes4, affineHalf},
	{codes5, centred}, {codes5, affine},
	{codes6, centredHalf},
}

// actRows lists how many rows of activations the kernels take.
var actRows = []int{12, 8, 4, 2, 1}

func matMulFile() *file {
	f := &file{name: "matmul", about: `
Quantized weights times several rows of activations. Codes come as bytes, 16 rows by 4 columns in 64 bytes. See
matrix_layout.go for the layout and matrix_generic.go for the meaning.`}
	for _, c := range allCodes {
		expand(f, avx512, c)
	}
	for _, m := range matMuls {
		for _, a := range actRows {
			newMatMul(f, avx512, m.codes, m.kind, a)
		}
	}
	f.table = matMulTable()
	return f
}

const matMulParams = "dst *float32, ld int, codes *byte, scales *float32, mins *float32, q *int8, qs int, meta *float32, ms int, off int, blocks int, groups int, init int"

func matMulName(v isa, c codes, kd kind, acts int) string {
	return fmt.Sprintf("matMul%s%sx%d%s", c.name, kd.name, acts, v.name)
}

// matMulTable writes the Go function that picks a kernel.
func matMulTable() string {
	var b strings.Builder
	fmt.Fprintf(&b, "// matMulKernel runs the AVX-512 kernel of those codes, that kind and that many rows of activations.\n")
	fmt.Fprintf(&b, "func matMulKernel(c codeLayout, kd codeKind, acts int, %s) {\n\tswitch int(c)<<12 | int(kd)<<8 | acts {\n", matMulParams)
	for _, m := range matMuls {
		for _, a := range actRows {
			fmt.Fprintf(&b, "\tcase int(size%s)<<12 | int(kind%s)<<8 | %d:\n", m.codes.name, m.kind.name, a)
			fmt.Fprintf(&b, "\t\t%s(%s)\n", matMulName(avx512, m.codes, m.kind, a), names(matMulParams))
		}
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n\n")
	fmt.Fprintf(&b, "// expandKernel unpacks codes to bytes, for AVX-512; signed bytes less a zero of 128 are unsigned.\n")
	fmt.Fprintf(&b, "func expandKernel(c codeLayout, dst *byte, codes *byte, blocks int, zero int, unit int, skip int) {\n\tswitch c {\n")
	for _, c := range allCodes {
		fmt.Fprintf(&b, "\tcase size%s:\n\t\texpand%[1]sAVX512(dst, codes, blocks, zero, unit, skip)\n", c.name)
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n")
	return b.String()
}

// matMul is a kernel for acts rows of activations at a time: dst[t*ld+r] (+)= row r of the tile times row t of q. Row t's
// activations start at q+t*qs, its scales at meta+t*ms and the other numbers a kind needs off bytes behind them. It does
// groups of acts rows one after the other.
type matMul struct {
	quantKernel
	kd   kind
	acts int
}

func newMatMul(f *file, v isa, c codes, kd kind, acts int) {
	name := strings.TrimSuffix(matMulName(v, c, kd, acts), v.name)
	k := matMul{newQuantKernel(f, v, name, "",
		matMulParams, c), kd, acts}
	k.write()
}

// General registers: q of rows 0, 3, 6, 9 in SI, R8, R9, R10 and their distance in DX; DI codes; R11 scales; R12 mins;
// R15 meta, AX its distance, BX off; R13 walks over meta or dst. The group's own q, meta and dst are kept in the arguments.
func (k matMul) write() {
	bases := []string{"SI", "R8", "R9", "R10"}[:(k.acts+2)/3]
	k.op("SHLQ $2, %s", k.arg("ld"))
	k.load("qs", "DX")
	k.load("ms", "AX")
	group, done := k.label("group"), k.label("done")
	k.at(group)
	k.load("q", "SI")
	k.rowBases(bases, "DX")
	k.load("codes", "DI")
	k.load("scales", "R11")
	k.load("mins", "R12")
	k.load("meta", "R15")
	k.load("off", "BX")
	k.load("blocks", "CX")
	k.moveSums(true, "R13", "ADDQ "+k.arg("ld")+", R13", k.acts, 1, k.sum)
	k.loop("CX", 1, func() {
		for p := range k.kd.parts() {
			k.part(p, bases)
		}
		k.op("ADDQ $512, DI")
		for _, b := range bases {
			k.op("ADDQ $32, %s", b)
		}
		k.op("ADDQ $%d, R11", 64*k.kd.parts())
		k.op("ADDQ $%d, R12", 64*k.kd.parts())
		k.op("ADDQ $4, R15")
		if k.kd.half {
			k.op("ADDQ $4, BX") // twice as many numbers as scales
		}
	})
	k.moveSums(false, "R13", "ADDQ "+k.arg("ld")+", R13", k.acts, 1, k.sum)
	k.op("SUBQ $1, %s", k.arg("groups"))
	k.op("JEQ %s", done)
	k.load("ld", "CX")
	for _, p := range [][2]string{{"q", "DX"}, {"meta", "AX"}, {"dst", "CX"}} {
		k.op("IMUL3Q $%d, %s, R13", k.acts, p[1])
		k.op("ADDQ R13, %s", k.arg(p[0]))
	}
	k.op("JMP %s", group)
	k.at(done)
	k.ret()
}

// sum is the register of the float sums of row t, half h.
func (k matMul) sum(t, h int) int { return k.acts*k.halves() + t*k.halves() + h }

// isum is that of the integer sums.
func (k matMul) isum(t, h int) int { return t*k.halves() + h }

// moveSums loads the sums of rows by cols vectors of 64 bytes from dst (or zeroes them where init is 0), or stores them. base is a general
// register to walk with, next the instruction that leads it to the next row.
func (k kernel) moveSums(load bool, base, next string, rows, cols int, sum func(t, j int) int) {
	zero, ready := k.label("zero"), k.label("ready")
	if load {
		k.op("CMPQ %s, $0", k.arg("init"))
		k.op("JEQ %s", zero)
	}
	k.load("dst", base)
	for t := range rows {
		for j := range cols {
			m, r := fmt.Sprintf("%d(%s)", 64*j, base), k.r(sum(t, j))
			if !load {
				m, r = r, m
			}
			k.op("VMOVUPS %s, %s", m, r)
		}
		if t+1 < rows {
			k.op("%s", next)
		}
	}
	if !load {
		return
	}
	k.op("JMP %s", ready)
	k.at(zero)
	for t := range rows {
		for j := range cols {
			k.zero(sum(t, j))
		}
	}
	k.at(ready)
}

// act is the operand of the 4 activations of row t for vector i.
func (k matMul) act(bases []string, t, i int) string { return third(bases[t/3], "DX", t%3, 4*i) }

// part does part p of a block: all of it, or 16 columns.
func (k matMul) part(p int, bases []string) {
	first, n := 0, 8
	if k.kd.half {
		first, n = 4*p, 4
	}
	k.dot(first, n, bases)
	k.floats(p)
}

func (k matMul) dot(first, n int, bases []string) {
	const w = 24
	if !k.kd.affine { // minus zero's code times the sum of the activations
		k.op("MOVQ R15, R13")
		for t := range k.acts {
			k.op("VPBROADCASTD %d(R13)(BX*1), %s", first, k.r(k.isum(t, 0)))
			if t+1 < k.acts {
				k.op("ADDQ AX, R13")
			}
		}
	} else {
		for t := range k.acts {
			k.op("VPXORD %s, %[1]s, %[1]s", k.r(k.isum(t, 0)))
		}
	}
	for i := first; i < first+n; i++ {
		k.op("VMOVDQU32 %d(DI), %s", 64*i, k.r(w))
		for t := range k.acts {
			k.op("VPDPBUSD.BCST %s, %s, %s", k.act(bases, t, i), k.r(w), k.r(k.isum(t, 0)))
		}
	}
}

// floats adds the integer sums of part p to the float sums: the same operations as quantKernel.toFloat.
func (k matMul) floats(p int) {
	const scale, low = 24, 25
	k.op("VMOVUPS %d(R11), %s", 64*p, k.r(scale))
	if k.kd.affine {
		k.op("VMOVUPS %d(R12), %s", 64*p, k.r(low))
	}
	k.op("MOVQ R15, R13")
	for t := range k.acts {
		i, s := k.r(k.isum(t, 0)), k.r(k.sum(t, 0))
		k.op("VCVTDQ2PS %s, %[1]s", i)
		k.op("VMULPS %s, %s, %[2]s", k.r(scale), i)
		k.op("VFMADD231PS.BCST (R13), %s, %s", i, s)
		if k.kd.affine {
			k.op("VFMADD231PS.BCST %d(R13)(BX*1), %s, %s", 4*p, k.r(low), s)
		}
		if t+1 < k.acts {
			k.op("ADDQ AX, R13")
		}
	}
}
