package gen

import (
	"fmt"
	"strings"
)

// Packing: a stretch of 16 stored rows goes to a tile. matrix_pack.go of package simd says what goes where, one row at a
// time; here 8 rows go side by side, one in each lane. What stored blocks hold is words of 32 bits, four of which, from 8
// rows, are turned over by the four loads and eight shuffles of quad. The rest is moving bits within lanes.

// rowPack is a kernel that packs n stored blocks of 16 rows. SI and R8 are the rows 0 and 5, R9 and R10 the rows 8 and 13,
// DX the distance of rows and AX three times that; DI the header, BX the codes.
//
// Vectors 8 to 11 are scratch of quad, 12 to 15 masks.
type rowPack struct {
	*fn
	h int // which half of the rows
}

// rowFormat is a stored format: the bytes of a block, and what they take of the headers and codes of a tile.
type rowFormat struct {
	names        []string
	block        int
	header, code int
	masks        []uint32 // registers 15 and down
	body         func(k rowPack)
}

const maskLow, maskHigh, maskPair, maskBit = 15, 14, 13, 12

var rowFormats = []rowFormat{
	{[]string{"q8_0"}, 34, 32, 512, nil, func(k rowPack) {
		k.halves(0, 0)
		k.words(2, 0, 4)
		k.words(18, 256, 4)
	}},
	{[]string{"q4_0", "iq4_nl"}, 18, 32, 256, nil, func(k rowPack) {
		k.halves(0, 0)
		k.words(2, 0, 4)
	}},
	{[]string{"q4_1"}, 20, 64, 256, nil, func(k rowPack) {
		k.halves(0, 0)
		k.halves(2, 32)
		k.words(4, 0, 4)
	}},
	{[]string{"q5_0"}, 22, 32, 320, bitMasks, func(k rowPack) {
		k.halves(0, 0)
		k.words(6, 0, 4)
		k.bitPlane(2, 256)
	}},
	{[]string{"q5_1"}, 24, 64, 320, bitMasks, func(k rowPack) {
		k.halves(0, 0)
		k.halves(2, 32)
		k.words(8, 0, 4)
		k.bitPlane(4, 256)
	}},
	{[]string{"mxfp4"}, 17, 16, 256, nil, func(k rowPack) {
		k.pick("VPINSRB", 0)
		k.op("VMOVQ X0, %d(DI)", 8*k.h)
		k.words(1, 0, 4)
	}},
	{[]string{"q4_k"}, 144, 320, 8 * 256, []uint32{0x0f0f0f0f, 0xf0f0f0f0}, func(k rowPack) {
		k.headerQ4K()
		for i := range 4 {
			k.nibbles(16+32*i, 2*i*256, (2*i+1)*256)
		}
	}},
	{[]string{"q5_k"}, 176, 320, 8 * 320, []uint32{0x0f0f0f0f, 0xf0f0f0f0, 0, 0x01010101}, func(k rowPack) {
		k.headerQ4K()
		for i := range 4 {
			k.nibbles(48+32*i, 2*i*320, (2*i+1)*320)
		}
		k.upper(16, 256, 320)
	}},
	{[]string{"q6_k"}, 210, 288, 8 * 384, []uint32{0x0f0f0f0f, 0xf0f0f0f0, 0x03030303}, func(k rowPack) {
		k.halves(208, 0)
		k.quad(192, 0)
		k.bytesOrder()
		for i := range 4 {
			k.bytes(i, 32+64*i, 16)
		}
		for half := range 2 {
			for j := range 2 {
				k.nibbles(64*half+32*j, (4*half+j)*384, (4*half+j+2)*384)
			}
			k.pairs(128+32*half, 4*half*384+256, 384)
		}
	}},
	{[]string{"q2_k"}, 84, 320, 8 * 128, []uint32{0, 0, 0x03030303}, func(k rowPack) {
		k.halves(80, 0)
		k.halves(82, 32)
		k.quad(0, 0)
		for i := range 4 {
			k.store(i, 64+64*i, "DI")
		}
		for half := range 2 {
			k.pairs(16+32*half, 4*half*128, 128)
		}
	}},
	{[]string{"q3_k"}, 110, 224, 8 * 192, []uint32{0, 0, 0x03030303, 0x01010101}, func(k rowPack) {
		k.halves(108, 0)
		k.quad(92, 0) // the last three are the scales
		for i := range 3 {
			k.store(1+i, 32+64*i, "DI")
		}
		for half := range 2 {
			k.pairs(32+32*half, 4*half*192, 192)
		}
		k.upper(0, 128, 192)
	}},
	{[]string{"iq4_xs"}, 136, 128, 8 * 256, nil, func(k rowPack) {
		k.quad(0, 0)
		k.store(1, 32, "DI")
		k.split(0)
		k.op("VMOVDQU X0, %d(DI)", 16*k.h)
		k.op("VEXTRACTI128 $1, Y0, %d(DI)", 96+16*k.h)
		for b := range 8 {
			k.words(8+16*b, 256*b, 4)
		}
	}},
	// 32 nibbles of a group format, in consecutive order.
	{[]string{"nibbles"}, 16, 0, 256, []uint32{0x000f000f, 0x0f000f00}, rowPack.consecutive},
	// Four words of float32, or eight bfloat16.
	{[]string{"f32", "bf16"}, 16, 0, 256, nil, func(k rowPack) { k.words(0, 0, 4) }},
	{[]string{"f16"}, 16, 0, 256, nil, func(k rowPack) {
		k.quad(0, 0)
		for i := range 4 {
			k.split(i)
			k.op("VMOVDQU X%d, %d(BX)", i, 64*i+16*k.h)
			k.op("VEXTRACTI128 $1, Y%d, %d(BX)", i, 64*i+32+16*k.h)
		}
	}},
}

