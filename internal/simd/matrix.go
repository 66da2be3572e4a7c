package simd

import (
	"fmt"
)

// Matrix is a weight of some rows and columns in the order that the kernels read, for products with rows of activations:
// y = W·x. Make it with NewMatrix, fill it with Pack.
type Matrix struct {
	format     string
	rows, cols int
	rowBytes   int

	// Quantized formats.
	quant     *quantFormat
	blocks    int // of 32 columns
	tileBytes int
	headers   headerLayout
	unit      int // blocks of a unit
	unitHead  int // bytes of its headers, which is where its codes start
	unitBytes int
	data      []byte
	chunk     *weightChunk // that data is cut from

	// Float formats.
	float  Float
	values []float32 // of f32

	brains, prompts bool // see RoundFast
}

// Packable reports whether NewMatrix knows a format: f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q2_k to q6_k, iq4_nl,
// iq4_xs, mxfp4, and the group formats int4, int8, uint4 and uint8, alone (a group is a row) or with a group size that
// is a multiple of 32: int4g128.
func Packable(format string) bool { return floatFormats[format] != 0 || lookupQuant(format) != nil }

// NewMatrix returns a matrix of zeros. Its memory is that of the stored weights, but for rows and columns that are padded
// to 16 and, for quantized formats, 32.
func NewMatrix(format string, rows, cols int) (*Matrix, error) {
	if rows <= 0 || cols <= 0 {
		return nil, fmt.Errorf("simd: matrix of %d rows and %d columns", rows, cols)
	}
	m := &Matrix{format: format, rows: rows, cols: cols}
	tiles := (rows + tileRows16 - 1) / tileRows16
	if f := floatFormats[format]; f != 0 {
		m.newFloat(f, tiles)
		return m, nil
	}
	if m.quant = lookupQuant(format); m.quant == nil {
		return nil, fmt.Errorf("simd: no kernels for format %q", format)
	}
	var err error
	if m.rowBytes, err = m.quant.rowBytes(cols); err != nil {
		return nil, err
	}
	m.blocks = (cols + blockCols - 1) / blockCols
	m.layOut()
	m.data, m.chunk = weightBytes(tiles * m.tileBytes)
	return m, nil
}

// Size returns the rows and columns.
func (m *Matrix) Size() (rows, cols int) { return m.rows, m.cols }

// Bytes returns the memory that the weights take, all of which a product reads.
func (m *Matrix) Bytes() int64 { return int64(len(m.data)) + 4*int64(len(m.values)) }

// Read loads the weights of the tiles of 16 rows that rows [lo,hi) lie in and does nothing with them: what Mul takes at
// least, where memory is all that counts.
func (m *Matrix) Read(lo, hi int) {
	from, to := lo/tileRows16, (hi+tileRows16-1)/tileRows16
	if m.values != nil {
		Read(BytesOf(m.values[from*tileRows16*m.cols : to*tileRows16*m.cols]))
		return
	}
	Read(m.data[from*m.tileBytes : to*m.tileBytes])
}

// Kernel names the code that multiplies: "avx2 q4_0".
func (m *Matrix) Kernel() string { return implementationNames[inUse()] + " " + m.format }

// Form returns the form of the activations that Mul reads beside float32, of a prompt's or of others, which Acts.Quantize must make first,
// or 0.
func (m *Matrix) Form(prompt bool) Form {
	switch {
	case prompt && m.prompts:
		return Tiled
	case m.quant != nil:
		return Bytes
	case m.brains:
		return Brains
	}
	return 0
}

// RoundFast lets Mul round activations to bfloat16, sums being float32: where the weights are bfloat16 and the CPU multiplies pairs of them
// (AVX512_BF16), twice as fast as float32; and a prompt's activations and the weights they meet, quantized or bfloat16, where it
// multiplies tiles of them (AMX).
func (m *Matrix) RoundFast() {
	m.brains = m.float == BF16 && brainDots()
	m.prompts = PromptsFast() && (m.float == BF16 || m.quant != nil)
}

