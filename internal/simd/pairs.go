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

// RowForm says what the values of rows are, and, of unsigned bytes, that rows go on through all pages, whose sums are added up before they become floats. Rows of bytes are made by QuantizeBytes and MergeWords, as the CPU's kernels read them: as bytes at the
// beginning of where words of a block would be, which for signed ones are 32, or as words.
type RowForm uint8

const (
	RowWords RowForm = iota
	RowSigned
	RowUnsigned
)

// BytesFast reports whether products of rows of bytes take less time here than those of rows of words.
func BytesFast() bool { return impl == avx512 }

// PairsShape says where the operands of MulPairs lie: distances are of elements, places in a page are in bytes.
type PairsShape struct {
	Rows       int
	C, A, B, S int // from a row to the next, in B from a panel
	Blocks     int
	Form       RowForm // pairs are even where it is not RowWords
	// From a block to the next; the products of blocks at the same place of C, BlockC 0, are added up.
	BlockC, BlockA, BlockB, BlockD, BlockS int
	// From a page to the next, PageA in words, or, where rows are bytes, in those.
	PageC, PageA int
	// Places of panels and of what their lanes are to be multiplied by, -1 for nothing, and how much further the panels to be asked for lie.
	AtB, AtD, Ahead                      int
	Pairs, Panels, LastPairs, LastPanels int // of a block, the latter two in the last page
}

// size returns the pairs and panels of page i of n.
func (p *PairsShape) size(i, n int) (pairs, panels int) {
	if i == n-1 {
		return p.LastPairs, p.LastPanels
	}
	return p.Pairs, p.Panels
}

// check panics where an operand is too short.
func (p *PairsShape) check(c []float32, a []int16, pages [][]byte, s []float32) {
	n, last, most := len(pages), p.Blocks-1, max(p.Pairs, p.LastPairs)
	if n == 0 || min(p.Rows, p.Blocks, p.LastPairs, p.LastPanels) <= 0 || n > 1 && min(p.Pairs, p.Panels) <= 0 || min(p.B, p.S, p.BlockC, p.BlockA, p.BlockB, p.BlockD, p.BlockS, p.PageC, p.PageA, p.AtB) < 0 ||
		p.PageA%2 != 0 || p.AtD%4 > 0 || p.C < panel*max(p.Panels, p.LastPanels) || p.Form != RowWords && (p.Pairs|p.LastPairs)%2 != 0 ||
		p.Form == RowSigned && most != blockCols/2 || p.Form == RowUnsigned && (p.PageC != 0 || p.AtD >= 0 || n > 1 && (p.PageA != 2*p.Pairs || p.Panels != p.LastPanels)) {
		panic(fmt.Sprintf("simd: products of pairs as %+v, %d pages", *p, n))
	}
	_ = s[last*p.BlockS+(p.Rows-1)*p.S]
	for i := max(0, n-2); i < n; i++ { // the last one, and of the others the one that ends last in c and a
		pairs, panels := p.size(i, n)
		words := 2 * pairs
		if p.packed() {
			words = pairs
		}
		_, _ = c[i*p.PageC+last*p.BlockC+(p.Rows-1)*p.C+panel*panels-1], a[i*p.pageWords()+last*p.BlockA+(p.Rows-1)*p.A+words-1]
	}
	for i, x := range pages {
		pairs, panels := p.size(i, n)
		_ = x[p.AtB+last*p.BlockB+(panels-1)*p.B+2*panel*pairs-1]
		if p.AtD >= 0 {
			_ = x[p.AtD+4*(last*p.BlockD+panel*panels)-1]
		}
	}
}

// packed reports whether rows are bytes that lie side by side.
func (p *PairsShape) packed() bool { return p.Form != RowWords && impl == avx512 }

// pageWords is how many words rows go on from page to page.
func (p *PairsShape) pageWords() int {
	if p.packed() {
		return p.PageA / 2
	}
	return p.PageA
}

// MulPairs computes C (+)= A·B for blocks of some panels B of 16 columns and 2*Pairs rows of bytes, in which the bytes of rows 2l and
// 2l+1 lie side by side: element (2l+i, j) of a panel at b[32*l+2*j+i]. A is words or, by its form, bytes [Rows, 2*Pairs], C float32 [Rows, 16*Panels].
// Element (r, j) of block k gets its integer sum times d[j], where there is d, and that times s[r*S+k*BlockS], in this order, the second
// with the addition in one rounding. The magnitudes of a row of a block of A may add up to 2^31/128. Pages hold b and d. They follow each other in C or in A;
// those at the same place of C are added up. What the pages of next hold is asked for on the way. It runs on the calling goroutine.
func MulPairs(c []float32, a []int16, pages, next [][]byte, s []float32, p *PairsShape, accumulate bool) {
	p.check(c, a, pages, s)
	next = next[:min(len(next), len(pages))]
	if impl == avx512 {
		mulPairsWide(c, a, pages, next, s, p, accumulate)
		return
	}
	if p.Form == RowUnsigned {
		mulPairsThrough(c, a, pages, s, p, accumulate)
		return
	}
	for i, x := range pages {
		ahead := x[p.AtB:]
		if i < len(next) {
			ahead = next[i][p.AtB+p.Ahead:]
		}
		pairs, panels := p.size(i, len(pages))
		mulPairsPage(c[i*p.PageC:], a[i*p.PageA:], x, ahead, s, p, pairs, panels, accumulate || i > 0 && p.PageC == 0)
	}
}

