package simd

import "sync"

// Activations for AMX. 16 rows are a group; two blocks of 32 columns of it are 1024 bytes, row after row of 64, so that a
// tile of one block is 16 half cache lines. Scales and sums lie 16 rows side by side: the numbers of a block are one line.
// Rows that fill up the last group hold what was there before; nobody reads what becomes of them.

// tiledActs is the other form of Acts.
type tiledActs struct {
	on         bool
	q          []int8
	d, s, h    []float32 // scales; sums of codes times scale; the same of half blocks
	qs, ds, hs int       // distances of groups, in elements
}

// reset makes room for rows in tiled form where that pays.
func (t *tiledActs) reset(rows, blocks int) {
	t.on = tiles && rows > fewRows // fewer are sooner done by kernels that read weights once, from front to back
	if !t.on {
		return
	}
	groups := (rows + tileRows16 - 1) / tileRows16
	t.qs, t.ds, t.hs = (blocks+1)/2*1024, blocks*tileRows16, 2*blocks*tileRows16
	t.q, t.d, t.s, t.h = grow(t.q, groups*t.qs), grow(t.d, groups*t.ds), grow(t.s, groups*t.ds), grow(t.h, groups*t.hs)
}

// rowBuffer is one quantized row on its way into tiled form.
type rowBuffer struct {
	q    []int8
	d    []float32
	sums []int32
}

var rowBuffers = sync.Pool{New: func() any { return new(rowBuffer) }}

// put stores quantized row r.
func (t *tiledActs) put(r int, b *rowBuffer) {
	group, lane := r/tileRows16, r%tileRows16
	out := t.q[group*t.qs+64*lane:]
	for i, blocks := 0, len(b.d); i < blocks; i += 2 {
		n := min(2, blocks-i) * blockCols
		copy(out[i/2*1024:][:n], b.q[i*blockCols:])
	}
	d, s, h := t.d[group*t.ds+lane:], t.s[group*t.ds+lane:], t.h[group*t.hs+lane:]
	for i, scale := range b.d {
		u, v := b.sums[2*i], b.sums[2*i+1]
		d[i*tileRows16], s[i*tileRows16] = scale, scale*float32(u+v)
		h[2*i*tileRows16], h[(2*i+1)*tileRows16] = scale*float32(u), scale*float32(v)
	}
}

// tileShapes are the operands of the instruction that sets the shapes of tiles: by the rows of a group and whether a block
// has two scales.
var tileShapes = func() map[[2]int]*[64]byte {
	m := map[[2]int]*[64]byte{}
	for _, rows := range []int{4, 8, 16} {
		for parts := 1; parts <= 2; parts++ {
			c := &[64]byte{0: 1}
			for _, t := range []struct{ tile, rows, bytes int }{{0, rows, 64}, {4, rows, blockCols / parts}, {6, blockCols / parts / 4, 64}} {
				c[16+2*t.tile], c[48+t.tile] = byte(t.bytes), byte(t.rows)
			}
			m[[2]int{rows, parts}] = c
		}
	}
	return m
}()

// tileCodes returns the codes of blocks [b,b+n) of tile t as bytes, less the zero of centred kinds, having decoded their scales to s: signed
// ones but for kindSA.
func (m *Matrix) tileCodes(s *scratch, t, b, n int) []byte {
	f := m.quant
	codes := m.chunkCodes(s, t, b, n)
	if f.codes == size8 && f.kind != kindSA && m.whole() {
		return codes
	}
	zero := f.zero
	switch {
	case f.kind == kindSA:
		zero = 128 // stored less that
	case f.kind.affine():
		zero = 0
	}
	expandKernel(f.codes, &s.codes[0], &codes[0], n, zero, m.unit, m.unitHead)
	return s.codes
}

// rowsTiled multiplies blocks [b,b+n) of tile t with all rows of x.
func (m *Matrix) rowsTiled(s *scratch, dst []float32, ld int, x *Acts, t, b, n int, load bool) {
	f, a := m.quant, &x.tiled
	codes := m.tileCodes(s, t, b, n)
	sums, ss, step := a.s, a.ds, tileRows16
	if f.kind.half() {
		sums, ss, step = a.h, a.hs, 2*tileRows16
	}
	init := 0
	if load {
		init = 1
	}
	kind := f.kind
	if kind == kindS {
		kind = kindC
	}
	whole := x.rows / tileRows16
	run := func(dst []float32, ld, rows, group, groups int) {
		_ = dst[((groups-1)*tileRows16+rows-1)*ld+tileRows16-1]
		amxMulKernel(kind, rows, &dst[0], ld, &codes[0], &s.d[0], &s.m[0], &a.q[group*a.qs+b/2*1024], &a.d[group*a.ds+b*tileRows16], &sums[group*ss+b*step],
			groups, a.qs, 4*a.ds, 4*ss, n, init, &s.tile[0], &tileShapes[[2]int{rows, f.kind.parts()}][0])
	}
	if whole > 0 {
		run(dst, ld, tileRows16, 0, whole)
	}
	rest := x.rows % tileRows16
	if rest == 0 {
		return
	}
	rows := 16
	for rows/2 >= max(rest, 4) {
		rows /= 2
	}
	var buf [tileRows16 * tileRows16]float32
	if load {
		for i := range rest {
			copy(buf[i*tileRows16:(i+1)*tileRows16], dst[(whole*tileRows16+i)*ld:])
		}
	}
	run(buf[:], tileRows16, rows, whole, 1)
	for i := range rest {
		copy(dst[(whole*tileRows16+i)*ld:][:tileRows16], buf[i*tileRows16:])
	}
}
