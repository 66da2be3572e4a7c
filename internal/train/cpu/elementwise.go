package cpu

import (
	"fmt"
	"math"
	"math/bits"
)

// elementwise computes a unary, binary, compare or where node.
func elementwise(n *Node, out *Buffer, in []*Buffer) {
	if n.op == opWhere {
		whereData(out.Data, in[0].Data.([]bool), in[1].Data, in[2].Data)
		return
	}
	switch x := in[0].Data.(type) {
	case []bool:
		elementwiseBool(n, out.Data.([]bool), x, in)
	case []uint8:
		elementwiseInt(n, out, x, in)
	case []int32:
		elementwiseInt(n, out, x, in)
	case []int64:
		elementwiseInt(n, out, x, in)
	case []uint32:
		elementwiseInt(n, out, x, in)
	case []uint64:
		elementwiseInt(n, out, x, in)
	case []float32:
		elementwiseFloat(n, out, x, in)
	case []float64:
		elementwiseFloat(n, out, x, in)
	}
}

func elementwiseBool(n *Node, out, x []bool, in []*Buffer) {
	if n.fn == fnNot {
		for i, v := range x {
			out[i] = !v
		}
		return
	}
	y := in[1].Data.([]bool)
	for i, a := range x {
		b := y[i]
		switch n.fn {
		case fnAnd:
			out[i] = a && b
		case fnOr:
			out[i] = a || b
		case fnXor, fnNe:
			out[i] = a != b
		case fnEq:
			out[i] = a == b
		default:
			panic("cpu: " + fnNames[n.fn] + " of bool")
		}
	}
}

func elementwiseInt[T integer](n *Node, out *Buffer, x []T, in []*Buffer) {
	switch n.op {
	case opUnary:
		o := out.Data.([]T)
		for i, v := range x {
			o[i] = unaryInt(n.fn, v)
		}
	case opBinary:
		o, y := out.Data.([]T), in[1].Data.([]T)
		for i, v := range x {
			o[i] = binaryInt(n.fn, v, y[i])
		}
	case opCompare:
		o, y := out.Data.([]bool), in[1].Data.([]T)
		f := n.fn
		if f >= fnTotalEq {
			f -= fnTotalEq - fnEq
		}
		for i, v := range x {
			o[i] = compare(f, v, y[i])
		}
	}
}

func unaryInt[T integer](f fn, x T) T {
	switch f {
	case fnAbs:
		if x < 0 {
			return -x
		}
		return x
	case fnNeg:
		return -x
	case fnSign:
		switch {
		case x == 0:
			return 0
		case x > 0:
			return 1
		}
		return T(0) - 1
	case fnNot:
		return ^x
	case fnPopCount:
		return T(bits.OnesCount64(bitsOf([]T{x}, 0)))
	case fnLeadingZeros:
		width := 8 * sizeOf(x)
		return T(width - bits.Len64(bitsOf([]T{x}, 0)))
	}
	panic("cpu: " + fnNames[f] + " of integers")
}

func sizeOf[T integer](T) int {
	d, _, _ := sliceInfo([]T(nil))
	return d.Size()
}

func binaryInt[T integer](f fn, x, y T) T {
	switch f {
	case fnAdd:
		return x + y
	case fnSub:
		return x - y
	case fnMul:
		return x * y
	case fnDiv, fnRem:
		if y == 0 { // what StableHLO leaves open: all bits set, and the dividend
			if f == fnDiv {
				return ^T(0)
			}
			return x
		}
		if f == fnDiv {
			return x / y
		}
		return x % y
	case fnPow:
		return powInt(x, y)
	case fnMax:
		return max(x, y)
	case fnMin:
		return min(x, y)
	case fnAnd:
		return x & y
	case fnOr:
		return x | y
	case fnXor:
		return x ^ y
	}
	return shift(f, x, y)
}

func shift[T integer](f fn, x, y T) T {
	width := 8 * sizeOf(x)
	if y < 0 || uint64(y) >= uint64(width) {
		if f == fnShiftRight && x < 0 {
			return ^T(0)
		}
		return 0
	}
	switch f {
	case fnShiftLeft:
		return x << uint64(y)
	case fnShiftRight:
		return x >> uint64(y)
	case fnShiftRightLogical:
		one := []T{0}
		setBits(one, 0, bitsOf([]T{x}, 0)>>uint64(y), width/8)
		return one[0]
	}
	panic("cpu: " + fnNames[f] + " of integers")
}

func powInt[T integer](x, y T) T {
	if y < 0 {
		switch x {
		case 1:
			return 1
		case ^T(0): // -1
			if y&1 == 0 {
				return 1
			}
			return x
		}
		return 0
	}
	r := T(1)
	for ; y > 0; y >>= 1 {
		if y&1 == 1 {
			r *= x
		}
		x *= x
	}
	return r
}

