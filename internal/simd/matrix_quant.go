package simd

import (
	"math"
	"sync"
)

const (
	vecChunk  = 64 // blocks of a tile whose scales are decoded at a time, for one row of activations
	rowsChunk = 16 // and whose codes too, for several

	fetchLines = 32 // of 64 bytes: as far ahead as kernels for one row and one tile ask for codes
	sideTiles  = 4  // tiles that go side by side where there are kernels for that
)

// sideBytes is how long tiles must be to go side by side: what fetches ahead finds out anew where each begins, and of short ones it
// brings less than is asked for in one stream that leads from tile to tile. Tests change it.
var sideBytes = 16 << 10

// unitsAbreast says that four tiles whose headers lie among the codes go side by side, too. Tests change it.
var unitsAbreast = manyStreams

// scratch is what a product needs beside its operands.
type scratch struct {
	codes []byte // rowsChunk blocks
	d, m  []float32
	tile  []byte // integer sums of two blocks
	sums  []float32
	words []int16 // a chunk of activations
}

var scratches = sync.Pool{New: func() any {
	// Sizes that the allocator puts on pages of their own, so that vectors do not straddle cache lines.
	f := make([]float32, 2*vecChunk*2*tileRows16*2)
	return &scratch{codes: make([]byte, 1<<16), d: f[:len(f)/2], m: f[len(f)/2:], tile: make([]byte, 1<<15)[:2048]}
}}

// mulQuant is the product of quantized tiles. Sums go through dst from chunk to chunk; each is one chain over the blocks of
// its row, the same for any number of rows of x.
func (m *Matrix) mulQuant(dst []float32, ld int, x *Acts, t, n int, add bool) {
	if m.headers != headerNone && x.rows <= fewRows && !x.tiled.on {
		m.mulUnits(dst, ld, x, t, n, add)
		return
	}
	s := scratches.Get().(*scratch)
	if x.rows == 1 {
		m.mulRow(s, dst, x, t, n, add)
	} else if x.grouped.on {
		m.mulGrouped(s, dst, ld, x, t, n, add)
	} else if x.tiled.on {
		chunk := rowsChunk
		if x.rows <= tileRows16 {
			chunk = vecChunk
		}
		for b := 0; b < m.blocks; b += chunk {
			for i := range n {
				m.rowsTiled(s, dst[i*tileRows16:], ld, x, t+i, b, min(chunk, m.blocks-b), add || b > 0)
			}
		}
	} else {
		side := n // tiles that a chunk of columns of the activations meets one after the other
		if x.rows <= fewRows {
			side = 1 // all columns stay in the second cache: weights are read from front to back
		}
		for from := 0; from < n; from += side {
			for b := 0; b < m.blocks; b += rowsChunk {
				for i := from; i < from+side; i++ {
					m.rowsOf(s, dst[i*tileRows16:], ld, x, t+i, b, min(rowsChunk, m.blocks-b), add || b > 0)
				}
			}
		}
	}
	scratches.Put(s)
}

// mulRow is mulQuant for one row of activations.
func (m *Matrix) mulRow(s *scratch, dst []float32, x *Acts, t, n int, add bool) {
	side := 1
	if impl == avx2 && m.tileBytes >= sideBytes {
		side = sideTiles
	}
	for i := 0; i < n; i += side {
		tiles := min(side, n-i)
		out := dst[i*tileRows16 : (i+tiles)*tileRows16]
		switch {
		case side > 1 && m.quant.plainScales():
			m.vecTiles(out, x, t+i, tiles, add)
			continue
		case side > 1 && m.quant.byteScales() && !(add && hasNegativeZero(out)):
			m.vecSections(s, out, x, t+i, tiles, add)
			continue
		}
		for j := range tiles {
			for b := 0; b < m.blocks; b += vecChunk {
				m.vec(s, out[j*tileRows16:], x, t+i+j, b, min(vecChunk, m.blocks-b), add || b > 0)
			}
		}
	}
}