// bitMasks are those of bitPlane: the fifth is made of these.
var bitMasks = []uint32{0x11111111, 0x03030303, 0x000f000f, 0x000000ff}

const packRowsParams = "h *byte, c *byte, src *byte, row int, n int"

func rowPackFile() *file {
	f := &file{name: "rowpack", about: `
Packing of stored rows into tiles. One function is for one stored format; it packs n stored blocks of 16 rows that lie
row bytes apart, the headers to h and the codes to c. See matrix_layout.go for the layout.`}
	var table strings.Builder
	table.WriteString("// packRows packs n stored blocks of 16 rows of a format, or reports that there is no kernel for it.\n")
	fmt.Fprintf(&table, "func packRows(format string, %s) bool {\n\tswitch format {\n", packRowsParams)
	for _, r := range rowFormats {
		name := "packRows" + strings.ToUpper(strings.ReplaceAll(r.names[0], "_", ""))
		g := f.newFn(name, "", packRowsParams, "")
		r.write(g)
		fmt.Fprintf(&table, "\tcase \"%s\":\n\t\t%s(%s)\n", strings.Join(r.names, `", "`), name, names(packRowsParams))
	}
	table.WriteString("\tdefault:\n\t\treturn false\n\t}\n\treturn true\n}\n")
	f.table = table.String()
	return f
}

func (r *rowFormat) write(g *fn) {
	g.load("h", "DI")
	g.load("c", "BX")
	g.load("src", "SI")
	g.load("row", "DX")
	g.load("n", "CX")
	g.op("LEAQ (DX)(DX*2), AX")
	g.op("LEAQ (SI)(DX*8), R9")
	g.op("LEAQ (SI)(AX*1), R8")
	g.op("LEAQ (R8)(DX*2), R8")
	g.op("LEAQ (R8)(DX*8), R10")
	for i, w := range r.masks {
		if w != 0 {
			g.op("VPBROADCASTD %s, Y%d", g.file.const32(w), 15-i)
		}
	}
	g.loop("CX", 1, func() {
		for h := range 2 {
			r.body(rowPack{g, h})
		}
		for _, p := range []string{"SI", "R8", "R9", "R10"} {
			g.op("ADDQ $%d, %s", r.block, p)
		}
		g.op("ADDQ $%d, DI", r.header)
		g.op("ADDQ $%d, BX", r.code)
	})
	g.ret()
}

