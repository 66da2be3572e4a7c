package codec

import (
	"encoding/binary"

	"github.com/parelm/pare/internal/simd"
)

// q6_k: super-blocks of 256 values in 16 groups of 16: x = d*s*(q-32) with six-bit q, signed byte scale s of the group,
// half d of the super-block. 128 bytes of low nibbles, 64 bytes of upper bit pairs, 16 scales, d. In each half of 128
// values, byte j of the nibbles holds values j and j+64, byte 32+j values j+32 and j+96; byte j of the pairs holds those
// of values j, j+32, j+64, j+96 from its lowest bits up.

func init() { Register(&block{"q6_k", 256, 210, decodeQ6K, encodeQ6K}) }

func decodeQ6K(dst []float32, src []byte) {
	for i := range len(dst) / 256 {
		b := (*[210]byte)(src[210*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[208:]))
		for h := range 2 {
			y, low, high := (*[128]float32)(dst[256*i+128*h:]), (*[64]byte)(b[64*h:]), (*[32]byte)(b[128+32*h:])
			var s [8]float32
			for g := range s {
				s[g] = d * float32(int8(b[192+8*h+g]))
			}
			for j, p := range high {
				y[j] = s[j/16] * float32(int(low[j]&15|p<<4&48)-32)
				y[32+j] = s[2+j/16] * float32(int(low[32+j]&15|p<<2&48)-32)
				y[64+j] = s[4+j/16] * float32(int(low[j]>>4|p&48)-32)
				y[96+j] = s[6+j/16] * float32(int(low[32+j]>>4|p>>2&48)-32)
			}
		}
	}
}

func encodeQ6K(dst []byte, src, importance []float32) {
	var l [256]uint8
	var o [2]octet
	var scales [16]float32
	for i := range len(src) / 256 {
		x, b := src[256*i:256*i+256], (*[210]byte)(dst[210*i:])
		w := at256(importance, i)
		for h := range o {
			o := &o[h]
			groups := o.take(x[128*h : 128*h+128])
			weights := o.w[:128]
			if w != nil {
				simd.Groups8(weights, w[128*h:128*h+128])
			} else {
				o.squares(128)
			}
			simd.FitSymmetric8(&o.fit, groups, weights, 32)
			copy(scales[8*h:], o.fit.Scale[:])
		}
		top, magnitude := largest(scales[:])
		if magnitude < tiny {
			clear(b[:])
			continue
		}
		inverse := -128 / top
		half := F32ToF16(1 / inverse)
		binary.LittleEndian.PutUint16(b[208:], half)
		d := F16ToF32(half)
		for g, v := range scales {
			s := int8(min(127, nearest(float32(inverse*v))))
			b[192+g] = byte(s)
			o[g/8].requantize(l[16*g:16*g+16], x[16*g:16*g+16], d*float32(s), g%8, 32)
		}
		packQ6K(b, &l)
	}
}

func packQ6K(b *[210]byte, l *[256]uint8) {
	for h := range 2 {
		q, low, high := (*[128]uint8)(l[128*h:]), (*[64]byte)(b[64*h:]), (*[32]byte)(b[128+32*h:])
		for j := range high {
			q0, q1, q2, q3 := q[j], q[32+j], q[64+j], q[96+j]
			low[j] = q0&15 | q2<<4
			low[32+j] = q1&15 | q3<<4
			high[j] = q0>>4 | q1>>4<<2 | q2>>4<<4 | q3>>4<<6
		}
	}
}
