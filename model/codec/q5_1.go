package codec

import "encoding/binary"

// q5_1: blocks of 32 values, half scale d and half minimum m, fifth bits and nibbles as in q5_0: x = d*q + m.

func init() { Register(&block{"q5_1", 32, 24, decodeQ5_1, encodeQ5_1}) }

func decodeQ5_1(dst []float32, src []byte) {
	for i := range len(dst) / 32 {
		y, b := (*[32]float32)(dst[32*i:]), (*[24]byte)(src[24*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		m := F16ToF32(binary.LittleEndian.Uint16(b[2:]))
		high := binary.LittleEndian.Uint32(b[4:])
		for j, q := range b[8:] {
			y[j] = float32(d*float32(uint32(q&15)|high>>j<<4&16)) + m
			y[16+j] = float32(d*float32(uint32(q>>4)|high>>(16+j)<<4&16)) + m
		}
	}
}

func encodeQ5_1(dst []byte, src, importance []float32) {
	if importance != nil {
		encodeAffine32(src, importance, 31, func(i int, d, m float32, l *[32]uint8) {
			b := (*[24]byte)(dst[24*i:])
			putAffine(b[:4], d, m)
			pack5(b[4:], l)
		})
		return
	}
	var q [32]uint8
	for i := range len(src) / 32 {
		x, b := (*[32]float32)(src[32*i:]), (*[24]byte)(dst[24*i:])
		d, inverse, least := spread(x, 31)
		putAffine(b[:4], d, least)
		for j, v := range x {
			q[j] = uint8(int32(float32((v-least)*inverse) + 0.5))
		}
		pack5(b[4:], &q)
	}
}
