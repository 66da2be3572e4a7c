package simd

import (
	"fmt"
	"math"
)

// Form is a set of forms of activations, beside float32, that matrices read.
type Form int

const (
	Bytes  Form = 1 << iota // with a scale for every 32 of them
	Brains                  // bfloat16
	Tiled                   // bfloat16, 16 rows beside each other: for prompts on AMX
)

// Acts is rows of activations in the forms that matrices read: float32, and those that Quantize makes. Its memory is kept from one
// set of rows to the next.
type Acts struct {
	x          []float32
	rows, cols int
	blocks     int // of 32 columns
	q          []int8
	qStep      int
	meta       []float32
	metaStep   int
	sums       []int32
	brains     []byte // bfloat16, an even number of columns
	brainStep  int    // bytes of a row and the gap behind it
	wants      Form
	made       []Form // of each row
	tiled      tiledActs
	grouped    groupedActs
	prompt     promptActs
}

// The numbers of a row of blocks, one array after the other, in units of the number of blocks.
const (
	metaD    = 0 // scale
	metaS    = 1 // sum of the codes, times the scale
	metaZ8   = 2 // the bits of an int32: -8 times the sum of the codes
	metaZ16  = 3
	metaZ128 = 4
	metaH    = 5 // as S, for the two halves of each block
	metaZ4H  = 7 // as Z8, for the two halves
	metaZ32H = 9
	metaSize = 11
)

// Reset makes x, rows of cols values one after the other, the activations. x is read by matrices in float formats and by
// Quantize until the next Reset.
func (a *Acts) Reset(x []float32, rows, cols int) {
	if rows < 0 || cols < 0 || len(x) != rows*cols {
		panic(fmt.Sprintf("simd: activations of %d rows and %d columns in %d values", rows, cols, len(x)))
	}
	a.x, a.rows, a.cols = x, rows, cols
	a.blocks = (cols + blockCols - 1) / blockCols
	// Distances between rows that are no power of two keep the rows of a group out of each other's cache sets.
	a.qStep = a.blocks*blockCols + 64
	a.metaStep = metaSize * a.blocks
	a.made = grow(a.made, rows)
	clear(a.made)
	a.Want(Bytes)
	a.tiled.reset(rows, a.blocks)
	a.grouped.reset(rows, a.blocks, a.tiled.on)
	if a.tiled.on || a.grouped.on {
		return
	}
	a.q = grow(a.q, rows*a.qStep)
	a.meta = grow(a.meta, rows*a.metaStep)
	a.sums = grow(a.sums, rows*2*a.blocks)
}

// grow returns a slice of n values, s where that is long enough.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// Want says which forms Quantize makes, until the next Reset: bytes unless told.
func (a *Acts) Want(forms Form) {
	if !brainDots() {
		forms &^= Brains
	}
	if !PromptsFast() {
		forms &^= Tiled
	}
	a.wants = forms
	if forms&Tiled != 0 {
		a.prompt.reset(a.rows, a.blocks)
	}
	if forms&Brains != 0 {
		a.brainStep = 4*((a.cols+1)/2) + 64
		a.brains = grow(a.brains, a.rows*a.brainStep)
	}
}

// Size returns the rows and columns.
func (a *Acts) Size() (rows, cols int) { return a.rows, a.cols }

// Quantize makes the forms of rows [lo,hi) that are wanted. Bytes: in each block of 32 values the largest magnitude becomes 127 and the
// others are rounded to the nearest step, ties to even. Blocks below 2^-100 count as zero; a block with Inf or NaN makes
// results Inf or NaN. Different rows may be quantized at the same time.
func (a *Acts) Quantize(lo, hi int) {
	for r := lo; r < hi; r++ {
		if a.wants&Bytes != 0 {
			a.quantizeRow(r)
		}
		if a.wants&Brains != 0 {
			row := a.brains[r*a.brainStep:][:a.brainStep-64]
			clear(row[2*a.cols:])
			F32ToBF16(row[:2*a.cols], a.x[r*a.cols:(r+1)*a.cols])
		}
		if a.wants&Tiled != 0 {
			a.prompt.put(r, a.x[r*a.cols:(r+1)*a.cols])
		}
		a.made[r] |= a.wants
	}
}