// chunkCodes returns the codes of blocks [b,b+n) of tile t, the first of which begins a unit or is in the only one, having decoded their
// scales to s.
func (m *Matrix) chunkCodes(s *scratch, t, b, n int) []byte {
	m.decodeScales(s, t, b, n)
	return m.codes(t, b)
}

// mulUnits multiplies n tiles from tile t on with up to fewRows rows, where kernels read headers among the codes.
func (m *Matrix) mulUnits(dst []float32, ld int, x *Acts, t, n int, add bool) {
	f := m.quant
	_, _ = dst[(x.rows-1)*ld+n*tileRows16-1], m.data[(t+n)*m.tileBytes-1]
	init := 0
	if add {
		init = 1
	}
	g := &x.grouped
	step := n
	if x.rows > 8 { // a tile stays in the caches while all rows meet it
		step = 1
	}
	for i := 0; i < n; i += step {
		for r := 0; r < x.rows; {
			acts := min(x.rows-r, 8)
			if acts > 4 && acts < 8 {
				acts = 4
			}
			if acts == 1 { // as it is
				q, meta := x.row(r)
				d, other := f.numbersFrom(meta, x.blocks, 0)
				_, _, _ = q[m.blocks*blockCols-1], d[m.blocks-1], other[m.blocks*f.kind.parts()-1]
				run := func(at, tiles, side int) {
					if tiles > 0 { // each of side streams goes on from tile to tile
						each := tiles / side
						matUnitKernel(m.headers, f.codes, f.kind, 1, side, &dst[r*ld+at*tileRows16], each*tileRows16, &m.data[(t+at)*m.tileBytes], &q[0], each*m.tileBytes, &d[0], 0,
							4*f.other()*x.blocks, m.blocks, m.unit, tiles, init)
					}
				}
				abreast := 0
				if unitsAbreast {
					abreast = step &^ (sideTiles - 1)
				}
				run(i, abreast, sideTiles)
				run(i+abreast, step-abreast, 1)
				break
			}
			group := r / groupRows
			matUnitKernel(m.headers, f.codes, f.kind, acts, 1, &dst[r*ld+i*tileRows16], ld, &m.data[(t+i)*m.tileBytes], &g.q[group*g.qs], g.qs, &g.meta[group*g.ms], 4*g.ms,
				4*groupRows*f.other()*x.blocks, m.blocks, m.unit, step, init)
			r += acts
		}
	}
}

// fetch asks for what a product with one row reads next, beside what its kernel asks for: the first codes of blocks [b,b+n) of
// tile t, while their scales are decoded, and the headers of the blocks behind them.
func (m *Matrix) fetch(t, b, n int) {
	if !impl.x86() {
		return
	}
	f, tile := m.quant, m.tile(t)
	at := m.unitHead + b*blockBytes[f.codes]
	prefetchLines(&tile[at], min(fetchLines, n*blockBytes[f.codes]/64))
	if b+n < m.blocks && f.section > 0 {
		from, to := (b+n)/f.section*f.header, min(b+n+vecChunk, m.blocks)/f.section*f.header
		prefetchLines(&tile[from], (to-from+63)/64)
	}
}

// other returns the array of the activations' numbers that a kernel reads beside their scales.
func (f *quantFormat) other() int {
	switch f.kind {
	case kindC:
		if f.zero == 8 {
			return metaZ8
		}
		return metaZ16
	case kindS:
		return metaZ128
	case kindCH:
		if f.zero == 4 {
			return metaZ4H
		}
		return metaZ32H
	case kindAH:
		return metaH
	}
	return metaS
}

// plainScales reports whether the headers are a scale in float16 for every block and row and nothing else.
func (f *quantFormat) plainScales() bool { return f.section == 1 && f.header == 2*tileRows16 }

// byteScales reports whether kernels read scales and minimums from the header as they are, a byte each. For q5_k and q6_k, whose headers
// are of the same kind, that was no faster: unpacking their codes takes the time that decoding scales does.
func (f *quantFormat) byteScales() bool { return f.name == "q4_k" }

