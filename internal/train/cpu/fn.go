package cpu

// fn is an elementwise function, or the operation of a reduction.
type fn uint8

const (
	fnNone fn = iota
	fnAbs
	fnNeg
	fnSign
	fnExp
	fnExpm1
	fnLog
	fnLog1p
	fnSqrt
	fnRsqrt
	fnLogistic
	fnTanh
	fnErf
	fnFloor
	fnCeil
	fnRound // to even
	fnSin
	fnCos
	fnNot // logical for bool, of all bits otherwise
	fnIsFinite
	fnIsNaN
	fnPopCount
	fnLeadingZeros
	lastUnary

	fnAdd
	fnSub
	fnMul
	fnDiv
	fnRem // sign of the dividend
	fnPow
	fnMax
	fnMin
	fnAtan2
	fnAnd
	fnOr
	fnXor
	fnShiftLeft
	fnShiftRight // keeps the sign
	fnShiftRightLogical
	lastBinary

	fnEq
	fnNe
	fnLt
	fnLe
	fnGt
	fnGe
	fnTotalEq // total order: -NaN < -Inf < ... < -0 < +0 < ... < +Inf < +NaN
	fnTotalNe
	fnTotalLt
	fnTotalLe
	fnTotalGt
	fnTotalGe
	lastCompare
)

var fnNames = [...]string{"", "abs", "neg", "sign", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "logistic", "tanh", "erf",
	"floor", "ceil", "round", "sin", "cos", "not", "isfinite", "isnan", "popcount", "clz", "",
	"add", "sub", "mul", "div", "rem", "pow", "max", "min", "atan2", "and", "or", "xor", "shl", "shra", "shrl", "",
	"eq", "ne", "lt", "le", "gt", "ge", "eq_total", "ne_total", "lt_total", "le_total", "gt_total", "ge_total", ""}

var fnByName = func() map[string]fn {
	m := map[string]fn{}
	for i, s := range fnNames {
		if s != "" {
			m[s] = fn(i)
		}
	}
	return m
}()

// Functions returns the names that Apply knows.
func Functions() []string {
	var names []string
	for _, s := range fnNames {
		if s != "" {
			names = append(names, s)
		}
	}
	return names
}

// yieldsBool reports whether the result is a bool whatever the operands are.
func (f fn) yieldsBool() bool { return f == fnIsFinite || f == fnIsNaN || f > lastBinary }

// floatOnly reports whether the function is defined for floating-point operands alone.
func (f fn) floatOnly() bool {
	return f >= fnExp && f <= fnCos || f == fnIsFinite || f == fnIsNaN || f == fnAtan2
}

// bitsOnly reports whether the function is defined for bool and integer operands alone.
func (f fn) bitsOnly() bool {
	return f == fnNot || f == fnPopCount || f == fnLeadingZeros || f >= fnAnd && f < lastBinary
}

// commutes reports whether the operands may change places.
func (f fn) commutes() bool {
	switch f {
	case fnAdd, fnMul, fnMax, fnMin, fnAnd, fnOr, fnXor, fnEq, fnNe:
		return true
	}
	return false
}
