package simd

// Activations for the AVX2 kernels for several rows, and those of AVX-512 for a few. Four rows are a group: of every block of
// 32 columns the codes of its rows follow each other, and so do, in arrays as those of a single row, their numbers. Kernels read one stream of codes
// whatever the number of rows. Rows that fill up the last group are not read.

// groupRows is how many rows of activations make a group.
const groupRows = 4

// groupedActs is the form of Acts for these kernels.
type groupedActs struct {
	on     bool
	beside bool // made beside the plain form
	q      []int8
	meta   []float32
	qs, ms int // distances of groups, in elements
}

// reset makes room for rows in grouped form where kernels want that, and not tiles instead.
func (g *groupedActs) reset(rows, blocks int, tiled bool) {
	g.on = impl == avx2 && rows > 1
	g.beside = impl == avx512 && !tiled && rows > 1 && rows <= fewRows
	if !g.on && !g.beside {
		return
	}
	groups := (rows + groupRows - 1) / groupRows
	g.qs, g.ms = groupRows*blockCols*blocks, groupRows*metaSize*blocks
	g.q, g.meta = grow(g.q, groups*g.qs), grow(g.meta, groups*g.ms)
}

// put stores quantized row r.
func (g *groupedActs) put(r int, b *rowBuffer) {
	group, lane := r/groupRows, r%groupRows
	q := g.q[group*g.qs+lane*blockCols:]
	for i := 0; i*blockCols < len(b.q); i++ {
		*(*[blockCols]int8)(q[i*groupRows*blockCols:]) = *(*[blockCols]int8)(b.q[i*blockCols:])
	}
	fillMeta(g.meta[group*g.ms+lane:], groupRows, b.d, b.sums)
}

// wordsLeast is how many rows of activations pay for the conversion of bytes to 16-bit numbers.
const wordsLeast = 36

// fewRows is with how many rows of activations the weights come no slower than the sums: they are asked for ahead.
const fewRows = 24

// tilesAtOnce bounds the sums that mulGrouped keeps.
const tilesAtOnce = 8

// mulGrouped is the product of n tiles from tile t on with activations in groups. A chunk of columns of the activations
// stays in the second cache while several tiles meet it, and the sums of a tile lie together, not a row of dst apart.
func (m *Matrix) mulGrouped(s *scratch, dst []float32, ld int, x *Acts, t, n int, add bool) {
	size := (x.rows + groupRows - 1) / groupRows * groupRows * tileRows16
	s.sums = grow(s.sums, tilesAtOnce*size)
	for ; n > 0; t, n, dst = t+tilesAtOnce, n-tilesAtOnce, dst[min(len(dst), tilesAtOnce*tileRows16):] {
		tiles := min(n, tilesAtOnce)
		if add {
			for i := range tiles {
				for r := range x.rows {
					*(*[tileRows16]float32)(s.sums[i*size+r*tileRows16:]) = *(*[tileRows16]float32)(dst[r*ld+i*tileRows16:])
				}
			}
		}
		m.chunks(s, x, t, tiles, size, add)
		for r := range x.rows {
			for i := range tiles {
				*(*[tileRows16]float32)(dst[r*ld+i*tileRows16:]) = *(*[tileRows16]float32)(s.sums[i*size+r*tileRows16:])
			}
		}
	}
}

// chunks computes the sums of tiles [t,t+n), each in size values of s.sums.
func (m *Matrix) chunks(s *scratch, x *Acts, t, n, size int, add bool) {
	raw := m.quant.codes == size8 && x.rows < wordsLeast
	words := rowsSize[m.quant.codes] == size8 && !raw
	one := func(q chunkActs, i, b, from int) {
		m.groups(s, s.sums[i*size:(i+1)*size], x, q, raw, t+i, b, min(rowsChunk, m.blocks-b), from, add || b > 0)
	}
	if x.rows <= fewRows && !words { // all of the activations stay in the second cache: weights are read from front to back
		for i := range n {
			for b := 0; b < m.blocks; b += rowsChunk {
				from := b - b%vecChunk
				if b == from {
					m.decodeScales(s, t+i, b, min(vecChunk, m.blocks-b))
				}
				one(x.groupCodes(s, words, b, 0), i, b, from)
			}
		}
		return
	}
	for b := 0; b < m.blocks; b += rowsChunk {
		blocks := min(rowsChunk, m.blocks-b)
		q := x.groupCodes(s, words, b, blocks)
		for i := range n {
			m.decodeScales(s, t+i, b, blocks)
			one(q, i, b, b)
		}
	}
}

