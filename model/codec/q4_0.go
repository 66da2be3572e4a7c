package codec

import (
	"encoding/binary"

	"github.com/parelm/pare/internal/simd"
)

// q4_0: blocks of 32 values, a half scale d and 32 nibbles q: x = d*(q-8). The value of largest magnitude lies on
// q = 0. Byte j holds value j in its low and value 16+j in its high nibble.

func init() { Register(&block{"q4_0", 32, 18, decodeQ4_0, encodeQ4_0}) }

func decodeQ4_0(dst []float32, src []byte) {
	for i := range len(dst) / 32 {
		y, b := (*[32]float32)(dst[32*i:]), (*[18]byte)(src[18*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		for j, q := range b[2:] {
			y[j] = d * float32(int(q&15)-8)
			y[16+j] = d * float32(int(q>>4)-8)
		}
	}
}

func encodeQ4_0(dst []byte, src, importance []float32) {
	if importance != nil {
		var l [32]uint8
		encodeSymmetric32(src, importance, 8, &l, func(i int, d float32) {
			b := (*[18]byte)(dst[18*i:])
			binary.LittleEndian.PutUint16(b[:], F32ToF16(d))
			for j := range 16 {
				b[2+j] = l[j] | l[16+j]<<4
			}
		})
		return
	}
	for i := range len(src) / 32 {
		x, b := (*[32]float32)(src[32*i:]), (*[18]byte)(dst[18*i:])
		top, _ := largest(x[:])
		d := top / -8
		var inverse float32
		if d != 0 {
			inverse = 1 / d
		}
		binary.LittleEndian.PutUint16(b[:], F32ToF16(d))
		for j := range 16 {
			lo := min(15, uint8(int8(float32(x[j]*inverse)+8.5)))
			hi := min(15, uint8(int8(float32(x[16+j]*inverse)+8.5)))
			b[2+j] = lo | hi<<4
		}
	}
}

// encodeSymmetric32 searches the scale of each block of 32 with importances, sets l to its codes plus nmax and calls put.
// src is a whole row: its mean square takes part in the weights.
func encodeSymmetric32(src, importance []float32, nmax int, l *[32]uint8, put func(i int, d float32)) {
	sigma2 := sumSquares(src) / float32(len(src))
	var o octet
	o.blocks(src, importance, func(first, n int, x, importance []float32) {
		simd.FitSymmetric8(&o.fit, o.take(x), o.weighed(x, importance, sigma2), nmax)
		for g, d := range o.fit.Scale[:n] {
			o.symmetric(l[:], x[32*g:32*g+32], g, nmax)
			put(first+g, d)
		}
	})
}
