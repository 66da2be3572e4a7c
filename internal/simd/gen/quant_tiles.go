package gen

import (
	"fmt"
	"strings"
)

// Kernels of AVX2 for one row of activations and formats whose headers are scales in float16. Several tiles go side by side, a
// block of each in turn: each is a stream of memory for what fetches ahead in the CPU, which brings more with four streams than with
// one, and more by itself than when it is asked for lines. Two tiles meet an activation that has been copied to all lanes once.

const matTileParams = "dst *float32, codes *byte, scales *byte, step int, q *int8, meta *float32, off int, blocks int, groups int, init int"

func tileFile() *file {
	f := &file{name: "mattile", about: `
Quantized weights times one row of activations, several tiles side by side, AVX2. See matrix_layout.go for the layout and
vecGeneric in matrix_quant.go for the meaning. Sums of a block are exact integers; the float operations that follow are the same, in
the same order, as in the kernels for several rows, so both give the same bits.`}
	var all []tileMul
	for _, m := range matVecs {
		if m.kind.affine || m.kind.half || m.codes.name == "FP4" { // their headers are more than that
			continue
		}
		for tiles := 2; tiles > 0; tiles-- {
			k := tileMul{newQuantKernel(f, avx2, fmt.Sprintf("matTile%s%sx%d", m.codes.name, m.kind.name, tiles), "", matTileParams, m.codes), m.kind, tiles}
			k.write()
			all = append(all, k)
		}
	}
	f.table = matTileTable(all)
	return f
}

// tileMul is a kernel: dst[16t+r] (+)= row r of tile t times q, for groups of one or two tiles, which lie step bytes apart. scales
// is their headers, meta the scales of the activations and off the distance in bytes to the other numbers a kind needs. Sums stay in
// dst; the other groups give the time that takes.
type tileMul struct {
	quantKernel
	kd    kind
	tiles int
}

