package cpu

import "math"

// Kernels over float32 tiles. dst may be one of the operands. Truth values are 0 and 1.

// binaryKernel computes an operation on two vectors, a vector and a number, a number and a vector; the latter two may
// be missing.
type binaryKernel struct {
	vv func(dst, x, y []float32)
	vs func(dst, x []float32, s float32)
	sv func(dst []float32, s float32, y []float32)
}

var unaryKernels [lastUnary]func(dst, x []float32)
var binaryKernels [lastCompare]binaryKernel

func init() {
	u := &unaryKernels
	u[fnAbs], u[fnNeg], u[fnSqrt], u[fnRsqrt] = absKernel, negKernel, sqrtKernel, rsqrtKernel
	u[fnExp], u[fnLog], u[fnLogistic], u[fnTanh], u[fnErf] = expKernel, logKernel, logisticKernel, tanhKernel, erfKernel
	u[fnNot], u[fnIsFinite], u[fnIsNaN] = notKernel, finiteKernel, nanKernel
	for _, f := range []fn{fnSign, fnExpm1, fnLog1p, fnFloor, fnCeil, fnRound, fnSin, fnCos} {
		g := floatFunctions[f]
		u[f] = func(dst, x []float32) {
			for i, v := range x {
				dst[i] = float32(g(float64(v)))
			}
		}
	}
	b := &binaryKernels
	b[fnAdd] = binaryKernel{vv: addVV, vs: addVS}
	b[fnSub] = binaryKernel{vv: subVV, vs: func(dst, x []float32, s float32) { addVS(dst, x, -s) }, sv: subSV}
	b[fnMul] = binaryKernel{vv: mulVV, vs: mulVS}
	b[fnDiv] = binaryKernel{vv: divVV, vs: divVS, sv: divSV}
	b[fnMax] = binaryKernel{vv: maxVV, vs: maxVS}
	b[fnMin] = binaryKernel{vv: minVV, vs: minVS}
	b[fnAnd] = binaryKernel{vv: mulVV}
	b[fnOr] = binaryKernel{vv: maxVV}
	b[fnXor] = compareKernel(fnNe)
	for _, f := range []fn{fnPow, fnRem, fnAtan2} {
		b[f] = binaryKernel{vv: func(dst, x, y []float32) {
			for i, v := range x {
				dst[i] = float32(binaryFloat(f, float64(v), float64(y[i])))
			}
		}}
	}
	for f := fnEq; f <= fnGe; f++ {
		b[f] = compareKernel(f)
	}
}

func compareKernel(f fn) binaryKernel {
	return binaryKernel{
		vv: func(dst, x, y []float32) {
			for i, v := range x {
				dst[i] = truth(compare(f, v, y[i]))
			}
		},
		vs: func(dst, x []float32, s float32) {
			for i, v := range x {
				dst[i] = truth(compare(f, v, s))
			}
		},
		sv: func(dst []float32, s float32, y []float32) {
			for i, v := range y {
				dst[i] = truth(compare(f, s, v))
			}
		},
	}
}

func truth(b bool) float32 {
	if b {
		return 1
	}
	return 0
}

func addVV(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := range dst {
		dst[i] = x[i] + y[i]
	}
}

// addTo adds x to dst.
func addTo(dst, x []float32) { addVV(dst, dst, x) }

func addVS(dst, x []float32, s float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = x[i] + s
	}
}

func subVV(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := range dst {
		dst[i] = x[i] - y[i]
	}
}

func subSV(dst []float32, s float32, y []float32) {
	y = y[:len(dst)]
	for i := range dst {
		dst[i] = s - y[i]
	}
}

func mulVV(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := range dst {
		dst[i] = x[i] * y[i]
	}
}

func mulVS(dst, x []float32, s float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = x[i] * s
	}
}

func divVV(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := range dst {
		dst[i] = x[i] / y[i]
	}
}

func divVS(dst, x []float32, s float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = x[i] / s
	}
}

func divSV(dst []float32, s float32, y []float32) {
	y = y[:len(dst)]
	for i := range dst {
		dst[i] = s / y[i]
	}
}

func maxVV(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := range dst {
		dst[i] = max(x[i], y[i])
	}
}

func maxVS(dst, x []float32, s float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = max(x[i], s)
	}
}

func minVV(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := range dst {
		dst[i] = min(x[i], y[i])
	}
}

func minVS(dst, x []float32, s float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = min(x[i], s)
	}
}

// selectVV takes x where c is not 0, else y.
func selectVV(dst, c, x, y []float32) {
	c, x, y = c[:len(dst)], x[:len(dst)], y[:len(dst)]
	for i := range dst {
		if c[i] != 0 {
			dst[i] = x[i]
		} else {
			dst[i] = y[i]
		}
	}
}

