package codec

import (
	"encoding/binary"

	"github.com/parelm/pare/internal/simd"
)

// q5_k: as q4_k with five-bit codes. d, m, 12 bytes of scales and minima, 32 bytes of fifth bits (bit g of byte j belongs
// to value 32g + j), 128 bytes of nibbles.

func init() { Register(&block{"q5_k", 256, 176, decodeQ5K, encodeQ5K}) }

func decodeQ5K(dst []float32, src []byte) {
	for i := range len(dst) / 256 {
		y, b := dst[256*i:256*i+256], (*[176]byte)(src[176*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		m := F16ToF32(binary.LittleEndian.Uint16(b[2:]))
		s, t := unpackAffine6(b[4:16])
		high := (*[32]byte)(b[16:])
		for h := range 4 {
			d1, m1 := d*float32(s[2*h]), m*float32(t[2*h])
			d2, m2 := d*float32(s[2*h+1]), m*float32(t[2*h+1])
			lo, hi, q := (*[32]float32)(y[64*h:]), (*[32]float32)(y[64*h+32:]), (*[32]byte)(b[48+32*h:])
			for j, v := range q {
				fifth := high[j] >> (2 * h)
				lo[j] = float32(d1*float32(v&15|fifth<<4&16)) - m1
				hi[j] = float32(d2*float32(v>>4|fifth<<3&16)) - m2
			}
		}
	}
}

func encodeQ5K(dst []byte, src, importance []float32) {
	var l [256]uint8
	var o octet
	for i := range len(src) / 256 {
		x, b := src[256*i:256*i+256], (*[176]byte)(dst[176*i:])
		o.scalesAffine6(b[:16], x, at256(importance, i), 31, simd.AffineGrid{First: -0.5, Step: 0.1, Count: 15}, &l)
		high := (*[32]byte)(b[16:])
		clear(high[:])
		for h := range 4 {
			out, q := (*[32]byte)(b[48+32*h:]), (*[64]uint8)(l[64*h:])
			for j := range out {
				out[j] = q[j]&15 | q[32+j]<<4
				high[j] |= (q[j]>>4 | q[32+j]>>4<<1) << (2 * h)
			}
		}
	}
}
