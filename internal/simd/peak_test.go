package simd

import "testing"

// bestRatio runs f and a register-only loop of multiply-adds in turns and returns the best time of f in seconds and the
// best rate of the loop in GFLOP/s. Both run on one thread.
func bestRatio(b *testing.B, f func()) (best, ceiling float64) {
	now := cpuClock(b)
	best = 1e9
	for b.Loop() {
		t := now()
		f()
		best = min(best, now()-t)
		t = now()
		flops := peakFMA(20000)
		ceiling = max(ceiling, flops/(now()-t)/1e9)
	}
	return best, ceiling
}