func absKernel(dst, x []float32) {
	for i, v := range x {
		dst[i] = math.Float32frombits(math.Float32bits(v) &^ (1 << 31))
	}
}

func negKernel(dst, x []float32) {
	for i, v := range x {
		dst[i] = -v
	}
}

func sqrtKernel(dst, x []float32) {
	for i, v := range x {
		dst[i] = float32(math.Sqrt(float64(v)))
	}
}

func rsqrtKernel(dst, x []float32) {
	for i, v := range x {
		dst[i] = float32(1 / math.Sqrt(float64(v)))
	}
}

func notKernel(dst, x []float32) {
	for i, v := range x {
		dst[i] = truth(v == 0)
	}
}

func finiteKernel(dst, x []float32) {
	for i, v := range x {
		dst[i] = truth(v-v == 0)
	}
}

func nanKernel(dst, x []float32) {
	for i, v := range x {
		dst[i] = truth(v != v)
	}
}

func logKernel(dst, x []float32) {
	for i, v := range x {
		dst[i] = float32(math.Log(float64(v)))
	}
}

func erfKernel(dst, x []float32) {
	for i, v := range x {
		dst[i] = float32(math.Erf(float64(v)))
	}
}

func expKernel(dst, x []float32) {
	for i, v := range x {
		dst[i] = exp32(v)
	}
}

func logisticKernel(dst, x []float32) {
	for i, v := range x {
		dst[i] = 1 / (1 + exp32(-v))
	}
}

func tanhKernel(dst, x []float32) {
	for i, v := range x {
		dst[i] = tanh32(v)
	}
}

// exp32 is exp to about one unit in the last place: 2^k * e^r with |r| <= ln2/2 (Cephes expf).
func exp32(x float32) float32 {
	if !(x > -103.97208) {
		if x != x {
			return x
		}
		return 0
	}
	if x > 88.72283 {
		return float32(math.Inf(1))
	}
	k := float32(math.Floor(float64(float32(x*1.44269504) + 0.5)))
	r := x - float32(k*0.693359375)
	r -= float32(k * -2.12194440e-4)
	p := float32(1.9875691500e-4)
	p = float32(p*r) + 1.3981999507e-3
	p = float32(p*r) + 8.3334519073e-3
	p = float32(p*r) + 4.1665795894e-2
	p = float32(p*r) + 1.6666665459e-1
	p = float32(p*r) + 5.0000001201e-1
	p = float32(float32(p*r)*r) + r + 1
	n := int32(k)
	if n < -126 { // the result is denormal: scale in two steps
		p *= math.Float32frombits(1 << 23)
		n += 126
	}
	if n > 127 {
		p *= 2
		n--
	}
	return p * math.Float32frombits(uint32(n+127)<<23)
}

func tanh32(x float32) float32 {
	a := math.Float32frombits(math.Float32bits(x) &^ (1 << 31))
	if a < 0.625 { // Cephes tanhf
		z := x * x
		p := float32(-5.70498872745e-3)
		p = float32(p*z) + 2.06390887954e-2
		p = float32(p*z) - 5.37397155531e-2
		p = float32(p*z) + 1.33314422036e-1
		p = float32(p*z) - 3.33332819422e-1
		return float32(float32(p*z)*x) + x
	}
	t := 1 - 2/(exp32(2*a)+1)
	return math.Float32frombits(math.Float32bits(t)&^(1<<31) | math.Float32bits(x)&(1<<31))
}

// reduceKernel combines the values of a vector.
func reduceKernel(f fn, x []float32) float32 {
	switch f {
	case fnAdd:
		return sumKernel(x)
	case fnMul:
		p := float32(1)
		for _, v := range x {
			p *= v
		}
		return p
	case fnMax:
		m := float32(math.Inf(-1))
		for _, v := range x {
			m = max(m, v)
		}
		return m
	case fnMin:
		m := float32(math.Inf(1))
		for _, v := range x {
			m = min(m, v)
		}
		return m
	}
	panic("cpu: reduction by " + fnNames[f])
}

// sumKernel adds in eight lanes, so that errors grow slowly.
func sumKernel(x []float32) float32 {
	var s [8]float32
	i := 0
	for ; i+8 <= len(x); i += 8 {
		v := x[i : i+8 : i+8]
		s[0] += v[0]
		s[1] += v[1]
		s[2] += v[2]
		s[3] += v[3]
		s[4] += v[4]
		s[5] += v[5]
		s[6] += v[6]
		s[7] += v[7]
	}
	for k, v := range x[i:] {
		s[k] += v
	}
	return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}
