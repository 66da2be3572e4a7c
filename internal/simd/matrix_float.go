package simd

import "unsafe"

// Matrices of float32, float16 and bfloat16.

// Float is a format of numbers.
type Float int

const (
	F32 Float = iota + 1
	F16
	BF16
)

var floatFormats = map[string]Float{"f32": F32, "f16": F16, "bf16": BF16}

// newFloat makes room. float32 lies in panels of 16 rows, as PackB makes them: for every column the 16 rows' values.
// 16-bit numbers lie likewise, for bfloat16 two columns at a time: the pair of a row makes a word of 32 bits.
func (m *Matrix) newFloat(f Float, tiles int) {
	m.float = f
	if f == F32 {
		m.rowBytes = 4 * m.cols
		m.values = make([]float32, tiles*tileRows16*m.cols)
		return
	}
	m.rowBytes = 2 * m.cols
	m.tileBytes = 2 * tileRows16 * (m.cols + m.cols%2)
	m.data, m.chunk = weightBytes(tiles * m.tileBytes)
}

// packFloat stores the columns of row r from column from on. src is the whole row.
func (m *Matrix) packFloat(r int, src []byte, from int) {
	lane := r % tileRows16
	switch m.float {
	case F32:
		panel := m.values[r/tileRows16*tileRows16*m.cols:][:tileRows16*m.cols]
		row := buffer(m.cols)
		LoadF32(*row, src)
		for i, v := range (*row)[from:] {
			panel[(from+i)*tileRows16+lane] = v
		}
		buffers.Put(row)
	case F16:
		tile := m.tile(r / tileRows16)
		for i := from; i < m.cols; i++ {
			le.PutUint16(tile[2*(i*tileRows16+lane):], le.Uint16(src[2*i:]))
		}
	case BF16:
		tile := m.tile(r / tileRows16)
		for i := from; i < m.cols; i++ {
			le.PutUint16(tile[4*(i/2*tileRows16+lane)+i%2*2:], le.Uint16(src[2*i:]))
		}
	}
}

func (m *Matrix) rowFloat(dst []float32, r int) {
	lane := r % tileRows16
	if m.float == F32 {
		panel := m.values[r/tileRows16*tileRows16*m.cols:]
		for i := range dst {
			dst[i] = panel[i*tileRows16+lane]
		}
		return
	}
	tile := m.tile(r / tileRows16)
	for i := range dst {
		if m.float == F16 {
			dst[i] = halfToFloat(le.Uint16(tile[2*(i*tileRows16+lane):]))
		} else {
			dst[i] = brainToFloat(le.Uint16(tile[4*(i/2*tileRows16+lane)+i%2*2:]))
		}
	}
}

// mulFloat is the product of n tiles from tile t on: the register tiles of Gemm, with the weights as B.
func (m *Matrix) mulFloat(dst []float32, ld int, x *Acts, t, n int, add bool) {
	if m.brains {
		m.mulBrain(dst, ld, x, t, n, add)
		return
	}
	if x.rows == 1 && m.float != F32 && impl != generic {
		m.vecFloat(dst, x.x, t, n, add)
		return
	}
	rows, wide := tileRows()
	var buf *[]float32
	if rest := x.rows % rows; x.rows < gemmRows && rest > 0 {
		wide = max(wide, tilePanels(rest)) // the rows left over take several panels at a time
	}
	if m.float != F32 {
		buf = buffer(wide * tileRows16 * gemmSlice)
		defer buffers.Put(buf)
	} else {
		wide = n
	}
	for l := 0; l < m.cols; l += gemmSlice {
		kn := min(gemmSlice, m.cols-l)
		s := slice{steps: kn, a: aView{x.x[l:], m.cols, 1, rows * m.cols}}
		for i := 0; i < n; i += wide {
			p := min(wide, n-i)
			if buf != nil {
				for j := range p {
					m.widen((*buf)[j*tileRows16*gemmSlice:], t+i+j, l, kn)
				}
				s.b = bView{*buf, tileRows16 * gemmSlice, tileRows16}
			} else {
				s.b = bView{m.values[(t*m.cols+l)*tileRows16:], tileRows16 * m.cols, tileRows16}
			}
			for r := 0; r < x.rows; r += gemmRows {
				s.block(dst[i*tileRows16:], ld, r, min(x.rows, r+gemmRows), p*tileRows16, 0, p, add || l > 0)
			}
		}
	}
}

