package simd

// peakFMA runs n rounds of multiply-adds on registers and returns how many operations that were.
func peakFMA(n int) float64 {
	if impl == generic {
		return 0
	}
	peakFMAVector(n)
	lanes := 8
	if impl == avx512 {
		lanes = 16
	}
	return float64(n) * 12 * float64(lanes) * 2
}
