package codec

import (
	"math"

	"github.com/parelm/pare/internal/simd"
)

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

// octet is room for a search over eight groups of up to 32 values, which lie side by side in x.
type octet struct {
	x, w, spare [256]float32
	fit         simd.Fit8
}

// take lays eight groups side by side and returns them.
func (o *octet) take(groups []float32) []float32 {
	x := o.x[:len(groups)]
	simd.Groups8(x, groups)
	return x
}

// weighed sets the weights of the groups to importance * sqrt(sigma2 + x*x): large values matter a little more than their
// importance says. It returns them.
func (o *octet) weighed(groups, importance []float32, sigma2 float32) []float32 {
	w, spare := o.w[:len(groups)], o.spare[:len(groups)]
	simd.WeighImportance(spare, importance, groups, sigma2)
	simd.Groups8(w, spare)
	return w
}

// squares sets the weights to x*x and returns them. The groups have been taken.
func (o *octet) squares(n int) []float32 {
	simd.Mul(o.w[:n], o.x[:n], o.x[:n])
	return o.w[:n]
}

// blocks calls f for each eight blocks of 32 values of a row, with their place; at the end of a row zeros stand for blocks
// that are not there.
func (o *octet) blocks(src, importance []float32, f func(first, n int, x, importance []float32)) {
	for i := 0; i < len(src); i += 256 {
		x, w := src[i:min(i+256, len(src))], at256(importance, i/256)
		n := len(x) / 32
		if n < 8 {
			padded, weights := make([]float32, 256), []float32(nil)
			copy(padded, x)
			if importance != nil {
				weights = make([]float32, 256)
				copy(weights, importance[i:])
			}
			x, w = padded, weights
		}
		f(i/32, n, x, w)
	}
}

// fineLadder is the list of grids of q4_1, q5_1 and the k formats with importances.
var fineLadder = simd.AffineGrid{First: -0.9, Step: 0.05, Count: 36}

// symmetric sets l to the codes plus nmax that FitSymmetric8 found for group g, whose values are x.
func (o *octet) symmetric(l []uint8, x []float32, g, nmax int) {
	if o.fit.Inverse[g] == 0 { // a group of zeros
		clear(l)
		return
	}
	simd.RoundMul(l, x, o.fit.Inverse[g], 0, -nmax, nmax-1)
}

// requantize sets l to nmax plus the codes of x on the grid d*l. Where d is 0 the codes of the search stay: they have no
// effect.
func (o *octet) requantize(l []uint8, x []float32, d float32, g, nmax int) {
	if d == 0 {
		o.symmetric(l, x, g, nmax)
		return
	}
	simd.RoundDiv(l, x, d, 0, -nmax, nmax-1)
}

// requantizeAffine sets l to the codes of x on the grid d*l - m, likewise.
func (o *octet) requantizeAffine(l []uint8, x []float32, d, m float32, g, nmax int) {
	if d == 0 {
		simd.RoundMul(l, x, o.fit.Inverse[g], o.fit.Least[g], 0, nmax)
		return
	}
	simd.RoundDiv(l, x, d, m, 0, nmax)
}