// matTileTable writes the Go function that picks a kernel.
func matTileTable(all []tileMul) string {
	var b strings.Builder
	fmt.Fprintf(&b, "// matTileKernel runs the kernel of those codes and that kind for groups of that many tiles.\n")
	fmt.Fprintf(&b, "func matTileKernel(c codeLayout, kd codeKind, tiles int, %s) {\n\tswitch int(c)<<12 | int(kd)<<8 | tiles {\n", matTileParams)
	for _, k := range all {
		fmt.Fprintf(&b, "\tcase int(size%s)<<12 | int(kind%s)<<8 | %d:\n\t\t%s(%s)\n", k.codes.name, k.kd.name, k.tiles, k.fn.name, names(matTileParams))
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n")
	return b.String()
}

// Registers: 16-bit sums of the halves of the tiles' rows in 0 to 3, 32-bit sums in 4 to 7.
const (
	tileWide = 4
	tileSum  = 8
	tileOnes = mask1 // of bytes, which need no mask
)

var tileActs = []int{10, 9} // activations in all lanes

// General registers: DI codes, R8 headers, DX their step, SI activations, R10 their scales, R11 their other numbers, BX dst, AX and CX
// count groups and blocks, R12 and R13 lead from behind the last tile to the next block of the first one.
func (k tileMul) write() {
	for _, p := range [][2]string{{"codes", srcCodes}, {"scales", "R8"}, {"step", "DX"}, {"q", srcQ}, {"meta", "R10"}, {"off", "R11"},
		{"blocks", "CX"}, {"dst", "BX"}, {"groups", "AX"}} {
		k.load(p[0], p[1])
	}
	k.op("ADDQ R10, R11")
	k.unpackConstants()
	if k.codes.name == "8" {
		k.words(0x00010001, tileOnes)
	}
	k.op("IMUL3Q $%d, DX, R12", k.tiles)
	k.op("IMULQ AX, R12")
	k.op("LEAQ -32(R12), R13")
	k.op("SUBQ $%d, R12", k.codes.bytes)
	k.startSums()
	k.loop("CX", 1, func() {
		k.load("dst", "BX")
		k.load("groups", "AX")
		k.loop("AX", 1, func() {
			if k.limit == 0 {
				k.dotSigned()
			} else {
				k.dot(func(t, h int) string { return k.ones() })
			}
			k.floats()
			k.op("ADDQ $%d, BX", 64*k.tiles)
			k.forward([]string{srcCodes, "R8"})
		})
		k.op("SUBQ R12, %s", srcCodes)
		k.op("SUBQ R13, R8")
		k.op("ADDQ $32, %s", srcQ)
		k.op("ADDQ $4, R10")
		k.op("ADDQ $4, R11")
	})
	k.ret()
}

// forward leads addresses to the next group.
func (k tileMul) forward(bases []string) {
	for _, p := range bases {
		if k.tiles == 2 {
			k.op("LEAQ (%s)(DX*2), %[1]s", p)
		} else {
			k.op("ADDQ DX, %s", p)
		}
	}
}

// of is the base of an address in tile t of a group.
func (k tileMul) of(t int, base string) string {
	if t == 0 {
		return base
	}
	return base + ")(DX*1"
}

func (k tileMul) each(f func(t, h int)) {
	for t := range k.tiles {
		for h := range 2 {
			f(t, h)
		}
	}
}

// startSums zeroes the sums where init is 0.
func (k tileMul) startSums() {
	ready := k.label("ready")
	k.op("CMPQ %s, $0", k.arg("init"))
	k.op("JNE %s", ready)
	k.op("VXORPS X0, X0, X0")
	k.loop("AX", 1, func() {
		k.each(func(t, h int) { k.op("VMOVUPS Y0, %d(BX)", 64*t+32*h) })
		k.op("ADDQ $%d, BX", 64*k.tiles)
	})
	k.at(ready)
}

// acts copies the activations of a group of vectors to all lanes.
func (k tileMul) acts(group []int) {
	for j, i := range group {
		k.op("VPBROADCASTD %d(%s), %s", 4*i, srcQ, k.r(tileActs[j]))
	}
}

// dot: sums of products in 16 bits go to 32 bits before they might not hold those of another group, multiplied by what factor names for
// half h of tile t.
func (k tileMul) dot(factor func(t, h int) string) {
	pairs, wide := 0, false
	for g, group := range k.groups {
		k.acts(group)
		k.each(func(t, h int) {
			sum := k.r(2*t + h)
			k.unpack(k.of(t, srcCodes), 0, g, h, func(i int) {
				j := indexOf(group, i)
				if pairs+j == 0 {
					k.op("VPMADDUBSW %s, %s, %s", k.r(tileActs[j]), k.r(code), sum)
					return
				}
				k.op("VPMADDUBSW %s, %s, %[2]s", k.r(tileActs[j]), k.r(code))
				k.op("VPADDW %s, %s, %[2]s", k.r(code), sum)
			})
		})
		if pairs += len(group); g+1 < len(k.groups) && pairs+len(k.groups[g+1]) <= k.pairs() {
			continue
		}
		k.each(func(t, h int) {
			from, to := k.r(2*t+h), k.r(tileWide+2*t+h)
			if by := factor(t, h); wide {
				k.op("VPMADDWD %s, %s, %[2]s", by, from)
				k.op("VPADDD %s, %s, %[2]s", from, to)
			} else {
				k.op("VPMADDWD %s, %s, %s", by, from, to)
			}
		})
		pairs, wide = 0, true
	}
}

// dotSigned: |w| times a with the sign of w. Products of two bytes fit in 16 bits in pairs, no more, so each pair goes to 32 bits
// at once.
func (k tileMul) dotSigned() {
	for g, group := range k.groups {
		k.acts(group)
		k.each(func(t, h int) {
			sum := k.r(tileWide + 2*t + h)
			use := func(j int, w string) {
				k.op("VPSIGNB %s, %s, %s", w, k.r(tileActs[j]), k.r(extra))
				k.op("VPABSB %s, %s", w, k.r(code))
				k.op("VPMADDUBSW %s, %s, %[2]s", k.r(extra), k.r(code))
				ones := k.ones()
				if k.codes.name == "8" {
					ones = k.r(tileOnes)
				}
				if g+j == 0 {
					k.op("VPMADDWD %s, %s, %s", ones, k.r(code), sum)
					return
				}
				k.op("VPMADDWD %s, %s, %[2]s", ones, k.r(code))
				k.op("VPADDD %s, %s, %[2]s", k.r(code), sum)
			}
			base := k.of(t, srcCodes)
			if k.codes.name == "8" {
				use(0, fmt.Sprintf("%d(%s)", 64*g+32*h, base))
				return
			}
			k.unpack(base, 0, g, h, func(i int) { use(indexOf(group, i), k.r(code)) })
		})
	}
}

// floats adds the integer sums to the float sums: the same operations as quantKernel.toFloat.
func (k tileMul) floats() {
	const da, other, scale = extra, packed, code
	k.op("VBROADCASTSS (R10), %s", k.r(da))
	if k.kd.centred {
		k.op("VPBROADCASTD (R11), %s", k.r(other))
	}
	k.each(func(t, h int) {
		isum, sum := k.r(tileWide+2*t+h), k.r(tileSum)
		k.op("VMOVUPS %d(BX), %s", 64*t+32*h, sum)
		if k.kd.centred {
			k.op("VPADDD %s, %s, %[2]s", k.r(other), isum)
		}
		k.op("VCVTDQ2PS %s, %[1]s", isum)
		k.op("VCVTPH2PS %d(%s), %s", 16*h, k.of(t, "R8"), k.r(scale))
		k.op("VMULPS %s, %s, %[2]s", k.r(scale), isum)
		k.op("VFMADD231PS %s, %s, %s", k.r(da), isum, sum)
		k.op("VMOVUPS %s, %d(BX)", sum, 64*t+32*h)
	})
}
