package simd

import (
	"encoding/binary"
	"math"
)

// Conversions between float32 and numbers as files hold them: little-endian bytes, of any alignment. The number of bytes
// must be that of the values. Rounding is to nearest even; overflow gives Inf; a NaN stays a NaN with its sign and what
// fits of its payload; numbers below the normal range are kept, rounded.

// F16ToF32 widens IEEE half-precision numbers.
func F16ToF32(dst []float32, src []byte) {
	same(2*len(dst), len(src))
	n := blocks16(len(dst))
	if n > 0 {
		f16ToF32(&dst[0], &src[0], n)
	}
	for i := n; i < len(dst); i++ {
		dst[i] = halfToFloat(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// F32ToF16 rounds to IEEE half precision.
func F32ToF16(dst []byte, src []float32) {
	same(len(dst), 2*len(src))
	n := blocks16(len(src))
	if n > 0 {
		f32ToF16(&dst[0], &src[0], n)
	}
	for i := n; i < len(src); i++ {
		binary.LittleEndian.PutUint16(dst[2*i:], floatToHalf(src[i]))
	}
}

// BF16ToF32 widens bfloat16 numbers: the upper half of a float32.
func BF16ToF32(dst []float32, src []byte) {
	same(2*len(dst), len(src))
	n := blocks16(len(dst))
	if n > 0 {
		bf16ToF32(&dst[0], &src[0], n)
	}
	for i := n; i < len(dst); i++ {
		dst[i] = brainToFloat(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

// F32ToBF16 rounds to bfloat16.
func F32ToBF16(dst []byte, src []float32) {
	same(len(dst), 2*len(src))
	n := blocks16(len(src))
	if n > 0 {
		f32ToBF16(&dst[0], &src[0], n)
	}
	for i := n; i < len(src); i++ {
		binary.LittleEndian.PutUint16(dst[2*i:], floatToBrain(src[i]))
	}
}

// LoadF32 reads float32 from bytes.
func LoadF32(dst []float32, src []byte) {
	same(4*len(dst), len(src))
	n := blocks16(len(dst))
	if n > 0 {
		loadF32(&dst[0], &src[0], n)
	}
	for i := n; i < len(dst); i++ {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

// StoreF32 writes float32 to bytes.
func StoreF32(dst []byte, src []float32) {
	same(len(dst), 4*len(src))
	n := blocks16(len(src))
	if n > 0 {
		storeF32(&dst[0], &src[0], n)
	}
	for i := n; i < len(src); i++ {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(src[i]))
	}
}

// blocks16 returns how many of n values the kernels do.
func blocks16(n int) int {
	if impl == generic {
		return 0
	}
	return n &^ 15
}

// halfToFloat widens one number: sign, 5 bits of exponent (bias 15), 10 of fraction.
func halfToFloat(h uint16) float32 {
	sign, exp, frac := uint32(h>>15)<<31, uint32(h>>10)&31, uint32(h)&0x3ff
	switch {
	case exp == 31 && frac != 0: // NaN, made quiet
		return math.Float32frombits(sign | 0x7fc00000 | frac<<13)
	case exp == 31:
		return math.Float32frombits(sign | 0x7f800000)
	case exp == 0: // frac units of 2^-24: exact
		v := float32(frac) * 0x1p-24
		return math.Float32frombits(sign | math.Float32bits(v))
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// floatToHalf rounds one number.
func floatToHalf(f float32) uint16 {
	b := math.Float32bits(f)
	sign, a := uint16(b>>31)<<15, b&0x7fffffff
	switch {
	case a > 0x7f800000: // NaN
		return sign | 0x7e00 | uint16(a>>13&0x3ff)
	case a >= 0x477ff000: // 65520 and up round to Inf
		return sign | 0x7c00
	case a < 0x38800000: // below 2^-14: adding 1/2 leaves units of 2^-24 in the low bits, rounded by the addition
		return sign | uint16(math.Float32bits(math.Float32frombits(a)+0.5)-0x3f000000)
	}
	return sign | uint16((a+0xfff+a>>13&1)>>13-112<<10)
}

// brainToFloat widens one number.
func brainToFloat(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// floatToBrain rounds one number.
func floatToBrain(f float32) uint16 {
	b := math.Float32bits(f)
	if f != f {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}
