package gen

import (
	"fmt"
	"strings"
)

// Matrices of bfloat16 times rows of activations in bfloat16, AVX512_BF16: a lane is a row, its word the values of two columns, as
// they lie in tiles, and one instruction multiplies both pairs and adds them to a float32. Every sum is one chain of these instructions
// in the order of the columns, whatever the shape of the register tile.

// brainShapes lists (rows of activations, tiles of weights) of the register tiles.
var brainShapes = [][2]int{{12, 2}, {12, 1}, {8, 2}, {8, 1}, {4, 4}, {4, 2}, {4, 1}, {2, 4}, {2, 2}, {2, 1}, {1, 4}, {1, 2}, {1, 1}}

const brainParams = "dst *float32, ld int, w *byte, step int, x *uint16, xs int, pairs int, init int"

func brainFile() *file {
	f := &file{name: "brain", about: `
Matrices of bfloat16 times rows of bfloat16, AVX512_BF16. dst[t*ld+16j+r] (+)= row r of tile j times row t of x. Tiles lie step bytes apart,
rows of x xs bytes.`}
	var b strings.Builder
	fmt.Fprintf(&b, "// brainKernel runs the kernel for that many rows of activations and tiles.\n")
	fmt.Fprintf(&b, "func brainKernel(rows, tiles int, %s) {\n\tswitch rows<<4 | tiles {\n", brainParams)
	for _, s := range brainShapes {
		k := brainMul{newKernel(f, avx512, fmt.Sprintf("brain%dx%d", s[0], s[1]), "", brainParams, ""), s[0], s[1]}
		k.write()
		fmt.Fprintf(&b, "\tcase %d<<4 | %d:\n\t\t%s(%s)\n", s[0], s[1], k.fn.name, names(brainParams))
	}
	fmt.Fprintf(&b, "\tdefault:\n\t\tpanic(noKernels)\n\t}\n}\n")
	f.table = b.String()
	return f
}

type brainMul struct {
	kernel
	rows, tiles int
}

// General registers: tiles at AX, AX+DX, AX+2DX and BX (3 DX further); rows 3i to 3i+2 of x at base i and DI apart; CX counts pairs.
func (k brainMul) write() {
	bases := []string{"SI", "R8", "R9", "R10"}[:(k.rows+2)/3]
	k.load("w", "AX")
	k.load("step", "DX")
	k.load("x", "SI")
	k.load("xs", "DI")
	k.load("pairs", "CX")
	k.op("LEAQ (AX)(DX*2), BX")
	k.op("ADDQ DX, BX")
	k.rowBases(bases, "DI")
	k.load("ld", "R12")
	k.moveSums(true, "R13", "LEAQ (R13)(R12*4), R13", k.rows, k.tiles, k.sum)
	for _, unroll := range []int{4, 1} {
		k.loop("CX", unroll, func() {
			for u := range unroll {
				if k.rows == 1 && unroll == 4 && u%2 == 0 { // weights come from memory
					k.askTiles(k.tiles, 64*u)
				}
				k.pair(bases, u)
			}
			k.op("ADDQ $%d, AX", 64*unroll)
			k.op("ADDQ $%d, BX", 64*unroll)
			for _, b := range bases {
				k.op("ADDQ $%d, %s", 4*unroll, b)
			}
		})
	}
	k.moveSums(false, "R13", "LEAQ (R13)(R12*4), R13", k.rows, k.tiles, k.sum)
	k.ret()
}

func (k brainMul) sum(t, j int) int { return t*k.tiles + j }