// numbersFrom returns the scales and the other numbers of a row from block b on.
func (f *quantFormat) numbersFrom(meta []float32, blocks, b int) (d, other []float32) {
	o := f.other()
	return meta[b:], meta[o*blocks+f.kind.parts()*b:]
}

// vec multiplies blocks [b,b+n) of tile t with one row.
func (m *Matrix) vec(s *scratch, dst []float32, x *Acts, t, b, n int, load bool) {
	m.fetch(t, b, n)
	codes := m.chunkCodes(s, t, b, n)
	q, meta := x.row(0)
	d, other := m.quant.numbersFrom(meta, x.blocks, b)
	q = q[b*blockCols:][:n*blockCols]
	_, _, _ = dst[tileRows16-1], d[n-1], other[n*m.quant.kind.parts()-1]
	if impl == generic {
		vecGeneric(m.quant, dst, codes, s, q, d, other, load)
		return
	}
	init := 0
	if load {
		init = 1
	}
	off := 4 * ((m.quant.other()*x.blocks + m.quant.kind.parts()*b) - b)
	matVecKernel(m.quant.codes, m.quant.kind, &dst[0], &codes[0], &s.d[0], &s.m[0], &q[0], &d[0], off, n, init)
}

// vecTiles multiplies n tiles from tile t on with one row, side by side.
func (m *Matrix) vecTiles(dst []float32, x *Acts, t, n int, add bool) {
	q, meta := x.row(0)
	d, other := m.quant.numbersFrom(meta, x.blocks, 0)
	_, _, _, _ = dst[n*tileRows16-1], q[m.blocks*blockCols-1], d[m.blocks-1], other[m.blocks-1]
	init := 0
	if add {
		init = 1
	}
	m.fetchTiles(t+n, n)
	for n > 0 {
		tiles := min(2, n)
		groups := n / tiles
		tile := m.tile(t)
		matTileKernel(m.quant.codes, m.quant.kind, tiles, &dst[0], &tile[m.unitHead], &tile[0], m.tileBytes, &q[0], &d[0], 4*m.quant.other()*x.blocks, m.blocks, groups, init)
		done := tiles * groups
		dst, t, n = dst[min(len(dst), done*tileRows16):], t+done, n-done
	}
}

// fetchTiles asks for the first lines of n tiles from tile t on, to which no stream leads.
func (m *Matrix) fetchTiles(t, n int) {
	for i := t; i < min(t+n, len(m.data)/m.tileBytes); i++ {
		tile := m.tile(i)
		prefetchLines(&tile[0], 1)
		prefetchLines(&tile[m.unitHead], 6)
	}
}

// tileNums is how many numbers the kernels for sections keep of a tile: sums first, then what they need themselves.
const tileNums = 3 * tileRows16

// vecSections is vecTiles for headers of bytes, when no sum to be added to is a negative zero: it would keep its sign where the kernels for
// several rows, which may round to a zero of the other sign first, do not keep it.
func (m *Matrix) vecSections(s *scratch, dst []float32, x *Acts, t, n int, add bool) {
	q, meta := x.row(0)
	d, other := m.quant.numbersFrom(meta, x.blocks, 0)
	_, _, _, _ = dst[n*tileRows16-1], q[m.blocks*blockCols-1], d[m.blocks-1], other[m.blocks*m.quant.kind.parts()-1]
	m.fetchTiles(t+n, n)
	nums := s.d[:sideTiles*tileNums]
	for i := range n {
		sums := nums[i*tileNums:][:tileRows16]
		if clear(sums); add {
			copy(sums, dst[i*tileRows16:])
		}
	}
	for i := 0; i < n; {
		tiles := min(2, n-i)
		groups := (n - i) / tiles
		tile := m.tile(t + i)
		matSectionKernel(tiles, &nums[i*tileNums], &tile[m.unitHead], &tile[0], m.tileBytes, &q[0], &d[0], 4*m.quant.other()*x.blocks, m.blocks/m.quant.section, groups)
		i += tiles * groups
	}
	for i := range n {
		copy(dst[i*tileRows16:(i+1)*tileRows16], nums[i*tileNums:])
	}
}

