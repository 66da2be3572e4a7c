package gen

import (
	"fmt"
	"strings"
)

// Kernels over packed quantized weights. matrix_layout.go of package simd describes the memory; in short:
//
// A tile is 16 rows. In vectors of codes a 32-bit lane belongs to a row and its 4 bytes to 4 consecutive columns, so a
// product with 4 activations copied to all lanes, summed within lanes, needs no sum across lanes ever. A block is 32
// columns: 8 such vectors, "vector i" holding columns 4i to 4i+3. 64 bytes are one zmm (16 rows) or two ymm (8 rows each).

// codes is a way to store codes: how many bytes a block of a tile takes and how to get vector i of it.
type codes struct {
	name   string
	bytes  int     // of a block
	groups [][]int // vectors that come from one load, in the order they are made
	limit  int     // largest code, 0 where codes are signed bytes
	consts []uint32
	table  []byte // values of nibbles
}

// limits for the sums of products of a code and an activation (at most 127) in 16 bits: how many pairs fit.
func (c codes) pairs() int {
	switch {
	case c.limit <= 16:
		return 8
	case c.limit <= 32:
		return 4
	}
	return 2
}

var (
	nibbleGroups = [][]int{{0, 4}, {1, 5}, {2, 6}, {3, 7}}
	pairGroups   = [][]int{{0, 1, 2, 3}, {4, 5, 6, 7}}
	byteGroups   = [][]int{{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}}

	codes8   = codes{name: "8", bytes: 512, groups: byteGroups}
	codes4   = codes{name: "4", bytes: 256, groups: nibbleGroups, limit: 15, consts: []uint32{0x0f0f0f0f}}
	codes5   = codes{name: "5", bytes: 320, groups: nibbleGroups, limit: 31, consts: []uint32{0x0f0f0f0f, 0x10101010}}
	codes6   = codes{name: "6", bytes: 384, groups: nibbleGroups, limit: 63, consts: []uint32{0x0f0f0f0f, 0x30303030}}
	codes2   = codes{name: "2", bytes: 128, groups: pairGroups, limit: 3, consts: []uint32{0x03030303}}
	codes3   = codes{name: "3", bytes: 192, groups: pairGroups, limit: 7, consts: []uint32{0x03030303, 0x04040404}}
	codesIQ4 = codes{name: "IQ4", bytes: 256, groups: nibbleGroups, consts: []uint32{0x0f0f0f0f},
		table: []byte{129, 152, 173, 191, 207, 221, 234, 246, 1, 13, 25, 38, 53, 69, 89, 113}}
	// Twice the value of a 4-bit float, plus 16.
	codesFP4 = codes{name: "FP4", bytes: 256, groups: nibbleGroups, limit: 28, consts: []uint32{0x0f0f0f0f},
		table: []byte{16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4}}

	allCodes = []codes{codes8, codes4, codes5, codes6, codes2, codes3, codesIQ4, codesFP4}
)

// kind says how integer sums become values. With D the scale of the weights, da that of the activations and s the sum of
// the activations (times da), a block adds to the result
//
//	(D*isum) * da            centred: isum starts at minus the sum of the activations' codes times the code of zero
//	(D*isum) * da + M*s      affine: M is what code 0 stands for
//	(D*isum) * da            signed codes
//
// Signed codes may be affine too. half says that scales change every 16 columns.
type kind struct {
	name                    string
	centred, affine, signed bool
	half                    bool
}

var (
	centred      = kind{name: "C", centred: true}
	affine       = kind{name: "A", affine: true}
	signed       = kind{name: "S", signed: true}
	signedAffine = kind{name: "SA", signed: true, affine: true}
	centredHalf  = kind{name: "CH", centred: true, half: true}
	affineHalf   = kind{name: "AH", affine: true, half: true}
)

// parts returns how many scales a block has.
func (kd kind) parts() int {
	if kd.half {
		return 2
	}
	return 1
}

// matVecs lists which codes occur with which kind.
var matVecs = []struct {
	codes
	kind
}{
	{codes8, signed}, {codes8, signedAffine},
	{codes4, centred}, {codes4, affine},
	{codes5, centred}, {codes5, affine},
	{codes6, centredHalf},
	{codes2, affineHalf}, {codes3, centredHalf},
	{codesIQ4, signed}, {codesFP4, centred},
}

