package simd

import "math"

// Rows of float32. Where a dst is given it may be the operand itself but must not overlap it otherwise. All slices of one
// call have the same length unless said; the functions panic if not. Results are within a few units in the last place of
// the true value (reductions: relative to the sum of magnitudes) and depend on the values and the length alone.

// sumChunk is how many values a kernel adds in float32; chunks are added in float64, so that long rows lose nothing.
const sumChunk = 4096

func same(n int, more ...int) {
	for _, m := range more {
		if m != n {
			panic("simd: operands of unequal lengths")
		}
	}
}

// Dot returns the sum of x[i]*y[i].
func Dot(x, y []float32) float32 {
	same(len(x), len(y))
	if len(x) <= sumChunk {
		return dot(x, y)
	}
	var s float64
	for len(x) > 0 {
		n := min(len(x), sumChunk)
		s += float64(dot(x[:n], y[:n]))
		x, y = x[n:], y[n:]
	}
	return float32(s)
}

// Sum returns the sum of x.
func Sum(x []float32) float32 { return float32(sum64(x)) }

func sum64(x []float32) float64 {
	var s float64
	for len(x) > 0 {
		n := min(len(x), sumChunk)
		s += float64(sum(x[:n]))
		x = x[n:]
	}
	return s
}

// SumSquares returns the sum of x[i]*x[i].
func SumSquares(x []float32) float32 { return float32(sumSquares64(x, 0)) }

// sumSquares64 returns the sum of (x[i]-mean)^2.
func sumSquares64(x []float32, mean float32) float64 {
	var s float64
	for len(x) > 0 {
		n := min(len(x), sumChunk)
		s += float64(sumSquares(x[:n], mean))
		x = x[n:]
	}
	return s
}

// Max returns the largest of x: NaN if one is NaN, -Inf if x is empty.
func Max(x []float32) float32 {
	if len(x) == 0 {
		return float32(math.Inf(-1))
	}
	return maximum(x)
}

// Add sets dst = x + y.
func Add(dst, x, y []float32) {
	same(len(dst), len(x), len(y))
	if len(dst) > 0 {
		add(dst, x, y)
	}
}

// Mul sets dst = x * y, value by value.
func Mul(dst, x, y []float32) {
	same(len(dst), len(x), len(y))
	if len(dst) > 0 {
		mul(dst, x, y)
	}
}

// Scale sets dst = a*x.
func Scale(dst, x []float32, a float32) {
	same(len(dst), len(x))
	if len(dst) > 0 {
		scale(dst, x, a)
	}
}

// Axpy sets y = y + a*x.
func Axpy(y, x []float32, a float32) {
	same(len(y), len(x))
	if len(y) > 0 {
		axpy(y, x, a)
	}
}

// Exp sets dst = e^x.
func Exp(dst, x []float32) { apply(fnExp, dst, x) }

// Tanh sets dst = tanh(x).
func Tanh(dst, x []float32) { apply(fnTanh, dst, x) }

// Sigmoid sets dst = 1/(1+e^-x).
func Sigmoid(dst, x []float32) { apply(fnSigmoid, dst, x) }

// SiLU sets dst = x/(1+e^-x), the activation also called swish.
func SiLU(dst, x []float32) { apply(fnSiLU, dst, x) }

// GELU sets dst = x*Phi(x), Phi the normal distribution function: the exact form, with the error function.
func GELU(dst, x []float32) { apply(fnGELU, dst, x) }

// GELUTanh sets dst = x/2*(1+tanh(sqrt(2/pi)*(x+0.044715*x^3))), the usual approximation of GELU.
func GELUTanh(dst, x []float32) { apply(fnGELUTanh, dst, x) }

func apply(f function, dst, x []float32) {
	same(len(dst), len(x))
	if len(dst) > 0 {
		evaluate(f, dst, x)
	}
}

// Softmax sets dst = e^(x-max) / sum of those. A row without a value above -Inf (all masked) gives zeros.
func Softmax(dst, x []float32) {
	same(len(dst), len(x))
	m := Max(x)
	if math.IsInf(float64(m), -1) {
		clear(dst)
		return
	}
	var s float64
	for i := 0; i < len(x); i += sumChunk {
		end := min(len(x), i+sumChunk)
		s += float64(expSum(dst[i:end], x[i:end], m))
	}
	Scale(dst, dst, float32(1/s))
}

// SoftmaxGrad turns scores into probabilities and the gradients of probabilities into those of scores, in rows of n values
// that lie ld apart: p = e^(p-lse[row]), dp = p*(dp-delta[row]), where lse is the log of the row's sum of exponentials and
// delta the sum of p*dp over the whole row. Scores above lse, which no such row has, give anything.
func SoftmaxGrad(p, dp []float32, ld, rows, n int, lse, delta []float32) {
	same(rows, len(lse), len(delta))
	checkMatrix("p", len(p), ld, rows, n, false)
	checkMatrix("dp", len(dp), ld, rows, n, false)
	if rows > 0 && n > 0 {
		softmaxGrad(p, dp, ld, rows, n, lse, delta)
	}
}

// LogSumExp returns log of the sum of e^x, -Inf for a row without a value above that.
func LogSumExp(x []float32) float32 {
	m := Max(x)
	if math.IsInf(float64(m), 0) {
		return m
	}
	var s float64
	for i := 0; i < len(x); i += sumChunk {
		s += float64(expSum(nil, x[i:min(len(x), i+sumChunk)], m))
	}
	return float32(float64(m) + math.Log(s))
}

// RMSNorm sets dst = x / sqrt(mean of x^2 + eps) * weight.
func RMSNorm(dst, x, weight []float32, eps float64) {
	same(len(dst), len(x), len(weight))
	if len(x) == 0 {
		return
	}
	inv := 1 / math.Sqrt(sumSquares64(x, 0)/float64(len(x))+eps)
	normalizeRMS(dst, x, weight, float32(inv))
}

// LayerNorm sets dst = (x-mean) / sqrt(variance + eps) * weight + bias, the variance that of the row itself (divided by n).
func LayerNorm(dst, x, weight, bias []float32, eps float64) {
	same(len(dst), len(x), len(weight), len(bias))
	if len(x) == 0 {
		return
	}
	mean := float32(sum64(x) / float64(len(x)))
	inv := 1 / math.Sqrt(sumSquares64(x, mean)/float64(len(x))+eps)
	normalize(dst, x, weight, bias, mean, float32(inv))
}

// RoPEHalf rotates the pairs (x[i], x[i+n]) of a head of 2n values by the angles with these n cosines and sines, in place:
// the order of Hugging Face's "rotate half".
func RoPEHalf(x, cos, sin []float32) {
	n := len(cos)
	same(len(x), 2*n)
	same(n, len(sin))
	if n > 0 {
		ropeHalf(x[:n], x[n:], cos, sin)
	}
}

// RoPEPairs rotates the pairs (x[2i], x[2i+1]) of a head of 2n values by the angles with these n cosines and sines, in
// place: the order of the original paper and of GPT-J.
func RoPEPairs(x, cos, sin []float32) {
	n := len(cos)
	same(len(x), 2*n)
	same(n, len(sin))
	if n > 0 {
		ropePairs(x, cos, sin)
	}
}