// hasNegativeZero reports whether x has a zero whose sign is negative.
func hasNegativeZero(x []float32) bool {
	for _, v := range x {
		if math.Float32bits(v) == 1<<31 {
			return true
		}
	}
	return false
}

// rowsOf multiplies blocks [b,b+n) of tile t with all rows of x.
func (m *Matrix) rowsOf(s *scratch, dst []float32, ld int, x *Acts, t, b, n int, load bool) {
	codes := m.chunkCodes(s, t, b, n)
	kind := m.quant.kind
	if impl == generic {
		for r := range x.rows {
			q, meta := x.row(r)
			d, other := m.quant.numbersFrom(meta, x.blocks, b)
			vecGeneric(m.quant, dst[r*ld:], codes, s, q[b*blockCols:][:n*blockCols], d, other, load)
		}
		return
	}
	size := rowsSize[m.quant.codes]
	zero := 0
	if size == size8 {
		zero = 128 // kernels of AVX-512 multiply unsigned bytes
	}
	if m.quant.codes != size8 || impl == avx512 {
		expandKernel(m.quant.codes, &s.codes[0], &codes[0], n, zero, m.unit, m.unitHead)
		codes = s.codes[:n*blockBytes[size8]]
	}
	init := 0
	if load {
		init = 1
	}
	off := 4 * ((m.quant.other()*x.blocks + kind.parts()*b) - b)
	q, meta := x.q[b*blockCols:], x.meta[b:]
	_ = dst[(x.rows-1)*ld+tileRows16-1]
	for r := 0; r < x.rows; {
		acts := actGroup(x.rows - r)
		groups := (x.rows - r) / acts
		matMulKernel(size, kind, acts, &dst[r*ld], ld, &codes[0], &s.d[0], &s.m[0], &q[r*x.qStep], x.qStep, &meta[r*x.metaStep], 4*x.metaStep, off, n, groups, init)
		r += acts * groups
	}
}

// actGroup returns how many of n rows of activations the largest kernel takes.
func actGroup(n int) int {
	switch impl {
	case neon:
		return min(n, 2)
	case dotprod:
		return min(n, 3)
	}
	for _, a := range [...]int{12, 8, 4, 2} {
		if n >= a {
			return a
		}
	}
	return 1
}

// vecGeneric is the meaning of the kernels: integer sums of a block, exact, then a fixed row of float operations.
func vecGeneric(f *quantFormat, dst []float32, codes []byte, s *scratch, q []int8, d, other []float32, load bool) {
	if !load {
		clear(dst[:tileRows16])
	}
	parts := f.kind.parts()
	size := blockBytes[f.codes]
	var c [blockCols]int16
	for b := 0; len(q) > 0; b++ {
		for lane := range tileRows16 {
			codesOf(&c, f.codes, codes[b*size:], lane)
			for p := range parts {
				var isum int32
				for i := p * 16; i < blockCols/parts+p*16; i++ {
					isum += int32(c[i]) * int32(q[i])
				}
				if f.kind == kindC || f.kind == kindCH {
					isum += int32(math.Float32bits(other[b*parts+p]))
				}
				at := (b*parts+p)*tileRows16 + lane
				sum := fma(float32(s.d[at]*float32(isum)), d[b], dst[lane])
				if f.kind.affine() {
					sum = fma(s.m[at], other[b*parts+p], sum)
				}
				dst[lane] = sum
			}
		}
		q = q[blockCols:]
	}
}

// fma returns a*b + c, rounded once (but for ties that rounding to float64 makes).
func fma(a, b, c float32) float32 { return float32(float64(a)*float64(b) + float64(c)) }