func mulPairsWide(c []float32, a []int16, pages, next [][]byte, s []float32, p *PairsShape, accumulate bool) {
	fresh, stepD, blockD := 1, panel, p.BlockD
	if accumulate {
		fresh = 0
	}
	var own *float32
	if p.AtD < 0 {
		own, stepD, blockD = &ones[0], 0, 0
	}
	var ahead *[]byte
	if len(next) > 0 {
		ahead = &next[0]
	}
	for r, rows := 0, 8; r < p.Rows; {
		for rows > p.Rows-r {
			rows /= 2
		}
		groups := (p.Rows - r) / rows
		widePairsKernel(p.Form, rows, &c[r*p.C], p.C, &a[r*p.A], p.A, &pages[0], len(pages), ahead, len(next), p.Ahead, p.AtB, p.AtD, own, p.B, stepD, &s[r*p.S], p.S, groups, fresh,
			p.Pairs, p.Panels, p.LastPairs, p.LastPanels, p.Blocks, 4*p.BlockC, 2*p.BlockA, p.BlockB, 4*blockD, 4*p.BlockS, 4*p.PageC, 2*p.pageWords())
		r += rows * groups
	}
}

// mulPairsThrough is MulPairs of rows that go on through all pages. Only AVX-512 has kernels for it (BytesFast).
func mulPairsThrough(c []float32, a []int16, pages [][]byte, s []float32, p *PairsShape, accumulate bool) {
	for k := range p.Blocks {
		for r := range p.Rows {
			for j := range panel * p.LastPanels {
				var sum int32
				for i, page := range pages {
					pairs, _ := p.size(i, len(pages))
					sum += pairsSum(a[k*p.BlockA+r*p.A+i*p.PageA:][:2*pairs], Int8s(page[p.AtB+k*p.BlockB+j/panel*p.B:]), j%panel)
				}
				out := &c[k*p.BlockC+r*p.C+j]
				if x, y := float32(sum), s[k*p.BlockS+r*p.S]; accumulate || k > 0 && p.BlockC == 0 {
					*out = fma(x, y, *out)
				} else {
					*out = x * y
				}
			}
		}
	}
}

// mulPairsPage is MulPairs of one page, block by block.
func mulPairsPage(c []float32, a []int16, page, ahead []byte, s []float32, p *PairsShape, pairs, panels int, accumulate bool) {
	all, stepD, blockD := ones[:], 0, 0
	if p.AtD >= 0 {
		all, _ = Float32s(page[p.AtD:])
		stepD, blockD = panel, p.BlockD
	}
	bytes, next := Int8s(page[p.AtB:]), Int8s(ahead)
	fresh := 1
	if accumulate {
		fresh = 0
	}
	for k := range p.Blocks {
		c, a, b, s, d, next := c[k*p.BlockC:], a[k*p.BlockA:], bytes[k*p.BlockB:], s[k*p.BlockS:], all[k*blockD:], next[min(k*p.BlockB, len(next)-1):]
		if k > 0 && p.BlockC == 0 {
			fresh = 0
		}
		if impl == generic {
			for i := range panels {
				mulPairsGeneric(c[panel*i:], p.C, a, p.A, p.Rows, b[p.B*i:], pairs, d[stepD*i:], s, p.S, fresh == 0)
			}
			continue
		}
		r := p.Rows &^ 3
		if r > 0 {
			mulPairs4(&c[0], p.C, &a[0], p.A, &b[0], p.B, &d[0], stepD, &s[0], p.S, pairs, panels, r/4, fresh, &next[0])
		}
		if p.Rows&2 != 0 {
			mulPairs2(&c[r*p.C], p.C, &a[r*p.A], p.A, &b[0], p.B, &d[0], stepD, &s[r*p.S], p.S, pairs, panels, 1, fresh, &next[0])
			r += 2
		}
		if p.Rows&1 != 0 {
			mulPairs1(&c[r*p.C], p.C, &a[r*p.A], p.A, &b[0], p.B, &d[0], stepD, &s[r*p.S], p.S, pairs, panels, 1, fresh, &next[0])
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
			y, out := float32(pairsSum(x, b, j))*d[j], &c[r*ldc+j]
			if accumulate {
				*out = fma(y, s[r*lds], *out)
			} else {
				*out = y * s[r*lds]
			}
		}
	}
}

// pairsSum is the sum of products of a row with column j of a panel.
func pairsSum(x []int16, b []int8, j int) (sum int32) {
	for l, v := range x {
		sum += int32(v) * int32(b[l/2*2*panel+2*j+l%2])
	}
	return sum
}

// Ask asks for what will be read soon.
func Ask(x []byte) {
	if impl != generic && len(x) > 0 {
		prefetchLines(&x[0], (len(x)+63)/64)
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
