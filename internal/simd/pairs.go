package simd

import (
	"fmt"
	"math"
	"unsafe"
)

// Attention over a cache of bytes: rows of words, which stand for queries or for the weights of keys, meet panels of bytes, and so do rows of
// bytes, which stand for them more coarsely. The sums are exact integers, so that all implementations agree on them.

// WordMax is the magnitude that the largest value of a row of words has.
const (
	WordMax = 255 * byteWords

	byteWords = 128 // an unsigned byte stands for so many words
)

// RowForm says what the values of rows are. Rows of bytes are made by QuantizeBytes and MergeWords, as the CPU's kernels read them: as bytes at the
// beginning of where words of a block would be, which for signed ones are 32, or as words.
type RowForm uint8

const (
	RowWords RowForm = iota
	RowSigned
	RowUnsigned
)

// BytesFast reports whether products of rows of bytes take less time here than those of rows of words.
func BytesFast() bool { return impl == avx512 }

// PairsShape says where the operands of MulPairs lie: distances are of elements.
type PairsShape struct {
	Rows, Pairs, Panels int // of a block
	C, A, B, S          int // from a row to the next, in B from a panel
	Blocks              int
	Form                RowForm // Pairs is even where it is not RowWords
	// From a block to the next; the products of blocks at the same place of C, BlockC 0, are added up.
	BlockC, BlockA, BlockB, BlockD, BlockS int
}

// check panics where an operand is too short.
func (p *PairsShape) check(c []float32, a []int16, b []int8, d, s []float32) {
	if min(p.Rows, p.Pairs, p.Panels, p.Blocks) <= 0 || p.C < panel*p.Panels || p.A < 2*p.Pairs || min(p.B, p.S, p.BlockC, p.BlockA, p.BlockB, p.BlockD, p.BlockS) < 0 || p.Form != RowWords && p.Pairs%2 != 0 || p.Form == RowSigned && p.Pairs != blockCols/2 {
		panic(fmt.Sprintf("simd: products of pairs as %+v", *p))
	}
	last := p.Blocks - 1
	_, _ = c[last*p.BlockC+(p.Rows-1)*p.C+panel*p.Panels-1], a[last*p.BlockA+(p.Rows-1)*p.A+2*p.Pairs-1]
	_, _ = b[last*p.BlockB+(p.Panels-1)*p.B+2*panel*p.Pairs-1], s[last*p.BlockS+(p.Rows-1)*p.S]
	if d != nil {
		_ = d[last*p.BlockD+panel*p.Panels-1]
	}
}

// MulPairs computes C (+)= A·B for blocks of some panels B of 16 columns and 2*Pairs rows of bytes, in which the bytes of rows 2l and
// 2l+1 lie side by side: element (2l+i, j) of a panel at b[32*l+2*j+i]. A is words or, by its form, bytes [Rows, 2*Pairs], C float32 [Rows, 16*Panels].
// Element (r, j) of block k gets its integer sum times d[j], where d is not nil, and that times s[r*S+k*BlockS], in this order, the second
// with the addition in one rounding. The magnitudes of a row of a block of A may add up to 2^31/128. What lies in next as B lies in b
// is asked for on the way; nil is nothing. It runs on the calling goroutine.
func MulPairs(c []float32, a []int16, b []int8, d, s []float32, p *PairsShape, accumulate bool, next []int8) {
	p.check(c, a, b, d, s)
	if next == nil {
		next = b
	}
	fresh := 1
	if accumulate {
		fresh = 0
	}
	stepD, blockD := panel, p.BlockD
	if d == nil {
		d, stepD, blockD = ones[:], 0, 0
	}
	if impl == avx512 {
		// From the end of a block to the beginning of the next.
		toC, toB, toD := 4*p.BlockC-64*p.Panels, p.BlockB-p.B*p.Panels, 4*(blockD-stepD*p.Panels)
		for r, rows := 0, 8; r < p.Rows; {
			for rows > p.Rows-r {
				rows /= 2
			}
			groups := (p.Rows - r) / rows
			widePairsKernel(p.Form, rows, &c[r*p.C], p.C, &a[r*p.A], p.A, &b[0], p.B, &d[0], stepD, &s[r*p.S], p.S, p.Pairs, p.Panels, groups, fresh, &next[0],
				p.Blocks, toC, 2*p.BlockA, toB, toD, 4*p.BlockS, p.BlockC)
			r += rows * groups
		}
		return
	}
	for k := range p.Blocks {
		c, a, b, s, d, next := c[k*p.BlockC:], a[k*p.BlockA:], b[k*p.BlockB:], s[k*p.BlockS:], d[k*blockD:], next[min(k*p.BlockB, len(next)-1):]
		if k > 0 && p.BlockC == 0 {
			fresh = 0
		}
		if impl == generic {
			for i := range p.Panels {
				mulPairsGeneric(c[panel*i:], p.C, a, p.A, p.Rows, b[p.B*i:], p.Pairs, d[stepD*i:], s, p.S, fresh == 0)
			}
			continue
		}
		r := p.Rows &^ 3
		if r > 0 {
			mulPairs4(&c[0], p.C, &a[0], p.A, &b[0], p.B, &d[0], stepD, &s[0], p.S, p.Pairs, p.Panels, r/4, fresh, &next[0])
		}
		if p.Rows&2 != 0 {
			mulPairs2(&c[r*p.C], p.C, &a[r*p.A], p.A, &b[0], p.B, &d[0], stepD, &s[r*p.S], p.S, p.Pairs, p.Panels, 1, fresh, &next[0])
			r += 2
		}
		if p.Rows&1 != 0 {
			mulPairs1(&c[r*p.C], p.C, &a[r*p.A], p.A, &b[0], p.B, &d[0], stepD, &s[r*p.S], p.S, p.Pairs, p.Panels, 1, fresh, &next[0])
		}
	}
}