func compare[T integer | float](f fn, x, y T) bool {
	switch f {
	case fnEq:
		return x == y
	case fnNe:
		return x != y
	case fnLt:
		return x < y
	case fnLe:
		return x <= y
	case fnGt:
		return x > y
	case fnGe:
		return x >= y
	}
	panic("cpu: comparison " + fnNames[f])
}

func elementwiseFloat[T float](n *Node, out *Buffer, x []T, in []*Buffer) {
	switch {
	case n.fn == fnIsFinite || n.fn == fnIsNaN:
		o := out.Data.([]bool)
		for i, v := range x {
			nan, inf := math.IsNaN(float64(v)), math.IsInf(float64(v), 0)
			o[i] = nan && n.fn == fnIsNaN || !nan && !inf && n.fn == fnIsFinite
		}
	case n.op == opUnary:
		o := out.Data.([]T)
		for i, v := range x {
			o[i] = T(unaryFloat(n.fn, float64(v)))
		}
	case n.op == opBinary:
		o, y := out.Data.([]T), in[1].Data.([]T)
		for i, v := range x {
			o[i] = T(binaryFloat(n.fn, float64(v), float64(y[i])))
		}
	case n.fn >= fnTotalEq:
		o, y := out.Data.([]bool), in[1].Data.([]T)
		for i, v := range x {
			o[i] = compare(n.fn-(fnTotalEq-fnEq), totalOrder(float64(v)), totalOrder(float64(y[i])))
		}
	default:
		o, y := out.Data.([]bool), in[1].Data.([]T)
		for i, v := range x {
			o[i] = compare(n.fn, v, y[i])
		}
	}
}

// totalOrder maps floats to integers in total order.
func totalOrder(x float64) int64 {
	b := int64(math.Float64bits(x))
	if b < 0 {
		b ^= math.MaxInt64
	}
	return b
}

var floatFunctions = map[fn]func(float64) float64{
	fnAbs: math.Abs, fnExp: math.Exp, fnExpm1: math.Expm1, fnLog: math.Log, fnLog1p: math.Log1p, fnSqrt: math.Sqrt,
	fnTanh: math.Tanh, fnErf: math.Erf, fnFloor: math.Floor, fnCeil: math.Ceil, fnRound: math.RoundToEven,
	fnSin: math.Sin, fnCos: math.Cos,
	fnNeg:      func(x float64) float64 { return -x },
	fnRsqrt:    func(x float64) float64 { return 1 / math.Sqrt(x) },
	fnLogistic: func(x float64) float64 { return 1 / (1 + math.Exp(-x)) },
	fnSign: func(x float64) float64 {
		if x == 0 || math.IsNaN(x) {
			return x
		}
		return math.Copysign(1, x)
	},
}

func unaryFloat(f fn, x float64) float64 {
	g := floatFunctions[f]
	if g == nil {
		panic("cpu: " + fnNames[f] + " of floats")
	}
	return g(x)
}

// binaryFloat computes in float64. For float32 operands sums, products and quotients rounded again to float32 equal
// those of float32 arithmetic (Figueroa 1995: 53 >= 2*24+2).
func binaryFloat(f fn, x, y float64) float64 {
	switch f {
	case fnAdd:
		return x + y
	case fnSub:
		return x - y
	case fnMul:
		return x * y
	case fnDiv:
		return x / y
	case fnRem:
		return math.Mod(x, y)
	case fnPow:
		return math.Pow(x, y)
	case fnMax:
		return math.Max(x, y)
	case fnMin:
		return math.Min(x, y)
	case fnAtan2:
		return math.Atan2(x, y)
	}
	panic("cpu: " + fnNames[f] + " of floats")
}

func whereData(out any, c []bool, x, y any) {
	switch o := out.(type) {
	case []bool:
		where(o, c, x.([]bool), y.([]bool))
	case []uint8:
		where(o, c, x.([]uint8), y.([]uint8))
	case []int32:
		where(o, c, x.([]int32), y.([]int32))
	case []int64:
		where(o, c, x.([]int64), y.([]int64))
	case []uint32:
		where(o, c, x.([]uint32), y.([]uint32))
	case []uint64:
		where(o, c, x.([]uint64), y.([]uint64))
	case []float32:
		where(o, c, x.([]float32), y.([]float32))
	case []float64:
		where(o, c, x.([]float64), y.([]float64))
	default:
		panic(fmt.Sprintf("cpu: values of type %T", out))
	}
}

func where[T any](out []T, c []bool, x, y []T) {
	for i, b := range c {
		if b {
			out[i] = x[i]
		} else {
			out[i] = y[i]
		}
	}
}
