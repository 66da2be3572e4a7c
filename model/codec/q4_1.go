package codec

import (
	"encoding/binary"

	"github.com/parelm/pare/internal/simd"
)

// q4_1: blocks of 32 values, half scale d and half minimum m, 32 nibbles q: x = d*q + m. Nibbles lie as in q4_0.

func init() { Register(&block{"q4_1", 32, 20, decodeQ4_1, encodeQ4_1}) }

func decodeQ4_1(dst []float32, src []byte) {
	for i := range len(dst) / 32 {
		y, b := (*[32]float32)(dst[32*i:]), (*[20]byte)(src[20*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		m := F16ToF32(binary.LittleEndian.Uint16(b[2:]))
		for j, q := range b[4:] {
			y[j] = float32(d*float32(q&15)) + m
			y[16+j] = float32(d*float32(q>>4)) + m
		}
	}
}

func encodeQ4_1(dst []byte, src, importance []float32) {
	if importance != nil {
		encodeAffine32(src, importance, 15, func(i int, d, m float32, l *[32]uint8) {
			b := (*[20]byte)(dst[20*i:])
			putAffine(b[:4], d, m)
			for j := range 16 {
				b[4+j] = l[j] | l[16+j]<<4
			}
		})
		return
	}
	for i := range len(src) / 32 {
		x, b := (*[32]float32)(src[32*i:]), (*[20]byte)(dst[20*i:])
		d, inverse, least := spread(x, 15)
		putAffine(b[:4], d, least)
		for j := range 16 {
			lo := min(15, uint8(int8(float32((x[j]-least)*inverse)+0.5)))
			hi := min(15, uint8(int8(float32((x[16+j]-least)*inverse)+0.5)))
			b[4+j] = lo | hi<<4
		}
	}
}

// spread returns the scale that divides the range of x into n steps, its inverse (0 for none), and the minimum.
func spread(x *[32]float32, n float32) (d, inverse, least float32) {
	least, top := x[0], x[0]
	for _, v := range x {
		if v < least {
			least = v
		}
		if v > top {
			top = v
		}
	}
	d = (top - least) / n
	if d != 0 {
		inverse = 1 / d
	}
	return d, inverse, least
}

func putAffine(b []byte, d, m float32) {
	binary.LittleEndian.PutUint16(b, F32ToF16(d))
	binary.LittleEndian.PutUint16(b[2:], F32ToF16(m))
}

// encodeAffine32 searches scale, minimum and codes of each block of 32 with importances, and hands them to put. src is
// a whole row: its mean square takes part in the weights.
func encodeAffine32(src, importance []float32, nmax int, put func(i int, d, m float32, l *[32]uint8)) {
	sigma2 := sumSquares(src) / float32(len(src))
	var o octet
	var l [32]uint8
	o.blocks(src, importance, func(first, n int, x, importance []float32) {
		simd.FitAffine8(&o.fit, o.take(x), o.weighed(x, importance, sigma2), nmax, fineLadder)
		for g := range n {
			simd.RoundMul(l[:], x[32*g:32*g+32], o.fit.Inverse[g], o.fit.Least[g], 0, nmax)
			put(first+g, o.fit.Scale[g], -o.fit.Minus[g], &l)
		}
	})
}
