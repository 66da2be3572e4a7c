package simd

import (
	"fmt"
	"math"
)

// Acts is rows of activations in the forms that matrices read: float32, and bytes with a scale for every 32 of them. Its
// memory is kept from one set of rows to the next.
type Acts struct {
	x          []float32
	rows, cols int
	blocks     int // of 32 columns
	q          []int8
	qStep      int
	meta       []float32
	metaStep   int
	sums       []int32
	fresh      []bool // rows that have been quantized
}

// The numbers of a row of blocks, one array after the other, in units of the number of blocks.
const (
	metaD    = 0 // scale
	metaS    = 1 // sum of the codes, times the scale
	metaS8   = 2 // 8 times that
	metaS16  = 3 // 16 times
	metaN128 = 4 // the bits of an int32: -128 times the sum of the codes
	metaH    = 5 // as S, for the two halves of each block
	metaH32  = 7 // 32 times that
	metaSize = 9
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
	a.q = grow(a.q, rows*a.qStep)
	a.meta = grow(a.meta, rows*a.metaStep)
	a.sums = grow(a.sums, rows*2*a.blocks)
	a.fresh = grow(a.fresh, rows)
	clear(a.fresh)
}

// grow returns a slice of n values, s where that is long enough.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// Size returns the rows and columns.
func (a *Acts) Size() (rows, cols int) { return a.rows, a.cols }

// Quantize makes the bytes of rows [lo,hi): in each block of 32 values the largest magnitude becomes 127 and the others
// are rounded to the nearest step, ties to even. Blocks below 2^-100 count as zero; a block with Inf or NaN makes
// results Inf or NaN. Different rows may be quantized at the same time.
func (a *Acts) Quantize(lo, hi int) {
	for r := lo; r < hi; r++ {
		a.quantizeRow(r)
		a.fresh[r] = true
	}
}

func (a *Acts) quantizeRow(r int) {
	x := a.x[r*a.cols : (r+1)*a.cols]
	q := a.q[r*a.qStep : r*a.qStep+a.blocks*blockCols]
	meta := a.meta[r*a.metaStep : (r+1)*a.metaStep]
	sums := a.sums[2*r*a.blocks : 2*(r+1)*a.blocks]
	whole := a.cols / blockCols
	if whole > 0 {
		quantize(q, meta, sums, x[:whole*blockCols])
	}
	if whole < a.blocks {
		clear(q[whole*blockCols:])
		clear(sums[2*whole:])
		clear(meta[whole:a.blocks])
		if rest := x[whole*blockCols:]; len(rest) > 0 {
			var last [blockCols]float32
			copy(last[:], rest)
			quantize(q[whole*blockCols:], meta[whole:], sums[2*whole:], last[:])
		}
	}
	fillMeta(meta, sums, a.blocks)
}

// fillMeta computes the other arrays from scales and sums.
func fillMeta(meta []float32, sums []int32, n int) {
	d, s, s8, s16, n128 := meta[:n], meta[metaS*n:][:n], meta[metaS8*n:][:n], meta[metaS16*n:][:n], meta[metaN128*n:][:n]
	h, h32 := meta[metaH*n:][:2*n], meta[metaH32*n:][:2*n]
	for b, scale := range d {
		u, v := sums[2*b], sums[2*b+1]
		t := scale * float32(u+v)
		s[b], s8[b], s16[b] = t, 8*t, 16*t
		n128[b] = math.Float32frombits(uint32(-128 * (u + v)))
		hu, hv := scale*float32(u), scale*float32(v)
		h[2*b], h[2*b+1] = hu, hv
		h32[2*b], h32[2*b+1] = 32*hu, 32*hv
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
