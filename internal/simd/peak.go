package simd

// peakFMA runs n rounds of multiply-adds on registers and returns how many operations that were.
func peakFMA(n int) float64 {
	switch impl {
	case avx512:
		peakFMAAVX512(n)
		return float64(n) * 12 * 16 * 2
	case avx2:
		peakFMAAVX2(n)
		return float64(n) * 12 * 8 * 2
	}
	return 0
}