// Pack stores rows from row on, given as the bytes that a file of this format holds for them, row after row. Different
// rows may be packed at the same time.
func (m *Matrix) Pack(row int, data []byte) {
	n := len(data) / m.rowBytes
	if len(data) != n*m.rowBytes || row < 0 || row+n > m.rows {
		panic(fmt.Sprintf("simd: %d bytes for %s rows of %d at row %d of %d", len(data), m.format, m.rowBytes, row, m.rows))
	}
	for i := 0; i < n; {
		src := data[i*m.rowBytes:]
		if (row+i)%tileRows16 == 0 && n-i >= tileRows16 && m.packTile((row+i)/tileRows16, src[:tileRows16*m.rowBytes]) {
			i += tileRows16
			continue
		}
		if src = src[:m.rowBytes]; m.quant == nil {
			m.packFloat(row+i, src, 0)
		} else {
			m.packQuant(row+i, src)
		}
		i++
	}
}

func (m *Matrix) packQuant(r int, src []byte) {
	f, t, lane := m.quant, r/tileRows16, r%tileRows16
	if f.section == 0 {
		f.pack(m.header(t, 0), m.codes(t, 0), lane, src)
		return
	}
	for b := 0; len(src) > 0; b += f.section {
		f.pack(m.header(t, b), m.codes(t, b), lane, src[:f.bytes])
		src = src[f.bytes:]
	}
}

// tile returns tile t of a quantized matrix.
func (m *Matrix) tile(t int) []byte { return m.data[t*m.tileBytes : (t+1)*m.tileBytes] }

// Row decodes row r to float32: the values of the stored format, exactly.
func (m *Matrix) Row(dst []float32, r int) {
	if len(dst) != m.cols || r < 0 || r >= m.rows {
		panic(fmt.Sprintf("simd: row %d of %d into %d values of %d", r, m.rows, len(dst), m.cols))
	}
	if m.quant == nil {
		m.rowFloat(dst, r)
		return
	}
	m.rowQuant(dst, r)
}

// Mul computes dst[t*ld+r-lo] = row r of the matrix · row t of x for the rows [lo,hi) of the matrix and all rows t of x, or
// adds to dst where add is set. The result for a row of x does not depend on the other rows or on the borders lo and hi.
// Borders that are multiples of 16 (or the last row) are the fastest. Mul runs on the calling goroutine; different ranges may
// be computed at the same time.
func (m *Matrix) Mul(dst []float32, ld int, x *Acts, lo, hi int, add bool) {
	switch {
	case lo < 0 || hi > m.rows || lo > hi || x.cols != m.cols:
		panic(fmt.Sprintf("simd: rows %d to %d of a matrix of %d rows and %d columns, activations of %d columns", lo, hi, m.rows, m.cols, x.cols))
	case lo == hi || x.rows == 0:
		return
	}
	checkMatrix("the result", len(dst), ld, x.rows, hi-lo, false)
	if f := m.Form(x.wants&Tiled != 0); f != 0 {
		for _, made := range x.made {
			if made&f == 0 {
				panic("simd: activations have not been quantized")
			}
		}
	}
	for r := lo; r < hi; {
		t, first := r/tileRows16, r%tileRows16
		if n := (hi - r) / tileRows16; first == 0 && n > 0 {
			m.mulTiles(dst[r-lo:], ld, x, t, n, add)
			r += n * tileRows16
			continue
		}
		// Part of a tile: the tile goes to a buffer.
		n := min(tileRows16-first, hi-r)
		buf := buffer(x.rows * tileRows16)
		out := *buf
		for i := range x.rows {
			if add {
				copy(out[i*tileRows16+first:][:n], dst[i*ld+r-lo:])
			}
		}
		m.mulTiles(out, tileRows16, x, t, 1, add)
		for i := range x.rows {
			copy(dst[i*ld+r-lo:][:n], out[i*tileRows16+first:])
		}
		buffers.Put(buf)
		r += n
	}
}

// mulTiles multiplies with n whole tiles from tile t on.
func (m *Matrix) mulTiles(dst []float32, ld int, x *Acts, t, n int, add bool) {
	switch {
	case m.Form(x.wants&Tiled != 0) == Tiled:
		m.mulPrompt(dst, ld, x, t, n, add)
	case m.quant == nil:
		m.mulFloat(dst, ld, x, t, n, add)
	default:
		m.mulQuant(dst, ld, x, t, n, add)
	}
}
