package simd

import (
	"fmt"
	"strconv"
	"strings"
)

// The memory of a packed matrix.
//
// A tile is 16 consecutive rows, a block 32 consecutive columns. A tile is units, one after the other: headers (scales,
// minimums), each for a section of one or more blocks, and behind them the codes of these blocks. Where AVX-512 has kernels
// for that, a unit is so few blocks that their headers come just ahead of them, so a matrix is read byte after byte from front to
// back; elsewhere all of a tile is one unit, whose codes begin at a multiple of 64 bytes. Tiles follow each other. Rows behind
// the last and columns behind the last are zeros.
//
// Codes lie in planes of 64 bytes. In a plane a group of 4 bytes belongs to a row, its bytes to 4 columns; the columns
// 4i to 4i+3 of a block are its vector i, of 8. What a byte holds:
//
//	8 bits   8 planes: plane i is vector i, signed (unsigned codes less 128)
//	4 bits   4 planes: plane p is vector p in the low, vector p+4 in the high nibble
//	5 bits   as 4 bits, and a plane with the upper bit of vector i in bit i
//	6 bits   as 4 bits, and 2 planes: plane g has the upper two bits of vector 4g+j in bits 2j, 2j+1
//	2 bits   2 planes: plane g has vector 4g+j in bits 2j, 2j+1
//	3 bits   as 2 bits, and a plane with the upper bit of vector i in bit i
//
// Headers hold, for all 16 rows side by side, what the stored format has: halves, words of 32 bits, bytes. In those of q4_k, q5_k and q6_k
// scales are unpacked: behind the halves lie, for every block, its scales of 16 rows, one byte each, and then its minimums, or in q6_k the
// scales of its other half. A kernel multiplies with those of q4_k as they are.

const (
	tileRows16 = 16
	blockCols  = 32
)

// codeLayout says how codes are stored: the number of bits, or the table that nibbles index.
type codeLayout int

const (
	size8 codeLayout = iota
	size4
	size5
	size6
	size2
	size3
	sizeIQ4
	sizeFP4
)

// blockBytes is the bytes of a block of a tile.
var blockBytes = [...]int{size8: 512, size4: 256, size5: 320, size6: 384, size2: 128, size3: 192, sizeIQ4: 256, sizeFP4: 256}

// rowsSize is the size that codes have for the kernels for several rows, which read them as bytes.
var rowsSize = [...]codeLayout{size8: size8, size4: size4, size5: size5, size6: size6, size2: size4, size3: size4, sizeIQ4: size8, sizeFP4: size5}

// headerLayout says how kernels that read headers among the codes find scales there.
type headerLayout int

const (
	headerNone headerLayout = iota
	header16                // a float16 for each block
	headerQ4K
	headerQ6K
	headerF32 // a float32, and perhaps another, for all blocks of a unit
)

// headers returns the layout of the headers for the kernels in use that read them among the codes.
func (f *quantFormat) headers() headerLayout {
	switch {
	case impl != avx512:
	case f.plainScales():
		return header16
	case f.name == "q4_k" || f.name == "q5_k":
		return headerQ4K
	case f.name == "q6_k":
		return headerQ6K
	case f.group.bits != 0 && (f.section == 0 || rowsChunk%f.section == 0): // chunks of columns begin with a unit
		return headerF32
	}
	return headerNone
}

// layOut decides where everything lies in a tile.
func (m *Matrix) layOut() {
	f, size := m.quant, blockBytes[m.quant.codes]
	switch m.headers = f.headers(); m.headers {
	case headerNone:
	case header16:
		m.unit = 2
	default:
		m.unit = f.section // 0 where a row has one scale
	}
	if m.unit > 0 {
		m.unitHead = m.unit / f.section * f.header
		m.unitBytes = m.unitHead + m.unit*size
		if m.tileBytes = m.blocks / m.unit * m.unitBytes; m.blocks%m.unit > 0 {
			m.tileBytes += m.unitHead + m.blocks%m.unit*size
		}
		return
	}
	sections := 1
	if f.section > 0 {
		sections = m.blocks / f.section
	}
	m.unit, m.unitHead = m.blocks, (sections*f.header+63)&^63
	m.unitBytes = m.unitHead + m.blocks*size
	m.tileBytes = m.unitBytes
}

// whole reports whether a tile is one unit.
func (m *Matrix) whole() bool { return m.unitBytes == m.tileBytes }

// header returns the memory of tile t from the header of block b on, codes from its codes on.
func (m *Matrix) header(t, b int) []byte {
	at := b / m.unit * m.unitBytes
	if m.quant.section > 0 {
		at += b % m.unit / m.quant.section * m.quant.header
	}
	return m.tile(t)[at:]
}

func (m *Matrix) codes(t, b int) []byte {
	return m.tile(t)[b/m.unit*m.unitBytes+m.unitHead+b%m.unit*blockBytes[m.quant.codes]:]
}

// codeKind says what codes mean, with a scale D and a minimum M of the block.
type codeKind int

const (
	kindC  codeKind = iota // D*(code-zero)
	kindA                  // D*code + M
	kindS                  // D*code, codes signed
	kindSA                 // D*code + M, codes signed
	kindCH                 // as C, with scales for 16 columns
	kindAH                 // as A, with scales for 16 columns
)