// quantKernel is a kernel over blocks of codes. Registers 15 and 14 hold masks or a table, 13 to 10 are for unpacking,
// the result of which is in 12.
type quantKernel struct {
	kernel
	codes
	vnni  bool
	above bool // signed codes come out of the table with 128 added
}

const (
	mask1, mask2   = 15, 14
	packed, code   = 13, 12
	extra          = 11
	srcCodes, srcQ = "DI", "SI"
)

func newQuantKernel(f *file, v isa, name, doc, params string, c codes) quantKernel {
	return quantKernel{newKernel(f, v, name, doc, params, ""), c, v == avx512, false}
}

// halves returns how many vectors make 16 rows.
func (k quantKernel) halves() int { return 64 / k.isa.bytes }

// unpackConstants loads masks and table.
func (k quantKernel) unpackConstants() {
	for i, w := range k.consts {
		k.words(w, mask1-i)
	}
	if k.vnni && k.codes.name == "8" {
		k.words(0x80808080, mask1)
	}
	k.loadTable(mask2)
}

// loadTable loads the values of nibbles, where they stand for others.
func (k quantKernel) loadTable(reg int) {
	if k.table == nil {
		return
	}
	name := k.file.name + "Table" + k.codes.name
	t := append([]byte(nil), k.table...)
	if k.above {
		name += "U"
		for i := range t {
			t[i] ^= 0x80
		}
	}
	var words []uint32
	for i := 0; i < 16; i += 4 {
		words = append(words, uint32(t[i])|uint32(t[i+1])<<8|uint32(t[i+2])<<16|uint32(t[i+3])<<24)
	}
	k.file.datum(name, words)
	if k.vnni {
		k.op("VBROADCASTI32X4 %s<>(SB), %s", name, k.r(reg))
	} else {
		k.op("VBROADCASTI128 %s<>(SB), %s", name, k.r(reg))
	}
}

// move names the instruction that loads and stores whole vectors of integers.
func (k quantKernel) move() string {
	if k.vnni {
		return "VMOVDQU32"
	}
	return "VMOVDQU"
}

// plane loads 64 bytes (or one half of them) at an offset in the block at base.
func (k quantKernel) plane(base string, disp, h, reg int) {
	k.op("%s %d(%s), %s", k.move(), disp+32*h, base, k.r(reg))
}

// shift moves bits from position a to b of bytes; what crosses bytes is masked by the caller.
func (k quantKernel) shift(from, a, b, to int) {
	switch {
	case a > b:
		k.op("VPSRLD $%d, %s, %s", a-b, k.r(from), k.r(to))
	case a < b:
		k.op("VPSLLD $%d, %s, %s", b-a, k.r(from), k.r(to))
	case from != to:
		k.op("VMOVDQA%s %s, %s", map[bool]string{true: "32"}[k.vnni], k.r(from), k.r(to))
	}
}

// merge ORs bits at position a of the bytes of a plane into the code, at position b under mask2.
func (k quantKernel) merge(base string, disp, h, a, b int) {
	k.plane(base, disp, h, extra)
	k.shift(extra, a, b, extra)
	if k.vnni {
		k.op("VPTERNLOGD $0xF8, %s, %s, %s", k.r(mask2), k.r(extra), k.r(code))
		return
	}
	k.bits("AND", "%s, %s, %[2]s", k.r(mask2), k.r(extra))
	k.bits("OR", "%s, %s, %[2]s", k.r(extra), k.r(code))
}

// unpack makes the vectors of group g for half h from the block at base+disp, handing each to use in register code.
func (k quantKernel) unpack(base string, disp, g, h int, use func(i int)) {
	if k.codes.name == "8" {
		k.plane(base, disp+64*g, h, code)
		use(g)
		return
	}
	k.plane(base, disp+64*g, h, packed)
	width := 8 / len(k.groups[g]) // bits in this plane
	for j, i := range k.groups[g] {
		from := packed
		if j > 0 {
			k.shift(packed, width*j, 0, code)
			from = code
		}
		k.bits("AND", "%s, %s, %s", k.r(mask1), k.r(from), k.r(code))
		switch k.codes.name {
		case "5":
			k.merge(base, disp+256, h, i, 4)
		case "6":
			k.merge(base, disp+256+i/4*64, h, i%4*2, 4)
		case "3":
			k.merge(base, disp+128, h, i, 2)
		case "IQ4", "FP4":
			k.op("VPSHUFB %s, %s, %[1]s", k.r(code), k.r(mask2))
		}
		use(i)
	}
}

