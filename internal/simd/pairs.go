package simd

import (
	"fmt"
	"math"
	"unsafe"
)

// Attention over a cache of bytes: rows of words, which stand for queries or for the weights of keys, meet panels of bytes. The
// sums are exact integers, so that all implementations agree on them.

// WordMax is the magnitude that the largest value of a row of words has.
const WordMax = math.MaxInt16

// MulPairs computes C (+)= A·B for some panels B of 16 columns and 2*pairs rows of bytes, step bytes apart, in which the bytes of
// rows 2l and 2l+1 lie side by side: element (2l+i, j) of a panel at b[32*l+2*j+i]. A is words [m, 2*pairs] with rows lda
// apart, C float32 [m, 16*panels] with rows ldc apart. Element (r, j) gets its integer sum times d[j], where d is not nil,
// and that times s[r*lds], in this order, the second with the addition in one rounding. The magnitudes of a row of A may add up to
// 2^31/128. What lies in next as B lies in b is asked for on the way; nil is nothing. It runs on the calling goroutine.
func MulPairs(c []float32, ldc int, a []int16, lda, m int, b []int8, step, pairs, panels int, d, s []float32, lds int, accumulate bool, next []int8) {
	if m <= 0 || pairs <= 0 || panels <= 0 || ldc < panel*panels || lda < 2*pairs || lds < 0 || step < 0 {
		panic(fmt.Sprintf("simd: product of %d rows of %d pairs with %d panels, rows %d and %d, panels %d apart", m, pairs, panels, lda, ldc, step))
	}
	stepD := panel
	if d == nil {
		d, stepD = ones[:], 0
	}
	_, _, _ = c[(m-1)*ldc+panel*panels-1], a[(m-1)*lda+2*pairs-1], b[(panels-1)*step+2*panel*pairs-1]
	_, _ = s[(m-1)*lds], d[(panels-1)*stepD+panel-1]
	if impl == generic {
		for i := range panels {
			mulPairsGeneric(c[panel*i:], ldc, a, lda, m, b[step*i:], pairs, d[stepD*i:], s, lds, accumulate)
		}
		return
	}
	if next == nil {
		next = b
	}
	fresh := 1
	if accumulate {
		fresh = 0
	}
	if impl == avx512 {
		for r, rows := 0, 8; r < m; {
			for rows > m-r {
				rows /= 2
			}
			groups := (m - r) / rows
			widePairsKernel(rows, &c[r*ldc], ldc, &a[r*lda], lda, &b[0], step, &d[0], stepD, &s[r*lds], lds, pairs, panels, groups, fresh, &next[0])
			r += rows * groups
		}
		return
	}
	r := m &^ 3
	if r > 0 {
		mulPairs4(&c[0], ldc, &a[0], lda, &b[0], step, &d[0], stepD, &s[0], lds, pairs, panels, r/4, fresh, &next[0])
	}
	if m&2 != 0 {
		mulPairs2(&c[r*ldc], ldc, &a[r*lda], lda, &b[0], step, &d[0], stepD, &s[r*lds], lds, pairs, panels, 1, fresh, &next[0])
		r += 2
	}
	if m&1 != 0 {
		mulPairs1(&c[r*ldc], ldc, &a[r*lda], lda, &b[0], step, &d[0], stepD, &s[r*lds], lds, pairs, panels, 1, fresh, &next[0])
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