// widen sets dst to columns [l,l+n) of tile t: 16 values a column. l is even.
func (m *Matrix) widen(dst []float32, t, l, n int) {
	w := m.tile(t)[2*tileRows16*l:]
	switch {
	case impl != generic && m.float == F16:
		widenF16Vector(&dst[0], &w[0], n)
	case impl != generic:
		widenBF16Vector(&dst[0], &w[0], (n+1)/2)
	case m.float == F16:
		for i := range n * tileRows16 {
			dst[i] = halfToFloat(le.Uint16(w[2*i:]))
		}
	default:
		for i := range n * tileRows16 {
			col, lane := i/tileRows16, i%tileRows16
			dst[i] = brainToFloat(le.Uint16(w[4*(col/2*tileRows16+lane)+col%2*2:]))
		}
	}
}

// vecFloat multiplies n tiles of 16-bit weights with one row.
func (m *Matrix) vecFloat(dst, x []float32, t, n int, add bool) {
	init := 0
	if add {
		init = 1
	}
	_, _ = dst[n*tileRows16-1], x[m.cols-1]
	for n > 0 {
		w, p := &m.data[t*m.tileBytes], 1
		if n >= 4 {
			p = 4
		}
		switch {
		case m.float == F16 && p == 4:
			vecF16x4Vector(&dst[0], w, m.tileBytes, &x[0], m.cols, init)
		case m.float == F16:
			vecF16Vector(&dst[0], w, m.tileBytes, &x[0], m.cols, init)
		case p == 4:
			vecBF16x4Vector(&dst[0], w, m.tileBytes, &x[0], m.cols, init)
		default:
			vecBF16Vector(&dst[0], w, m.tileBytes, &x[0], m.cols, init)
		}
		dst, t, n = dst[p*tileRows16:], t+p, n-p
	}
}

// brainDots reports whether products with bfloat16 are those of pairs of bfloat16 (AVX512_BF16), twice as fast as float32: activations
// are rounded to bfloat16, sums are float32.
func brainDots() bool { return impl == avx512 && hasBrainDots }

// brainSlice is how many pairs of columns of two tiles stay in a core's second cache while many rows of activations meet them.
const brainSlice = 1024

// mulBrain multiplies n tiles of bfloat16 from tile t on with all rows of x.
func (m *Matrix) mulBrain(dst []float32, ld int, x *Acts, t, n int, add bool) {
	pairs := (m.cols + 1) / 2
	slice := brainSlice
	if x.rows <= fewRows { // weights are read from front to back
		slice = pairs
	}
	for l := 0; l < pairs; l += slice {
		mulBrainTiles(dst, ld, x.brains[4*l:], x.brainStep, x.rows, m.data[t*m.tileBytes+64*l:], m.tileBytes, n, min(slice, pairs-l), add || l > 0)
	}
}

// mulBrainTiles multiplies rows of pairs of bfloat16, xs bytes apart, with n tiles of them, step bytes apart: products of a row and a lane are one chain.
func mulBrainTiles(dst []float32, ld int, x []byte, xs, rows int, w []byte, step, n, pairs int, add bool) {
	_, _, _ = dst[(rows-1)*ld+n*tileRows16-1], x[(rows-1)*xs+4*pairs-1], w[(n-1)*step+64*pairs-1]
	wide, init := 2, 0
	if rows < 8 {
		wide = 4
	}
	if add {
		init = 1
	}
	for i := 0; i < n; {
		tiles := 1
		if n-i >= wide {
			tiles = wide
		}
		for r := 0; r < rows; {
			acts := actGroup(rows - r)
			brainKernel(acts, tiles, &dst[r*ld+i*tileRows16], ld, &w[i*step], step, (*uint16)(unsafe.Pointer(&x[r*xs])), xs, pairs, init)
			r += acts
		}
		i += tiles
	}
}
