package gen

import (
	"fmt"
	"strings"
)

// Kernels of AVX2 for several rows of activations. Four rows lie together (acts_groups.go of package simd), so that a
// kernel reads one stream of activations. Two products of 16 bits a cycle are what the CPU does, so the count of
// instructions decides:
//
//	codes up to 16   products of a whole block add up in 16 bits
//	up to 63         those of 4 or 2 vectors do, and go to 32 bits then
//	signed bytes     are multiplied as 16-bit numbers, and so are the activations: one product and one sum for 16 columns
//	                 and rows, where bytes take the same for 32 and two more to move signs and to widen. For a few rows,
//	                 which do not pay for the conversion, there are kernels of that kind too

// groupActs is how many rows of activations make a group.
const groupActs = 4

// groupMul is a kernel for acts rows of a group: dst[16t+r] (+)= row r of the tile times row t of q. It does groups one
// after the other, each qs and ms bytes behind the last and with 64*groupActs bytes of dst. With every block it asks for lines
// from ahead on, and goes step bytes on there: the memory of the next blocks comes while these are multiplied. A step of 0 asks
// for nothing. Kernels that unpack (see unpacks) read what lies in the tile from packed and write codes, unless that is nil; others do not
// read packed.
type groupMul struct {
	quantKernel
	kd   kind
	acts int
	raw  bool // signed bytes as they lie in the tile
}

const groupParams = "dst *float32, codes *byte, scales *float32, mins *float32, q *int8, qs int, meta *float32, ms int, off int, blocks int, groups int, init int, ahead *byte, step int, packed *byte"

func groupFile() *file {
	f := &file{name: "matgroup", about: `
Quantized weights times groups of rows of activations, AVX2. Codes come as bytes, 16 rows by 4 columns in 64 bytes;
signed ones as 16-bit numbers, 16 rows by 2 columns in 64 bytes.`}
	for _, c := range allCodes {
		if c.limit == 0 {
			expandWords(f, c)
		} else {
			expand(f, avx2, c)
		}
	}
	actWords(f)
	var all []groupMul
	for _, m := range matMuls {
		for _, raw := range []bool{false, true} {
			for a := groupActs; a > 0 && !(raw && m.limit > 0); a-- {
				k := groupMul{newQuantKernel(f, avx2, groupName(m.codes, m.kind, a, raw), "", groupParams, m.codes), m.kind, a, raw}
				k.write()
				all = append(all, k)
			}
		}
	}
	f.table = groupTable(all)
	return f
}

func groupName(c codes, kd kind, acts int, raw bool) string {
	return fmt.Sprintf("matGroup%s%s%sx%d", map[bool]string{true: "Raw"}[raw], c.name, kd.name, acts)
}

