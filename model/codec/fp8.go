package codec

import "math"

// The eight-bit floats of the OCP specification (OFP8, 2023): "f8_e4m3" has four exponent bits (bias 7), no infinity and one
// NaN code per sign, largest 448; "f8_e5m2" is a half cut to its first byte, largest 57344; "f8_e8m0" is a bare power of
// two, 2^(code-127), as block scales are stored.
//
// Encoding rounds to nearest, ties to even. Finite values beyond the range become the largest one, as quantizers clamp
// before they cast; infinities stay so where the format has them and are NaN in f8_e4m3.

// fp8 describes a sign-exponent-mantissa byte.
type fp8 struct {
	mant    uint    // mantissa bits
	bias    int     // of the exponent
	max     float32 // largest finite value
	maxCode byte
	infCode byte // what infinity becomes
	nanCode byte
}

var (
	e4m3 = fp8{3, 7, 448, 0x7e, 0x7f, 0x7f}
	e5m2 = fp8{2, 15, 57344, 0x7b, 0x7c, 0x7e}
)

// decode returns the value of every code.
func (f fp8) decode() *[256]float32 {
	t := new([256]float32)
	for c := range t {
		code := byte(c) & 0x7f
		m := float64(code & (1<<f.mant - 1))
		exp := int(code >> f.mant)
		v := math.Ldexp(m, 1-f.bias-int(f.mant))
		if exp > 0 {
			v = math.Ldexp(m+float64(uint(1)<<f.mant), exp-f.bias-int(f.mant))
		}
		if code > f.maxCode {
			v = math.NaN()
			if code == f.infCode && f.infCode != f.nanCode {
				v = math.Inf(1)
			}
		}
		if c >= 0x80 {
			v = -v
		}
		t[c] = float32(v)
	}
	return t
}

func (f fp8) encode(v float32) byte {
	b := math.Float32bits(v)
	sign := byte(b >> 24 & 0x80)
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000:
		return sign | f.nanCode
	case b == 0x7f800000:
		return sign | f.infCode
	case math.Float32frombits(b) >= f.max:
		return sign | f.maxCode
	}
	drop := 23 - f.mant
	least := uint32(127-f.bias+1) << 23 // the smallest normal value of the format
	if b < least {
		// Adding a power of two whose last bit weighs as much as the format's lets the addition do the rounding.
		base := math.Float32frombits(least + uint32(drop)<<23)
		return sign | byte(math.Float32bits(math.Float32frombits(b)+base)-math.Float32bits(base))
	}
	b += 1<<(drop-1) - 1 + b>>drop&1
	code := byte((b - uint32(127-f.bias)<<23) >> drop)
	return sign | min(code, f.maxCode)
}

func init() {
	for name, f := range map[string]fp8{"f8_e4m3": e4m3, "f8_e5m2": e5m2} {
		table := f.decode()
		Register(&plain{name, 1,
			func(dst []float32, src []byte) {
				src = src[:len(dst)]
				for i := range dst {
					dst[i] = table[src[i]]
				}
			},
			func(dst []byte, src []float32) {
				dst = dst[:len(src)]
				for i, v := range src {
					dst[i] = f.encode(v)
				}
			}})
	}
	Register(each("f8_e8m0", 1, func(b []byte) float32 { return e8m0(b[0]) }, func(b []byte, v float32) { b[0] = encodeE8M0(v) }))
}

// e8m0 returns 2^(code-127); code 255 is NaN.
func e8m0(code byte) float32 {
	switch code {
	case 0:
		return 0x1p-127
	case 255:
		return float32(math.NaN())
	}
	return math.Float32frombits(uint32(code) << 23)
}

// encodeE8M0 returns the code of the power of two nearest to v in the exponent, 0 for zero and negative values.
func encodeE8M0(v float32) byte {
	switch b := math.Float32bits(v); {
	case b&0x7fffffff > 0x7f800000:
		return 255
	case b>>31 == 1 || b < 0x00400000:
		return 0
	default:
		// Between 2^e and 2^(e+1) the border is at 1.5*2^e, as in a value rounded to no mantissa bits; ties go up.
		return byte(min((b+0x00400000)>>23, 254))
	}
}