// at is the operand of byte disp of row i of the half.
func (k rowPack) at(i, disp int) string {
	base := []string{"SI", "R9"}[k.h]
	if i == 5 || i == 7 {
		base, i = []string{"R8", "R10"}[k.h], i-5
	}
	index := map[int]string{1: "(DX*1)", 2: "(DX*2)", 3: "(AX*1)", 4: "(DX*4)", 6: "(AX*2)"}[i]
	return fmt.Sprintf("%d(%s)%s", disp, base, index)
}

// store stores register reg as half of a plane at disp.
func (k rowPack) store(reg, disp int, base string) {
	k.op("VMOVDQU Y%d, %d(%s)", reg, disp+32*k.h, base)
}

// quad sets registers r to r+3 to the words at disp, disp+4, disp+8 and disp+12, row i in lane i.
func (k rowPack) quad(disp, r int) {
	const t = 8
	for i := range 4 {
		k.op("VMOVDQU %s, X%d", k.at(i, disp), r+i)
		k.op("VINSERTI128 $1, %s, Y%d, Y%[2]d", k.at(i+4, disp), r+i)
	}
	for i := range 2 {
		k.op("VPUNPCKLDQ Y%d, Y%d, Y%d", r+2*i+1, r+2*i, t+2*i)
		k.op("VPUNPCKHDQ Y%d, Y%d, Y%d", r+2*i+1, r+2*i, t+2*i+1)
	}
	for i := range 2 {
		k.op("VPUNPCKLQDQ Y%d, Y%d, Y%d", t+2+i, t+i, r+2*i)
		k.op("VPUNPCKHQDQ Y%d, Y%d, Y%d", t+2+i, t+i, r+2*i+1)
	}
}

// words moves n words from disp on to consecutive planes from to on.
func (k rowPack) words(disp, to, n int) {
	for i := 0; i < n; i += 4 {
		k.quad(disp+4*i, 0)
		for j := range 4 {
			k.store(j, to+64*(i+j), "BX")
		}
	}
}

// pick gathers a byte or 16 bits of each row in register 0.
func (k rowPack) pick(insert string, disp int) {
	k.op("VPXOR X0, X0, X0")
	for i := range 8 {
		k.op("%s $%d, %s, X0, X0", insert, i, k.at(i, disp))
	}
}

// halves moves 16 bits of each row to an array of the header.
func (k rowPack) halves(disp, to int) {
	k.pick("VPINSRW", disp)
	k.op("VMOVDQU X0, %d(DI)", to+16*k.h)
}

// split turns 8 words into their lower 16 bits, in the lower half of the register, and their upper ones.
func (k rowPack) split(r int) {
	const t = 8
	k.op("VPSRLD $16, Y%d, Y%d", r, t)
	k.op("VPSLLD $16, Y%d, Y%[1]d", r)
	k.op("VPSRLD $16, Y%d, Y%[1]d", r)
	k.op("VPACKUSDW Y%d, Y%d, Y%[2]d", t, r)
	k.op("VPERMQ $0xD8, Y%d, Y%[1]d", r)
}

// Registers of bytes: what order it wants within 16 bytes, and of words.
const orderBytes, orderWords = 10, 11

func (k rowPack) bytesOrder() {
	k.file.datum("bytesOrder", []uint32{0x0c080400, 0x0d090501, 0x0e0a0602, 0x0f0b0703})
	k.file.datum("bytesWords", []uint32{0, 4, 1, 5, 2, 6, 3, 7})
	k.op("VBROADCASTI128 bytesOrder<>(SB), Y%d", orderBytes)
	k.op("VMOVDQU bytesWords<>(SB), Y%d", orderWords)
}

