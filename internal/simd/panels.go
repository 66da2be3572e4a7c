package simd

import "fmt"

// MulPanels computes C (+)= A·B for a B that lies in panels of 16 columns: element (l,j) at b[j/16*panelStep + l*step + j%16].
// A is [m, k] with rows lda apart, C [m, 16*panels] with rows ldc apart. An element of C is one chain of multiply-adds in
// the order of k, so a row's result does not depend on the other rows. It runs on the calling goroutine.
func MulPanels(c []float32, ldc int, a []float32, lda, m int, b []float32, panelStep, step, panels, k int, accumulate bool) {
	checkMatrix("C", len(c), ldc, m, panels*panel, false)
	checkMatrix("A", len(a), lda, m, k, false)
	if m == 0 || panels == 0 || k == 0 {
		panic(fmt.Sprintf("simd: product of %d rows, %d panels and depth %d", m, panels, k))
	}
	_ = b[(panels-1)*panelStep+(k-1)*step+panel-1]
	Tile(c, ldc, a, lda, 1, b, panelStep, step, m, panels*panel, k, accumulate)
}

// ExpSum sets dst to e^(x-max) and returns the sum of dst.
func ExpSum(dst, x []float32, max float32) float32 {
	same(len(dst), len(x))
	if len(x) == 0 {
		return 0
	}
	return expSum(dst, x, max)
}

// QuantizeRow quantizes whole blocks of 32 values: codes to q, a scale for each block to d. The largest magnitude of a
// block becomes 127.
func QuantizeRow(q []int8, d []float32, x []float32) {
	same(len(x), len(q), blockCols*len(d))
	var sums [2 * 16]int32
	for len(d) > 0 {
		n := min(len(d), 16)
		quantize(q[:n*blockCols], d[:n], sums[:2*n], x[:n*blockCols])
		q, d, x = q[n*blockCols:], d[n:], x[n*blockCols:]
	}
}
