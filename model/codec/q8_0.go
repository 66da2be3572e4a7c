package codec

import (
	"encoding/binary"

	"github.com/parelm/pare/internal/simd"
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

func encodeQ8_0(dst []byte, src, _ []float32) { simd.EncodeQ8_0(dst, src) }
