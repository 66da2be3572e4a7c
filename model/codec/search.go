package codec

import "math"

// The encoders follow ggml's reference quantizer (ggml-quants.c of llama.cpp) bit for bit: the same candidates are
// compared with the same float32 arithmetic in the same order, so the bytes are equal on every machine. Two rules keep
// that true: every product is rounded before it is added (the explicit float32 conversions forbid the compiler to
// fuse), and no sum is reordered.

// nearest rounds to the nearest integer, ties to even, for |v| < 2^22; beyond, and for NaN, the result is some integer
// of at most 23 bits, as in the reference.
func nearest(v float32) int32 {
	return int32(math.Float32bits(v+0x1.8p23)&0x7fffff) - 0x400000
}

// roundAway rounds to the nearest integer, ties away from zero, for |v| < 2^31.
func roundAway(v float32) int32 {
	// In float64 the sum with one half is exact.
	half := math.Float64frombits(0x3fe0000000000000 | uint64(math.Float32bits(v)>>31)<<63)
	return int32(float64(v) + half)
}

func abs(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }

func sqrt(v float32) float32 { return float32(math.Sqrt(float64(v))) }

// sumSquares adds the squares in order.
func sumSquares(x []float32) float32 {
	var s float32
	for _, v := range x {
		s += float32(v * v)
	}
	return s
}

// largest returns the value of largest magnitude and that magnitude; of equals the first.
func largest(x []float32) (value, magnitude float32) {
	for _, v := range x {
		if a := abs(v); a > magnitude {
			value, magnitude = v, a
		}
	}
	return value, magnitude
}

// tiny is the magnitude below which a group counts as all zero.
const tiny = 1e-15

// weigh sets w to importance * sqrt(sigma2 + x*x): the weights of squared errors when importances are given. Large values
// matter a little more than their importance says.
func weigh(w, importance, x []float32, sigma2 float32) {
	for i, v := range x {
		w[i] = importance[i] * sqrt(sigma2+float32(v*v))
	}
}
