package codec

import (
	"encoding/binary"
	"math"

	"github.com/parelm/pare/internal/simd"
)

// The plain element types: one value a block. Integers and booleans decode to their value, so that every tensor of
// a checkpoint can be looked at; only the float types encode without loss of range.
//
// Rounding to a narrower float is to nearest, ties to even (IEEE 754), with NaN kept NaN and overflow to infinity,
// as every framework does it. The loops work on slices cut to length beforehand, so that the compiler drops the bounds
// checks and turns each Uint32 or PutUint32 into one move.

type plain struct {
	name   string
	size   int
	decode func(dst []float32, src []byte)
	encode func(dst []byte, src []float32)
}

func (p *plain) Name() string                        { return p.name }
func (p *plain) Block() (int, int)                   { return 1, p.size }
func (p *plain) Decode(dst []float32, src []byte)    { p.decode(dst, src) }
func (p *plain) Encode(dst []byte, src, _ []float32) { p.encode(dst, src) }

func init() {
	le := binary.LittleEndian
	for _, p := range []*plain{
		{"f32", 4, decodeF32, encodeF32},
		{"f16", 2, decodeF16, encodeF16},
		{"bf16", 2, decodeBF16, encodeBF16},
		each("f64", 8,
			func(b []byte) float32 { return float32(math.Float64frombits(le.Uint64(b))) },
			func(b []byte, v float32) { le.PutUint64(b, math.Float64bits(float64(v))) }),
		each("i64", 8,
			func(b []byte) float32 { return float32(int64(le.Uint64(b))) },
			func(b []byte, v float32) { le.PutUint64(b, uint64(int64(v))) }),
		each("i32", 4,
			func(b []byte) float32 { return float32(int32(le.Uint32(b))) },
			func(b []byte, v float32) { le.PutUint32(b, uint32(int32(v))) }),
		each("i16", 2,
			func(b []byte) float32 { return float32(int16(le.Uint16(b))) },
			func(b []byte, v float32) { le.PutUint16(b, uint16(int16(v))) }),
		each("i8", 1,
			func(b []byte) float32 { return float32(int8(b[0])) },
			func(b []byte, v float32) { b[0] = byte(int8(v)) }),
		each("u64", 8,
			func(b []byte) float32 { return float32(le.Uint64(b)) },
			func(b []byte, v float32) { le.PutUint64(b, uint64(v)) }),
		each("u32", 4,
			func(b []byte) float32 { return float32(le.Uint32(b)) },
			func(b []byte, v float32) { le.PutUint32(b, uint32(v)) }),
		each("u16", 2,
			func(b []byte) float32 { return float32(le.Uint16(b)) },
			func(b []byte, v float32) { le.PutUint16(b, uint16(v)) }),
		each("u8", 1,
			func(b []byte) float32 { return float32(b[0]) },
			func(b []byte, v float32) { b[0] = byte(v) }),
		each("bool", 1,
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
			}),
	} {
		Register(p)
	}
}

// each makes a type from functions of one value: slower, for types that hold no weights.
func each(name string, size int, decode func(b []byte) float32, encode func(b []byte, v float32)) *plain {
	return &plain{name, size,
		func(dst []float32, src []byte) {
			for i := range dst {
				dst[i] = decode(src[i*size : i*size+size])
			}
		},
		func(dst []byte, src []float32) {
			for i, v := range src {
				encode(dst[i*size:i*size+size], v)
			}
		}}
}

func decodeF32(dst []float32, src []byte) { simd.LoadF32(dst, src[:4*len(dst)]) }
func encodeF32(dst []byte, src []float32) { simd.StoreF32(dst[:4*len(src)], src) }

func decodeF16(dst []float32, src []byte) { simd.F16ToF32(dst, src[:2*len(dst)]) }
func encodeF16(dst []byte, src []float32) { simd.F32ToF16(dst[:2*len(src)], src) }

func decodeBF16(dst []float32, src []byte) { simd.BF16ToF32(dst, src[:2*len(dst)]) }
func encodeBF16(dst []byte, src []float32) { simd.F32ToBF16(dst[:2*len(src)], src) }
