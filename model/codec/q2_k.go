package codec

import (
	"encoding/binary"

	"github.com/parelm/pare/internal/simd"
)

// q2_k: super-blocks of 256 values in 16 groups of 16: x = d*s*q - m*t with two-bit q, four-bit scale s and minimum t of
// the group, half d and m of the super-block. 16 bytes s | t<<4, 64 bytes of q, d, m. Byte 32h+j of the codes holds the
// values 128h + j + {0,32,64,96} from its lowest bits up.

func init() { Register(&block{"q2_k", 256, 84, decodeQ2K, encodeQ2K}) }

func decodeQ2K(dst []float32, src []byte) {
	for i := range len(dst) / 256 {
		y, b := dst[256*i:256*i+256], (*[84]byte)(src[84*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[80:]))
		m := F16ToF32(binary.LittleEndian.Uint16(b[82:]))
		for g := range 16 { // group g: half g/8, bits 2*(g/2%4), bytes 16*(g%2) of the half
			s := b[g]
			dl, ml := d*float32(s&15), m*float32(s>>4)
			shift := g / 2 % 4 * 2
			out, q := y[16*g:16*g+16], b[16+g/8*32+g%2*16:][:16]
			for j := range out {
				out[j] = float32(dl*float32(q[j]>>shift&3)) - ml
			}
		}
	}
}

func encodeQ2K(dst []byte, src, importance []float32) {
	var l [256]uint8
	var o [2]octet
	for i := range len(src) / 256 {
		x, b := src[256*i:256*i+256], (*[84]byte)(dst[84*i:])
		scalesQ2K(b, x, at256(importance, i), &o)
		d := F16ToF32(binary.LittleEndian.Uint16(b[80:]))
		m := F16ToF32(binary.LittleEndian.Uint16(b[82:]))
		for g := range 16 {
			o[g/8].requantizeAffine(l[16*g:16*g+16], x[16*g:16*g+16], d*float32(b[g]&15), m*float32(b[g]>>4), g%8, 3)
		}
		pack2(b[16:80], &l)
	}
}

// scalesQ2K finds the groups' scales and minima and rounds both to four bits: without importances with absolute errors
// weighed by |x|, and to parts of the largest.
func scalesQ2K(b *[84]byte, x, importance []float32, o *[2]octet) {
	var scales, mins, sums [16]float32
	var sigma2 float32
	if importance != nil {
		sigma2 = sumSquares(x) / 256
	}
	for h := range o {
		xs := x[128*h : 128*h+128]
		groups, w, grid := o[h].take(xs), o[h].w[:128], simd.AffineGrid{First: -0.5, Step: 0.1, Count: 15, Absolute: true}
		if importance != nil {
			w, grid = o[h].weighed(xs, importance[128*h:128*h+128], sigma2), fineLadder
		} else {
			for j, v := range groups {
				w[j] = abs(v)
			}
		}
		simd.FitAffine8(&o[h].fit, groups, w, 3, grid)
		copy(scales[8*h:], o[h].fit.Scale[:])
		copy(mins[8*h:], o[h].fit.Minus[:])
		copy(sums[8*h:], o[h].fit.SumW[:])
	}
	var ls, lm [16]uint8
	var d, m float32
	if importance != nil {
		d, m = levels(scales[:], sums[:], 15, ls[:]), levels(mins[:], sums[:], 15, lm[:])
	} else {
		d, m = maxScale(scales[:], ls[:], 15), maxScale(mins[:], lm[:], 15)
	}
	for g := range 16 {
		b[g] = ls[g] | lm[g]<<4
	}
	putAffine(b[80:], d, m)
}

// maxScale quantizes non-negative values to [0,n] of their maximum and returns the scale; values below zero count as
// zero.
func maxScale(values []float32, l []uint8, n float32) float32 {
	var top float32
	for _, v := range values {
		if v > top {
			top = v
		}
	}
	if !(top > 0) {
		clear(l[:len(values)])
		return 0
	}
	inverse := n / top
	for i, v := range values {
		l[i] = uint8(nearest(float32(inverse * v)))
	}
	return top / n
}

// pack2 writes 256 two-bit codes.
func pack2(b []byte, l *[256]uint8) {
	for h := range 2 {
		out, q := b[32*h:32*h+32], l[128*h:128*h+128]
		for j := range out {
			out[j] = q[j] | q[32+j]<<2 | q[64+j]<<4 | q[96+j]<<6
		}
	}
}