func (a *Acts) quantizeRow(r int) {
	if a.tiled.on || a.grouped.on {
		b := rowBuffers.Get().(*rowBuffer)
		b.q, b.d, b.sums = grow(b.q, a.blocks*blockCols), grow(b.d, a.blocks), grow(b.sums, 2*a.blocks)
		a.quantizeTo(b.q, b.d, b.sums, r)
		if a.tiled.on {
			a.tiled.put(r, b)
		} else {
			a.grouped.put(r, b)
		}
		rowBuffers.Put(b)
		return
	}
	meta, sums := a.meta[r*a.metaStep:(r+1)*a.metaStep], a.sums[2*r*a.blocks:2*(r+1)*a.blocks]
	a.quantizeTo(a.q[r*a.qStep:r*a.qStep+a.blocks*blockCols], meta[:a.blocks], sums, r)
	fillMeta(meta, 1, meta[:a.blocks], sums)
	if a.grouped.beside {
		a.grouped.put(r, &rowBuffer{a.q[r*a.qStep:][:a.blocks*blockCols], meta[:a.blocks], sums})
	}
}

// quantizeTo makes the codes and scales of row r, and the sums of codes of both halves of each block.
func (a *Acts) quantizeTo(q []int8, d []float32, sums []int32, r int) {
	x := a.x[r*a.cols : (r+1)*a.cols]
	whole := a.cols / blockCols
	if whole > 0 {
		quantize(q, d, sums, x[:whole*blockCols])
	}
	if whole < a.blocks {
		clear(q[whole*blockCols:])
		clear(sums[2*whole:])
		clear(d[whole:])
		if rest := x[whole*blockCols:]; len(rest) > 0 {
			var last [blockCols]float32
			copy(last[:], rest)
			quantize(q[whole*blockCols:], d[whole:], sums[2*whole:], last[:])
		}
	}
}

// fillMeta computes the numbers of a row from scales and sums. They lie step apart in meta.
func fillMeta(meta []float32, step int, d []float32, sums []int32) {
	n := len(d)
	if n == 0 {
		return
	}
	at := func(k, parts int) []float32 { return meta[k*n*step:][:(parts*n-1)*step+1] }
	own, s, z8, z16, z128, h, z4, z32 := at(metaD, 1), at(metaS, 1), at(metaZ8, 1), at(metaZ16, 1), at(metaZ128, 1), at(metaH, 2), at(metaZ4H, 2), at(metaZ32H, 2)
	done := 0
	if step == 1 && impl.x86() {
		done = n &^ 7
		_ = sums[2*n-1]
		metaBlocks(&meta[0], n, &d[0], &sums[0], done)
	}
	bits := func(v int32) float32 { return math.Float32frombits(uint32(v)) }
	for b := done; b < n; b++ {
		scale, u, v := d[b], sums[2*b], sums[2*b+1]
		i, j := b*step, 2*b*step
		own[i], s[i] = scale, scale*float32(u+v)
		z8[i], z16[i], z128[i] = bits(-8*(u+v)), bits(-16*(u+v)), bits(-128*(u+v))
		h[j], h[j+step] = scale*float32(u), scale*float32(v)
		z4[j], z4[j+step] = bits(-4*u), bits(-4*v)
		z32[j], z32[j+step] = bits(-32*u), bits(-32*v)
	}
}

// quantize quantizes whole blocks: codes, scales, and the sums of codes of both halves of each block.
func quantize(q []int8, d []float32, sums []int32, x []float32) {
	if n := len(x) / blockCols; impl != generic {
		_, _, _ = q[n*blockCols-1], d[n-1], sums[2*n-1]
		quantizeBlocks(&q[0], &d[0], &sums[0], &x[0], n)
		return
	}
	for b := 0; len(x) > 0; b++ {
		d[b] = quantizeBlock((*[blockCols]int8)(q[b*blockCols:]), (*[blockCols]float32)(x))
		sums[2*b], sums[2*b+1] = 0, 0
		for i, c := range q[b*blockCols : (b+1)*blockCols] {
			sums[2*b+i/16] += int32(c)
		}
		x = x[blockCols:]
	}
}

// quantizeBlock quantizes one block and returns its scale.
func quantizeBlock(q *[blockCols]int8, x *[blockCols]float32) float32 {
	var bits uint32 // of the largest magnitude; those of Inf and NaN are above all numbers
	for _, v := range x {
		bits = max(bits, math.Float32bits(v)&0x7fffffff)
	}
	if bits < 0x0d800000 { // 2^-100
		*q = [blockCols]int8{}
		return 0
	}
	top := math.Float32frombits(bits)
	inv := 127 / top
	for i, v := range x {
		switch r := math.RoundToEven(float64(v * inv)); {
		case r != r: // what the vector kernels make of it
			q[i] = -128
		default:
			q[i] = int8(r)
		}
	}
	return top / 127
}

// row returns the codes and numbers of row t.
func (a *Acts) row(t int) (q []int8, meta []float32) {
	return a.q[t*a.qStep:], a.meta[t*a.metaStep:]
}