// half reports whether a block has two scales.
func (k codeKind) half() bool { return k >= kindCH }

// parts returns how many scales a block has.
func (k codeKind) parts() int {
	if k.half() {
		return 2
	}
	return 1
}

// affine reports whether a block has minimums.
func (k codeKind) affine() bool { return k == kindA || k == kindSA || k == kindAH }

// quantFormat is a format of quantized weights.
type quantFormat struct {
	name    string
	values  int // columns in a stored block; 0 for a whole row
	bytes   int // of a stored block, where values is not 0
	section int // blocks of 32 columns that share a header; 0 for all
	header  int // bytes of a header for 16 rows
	codes   codeLayout
	kind    codeKind
	zero    int // the code that stands for 0, where there is one
	// pack stores a stored block, or as much of one as belongs to the section, as row lane of a tile: header h and codes c of
	// the section's blocks.
	pack  func(h, c []byte, lane int, src []byte)
	group groupFormat
}

// groupFormat is what the names int4g128, uint8 and so on say.
type groupFormat struct {
	bits   int // 0 where the format is none of these
	size   int // values in a group, 0 for a row
	offset bool
}

var quantFormats = map[string]*quantFormat{}

func init() {
	for _, f := range []quantFormat{
		{name: "q8_0", values: 32, bytes: 34, section: 1, header: 32, codes: size8, kind: kindS, pack: packQ80},
		{name: "q4_0", values: 32, bytes: 18, section: 1, header: 32, codes: size4, kind: kindC, zero: 8, pack: packQ40},
		{name: "q4_1", values: 32, bytes: 20, section: 1, header: 64, codes: size4, kind: kindA, pack: packQ41},
		{name: "q5_0", values: 32, bytes: 22, section: 1, header: 32, codes: size5, kind: kindC, zero: 16, pack: packQ50},
		{name: "q5_1", values: 32, bytes: 24, section: 1, header: 64, codes: size5, kind: kindA, pack: packQ51},
		{name: "iq4_nl", values: 32, bytes: 18, section: 1, header: 32, codes: sizeIQ4, kind: kindS, pack: packQ40},
		{name: "mxfp4", values: 32, bytes: 17, section: 1, header: 16, codes: sizeFP4, kind: kindC, zero: 16, pack: packMXFP4},
		{name: "q4_k", values: 256, bytes: 144, section: 8, header: 320, codes: size4, kind: kindA, pack: packQ4K},
		{name: "q5_k", values: 256, bytes: 176, section: 8, header: 320, codes: size5, kind: kindA, pack: packQ5K},
		{name: "q6_k", values: 256, bytes: 210, section: 8, header: 288, codes: size6, kind: kindCH, zero: 32, pack: packQ6K},
		{name: "q2_k", values: 256, bytes: 84, section: 8, header: 320, codes: size2, kind: kindAH, pack: packQ2K},
		{name: "q3_k", values: 256, bytes: 110, section: 8, header: 224, codes: size3, kind: kindCH, zero: 4, pack: packQ3K},
		{name: "iq4_xs", values: 256, bytes: 136, section: 8, header: 128, codes: sizeIQ4, kind: kindS, pack: packIQ4XS},
	} {
		quantFormats[f.name] = &f
	}
}

// lookupQuant returns the format of that name, nil if there are no kernels for it.
func lookupQuant(name string) *quantFormat {
	if f := quantFormats[name]; f != nil {
		return f
	}
	rest, unsigned := strings.CutPrefix(name, "u")
	bits, size, sized := strings.Cut(strings.TrimSuffix(rest, "h"), "g") // int4g128h only restricts what the scales may be
	g := groupFormat{offset: unsigned}
	switch bits {
	case "int4":
		g.bits = 4
	case "int8":
		g.bits = 8
	default:
		return nil
	}
	if sized {
		n, err := strconv.Atoi(size)
		if err != nil || n < blockCols || n%blockCols != 0 || n > 1<<20 || strconv.Itoa(n) != size {
			return nil
		}
		g.size = n
	}
	f := &quantFormat{name: name, values: g.size, section: g.size / blockCols, header: 64, group: g, codes: size8, kind: kindS}
	f.bytes = g.size*g.bits/8 + 4
	if g.bits == 4 {
		f.codes, f.kind, f.zero = size4, kindC, 8
	}
	if unsigned {
		f.bytes += 4
		f.header = 128
		f.kind = kindA
		if g.bits == 8 {
			f.kind = kindSA
		}
	}
	f.pack = f.packGroup
	return f
}

// rowBytes returns the stored bytes of a row of cols values, or an error where such a row cannot be.
func (f *quantFormat) rowBytes(cols int) (int, error) {
	if f.values == 0 {
		head := 4
		if f.group.offset {
			head = 8
		}
		if cols%2 != 0 {
			return 0, fmt.Errorf("simd: %s row of %d values: the number must be even", f.name, cols)
		}
		return head + cols*f.group.bits/8, nil
	}
	if cols%f.values != 0 {
		return 0, fmt.Errorf("simd: row of %d values is not a multiple of the %s block of %d", cols, f.name, f.values)
	}
	return cols / f.values * f.bytes, nil
}
