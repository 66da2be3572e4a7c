package codec

import (
	"encoding/binary"

	"github.com/parelm/pare/internal/simd"
)

// iq4_nl: blocks of 32 values, a half scale d and 32 nibbles that index a fixed table of unevenly spaced values:
// x = d*table[q]. Nibbles lie as in q4_0.
//
// iq4_xs: super-blocks of 256 values in 8 groups of 32: x = d*(s-32)*table[q] with a six-bit scale s of the group: half d,
// 16 bits of the scales' upper pairs, 4 bytes of their low nibbles, then the groups' nibbles as in iq4_nl.

func init() {
	Register(&block{"iq4_nl", 32, 18, decodeIQ4NL, encodeIQ4NL})
	Register(&block{"iq4_xs", 256, 136, decodeIQ4XS, encodeIQ4XS})
}

func decodeIQ4NL(dst []float32, src []byte) {
	for i := range len(dst) / 32 {
		b := (*[18]byte)(src[18*i:])
		decodeIQ4((*[32]float32)(dst[32*i:]), F16ToF32(binary.LittleEndian.Uint16(b[:])), (*[16]byte)(b[2:]))
	}
}

func decodeIQ4(y *[32]float32, d float32, q *[16]byte) {
	for j, v := range q {
		y[j] = d * simd.IQ4Values[v&15]
		y[16+j] = d * simd.IQ4Values[v>>4]
	}
}

func decodeIQ4XS(dst []float32, src []byte) {
	for i := range len(dst) / 256 {
		b := (*[136]byte)(src[136*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		high := binary.LittleEndian.Uint16(b[2:])
		for g := range 8 {
			s := int(b[4+g/2]>>(g%2*4)&15) | int(high>>(2*g)&3)<<4
			decodeIQ4((*[32]float32)(dst[256*i+32*g:]), d*float32(s-32), (*[16]byte)(b[8+16*g:]))
		}
	}
}

func encodeIQ4NL(dst []byte, src, importance []float32) {
	var o octet
	o.blocks(src, importance, func(first, n int, x, importance []float32) {
		groups := o.take(x)
		if importance == nil {
			o.squares(256)
		} else {
			for g := range n {
				xs := x[32*g : 32*g+32]
				simd.WeighImportance(o.spare[32*g:32*g+32], importance[32*g:32*g+32], xs, sumSquares(xs)*(2.0/32))
			}
			simd.Groups8(o.w[:], o.spare[:])
		}
		simd.FitIQ4(&o.fit, groups, o.w[:])
		for g, d := range o.fit.Scale[:n] {
			b := (*[18]byte)(dst[18*(first+g):])
			binary.LittleEndian.PutUint16(b[:], F32ToF16(d))
			codesIQ4((*[16]byte)(b[2:]), x[32*g:32*g+32], d)
		}
	})
}

// codesIQ4 sets the nibbles of 32 values for scale d.
func codesIQ4(q *[16]byte, x []float32, d float32) {
	var inverse float32
	if d != 0 {
		inverse = 1 / d
	}
	var l [32]uint8
	simd.RoundIQ4(l[:], x, inverse)
	for j := range q {
		q[j] = l[j] | l[16+j]<<4
	}
}

func encodeIQ4XS(dst []byte, src, importance []float32) {
	var o octet
	for i := range len(src) / 256 {
		x, b := src[256*i:256*i+256], (*[136]byte)(dst[136*i:])
		groups, w := o.take(x), o.w[:]
		if importance != nil {
			o.weighed(x, importance[256*i:256*i+256], sumSquares(x)*(2.0/256))
		} else {
			o.squares(256)
		}
		simd.FitIQ4(&o.fit, groups, w)
		top, _ := largest(o.fit.Scale[:])
		d := -top / 32
		var inverse float32
		if d != 0 {
			inverse = 1 / d
		}
		clear(b[:8])
		var high uint16
		for g, v := range o.fit.Scale {
			l := max(-32, min(31, nearest(float32(inverse*v))))
			codesIQ4((*[16]byte)(b[8+16*g:]), x[32*g:32*g+32], d*float32(l))
			l += 32
			b[4+g/2] |= byte(l&15) << (g % 2 * 4)
			high |= uint16(l>>4) << (2 * g)
		}
		binary.LittleEndian.PutUint16(b[:], F32ToF16(d))
		binary.LittleEndian.PutUint16(b[2:], high)
	}
}
