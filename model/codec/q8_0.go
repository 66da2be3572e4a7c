package codec

import (
	"encoding/binary"
	"math"
)

// q8_0: blocks of 32 values, a half scale d and 32 signed bytes q: x = d*q, d = max|x|/127.

func init() { Register(&block{"q8_0", 32, 34, decodeQ8_0, encodeQ8_0}) }

func decodeQ8_0(dst []float32, src []byte) {
	for i := range len(dst) / 32 {
		y, b := (*[32]float32)(dst[32*i:]), (*[34]byte)(src[34*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		for j := range y {
			y[j] = d * float32(int8(b[2+j]))
		}
	}
}

func encodeQ8_0(dst []byte, src, _ []float32) {
	for i := range len(src) / 32 {
		x, b := (*[32]float32)(src[32*i:]), (*[34]byte)(dst[34*i:])
		var bits uint32 // of the largest magnitude: magnitudes compare as their bits
		for _, v := range x {
			bits = max(bits, math.Float32bits(v)&^(1<<31))
		}
		d := math.Float32frombits(bits) / 127
		var inverse float32
		if d != 0 {
			inverse = 1 / d
		}
		binary.LittleEndian.PutUint16(b[:], F32ToF16(d))
		for j, v := range x {
			b[2+j] = byte(roundAway(v * inverse))
		}
	}
}