// ones is the scales of lanes that have none of their own.
var ones = [panel]float32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}

// mulPairsGeneric is the meaning of the kernels, for one panel.
func mulPairsGeneric(c []float32, ldc int, a []int16, lda, m int, b []int8, pairs int, d, s []float32, lds int, accumulate bool) {
	for r := range m {
		x := a[r*lda:][:2*pairs]
		for j := range panel {
			var sum int32
			for l, v := range x {
				sum += int32(v) * int32(b[l/2*2*panel+2*j+l%2])
			}
			y, out := float32(sum)*d[j], &c[r*ldc+j]
			if accumulate {
				*out = fma(y, s[r*lds], *out)
			} else {
				*out = y * s[r*lds]
			}
		}
	}
}

// Ask asks for values that will be read soon.
func Ask(x []float32) {
	if impl != generic && len(x) > 0 {
		prefetchLines((*byte)(unsafe.Pointer(&x[0])), (len(x)+15)/16)
	}
}

// Words sets p to x*w, value by value, rounded to the nearest integer, ties to even, and held within 16 bits.
func Words(p []int16, x, w []float32) {
	same(len(p), len(x), len(w))
	n := 0
	if blocks := len(p) / panel; impl != generic && blocks > 0 {
		scaleWords(&p[0], &x[0], &w[0], blocks)
		n = blocks * panel
	}
	for i := n; i < len(p); i++ {
		p[i] = int16(min(max(math.RoundToEven(float64(x[i]*w[i])), math.MinInt16), math.MaxInt16))
	}
}

// QuantizeWords makes words of whole blocks of 32 values: words to q, a scale for each block to d. The largest magnitude of a
// block becomes WordMax; a block of values below 2^-100 becomes zeros.
func QuantizeWords(q []int16, d []float32, x []float32) {
	same(len(x), len(q), blockCols*len(d))
	var w [blockCols]float32
	for b := range d {
		v := x[b*blockCols:][:blockCols]
		var bits uint32 // of the largest magnitude; those of Inf and NaN are above all numbers
		for _, y := range v {
			bits = max(bits, math.Float32bits(y)&0x7fffffff)
		}
		top, inv := math.Float32frombits(bits), float32(0)
		if d[b] = 0; bits >= 0x0d800000 { // 2^-100
			d[b], inv = top/WordMax, WordMax/top
		}
		for i := range w {
			w[i] = inv
		}
		Words(q[b*blockCols:][:blockCols], v, w[:])
	}
}

// QuantizeBytes makes rows of signed bytes of whole blocks of 32 values: see QuantizeWords. The largest magnitude of a block becomes 127, as
// in QuantizeRow.
func QuantizeBytes(q []int16, d []float32, x []float32) {
	same(len(x), len(q), blockCols*len(d))
	var codes [blockCols]int8
	var sums [2]int32
	for b := range d {
		quantize(codes[:], d[b:b+1], sums[:], x[b*blockCols:][:blockCols])
		signedRow(q[b*blockCols:][:blockCols], codes[:], sums[0]+sums[1])
	}
}

// signedRow stores a block of a row of signed bytes, whose sum is given: behind them lies what the sums of products with bytes that have
// 128 added begin with.
func signedRow(q []int16, x []int8, sum int32) {
	if impl == avx512 {
		to := unsafe.Slice(int8s(q), 2*len(q))
		copy(to, x)
		*(*int32)(unsafe.Pointer(&to[len(x)])) = -128 * sum
		return
	}
	for i, v := range x {
		q[i] = int16(v)
	}
}

// unsignedRow makes bytes of words that are not negative, in place.
func unsignedRow(p []int16) {
	for i, v := range p {
		p[i] = (v + byteWords/2) / byteWords
	}
	if impl == avx512 {
		to := unsafe.Slice((*uint8)(unsafe.Pointer(&p[0])), 2*len(p))
		for i, v := range p { // a byte is written where words have been read
			to[i] = uint8(v)
		}
	}
}
