package simd

func gemmSkinny(c []float32, ldc int, a, b operand, m, n, k int, accumulate bool) bool { return false }

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
