package cpu

import (
	"math"

	"github.com/parelm/pare/internal/simd"
)

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
	u[fnExp], u[fnLog], u[fnLogistic], u[fnTanh], u[fnErf] = simd.Exp, logKernel, simd.Sigmoid, simd.Tanh, erfKernel
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
	b[fnAdd] = binaryKernel{vv: simd.Add, vs: addVS}
	b[fnSub] = binaryKernel{vv: subVV, vs: func(dst, x []float32, s float32) { addVS(dst, x, -s) }, sv: subSV}
	b[fnMul] = binaryKernel{vv: simd.Mul, vs: simd.Scale}
	b[fnDiv] = binaryKernel{vv: divVV, vs: divVS, sv: divSV}
	b[fnMax] = binaryKernel{vv: maxVV, vs: maxVS}
	b[fnMin] = binaryKernel{vv: minVV, vs: minVS}
	b[fnAnd] = binaryKernel{vv: simd.Mul}
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

// addTo adds x to dst.
func addTo(dst, x []float32) { simd.Add(dst, dst, x) }

func addVS(dst, x []float32, s float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] = x[i] + s
	}
}

// subVV has no vector kernel of its own; y is first scaled by -1, which rounds nothing.
func subVV(dst, x, y []float32) {
	if len(dst) > 0 && &dst[0] == &y[0] {
		simd.Scale(dst, y, -1)
		simd.Add(dst, dst, x)
		return
	}
	copyUnlessSame(dst, x)
	simd.Axpy(dst, y, -1)
}

func subSV(dst []float32, s float32, y []float32) {
	y = y[:len(dst)]
	for i := range dst {
		dst[i] = s - y[i]
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

// reduceKernel combines the values of a vector.
func reduceKernel(f fn, x []float32) float32 {
	switch f {
	case fnAdd:
		return simd.Sum(x)
	case fnMul:
		p := float32(1)
		for _, v := range x {
			p *= v
		}
		return p
	case fnMax:
		return simd.Max(x)
	case fnMin:
		m := float32(math.Inf(1))
		for _, v := range x {
			m = min(m, v)
		}
		return m
	}
	panic("cpu: reduction by " + fnNames[f])
}
