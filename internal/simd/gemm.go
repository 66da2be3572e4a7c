package simd

import (
	"fmt"

	"github.com/parelm/pare/internal/par"
)

// Gemm computes C = A·B, or C += A·B when accumulate is set, for float32 matrices with row strides:
// A is [m,k], B is [k,n], C is [m,n]. aT and bT say that A is stored as [k,m] and B as [n,k]. lda, ldb and ldc are the
// distances between stored rows in values. The sum over k runs in an order that depends on the sizes alone, so the
// result is the same for any number of threads. C must not overlap A or B. Gemm uses all of par's threads.
func Gemm(c []float32, ldc int, a []float32, lda int, aT bool, b []float32, ldb int, bT bool, m, n, k int, accumulate bool) {
	checkMatrix("C", len(c), ldc, m, n, false)
	checkMatrix("A", len(a), lda, m, k, aT)
	checkMatrix("B", len(b), ldb, k, n, bT)
	if m == 0 || n == 0 {
		return
	}
	if k == 0 {
		if !accumulate {
			for i := range m {
				clear(c[i*ldc : i*ldc+n])
			}
		}
		return
	}
	x, y := operand{a, lda, aT}, operand{b, ldb, bT}
	if gemmSkinny(c, ldc, x, y, m, n, k, accumulate) {
		return
	}
	gemm(c, ldc, x, y, nil, m, n, k, accumulate, true)
}

// A Batch describes the products of GemmBatch: how far the operands of one are from those of the one before, in values.
type Batch struct{ Count, StrideC, StrideA, StrideB int }

// GemmBatch computes Count products as Gemm does, the i-th on c[i*StrideC:], a[i*StrideA:] and b[i*StrideB:]. A stride of 0
// for A or B uses one operand for all. Each product has the bits that Gemm gives it.
func GemmBatch(s Batch, c []float32, ldc int, a []float32, lda int, aT bool, b []float32, ldb int, bT bool, m, n, k int, accumulate bool) {
	if s.Count < 0 || s.StrideA < 0 || s.StrideB < 0 || s.Count > 1 && m > 0 && n > 0 && s.StrideC < (m-1)*ldc+n {
		panic(fmt.Sprintf("simd: GemmBatch of %+v", s))
	}
	one := func(i int) {
		Gemm(c[i*s.StrideC:], ldc, a[i*s.StrideA:], lda, aT, b[i*s.StrideB:], ldb, bT, m, n, k, accumulate)
	}
	if s.Count < 2*par.Threads() && m*n*k > gemmTaskWork {
		for i := range s.Count {
			one(i)
		}
		return
	}
	// Inside For, Gemm runs on one thread. Chunks are as many products as make a task.
	par.For(s.Count, max(1, gemmTaskWork/max(1, m*n*k)), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			one(i)
		}
	})
}

// PackedB is a B in the order the kernels read, for weights that are used many times.
type PackedB struct {
	n, k int
	data []float32 // panels of 16 columns: k steps of 16 values, the last panel padded with zeros
}

// PackB packs B, [k,n] or, where bT is set, stored as [n,k].
func PackB(b []float32, ldb int, bT bool, n, k int) *PackedB {
	checkMatrix("B", len(b), ldb, k, n, bT)
	p := &PackedB{n, k, make([]float32, panels(n)*panel*k)}
	packB(p.data, operand{b, ldb, bT}, 0, n, 0, k)
	return p
}

// Size returns the columns and rows of B.
func (p *PackedB) Size() (n, k int) { return p.n, p.k }

// GemmPacked is Gemm with a packed B.
func GemmPacked(c []float32, ldc int, a []float32, lda int, aT bool, b *PackedB, m int, accumulate bool) {
	checkMatrix("C", len(c), ldc, m, b.n, false)
	checkMatrix("A", len(a), lda, m, b.k, aT)
	if m == 0 || b.n == 0 {
		return
	}
	if b.k == 0 {
		Gemm(c, ldc, nil, 0, false, nil, b.n, false, m, b.n, 0, accumulate)
		return
	}
	gemm(c, ldc, operand{a, lda, aT}, operand{}, b, m, b.n, b.k, accumulate, true)
}

// checkMatrix panics unless n values hold a matrix of that size.
func checkMatrix(name string, n, ld, rows, cols int, t bool) {
	if t {
		rows, cols = cols, rows
	}
	if rows < 0 || cols < 0 || rows > 0 && cols > 0 && (ld < cols || (rows-1)*ld+cols > n) {
		panic(fmt.Sprintf("simd: %s of %d rows and %d columns, rows %d apart, in %d values", name, rows, cols, ld, n))
	}
}