// chunkActs is where kernels find the codes of a chunk of all groups, and how many bytes lie between those.
type chunkActs struct {
	first *int8
	step  int
}

// groupCodes returns the codes of blocks [b,b+n) of all groups, as 16-bit numbers where words is set.
func (a *Acts) groupCodes(s *scratch, words bool, b, n int) chunkActs {
	g := &a.grouped
	if !words {
		return chunkActs{&g.q[groupRows*b*blockCols], g.qs}
	}
	size := groupRows * n * blockCols
	groups := (a.rows + groupRows - 1) / groupRows
	s.words = grow(s.words, groups*size)
	for i := range groups {
		actWordsAVX2(&s.words[i*size], &g.q[i*g.qs+groupRows*b*blockCols], groupRows*n)
	}
	return chunkActs{int8s(s.words), 2 * size}
}

// groups multiplies blocks [b,b+n) of tile t, with raw set as they lie there, with all rows of x, whose codes are q; sums are 16 for each
// row. The scales in s begin with those of block from.
func (m *Matrix) groups(s *scratch, sums []float32, x *Acts, q chunkActs, raw bool, t, b, n, from int, load bool) {
	f, a := m.quant, &x.grouped
	packed := m.codes(t, b)[:n*blockBytes[f.codes]]
	whole, rest := x.rows/groupRows, x.rows%groupRows
	codes := s.codes
	switch {
	case raw:
		codes = packed
	case f.codes != size4: // or else the first kernel unpacks
		expandGroup(f.codes, &codes[0], &packed[0], n)
	}
	init := 0
	if load {
		init = 1
	}
	off := 4 * groupRows * (f.other()*x.blocks + f.kind.parts()*b - b)
	scales := (b - from) * f.kind.parts() * tileRows16
	ahead, step := 0, 0
	if x.rows <= fewRows {
		ahead, step = m.ahead(t, b+n, (x.rows+groupRows-1)/groupRows)
	}
	first := &packed[0]
	run := func(group, groups, acts int) {
		matGroupKernel(raw, rowsSize[f.codes], f.kind, acts, &sums[group*groupRows*tileRows16], &codes[0], &s.d[scales], &s.m[scales],
			q.at(group), q.step, &a.meta[group*a.ms+groupRows*b], 4*a.ms, off, n, groups, init, &m.data[min(ahead+group*n*step, len(m.data)-1)], step, first)
		first = nil
	}
	if whole > 0 {
		run(0, whole, groupRows)
	}
	if rest > 0 {
		run(whole, 1, rest)
	}
}

// ahead returns where in the memory of the weights the codes are that follow those before block b of tile t, and by how much each of
// so many groups goes on there with every block. It asks at once for headers that are decoded before that.
func (m *Matrix) ahead(t, b, groups int) (at, step int) {
	f := m.quant
	if b == m.blocks {
		t, b = t+1, 0
	}
	size := blockBytes[f.codes]
	at = t*m.tileBytes + m.unitHead + b*size
	if f.section > 0 && b%vecChunk == 0 && at < len(m.data) {
		from, to := b/f.section*f.header, (b+min(vecChunk, m.blocks-b))/f.section*f.header
		prefetchLines(&m.data[t*m.tileBytes+from], (to-from+63)/64)
	}
	return at, ((size+groups-1)/groups + 63) &^ 63
}
