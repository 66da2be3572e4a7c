package simd

import "math"

// The meaning of the row kernels, in plain Go.

func dotGeneric(x, y []float32) float32 {
	var s float64
	for i, v := range x {
		s += float64(v) * float64(y[i])
	}
	return float32(s)
}

func sumGeneric(x []float32) float32 {
	var s float64
	for _, v := range x {
		s += float64(v)
	}
	return float32(s)
}

func sumSquaresGeneric(x []float32, mean float32) float32 {
	var s float64
	for _, v := range x {
		d := float64(v) - float64(mean)
		s += d * d
	}
	return float32(s)
}

func maxGeneric(x []float32) float32 {
	m := x[0]
	for _, v := range x {
		m = max(m, v)
	}
	return m
}

// evaluateGeneric computes an elementary function in float64.
func evaluateGeneric(f function, dst, x []float32) {
	for i, v := range x {
		dst[i] = float32(functions[f](float64(v)))
	}
}

// functions are the elementary functions in float64.
var functions = [...]func(x float64) float64{
	fnExp:     math.Exp,
	fnTanh:    math.Tanh,
	fnSigmoid: sigmoid64,
	fnSiLU:    func(x float64) float64 { return x * sigmoid64(x) },
	fnGELU:    func(x float64) float64 { return x * 0.5 * math.Erfc(-x/math.Sqrt2) },
	fnGELUTanh: func(x float64) float64 {
		return x * sigmoid64(2*math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x))
	},
}

func sigmoid64(x float64) float64 {
	e := math.Exp(-math.Abs(x))
	if x < 0 {
		return e / (1 + e)
	}
	return 1 / (1 + e)
}

// expSumGeneric sets dst, if there is one, to e^(x-max) and returns the sum.
func expSumGeneric(dst, x []float32, max float32) float32 {
	var s float64
	for i, v := range x {
		e := math.Exp(float64(v) - float64(max))
		s += e
		if dst != nil {
			dst[i] = float32(e)
		}
	}
	return float32(s)
}

func ropeHalfGeneric(x, y, cos, sin []float32) {
	for i, c := range cos {
		a, b, s := x[i], y[i], sin[i]
		x[i] = float32(a*c) - float32(b*s)
		y[i] = float32(b*c) + float32(a*s)
	}
}

func ropePairsGeneric(x, cos, sin []float32) {
	for i, c := range cos {
		a, b, s := x[2*i], x[2*i+1], sin[i]
		x[2*i] = float32(a*c) - float32(b*s)
		x[2*i+1] = float32(b*c) + float32(a*s)
	}
}
