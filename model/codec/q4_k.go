package codec

import (
	"encoding/binary"

	"github.com/parelm/pare/internal/simd"
)

// q4_k: super-blocks of 256 values in 8 groups of 32: x = d*s*q - m*t with four-bit q, six-bit scale s and minimum t of
// the group, half d and m of the super-block. d, m, 12 bytes of scales and minima, 128 bytes of nibbles: byte 32h + j holds
// value 64h + j in its low and value 64h + 32 + j in its high nibble.

func init() { Register(&block{"q4_k", 256, 144, decodeQ4K, encodeQ4K}) }

func decodeQ4K(dst []float32, src []byte) {
	for i := range len(dst) / 256 {
		y, b := dst[256*i:256*i+256], (*[144]byte)(src[144*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		m := F16ToF32(binary.LittleEndian.Uint16(b[2:]))
		s, t := unpackAffine6(b[4:16])
		for h := range 4 {
			d1, m1 := d*float32(s[2*h]), m*float32(t[2*h])
			d2, m2 := d*float32(s[2*h+1]), m*float32(t[2*h+1])
			lo, hi, q := (*[32]float32)(y[64*h:]), (*[32]float32)(y[64*h+32:]), (*[32]byte)(b[16+32*h:])
			for j, v := range q {
				lo[j] = float32(d1*float32(v&15)) - m1
				hi[j] = float32(d2*float32(v>>4)) - m2
			}
		}
	}
}

// unpackAffine6 reads eight six-bit scales and minima: bytes 0-3 and 4-7 hold the first four of each in their low six
// bits, bytes 8-11 the low nibbles of the last four (scale low, minimum high), whose upper two bits are the upper two
// of bytes 0-3 and 4-7.
func unpackAffine6(b []byte) (s, t [8]uint8) {
	b = b[:12]
	for j := range 4 {
		s[j], t[j] = b[j]&63, b[4+j]&63
		s[4+j] = b[8+j]&15 | b[j]>>6<<4
		t[4+j] = b[8+j]>>4 | b[4+j]>>6<<4
	}
	return s, t
}

func packAffine6(b []byte, s, t *[8]uint8) {
	b = b[:12]
	for j := range 4 {
		b[j] = s[j] | s[4+j]>>4<<6
		b[4+j] = t[j] | t[4+j]>>4<<6
		b[8+j] = s[4+j]&15 | t[4+j]<<4
	}
}

func encodeQ4K(dst []byte, src, importance []float32) {
	var l [256]uint8
	var o octet
	for i := range len(src) / 256 {
		x, b := src[256*i:256*i+256], (*[144]byte)(dst[144*i:])
		o.scalesAffine6(b[:16], x, at256(importance, i), 15, simd.AffineGrid{First: -1, Step: 0.1, Count: 20}, &l)
		for h := range 4 {
			out, q := (*[32]byte)(b[16+32*h:]), (*[64]uint8)(l[64*h:])
			for j := range out {
				out[j] = q[j] | q[32+j]<<4
			}
		}
	}
}

// at256 returns the importances of super-block i, nil without.
func at256(importance []float32, i int) []float32 {
	if len(importance) < 256*i+256 {
		return nil
	}
	return importance[256*i : 256*i+256]
}

// scalesAffine6 finds scales, minima and codes of the eight groups of a super-block of q4_k or q5_k. It writes d, m and
// the 12 bytes of scales and minima to b and sets l. The grid is that without importances.
func (o *octet) scalesAffine6(b []byte, x, importance []float32, nmax int, grid simd.AffineGrid, l *[256]uint8) {
	var s, t [8]uint8
	var d, m float32
	if importance == nil {
		d, m = o.plainAffine6(x, nmax, grid, &s, &t)
	} else {
		d, m = o.weighedAffine6(x, importance, nmax, &s, &t)
	}
	putAffine(b, d, m)
	packAffine6(b[4:16], &s, &t)
	d, m = F16ToF32(F32ToF16(d)), F16ToF32(F32ToF16(m))
	s, t = unpackAffine6(b[4:16])
	for j := range 8 {
		o.requantizeAffine(l[32*j:32*j+32], x[32*j:32*j+32], d*float32(s[j]), m*float32(t[j]), j, nmax)
	}
}

// plainAffine6 weighs each squared error by the group's root mean square plus |x|.
func (o *octet) plainAffine6(x []float32, nmax int, grid simd.AffineGrid, s, t *[8]uint8) (d, m float32) {
	simd.WeighSpread8(o.w[:], o.take(x))
	simd.FitAffine8(&o.fit, o.x[:], o.w[:], nmax, grid)
	d, m = maxScale(o.fit.Scale[:], s[:], 63), maxScale(o.fit.Minus[:], t[:], 63)
	for j := range s {
		s[j], t[j] = min(63, s[j]), min(63, t[j])
	}
	return d, m
}

func (o *octet) weighedAffine6(x, importance []float32, nmax int, s, t *[8]uint8) (d, m float32) {
	simd.FitAffine8(&o.fit, o.take(x), o.weighed(x, importance, 2*sumSquares(x)/256), nmax, fineLadder)
	return levels(o.fit.Scale[:], o.fit.SumW[:], 63, s[:]), levels(o.fit.Minus[:], o.fit.SumW[:], 63, t[:])
}
