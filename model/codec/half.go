package codec

import "math"

// F16ToF32 converts an IEEE 754 half to float32, exactly.
func F16ToF32(h uint16) float32 {
	// The exponent moves by the multiplication, which also brings subnormals to their value: both are exact.
	v := math.Float32frombits(uint32(h&0x7fff)<<13) * 0x1p112
	b := math.Float32bits(v) | uint32(h&0x8000)<<16
	if h&0x7c00 == 0x7c00 { // infinity or NaN
		b |= 0x7f800000
	}
	return math.Float32frombits(b)
}

// F32ToF16 rounds to the nearest IEEE 754 half, ties to even.
func F32ToF16(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b>>16) & 0x8000
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000: // NaN: quiet, keep the top payload bits
		return sign | 0x7e00 | uint16(b>>13)&0x3ff
	case b >= 0x477ff000: // rounds to 65536 or more
		return sign | 0x7c00
	case b < 0x38800000: // below 2^-14: subnormal; adding 0.5 aligns the last half bit with the last float bit
		v := math.Float32frombits(b) + 0.5
		return sign | uint16(math.Float32bits(v)-0x3f000000)
	}
	b += 0xfff + b>>13&1 // round half to even on the 13 bits that go
	return sign | uint16((b-0x38000000)>>13)
}

// F32ToBF16 rounds to the nearest bfloat16, ties to even.
func F32ToBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}