// decodeScales sets s to the scales and minimums of blocks [b,b+n) of tile t. Block b begins a unit where there are several.
func (m *Matrix) decodeScales(s *scratch, t, b, n int) {
	f := m.quant
	parts := f.kind.parts()
	switch {
	case impl == generic:
	case m.whole():
		f.scalesVector(s.d, s.m, m.tile(t), b, n)
		return
	case f.plainScales():
		unitScalesAVX512(&s.d[0], &m.header(t, b)[0], m.unitBytes, n)
		return
	default:
		for i := 0; i < n; i += m.unit {
			at := i * parts * tileRows16
			f.scalesVector(s.d[at:], s.m[at:], m.header(t, b+i), 0, m.unit)
		}
		return
	}
	for i := range n {
		h := m.header(t, b+i)
		for lane := range tileRows16 {
			d, low := f.scalesOf(h, m.inSection(b+i), lane)
			for p := range parts {
				s.d[(i*parts+p)*tileRows16+lane], s.m[(i*parts+p)*tileRows16+lane] = d[p], low[p]
			}
		}
	}
}

// inSection is which block of its section block b is.
func (m *Matrix) inSection(b int) int {
	if m.quant.section == 0 {
		return b
	}
	return b % m.quant.section
}

// scalesVector is decodeScales with kernels, of a unit that begins at tile, to d and m.
func (f *quantFormat) scalesVector(ds, ms []float32, tile []byte, b, n int) {
	if f.group.bits != 0 {
		per, left, section := f.section, f.section-b%max(f.section, 1), 0
		if per == 0 {
			per, left = math.MaxInt32, math.MaxInt32
		} else {
			section = b / per
		}
		mins := &ms[0]
		if !f.group.offset {
			mins = nil
		}
		scalesF32Vector(&ds[0], mins, &tile[section*f.header], n, left, per, f.bias())
		return
	}
	h := &tile[b/f.section*f.header]
	d, m := &ds[0], &ms[0]
	n /= f.section
	switch f.name {
	case "q8_0", "q4_0", "q5_0", "iq4_nl":
		scalesF16Vector(d, m, h, n)
	case "q4_1", "q5_1":
		scalesF16MVector(d, m, h, n)
	case "mxfp4":
		scalesE8Vector(d, m, h, n)
	case "q4_k", "q5_k":
		scalesQ4KVector(d, m, h, n)
	case "q6_k":
		scalesQ6KVector(d, m, h, n)
	case "q3_k":
		scalesQ3KVector(d, m, h, n)
	case "q2_k":
		scalesQ2KVector(d, m, h, n)
	case "iq4_xs":
		scalesIQ4XSVector(d, m, h, n)
	}
}

// rowQuant decodes row r as the stored format defines it.
func (m *Matrix) rowQuant(dst []float32, r int) {
	f, t, lane := m.quant, r/tileRows16, r%tileRows16
	var c [blockCols]int16
	for b := range m.blocks {
		h := m.header(t, b)
		codesOf(&c, f.codes, m.codes(t, b), lane)
		d, low := f.scalesOf(h, m.inSection(b), lane)
		var offset float32
		if f.group.offset {
			offset = math.Float32frombits(le.Uint32(h[64+4*lane:]))
			if f.group.bits == 8 {
				for i := range c {
					c[i] += 128
				}
			}
		}
		if f.name == "mxfp4" && h[lane] == 0 {
			d[0] = 0x1p-128
		}
		out := dst[b*blockCols : min(len(dst), (b+1)*blockCols)]
		for i := range out {
			p := 0
			if f.kind.half() {
				p = i / 16
			}
			switch {
			case f.group.offset:
				out[i] = d[0] * (float32(c[i]) + offset)
			case f.zero != 0 || !f.kind.affine():
				out[i] = d[p] * float32(int(c[i])-f.zero)
			default:
				out[i] = float32(d[p]*float32(c[i])) + low[p]
			}
		}
	}
}
