package simd

import "math"

// The choice of the kernel. Slices are not empty and have equal lengths here.

// function names an elementary function.
type function int

const (
	fnExp function = iota
	fnTanh
	fnSigmoid
	fnSiLU
	fnGELU
	fnGELUTanh
)

func dot(x, y []float32) float32 {
	switch {
	case len(x) == 0:
		return 0
	case impl == generic:
		return dotGeneric(x, y)
	}
	return dotVector(&x[0], &y[0], len(x))
}

func sum(x []float32) float32 {
	if impl == generic {
		return sumGeneric(x)
	}
	return sumVector(&x[0], len(x))
}

func sumSquares(x []float32, mean float32) float32 {
	if impl == generic {
		return sumSquaresGeneric(x, mean)
	}
	return sumSquaresVector(&x[0], mean, len(x))
}

func maximum(x []float32) float32 {
	if impl == generic {
		return maxGeneric(x)
	}
	return maxVector(&x[0], len(x))
}

func add(dst, x, y []float32) {
	if impl != generic {
		addVector(&dst[0], &x[0], &y[0], len(dst))
		return
	}
	for i, v := range x {
		dst[i] = v + y[i]
	}
}

func mul(dst, x, y []float32) {
	if impl != generic {
		mulVector(&dst[0], &x[0], &y[0], len(dst))
		return
	}
	for i, v := range x {
		dst[i] = v * y[i]
	}
}

// negativeZero may be added to anything without changing it.
var negativeZero = float32(math.Copysign(0, -1))

func scale(dst, x []float32, a float32) {
	if impl != generic {
		scaleVector(&dst[0], &x[0], len(dst), a, negativeZero)
		return
	}
	for i, v := range x {
		dst[i] = a * v
	}
}

func axpy(y, x []float32, a float32) {
	if impl != generic {
		axpyVector(&y[0], &x[0], len(y), a)
		return
	}
	for i, v := range x {
		y[i] += float32(a * v)
	}
}

func evaluate(f function, dst, x []float32) {
	if impl == generic {
		evaluateGeneric(f, dst, x)
		return
	}
	switch d, s, n := &dst[0], &x[0], len(dst); f {
	case fnExp:
		expVector(d, s, n)
	case fnTanh:
		tanhVector(d, s, n)
	case fnSigmoid:
		sigmoidVector(d, s, n)
	case fnSiLU:
		siluVector(d, s, n)
	case fnGELU:
		geluVector(d, s, n)
	case fnGELUTanh:
		geluTanhVector(d, s, n)
	}
}

func expSum(dst, x []float32, max float32) float32 {
	switch {
	case impl == generic:
		return expSumGeneric(dst, x, max)
	case dst == nil:
		return expSumVector(&x[0], len(x), max)
	}
	return expSumStoreVector(&dst[0], &x[0], len(x), max)
}

func softmaxGrad(p, dp []float32, ld, rows, n int, lse, delta []float32) {
	if impl != generic {
		softmaxGradVector(&p[0], &dp[0], ld, rows, n, &lse[0], &delta[0])
		return
	}
	for i := range rows {
		g := dp[i*ld : i*ld+n]
		for j, x := range p[i*ld : i*ld+n] {
			e := float32(math.Exp(float64(x - lse[i])))
			p[i*ld+j], g[j] = e, e*(g[j]-delta[i])
		}
	}
}

func normalizeRMS(dst, x, w []float32, inv float32) {
	if impl != generic {
		normalizeRMSVector(&dst[0], &x[0], &w[0], len(dst), inv)
		return
	}
	for i, v := range x {
		dst[i] = v * inv * w[i]
	}
}

func normalize(dst, x, w, b []float32, mean, inv float32) {
	if impl != generic {
		normalizeVector(&dst[0], &x[0], &w[0], &b[0], len(dst), mean, inv)
		return
	}
	for i, v := range x {
		dst[i] = float32((v-mean)*inv*w[i]) + b[i]
	}
}

func ropeHalf(x, y, cos, sin []float32) {
	if impl != generic {
		ropeHalfVector(&x[0], &y[0], &cos[0], &sin[0], len(x))
		return
	}
	ropeHalfGeneric(x, y, cos, sin)
}

func ropePairs(x, cos, sin []float32) {
	n := 0
	if impl != generic {
		if n = len(x) &^ 7; n > 0 {
			ropePairsVector(&x[0], &cos[0], &sin[0], n)
		}
	}
	ropePairsGeneric(x[n:], cos[n/2:], sin[n/2:])
}
