package simd

import (
	"fmt"
	"math"
)

// Pages of a softmax that is computed online: scores become exponentials relative to the largest so far. Scores of -Inf are
// masked and become zeros; scores are a multiple of 16 so that no kernel meets a part of a vector. Sums depend on the place
// of a score in its page and not on how many masked ones follow.

// SoftmaxPage replaces scores by their exponentials relative to top or, where that is larger, the largest of them. It returns
// this reference and the sum of the exponentials.
func SoftmaxPage(x []float32, top float32) (reference, sum float32) {
	checkPage(len(x))
	if impl.x86() {
		stats := [2]float32{top}
		softmaxFloats(&x[0], len(x), &stats[0])
		return stats[0], stats[1]
	}
	if reference = max(top, Max(x)); math.IsInf(float64(reference), -1) {
		clear(x)
		return reference, 0
	}
	return reference, expSum(x, x, reference)
}

// SoftmaxWords makes words of the exponentials of scores relative to the largest of them: value i of block b is the exponential
// of x[i] times factor[b*step+i], rounded to the nearest integer, and goes to p[b*step+i]. Factors are at most WordMax. It
// returns the reference and the sum of the exponentials, and leaves anything in x.
func SoftmaxWords(p []int16, x, factor []float32, step, blocks int) (reference, sum float32) {
	n := len(x)
	checkPage(n)
	if blocks <= 0 || step < n {
		panic(fmt.Sprintf("simd: %d blocks of %d words, %d apart", blocks, n, step))
	}
	_, _ = p[(blocks-1)*step+n-1], factor[(blocks-1)*step+n-1]
	if impl.x86() {
		stats := [2]float32{float32(math.Inf(-1))}
		softmaxWords(&p[0], &x[0], &factor[0], step, blocks, n, &stats[0])
		return stats[0], stats[1]
	}
	reference, sum = SoftmaxPage(x, float32(math.Inf(-1)))
	for b := range blocks {
		Words(p[b*step:][:n], x, factor[b*step:][:n])
	}
	return reference, sum
}

func checkPage(n int) {
	if n == 0 || n%panel != 0 || n > sumChunk {
		panic(fmt.Sprintf("simd: a page of %d scores", n))
	}
}