// bytes moves byte j of the word of each row, in register r, to the array of bytes of the header at to+j*step.
func (k rowPack) bytes(r, to, step int) {
	const t = 8
	to += 8 * k.h
	k.op("VPSHUFB Y%d, Y%d, Y%d", orderBytes, r, t)
	k.op("VPERMD Y%d, Y%d, Y%[1]d", t, orderWords)
	k.op("VEXTRACTI128 $1, Y%d, X%d", t, t+1)
	for i, x := range []int{t, t + 1} {
		k.op("VMOVQ X%d, %d(DI)", x, to+2*i*step)
		k.op("VPEXTRQ $1, X%d, %d(DI)", x, to+(2*i+1)*step)
	}
}

// headerQ4K: two halves, and scales and minimums of six bits (see headerQ4K in matrix_pack.go).
func (k rowPack) headerQ4K() {
	const a, b = 4, 5
	k.quad(0, 0)
	k.split(0)
	k.op("VMOVDQU X0, %d(DI)", 16*k.h)
	k.op("VEXTRACTI128 $1, Y0, %d(DI)", 32+16*k.h)
	k.bytesOrder()
	for i := range 2 { // scales, then minimums
		const w, low, six = 1, 3, 6
		k.op("VPBROADCASTD %s, Y%d", k.file.const32(0x3f3f3f3f), six)
		k.op("VPAND Y%d, Y%d, Y%d", six, w+i, a)
		k.bytes(a, 64+16*i, 32)
		k.op("VPSRLD $2, Y%d, Y%d", w+i, b)
		k.op("VPAND Y%d, Y%d, Y%d", six, b, b)
		k.op("VPANDN Y%d, Y%d, Y%d", b, maskLow, b) // the upper two bits
		k.op("VPAND Y%d, Y%d, Y%d", maskLow, low, a)
		k.op("VPOR Y%d, Y%d, Y%[2]d", b, a)
		k.bytes(a, 64+32*4+16*i, 32)
		k.op("VPSRLD $4, Y%d, Y%[1]d", low)
	}
}

// nibbles: of 32 bytes the low nibbles are the block at low, the high ones that at high.
func (k rowPack) nibbles(disp, low, high int) {
	const t = 8
	k.quad(disp, 0)
	k.quad(disp+16, 4)
	for p := range 4 {
		x, y := p, 4+p
		k.op("VPAND Y%d, Y%d, Y%d", maskLow, x, t)
		k.op("VPAND Y%d, Y%d, Y%d", maskLow, y, t+1)
		k.op("VPSLLD $4, Y%d, Y%[1]d", t+1)
		k.op("VPOR Y%d, Y%d, Y%[1]d", t, t+1)
		k.store(t, low+64*p, "BX")
		k.op("VPAND Y%d, Y%d, Y%d", maskHigh, x, t)
		k.op("VPSRLD $4, Y%d, Y%[1]d", t)
		k.op("VPAND Y%d, Y%d, Y%d", maskHigh, y, t+1)
		k.op("VPOR Y%d, Y%d, Y%[1]d", t, t+1)
		k.store(t, high+64*p, "BX")
	}
}

// pairs: 32 bytes of pairs of bits; pair n of them makes the two planes at to+n*block.
func (k rowPack) pairs(disp, to, block int) {
	const t = 8
	k.quad(disp, 0)
	k.quad(disp+16, 4)
	for n := range 4 {
		for g := range 2 {
			for j := range 4 {
				d := t + min(j, 1)
				from := 4*g + j
				if n > 0 {
					k.op("VPSRLD $%d, Y%d, Y%d", 2*n, from, d)
					from = d
				}
				k.op("VPAND Y%d, Y%d, Y%d", maskPair, from, d)
				if j > 0 {
					k.op("VPSLLD $%d, Y%d, Y%[2]d", 2*j, d)
					k.op("VPOR Y%d, Y%d, Y%[2]d", d, t)
				}
			}
			k.store(t, to+n*block+64*g, "BX")
		}
	}
}