// quantFile: one row of activations at a time.
func quantFile() *file {
	f := &file{name: "matvec", about: `
Quantized weights times one row of activations, straight from the packed tiles. See matrix_layout.go for the layout and
matrix_generic.go for the meaning. Sums of a block are exact integers; the float operations that follow are the same, in
the same order, as in the kernels for several rows, so both give the same bits.`}
	for _, v := range isas {
		for _, m := range matVecs {
			if v.has(m.codes, m.kind) {
				matVec(f, v, m.codes, m.kind)
			}
		}
	}
	f.table = matVecTable()
	return f
}

// has reports whether one row of activations meets such codes here: on AVX-512 the kernels of quant_units.go do for all formats that have
// codes of 6 bits, or centred ones of 5.
func (v isa) has(c codes, kd kind) bool {
	return v != avx512 || c.name != "6" && (c.name != "5" || kd != centred)
}

const matVecParams = "dst *float32, codes *byte, scales *float32, mins *float32, q *int8, meta *float32, off int, blocks int, init int"

// matVecTable writes the Go function that picks a kernel.
func matVecTable() string {
	var b strings.Builder
	fmt.Fprintf(&b, "// matVecKernel runs the kernel of those codes and that kind.\n")
	fmt.Fprintf(&b, "func matVecKernel(c codeLayout, kd codeKind, %s) {\n\tswitch int(impl)<<8 | int(c)<<4 | int(kd) {\n", matVecParams)
	for _, v := range isas {
		for _, m := range matVecs {
			if !v.has(m.codes, m.kind) {
				continue
			}
			fmt.Fprintf(&b, "\tcase int(%s)<<8 | int(size%s)<<4 | int(kind%s):\n", strings.ToLower(v.name), m.codes.name, m.kind.name)
			fmt.Fprintf(&b, "\t\tmatVec%s%s%s(%s)\n", m.codes.name, m.kind.name, v.name, names(matVecParams))
		}
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n")
	return b.String()
}

// names returns the names of a parameter list.
func names(params string) string {
	var s []string
	for _, p := range strings.Split(params, ", ") {
		n, _, _ := strings.Cut(p, " ")
		s = append(s, n)
	}
	return strings.Join(s, ", ")
}

// matVec: dst[16] (+)= the tile's rows times q. Two sums of 8 rows (AVX2) or one of 16. meta is the scales of the
// activations, off the distance in bytes to the other numbers a kind needs.
func matVec(f *file, v isa, c codes, kd kind) {
	k := newQuantKernel(f, v, "matVec"+c.name+kd.name, "", matVecParams, c)
	k.above = k.vnni && c.limit == 0
	k.load("codes", srcCodes)
	k.load("q", srcQ)
	k.load("blocks", "CX")
	k.load("dst", "BX")
	k.load("scales", "R8")
	k.load("mins", "R9")
	k.load("meta", "R10")
	k.load("off", "R11")
	k.op("ADDQ R10, R11")
	k.unpackConstants()
	sums := make([]int, k.halves()) // registers 0, 1
	for h := range sums {
		sums[h] = h
	}
	k.initSums(sums, "BX")
	k.loop("CX", 1, func() {
		k.ask(lines(srcCodes, c.bytes))
		if k.vnni {
			k.vecVNNI(kd)
		} else {
			k.vecAVX2(kd)
		}
		k.op("ADDQ $%d, %s", c.bytes, srcCodes)
		k.op("ADDQ $32, %s", srcQ)
		k.op("ADDQ $%d, R8", 64*kd.parts())
		k.op("ADDQ $%d, R9", 64*kd.parts())
		k.op("ADDQ $4, R10")
		k.op("ADDQ $%d, R11", 4*kd.parts())
	})
	for h, r := range sums {
		k.op("VMOVUPS %s, %d(BX)", k.r(r), 32*h)
	}
	k.ret()
}

// How far ahead of the codes in use the next ones are asked for, in bytes.
const (
	prefetch   = 2048 // but for AVX-512
	prefetchL2 = 1024 // AVX-512, to the second cache, where a CPU is not asked farther (see askAhead of package simd)
)

// aheads are the distances that askAhead stands for, from 1 on, to the first cache.
var aheads = []int{2048, 6144}

// ask asks for lines that will be read soon, at the addresses that addr gives for displacements.
func (k kernel) ask(addr func(disp int) []string) {
	if k.isa != avx512 {
		k.ops(prefetches("PREFETCHT0", addr(prefetch)))
		return
	}
	k.nearOrFar(prefetches("PREFETCHT1", addr(prefetchL2)), func(ahead int) []string { return prefetches("PREFETCHT0", addr(ahead)) })
}

// nearOrFar does the instructions of near, or those for the distance that askAhead stands for.
func (k kernel) nearOrFar(near []string, far func(ahead int) []string) {
	next, farther, done := k.label("near"), k.label("far"), k.label("asked")
	k.op("CMPB ·askAhead(SB), $1")
	if len(near) == 0 {
		next = done
	}
	k.op("JLT %s", next)
	k.op("JGT %s", farther)
	k.ops(far(aheads[0]))
	k.op("JMP %s", done)
	k.at(farther)
	k.ops(far(aheads[1]))
	if len(near) > 0 {
		k.op("JMP %s", done)
		k.at(next)
		k.ops(near)
	}
	k.at(done)
}

// prefetches returns the instructions that ask for lines.
func prefetches(op string, addrs []string) (ops []string) {
	for _, a := range addrs {
		ops = append(ops, op+" "+a)
	}
	return ops
}

// lines returns the addresses of the lines in n bytes at base.
func lines(base string, n int) func(disp int) []string {
	return func(disp int) (a []string) {
		for l := 0; l < n; l += 64 {
			a = append(a, fmt.Sprintf("%d(%s)", disp+l, base))
		}
		return a
	}
}

// initSums loads the sums of a row from dst, or zeroes them where init is 0.
func (k quantKernel) initSums(sums []int, dst string) {
	zero, ready := k.label("zero"), k.label("ready")
	k.op("CMPQ %s, $0", k.arg("init"))
	k.op("JEQ %s", zero)
	for h, r := range sums {
		k.op("VMOVUPS %d(%s), %s", 32*h, dst, k.r(r))
	}
	k.op("JMP %s", ready)
	k.at(zero)
	for _, r := range sums {
		k.op("VXORPS X%d, X%[1]d, X%[1]d", r)
	}
	k.at(ready)
}

// vecVNNI: integer sums in registers 2 and 3, of the first and second 16 columns.
func (k quantKernel) vecVNNI(kd kind) {
	start := func(p int) {
		if kd.affine {
			k.op("VPXORD %s, %[1]s, %[1]s", k.r(2+p))
		} else { // signed codes become unsigned by adding 128
			k.op("VPBROADCASTD %d(R11), %s", 4*p, k.r(2+p))
		}
	}
	start(0)
	if kd.half {
		start(1)
	} else {
		k.op("VPXORD %s, %[1]s, %[1]s", k.r(3))
	}
	for g := range k.groups {
		k.unpack(srcCodes, 0, g, 0, func(i int) {
			if k.codes.name == "8" {
				k.bits("XOR", "%s, %s, %[2]s", k.r(mask1), k.r(code))
			}
			k.op("VPDPBUSD.BCST %d(%s), %s, %s", 4*i, srcQ, k.r(code), k.r(2+i/4))
		})
	}
	if !kd.half {
		k.op("VPADDD %s, %s, %[2]s", k.r(3), k.r(2))
		k.toFloat(kd, 0, 0, 2, 0)
		return
	}
	k.toFloat(kd, 0, 0, 2, 0)
	k.toFloat(kd, 1, 0, 3, 0)
}

// toFloat adds the integer sums in register isum, of part p of the block and half h of the rows, to the sums.
func (k quantKernel) toFloat(kd kind, p, h, isum, sum int) {
	scale := 64*p + 32*h
	if kd.centred && !k.vnni {
		k.op("VPBROADCASTD %d(R11), %s", 4*p, k.r(packed))
		k.op("VPADDD %s, %s, %[2]s", k.r(packed), k.r(isum))
	}
	k.op("VCVTDQ2PS %s, %[1]s", k.r(isum))
	k.op("VBROADCASTSS (R10), %s", k.r(extra))
	k.op("VMULPS %d(R8), %s, %[2]s", scale, k.r(isum))
	k.op("VFMADD231PS %s, %s, %s", k.r(extra), k.r(isum), k.r(sum))
	if kd.affine {
		k.op("VBROADCASTSS %d(R11), %s", 4*p, k.r(packed))
		k.op("VFMADD231PS %d(R9), %s, %s", scale, k.r(packed), k.r(sum))
	}
}

// ones is the operand of 16-bit ones that turns pairs of 16-bit sums into 32-bit sums.
func (k quantKernel) ones() string {
	k.file.datum(k.file.name+"Ones", repeat(0x00010001, 8))
	return k.file.name + "Ones<>(SB)"
}

// vecAVX2: registers 2, 3 take 32-bit sums of the two halves of the rows (4, 5 those of the second 16 columns), 6 to 9
// 16-bit sums. 10 holds activations.
func (k quantKernel) vecAVX2(kd kind) {
	const act = 10
	if k.limit == 0 {
		k.signedAVX2(kd)
		return
	}
	part := func(i int) int {
		if kd.half {
			return i / 4
		}
		return 0
	}
	wide := func(p, h int) int { return 2 + 2*p + h }
	narrow := func(p, h int) int { return 6 + 2*p + h }
	count := map[int]int{} // pairs in the 16-bit sums, by part
	flushed := map[int]bool{}
	flush := func(p int) {
		if count[p] == 0 {
			return
		}
		for h := range 2 {
			if flushed[p] {
				k.op("VPMADDWD %s, %s, %[2]s", k.ones(), k.r(narrow(p, h)))
				k.op("VPADDD %s, %s, %[2]s", k.r(narrow(p, h)), k.r(wide(p, h)))
			} else {
				k.op("VPMADDWD %s, %s, %s", k.ones(), k.r(narrow(p, h)), k.r(wide(p, h)))
			}
		}
		count[p], flushed[p] = 0, true
	}
	for g, group := range k.groups {
		for h := range 2 {
			k.unpack(srcCodes, 0, g, h, func(i int) {
				p := part(i)
				n := count[p]
				if !kd.half { // all vectors of the group count before the flush
					n += indexOf(group, i)
				} else if len(group) == 4 {
					n += i % 4
				}
				k.op("VPBROADCASTD %d(%s), %s", 4*i, srcQ, k.r(act))
				if n == 0 {
					k.op("VPMADDUBSW %s, %s, %s", k.r(act), k.r(code), k.r(narrow(p, h)))
					return
				}
				k.op("VPMADDUBSW %s, %s, %[2]s", k.r(act), k.r(code))
				k.op("VPADDW %s, %s, %[2]s", k.r(code), k.r(narrow(p, h)))
			})
		}
		for _, i := range group {
			count[part(i)]++
		}
		next := 0
		if g+1 < len(k.groups) {
			for _, i := range k.groups[g+1] {
				if part(i) == part(group[0]) {
					next++
				}
			}
		}
		for p := range 2 {
			if count[p]+next > k.pairs() || g+1 == len(k.groups) || next == 0 {
				flush(p)
			}
		}
	}
	for p := range 2 {
		if !flushed[p] {
			continue
		}
		for h := range 2 {
			k.toFloat(kd, p, h, wide(p, h), h)
		}
	}
}

func indexOf(s []int, x int) int {
	for i, v := range s {
		if v == x {
			return i
		}
	}
	panic("gen: no such vector")
}

// signedAVX2: |w| times a with the sign of w. Products of two bytes fit in 16 bits in pairs, no more, so each pair goes
// to 32 bits at once.
func (k quantKernel) signedAVX2(kd kind) {
	first := true
	for g, group := range k.groups {
		for h := range 2 {
			k.unpack(srcCodes, 0, g, h, func(i int) {
				k.op("VPBROADCASTD %d(%s), %s", 4*i, srcQ, k.r(10))
				k.op("VPSIGNB %s, %s, %[2]s", k.r(code), k.r(10))
				k.op("VPABSB %s, %[1]s", k.r(code))
				k.op("VPMADDUBSW %s, %s, %[2]s", k.r(10), k.r(code))
				if first && i == group[0] {
					k.op("VPMADDWD %s, %s, %s", k.ones(), k.r(code), k.r(2+h))
					return
				}
				k.op("VPMADDWD %s, %s, %[2]s", k.ones(), k.r(code))
				k.op("VPADDD %s, %s, %[2]s", k.r(code), k.r(2+h))
			})
		}
		first = false
	}
	for h := range 2 {
		k.toFloat(kd, 0, h, 2+h, h)
	}
}