// groupTable writes the Go functions that pick a kernel.
func groupTable(all []groupMul) string {
	var b strings.Builder
	fmt.Fprintf(&b, "// matGroupKernel runs the kernel of those codes, that kind and that many rows of activations, or for signed bytes as they\n// lie in the tile that for raw ones.\n")
	fmt.Fprintf(&b, "func matGroupKernel(raw bool, c codeLayout, kd codeKind, acts int, %s) {\n", groupParams)
	fmt.Fprintf(&b, "\tk := int(c)<<12 | int(kd)<<8 | acts\n\tif raw {\n\t\tk |= 1 << 20\n\t}\n\tswitch k {\n")
	for _, k := range all {
		fmt.Fprintf(&b, "\tcase %d<<20 | int(size%s)<<12 | int(kind%s)<<8 | %d:\n", map[bool]int{true: 1}[k.raw], k.codes.name, k.kd.name, k.acts)
		fmt.Fprintf(&b, "\t\t%s(%s)\n", k.fn.name, names(groupParams))
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n\n")
	fmt.Fprintf(&b, "// expandGroup unpacks codes to the bytes that these kernels read.\n")
	fmt.Fprintf(&b, "func expandGroup(c codeLayout, dst *byte, codes *byte, blocks int) {\n\tswitch c {\n")
	for _, c := range allCodes {
		fmt.Fprintf(&b, "\tcase size%s:\n", c.name)
		if c.limit == 0 {
			fmt.Fprintf(&b, "\t\texpandWords%sAVX2(dst, codes, blocks)\n", c.name)
		} else {
			fmt.Fprintf(&b, "\t\texpand%sAVX2(dst, codes, blocks)\n", c.name)
		}
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n")
	return b.String()
}

// expandWords: dst[block][128 i] = vector i of the block as 16-bit numbers, columns 0 and 2 of its four and then 1 and 3.
func expandWords(f *file, c codes) {
	k := newQuantKernel(f, avx2, "expandWords"+c.name, "", "dst *byte, codes *byte, blocks int", c)
	const even = 10
	k.load("dst", "BX")
	k.load("codes", srcCodes)
	k.load("blocks", "CX")
	k.unpackConstants()
	k.loop("CX", 1, func() {
		for l := 0; l < c.bytes; l += 64 {
			k.op("PREFETCHT0 %d(%s)", prefetch+l, srcCodes)
		}
		for g := range c.groups {
			for h := range k.halves() {
				k.unpack(srcCodes, 0, g, h, func(i int) {
					k.op("VPSLLW $8, %s, %s", k.r(code), k.r(even))
					k.op("VPSRAW $8, %s, %[1]s", k.r(even))
					k.op("VPSRAW $8, %s, %[1]s", k.r(code))
					k.op("VMOVDQU %s, %d(BX)", k.r(even), 128*i+32*h)
					k.op("VMOVDQU %s, %d(BX)", k.r(code), 128*i+64+32*h)
				})
			}
		}
		k.op("ADDQ $%d, %s", c.bytes, srcCodes)
		k.op("ADDQ $1024, BX")
	})
	k.ret()
}

// actWords: activations in the order of expandWords.
func actWords(f *file) {
	g := f.newFn("actWordsAVX2", "actWordsAVX2 sets dst to n times 32 activations as 16-bit numbers, columns 0, 2, 1 and 3 of every four.",
		"dst *int16, q *int8, n int", "")
	f.datum("wordsOrder", []uint32{0x03010200, 0x07050604, 0x0b090a08, 0x0f0d0e0c})
	g.load("dst", "DI")
	g.load("q", "SI")
	g.load("n", "CX")
	g.op("VMOVDQU wordsOrder<>(SB), X15")
	g.loop("CX", 1, func() {
		for i := range 2 {
			g.op("VMOVDQU %d(SI), X%d", 16*i, i)
			g.op("VPSHUFB X15, X%d, X%[1]d", i)
			g.op("VPMOVSXBW X%d, Y%[1]d", i)
			g.op("VMOVDQU Y%d, %d(DI)", i, 32*i)
		}
		g.op("ADDQ $32, SI")
		g.op("ADDQ $64, DI")
	})
	g.ret()
}

// unpacks reports whether the kernel's first group makes the bytes that its others read, and any kernel that follows: stores go where
// multiplications leave room. Bytes that are made before all groups cost a store a cycle and nothing meanwhile.
func (k groupMul) unpacks() bool { return k.codes.name == "4" && !k.kd.half && k.acts > 1 }

// General registers: SI activations, DI codes, R8 scales, R9 minimums, R10 scales of activations, R11 their other numbers,
// R12 packed codes, R13 dst, BX what is asked for ahead, DX its step. The group's own are kept in the arguments.
func (k groupMul) write() {
	group, done := k.label("group"), k.label("done")
	k.load("ahead", "BX")
	k.load("step", "DX")
	if k.unpacks() {
		k.load("packed", "R12")
		k.op("TESTQ R12, R12")
		k.op("JEQ %s", group)
		k.group(true)
		k.next(done)
	}
	k.at(group)
	k.group(false)
	k.next(done)
	k.op("JMP %s", group)
	k.at(done)
	k.ret()
}

// group does one group, from packed codes where packed is set.
func (k groupMul) group(packed bool) {
	for _, p := range [][2]string{{"q", "SI"}, {"codes", "DI"}, {"scales", "R8"}, {"mins", "R9"}, {"meta", "R10"}, {"off", "R11"}, {"dst", "R13"}, {"blocks", "CX"}} {
		k.load(p[0], p[1])
	}
	k.op("ADDQ R10, R11")
	k.startSums()
	k.loop("CX", 1, func() {
		k.ask()
		for p := range k.kd.parts() {
			switch {
			case k.raw:
				k.dotSigned()
			case k.limit == 0:
				k.dotWords()
			case packed:
				k.dotNibbles()
			default:
				k.dot(p)
			}
			k.floats(p)
		}
		if packed {
			k.op("ADDQ $%d, R12", k.codes.bytes)
		}
		k.op("ADDQ $%d, DI", 512*k.planes())
		k.op("ADDQ $%d, SI", 32*groupActs*k.planes())
		k.op("ADDQ $%d, R8", 64*k.kd.parts())
		if k.kd.affine {
			k.op("ADDQ $%d, R9", 64*k.kd.parts())
		}
		k.op("ADDQ $%d, R10", 4*groupActs)
		k.op("ADDQ $%d, R11", 4*groupActs*k.kd.parts())
	})
}

// next goes on to the next group, or to done behind the last.
func (k groupMul) next(done string) {
	k.op("SUBQ $1, %s", k.arg("groups"))
	k.op("JEQ %s", done)
	for _, p := range [][2]string{{"qs", "q"}, {"ms", "meta"}} {
		k.load(p[0], "AX")
		k.op("ADDQ AX, %s", k.arg(p[1]))
	}
	k.op("ADDQ $%d, %s", 64*groupActs, k.arg("dst"))
}

// ask asks for what lies ahead: two lines, or as many as codes take where a step is longer, or none.
func (k groupMul) ask() {
	if k.bytes() == 0 {
		return
	}
	few, none := k.label("few"), k.label("none")
	k.op("CMPQ DX, $128")
	k.op("JLE %s", few)
	for l := 128; l < k.bytes(); l += 64 {
		k.op("PREFETCHT0 %d(BX)", l)
	}
	k.at(few)
	k.op("TESTQ DX, DX")
	k.op("JEQ %s", none)
	for l := 0; l < 128; l += 64 {
		k.op("PREFETCHT0 %d(BX)", l)
	}
	k.op("ADDQ DX, BX")
	k.at(none)
}

// bytes is how many of codes a block takes in the formats that come here, where few rows of activations meet them.
func (k groupMul) bytes() int {
	if k.limit == 0 && !k.raw {
		return 0 // these kernels are for many
	}
	return k.codes.bytes
}

// planes is how many vectors hold the codes of one: 16-bit numbers take two.
func (k groupMul) planes() int {
	if k.limit == 0 && !k.raw {
		return 2
	}
	return 1
}

// isum is the register of the integer sums of row t of the activations and half h of the tile's rows.
func (k groupMul) isum(t, h int) int { return 2*t + h }

func (k groupMul) eachSum(f func(t, h int)) {
	for t := range k.acts {
		for h := range 2 {
			f(t, h)
		}
	}
}

// startSums zeroes the float sums, which stay in dst, where init is 0.
func (k groupMul) startSums() {
	ready := k.label("ready")
	k.op("CMPQ %s, $0", k.arg("init"))
	k.op("JNE %s", ready)
	k.op("VPXOR X0, X0, X0")
	k.eachSum(func(t, h int) { k.op("VMOVUPS Y0, %d(R13)", 64*t+32*h) })
	k.at(ready)
}

// Registers of one step.
const groupW, groupAct, groupT = 12, 14, 15

// add multiplies the activations in groupAct with the codes in register w and adds to 16-bit sums.
func (k groupMul) add(w, sum int, start bool) {
	if start {
		k.op("VPMADDUBSW %s, %s, %s", k.r(groupAct), k.r(w), k.r(sum))
		return
	}
	k.op("VPMADDUBSW %s, %s, %s", k.r(groupAct), k.r(w), k.r(groupT))
	k.op("VPADDW %s, %s, %[2]s", k.r(groupT), k.r(sum))
}

// act loads the 4 activations of row t for vector i to all lanes.
func (k groupMul) act(t, i int) { k.op("VPBROADCASTD %d(SI), %s", 32*t+4*i, k.r(groupAct)) }

// dot makes the sums of part p of a block, all of it or 16 columns. Products add up in 16 bits, and where those hold half of them alone,
// the sums of that half are kept in the registers that are left and behind them in memory.
func (k groupMul) dot(p int) {
	first, n := 0, 8
	if k.kd.half {
		first, n = 4*p, 4
	}
	per := min(n, k.pairs())
	for i := range n {
		for h := range 2 {
			k.op("VMOVDQU %d(DI), %s", 64*(first+i)+32*h, k.r(groupW+h))
		}
		for t := range k.acts {
			k.act(t, first+i)
			for h := range 2 {
				k.add(groupW+h, k.isum(t, h), i%per == 0)
			}
		}
		if i%per == per-1 {
			k.widen(i+1 < n, i+1 > per)
		}
	}
}

// widen adds the pairs of 16-bit sums. It puts the results aside if there are more to come, and adds what it has put aside.
func (k groupMul) widen(aside, before bool) {
	const spare = groupW - 2*groupActs
	k.op("VMOVDQU %s, %s", k.ones(), k.r(groupT))
	k.eachSum(func(t, h int) {
		from := k.isum(t, h)
		kept := k.r(2*groupActs + from)
		if from >= spare {
			kept = fmt.Sprintf("%d(SP)", 32*(from-spare))
		}
		switch {
		case aside && from < spare:
			k.op("VPMADDWD %s, %s, %s", k.r(groupT), k.r(from), kept)
		case aside:
			k.frame = 32 * (2*groupActs - spare)
			k.op("VPMADDWD %s, %s, %[2]s", k.r(groupT), k.r(from))
			k.op("VMOVDQU %s, %s", k.r(from), kept)
		default:
			k.op("VPMADDWD %s, %s, %[2]s", k.r(groupT), k.r(from))
			if before {
				k.op("VPADDD %s, %s, %[2]s", kept, k.r(from))
			}
		}
	})
}

// dotNibbles is dot of a whole block for codes of 4 bits as they lie in the tile, which it stores as bytes.
func (k groupMul) dotNibbles() {
	for g, vectors := range k.groups {
		for j, i := range vectors {
			k.words(k.consts[0], groupT)
			for h := range 2 {
				w := k.r(groupW + h)
				if j == 0 {
					k.op("VPAND %d(R12), %s, %s", 64*g+32*h, k.r(groupT), w)
				} else {
					k.plane("R12", 64*g, h, groupW+h)
					k.shift(groupW+h, 4, 0, groupW+h)
					k.op("VPAND %s, %s, %[2]s", k.r(groupT), w)
				}
				k.op("VMOVDQU %s, %d(DI)", w, 64*i+32*h)
			}
			for t := range k.acts {
				k.act(t, i)
				for h := range 2 {
					k.add(groupW+h, k.isum(t, h), i == 0)
				}
			}
		}
	}
	k.widen(false, false)
}

// dotWords: products of 16-bit numbers, which come in pairs.
func (k groupMul) dotWords() {
	for i := range 16 {
		for h := range 2 {
			k.op("VMOVDQU %d(DI), %s", 64*i+32*h, k.r(groupW+h))
		}
		for t := range k.acts {
			k.op("VPBROADCASTD %d(SI), %s", 64*t+4*i, k.r(groupAct))
			for h := range 2 {
				sum := k.r(k.isum(t, h))
				if i == 0 {
					k.op("VPMADDWD %s, %s, %s", k.r(groupAct), k.r(groupW+h), sum)
					continue
				}
				k.op("VPMADDWD %s, %s, %s", k.r(groupAct), k.r(groupW+h), k.r(groupT))
				k.op("VPADDD %s, %s, %[2]s", k.r(groupT), sum)
			}
		}
	}
}

// dotSigned: |w| times the activation with the sign of w; each vector is widened at once.
func (k groupMul) dotSigned() {
	const abs = 13
	for i := range 8 {
		for h := range 2 {
			k.op("VMOVDQU %d(DI), %s", 64*i+32*h, k.r(groupW))
			k.op("VPABSB %s, %s", k.r(groupW), k.r(abs))
			for t := range k.acts {
				k.act(t, i)
				k.op("VPSIGNB %s, %s, %[2]s", k.r(groupW), k.r(groupAct))
				sum := k.r(k.isum(t, h))
				k.op("VPMADDUBSW %s, %s, %[1]s", k.r(groupAct), k.r(abs))
				if i == 0 {
					k.op("VPMADDWD %s, %s, %s", k.ones(), k.r(groupAct), sum)
					continue
				}
				k.op("VPMADDWD %s, %s, %[2]s", k.ones(), k.r(groupAct))
				k.op("VPADDD %s, %s, %[2]s", k.r(groupAct), sum)
			}
		}
	}
}

// floats adds the integer sums of part p to the float sums: the same operations as quantKernel.toFloat.
func (k groupMul) floats(p int) {
	const scale, other, da = 2 * groupActs, groupAct, groupT
	for h := range 2 {
		k.op("VMOVUPS %d(R8), %s", 64*p+32*h, k.r(scale+h))
	}
	for t := range k.acts {
		at := 4 * (groupActs*p + t)
		if k.kd.centred {
			k.op("VPBROADCASTD %d(R11), %s", at, k.r(other))
			for h := range 2 {
				k.op("VPADDD %s, %s, %[2]s", k.r(other), k.r(k.isum(t, h)))
			}
		}
		k.op("VBROADCASTSS %d(R10), %s", 4*t, k.r(da))
		if k.kd.affine {
			k.op("VBROADCASTSS %d(R11), %s", at, k.r(other))
		}
		for h := range 2 {
			x := k.r(k.isum(t, h))
			k.op("VCVTDQ2PS %s, %[1]s", x)
			k.op("VMULPS %s, %s, %[2]s", k.r(scale+h), x)
			k.op("VFMADD213PS %d(R13), %s, %s", 64*t+32*h, k.r(da), x)
			if k.kd.affine {
				k.op("VFMADD231PS %d(R9), %s, %s", 64*p+32*h, k.r(other), x)
			}
			k.op("VMOVUPS %s, %d(R13)", x, 64*t+32*h)
		}
	}
}