// order is a control of VPSHUFB: w in each of four words, counted from the word's first byte.
func order(w uint32) []uint32 {
	return []uint32{w, w + 0x04040404, w + 0x08080808, w + 0x0c0c0c0c}
}

// consecutive: 16 bytes of nibbles, two values a byte. A plane takes its low nibbles from 2 bytes and the high ones from the 2 that
// lie 8 behind.
func (k rowPack) consecutive() {
	const t = 8
	k.quad(0, 0)
	for half := range 2 { // of a word
		name := fmt.Sprintf("nibblesOrder%d", half)
		k.file.datum(name, order(0x01010000+uint32(half)*0x02020202))
		k.op("VBROADCASTI128 %s<>(SB), Y%d", name, t+3)
		for w := range 4 {
			k.op("VPSHUFB Y%d, Y%d, Y%d", t+3, w, t)
			k.op("VPAND Y%d, Y%d, Y%d", maskLow, t, t+1)
			k.op("VPSRLD $4, Y%d, Y%[1]d", t)
			k.op("VPAND Y%d, Y%d, Y%[2]d", maskHigh, t)
			k.op("VPOR Y%d, Y%d, Y%d", t, t+1, 4+w)
		}
		for w := range 2 {
			k.op("VPSLLD $4, Y%d, Y%[1]d", 6+w)
			k.op("VPOR Y%d, Y%d, Y%[1]d", 4+w, 6+w)
			k.store(4+w, 64*(2*w+half), "BX")
		}
	}
}

// upper: bit b of 32 bytes makes the plane at to+b*block.
func (k rowPack) upper(disp, to, block int) {
	const t = 8
	k.quad(disp, 0)
	k.quad(disp+16, 4)
	for b := range 8 {
		for i := range 8 {
			d := t + min(i, 1)
			from := i
			if b > 0 {
				k.op("VPSRLD $%d, Y%d, Y%d", b, from, d)
				from = d
			}
			k.op("VPAND Y%d, Y%d, Y%d", maskBit, from, d)
			if i > 0 {
				k.op("VPSLLD $%d, Y%d, Y%[2]d", i, d)
				k.op("VPOR Y%d, Y%d, Y%[2]d", d, t)
			}
		}
		k.store(t, to+b*block, "BX")
	}
}

// bitPlane: of 32 bits, byte q of a plane's word has bit 4i+q in bit i.
func (k rowPack) bitPlane(disp, to int) {
	const bits, x, y, w = 0, 1, 2, 3
	const mask1, mask3, maskF, maskFF = 15, 14, 13, 12
	for i := range 4 {
		insert := fmt.Sprintf("VPINSRD $%d, %%s, X%%d, X%%[2]d", i)
		if i == 0 {
			insert = "VMOVD %s, X%d"
		}
		k.op(insert, k.at(i, disp), bits)
		k.op(insert, k.at(i+4, disp), x)
	}
	k.op("VINSERTI128 $1, X%d, Y%d, Y%[2]d", x, bits)
	for q := range 4 {
		from := bits
		if q > 0 {
			k.op("VPSRLD $%d, Y%d, Y%d", q, bits, x)
			from = x
		}
		k.op("VPAND Y%d, Y%d, Y%d", mask1, from, x)
		for i, mask := range []int{mask3, maskF, maskFF} {
			k.op("VPSRLD $%d, Y%d, Y%d", 3<<i, x, y)
			k.op("VPOR Y%d, Y%d, Y%[2]d", y, x)
			k.op("VPAND Y%d, Y%d, Y%[2]d", mask, x)
		}
		if q == 0 {
			k.op("VMOVDQA Y%d, Y%d", x, w)
			continue
		}
		k.op("VPSLLD $%d, Y%d, Y%[2]d", 8*q, x)
		k.op("VPOR Y%d, Y%d, Y%[2]d", x, w)
	}
	k.store(w, to, "BX")
}
