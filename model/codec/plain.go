package codec

import (
	"encoding/binary"
	"math"
)

// The plain element types: one value a block. Integers and booleans decode to their value, so that every tensor of
// a checkpoint can be looked at; only the float types encode without loss of range.
//
// Rounding to a narrower float is to nearest, ties to even (IEEE 754), with NaN kept NaN and overflow to infinity,
// as every framework does it.

type plain struct {
	name   string
	size   int
	decode func(src []byte) float32
	encode func(dst []byte, v float32)
}

func (p *plain) Name() string      { return p.name }
func (p *plain) Block() (int, int) { return 1, p.size }

func (p *plain) Decode(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = p.decode(src[i*p.size:])
	}
}

func (p *plain) Encode(dst []byte, src, _ []float32) {
	for i, v := range src {
		p.encode(dst[i*p.size:], v)
	}
}

func init() {
	le := binary.LittleEndian
	for _, p := range []*plain{
		{"f64", 8,
			func(b []byte) float32 { return float32(math.Float64frombits(le.Uint64(b))) },
			func(b []byte, v float32) { le.PutUint64(b, math.Float64bits(float64(v))) }},
		{"f32", 4,
			func(b []byte) float32 { return math.Float32frombits(le.Uint32(b)) },
			func(b []byte, v float32) { le.PutUint32(b, math.Float32bits(v)) }},
		{"f16", 2,
			func(b []byte) float32 { return F16ToF32(le.Uint16(b)) },
			func(b []byte, v float32) { le.PutUint16(b, F32ToF16(v)) }},
		{"bf16", 2,
			func(b []byte) float32 { return math.Float32frombits(uint32(le.Uint16(b)) << 16) },
			func(b []byte, v float32) { le.PutUint16(b, F32ToBF16(v)) }},
		{"i64", 8,
			func(b []byte) float32 { return float32(int64(le.Uint64(b))) },
			func(b []byte, v float32) { le.PutUint64(b, uint64(int64(v))) }},
		{"i32", 4,
			func(b []byte) float32 { return float32(int32(le.Uint32(b))) },
			func(b []byte, v float32) { le.PutUint32(b, uint32(int32(v))) }},
		{"i16", 2,
			func(b []byte) float32 { return float32(int16(le.Uint16(b))) },
			func(b []byte, v float32) { le.PutUint16(b, uint16(int16(v))) }},
		{"i8", 1,
			func(b []byte) float32 { return float32(int8(b[0])) },
			func(b []byte, v float32) { b[0] = byte(int8(v)) }},
		{"u8", 1,
			func(b []byte) float32 { return float32(b[0]) },
			func(b []byte, v float32) { b[0] = byte(v) }},
		{"bool", 1,
			func(b []byte) float32 {
				if b[0] != 0 {
					return 1
				}
				return 0
			},
			func(b []byte, v float32) {
				b[0] = 0
				if v != 0 {
					b[0] = 1
				}
			}},
	} {
		Register(p)
	}
}

// F16ToF32 converts an IEEE 754 half to float32, exactly.
func F16ToF32(h uint16) float32 {
	sign := uint32(h>>15) << 31
	exp := uint32(h>>10) & 0x1f
	frac := uint32(h) & 0x3ff
	switch exp {
	case 0: // zero or subnormal: frac * 2^-24 is exact in float32
		v := float32(frac) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(v) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
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