// pair multiplies with the columns 2u and 2u+1.
func (k brainMul) pair(bases []string, u int) {
	const weights, act = 24, 28 // act and three behind it, in turns
	if k.rows == 1 {
		k.op("VPBROADCASTD %d(SI), %s", 4*u, k.r(act))
		for j := range k.tiles {
			k.brainDot(k.sum(0, j), act, tileOperand(j, 64*u), false)
		}
		return
	}
	for j := range k.tiles {
		k.op("VMOVDQU32 %s, %s", tileAddr(j, 64*u), k.r(weights+j))
	}
	for t := range k.rows {
		x := operand{bases[t/3], "DI", t % 3, 4 * u}
		if k.tiles == 1 {
			k.brainDot(k.sum(t, 0), weights, x, true)
			continue
		}
		// One load for two products: a core does as many products a cycle as it loads.
		to := act + t%4
		k.op("VPBROADCASTD %s, %s", third(x.base, x.index, x.times, x.disp), k.r(to))
		for j := range k.tiles {
			k.brainDotReg(k.sum(t, j), weights+j, to)
		}
	}
}

// operand is an address: base + times*index + disp.
type operand struct {
	base, index string
	times, disp int
}

// tileOperand is where tile j is.
func tileOperand(j, disp int) operand {
	if j == 3 {
		return operand{"BX", "", 0, disp}
	}
	return operand{"AX", "DX", j, disp}
}

// brainDot emits VDPBF16PS, which the Go assembler does not know: dst += a * m in pairs, with m 64 bytes or 4 for all lanes.
// EVEX.512.F3.0F38.W0 52 /r (Intel's "Architecture Instruction Set Extensions Programming Reference").
func (g *fn) brainDot(dst, a int, m operand, broadcast bool) {
	base, index := generals[m.base], 4 // 4 is no index
	scale, x := byte(0), 0
	if m.times > 0 {
		index = generals[m.index]
		scale, x = byte(m.times-1)<<6, index>>3 // 1 and 2
	}
	size, b := 64, byte(0)
	if broadcast {
		size, b = 4, 1<<4
	}
	sib := scale | byte(index&7)<<3 | byte(base&7)
	reg := byte(dst&7)<<3 | 4
	code := append(evex38(ppF3, 0x52, dst, a, x, base>>3, b), 2<<6|reg, sib, byte(m.disp), byte(m.disp>>8), byte(m.disp>>16), byte(m.disp>>24))
	if d := m.disp / size; m.disp%size == 0 && d >= -128 && d < 128 {
		code = append(code[:len(code)-6], 1<<6|reg, sib, byte(d))
	}
	g.op("// VDPBF16PS %d(%s)(%s*%d), Z%d, Z%d", m.disp, m.base, m.index, m.times, a, dst)
	g.raw(code...)
}

// brainDotReg is brainDot of a register.
func (g *fn) brainDotReg(dst, a, m int) {
	g.op("// VDPBF16PS Z%d, Z%d, Z%d", m, a, dst)
	g.raw(append(evex38(ppF3, 0x52, dst, a, m>>4, m>>3, 0), 3<<6|byte(dst&7)<<3|byte(m&7))...)
}

// brainRound emits VCVTNE2PS2BF16, which the Go assembler does not know either: the floats of lo rounded to bfloat16 in the lower half of dst,
// those of hi in the upper.
func (g *fn) brainRound(dst, hi, lo int) {
	g.op("// VCVTNE2PS2BF16 Z%d, Z%d, Z%d", lo, hi, dst)
	g.raw(append(evex38(ppF2, 0x72, dst, hi, lo>>4, lo>>3, 0), 3<<6|byte(dst&7)<<3|byte(lo&7))...)
}

// evex38 is the prefix, EVEX.512.0F38.W0, and the opcode: v is the second operand, x and base are the upper bits of the last, b its
// broadcast bit.
func evex38(pp int, opcode byte, dst, v, x, base int, b byte) []byte {
	not := func(bit, at int) byte { return byte(1-bit&1) << at }
	return []byte{0x62,
		not(dst>>3, 7) | not(x, 6) | not(base, 5) | not(dst>>4, 4) | 2,
		byte(^v&15)<<3 | 1<<2 | byte(pp),
		2<<5 | b | not(v>>4, 3),
		opcode}
}
