package simd

import "sync/atomic"

// peakFMA runs n rounds of multiply-adds on registers and returns how many operations that were.
func peakFMA(n int) float64 {
	if impl == generic {
		return 0
	}
	peakFMAVector(n)
	lanes := 8
	switch impl {
	case avx512:
		lanes = 16
	case neon, dotprod:
		lanes = 4
	}
	return float64(n) * 12 * float64(lanes) * 2
}

// Read loads b, all but what remains of the last 256 bytes, and does nothing with it: the fastest way to read memory, to
// measure others by.
func Read(b []byte) {
	if n := len(b) / 256; impl != generic && n > 0 {
		readVector(&b[0], n)
		return
	}
	var s byte
	for _, x := range b {
		s ^= x
	}
	sink.Store(uint32(s))
}

var sink atomic.Uint32
