// Package simd holds pare's vector kernels. Every exported function checks lengths once and calls the fastest
// implementation the CPU has; the plain Go twin beside it says what it means.
package simd

// Gemm computes C = A·B, or C += A·B when accumulate is set, for float32 matrices with row strides:
// A is [m,k], B is [k,n], C is [m,n]. aT and bT say that A is stored as [k,m] and B as [n,k]. lda, ldb and ldc are the
// distances between stored rows in values. The sum over k runs in an order that depends on the sizes alone, so the
// result is the same for any number of threads. Gemm uses all of par's threads.
func Gemm(c []float32, ldc int, a []float32, lda int, aT bool, b []float32, ldb int, bT bool, m, n, k int, accumulate bool) {
	gemmGeneric(c, ldc, a, lda, aT, b, ldb, bT, m, n, k, accumulate)
}

func gemmGeneric(c []float32, ldc int, a []float32, lda int, aT bool, b []float32, ldb int, bT bool, m, n, k int, accumulate bool) {
	at := func(x []float32, ld int, t bool, i, j int) float32 {
		if t {
			i, j = j, i
		}
		return x[i*ld+j]
	}
	for i := range m {
		for j := range n {
			var s float32
			for l := range k {
				s += at(a, lda, aT, i, l) * at(b, ldb, bT, l, j)
			}
			if accumulate {
				s += c[i*ldc+j]
			}
			c[i*ldc+j] = s
		}
	}
}

// Dot returns the sum of a[i]*b[i]. Both have the same length.
func Dot(a, b []float32) float32 {
	if len(a) != len(b) {
		panic("simd: Dot of unequal lengths")
	}
	var s float32
	for i, v := range a {
		s += v * b[i]
	}
	return s
}
