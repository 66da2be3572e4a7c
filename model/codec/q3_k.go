package codec

import (
	"encoding/binary"

	"github.com/parelm/pare/internal/simd"
)

// q3_k: super-blocks of 256 values in 16 groups of 16: x = d*(s-32)*(q-4) with three-bit q, six-bit scale s of the group,
// half d of the super-block. 32 bytes of the codes' third bits (bit g of byte j belongs to value 32g + j), 64 bytes of
// their lower two as in q2_k, 12 bytes of scales, d.

func init() { Register(&block{"q3_k", 256, 110, decodeQ3K, encodeQ3K}) }

func decodeQ3K(dst []float32, src []byte) {
	for i := range len(dst) / 256 {
		y, b := dst[256*i:256*i+256], (*[110]byte)(src[110*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[108:]))
		s := unpackScales6(b[96:108])
		for g := range 16 {
			dl := d * float32(int(s[g])-32)
			shift := g / 2 % 4 * 2
			out, q, h := y[16*g:16*g+16], b[32+g/8*32+g%2*16:][:16], b[g%2*16:][:16]
			for j := range out {
				out[j] = dl * float32(int(q[j]>>shift&3|h[j]>>(g/2)<<2&4)-4)
			}
		}
	}
}

// unpackScales6 reads 16 six-bit scales: byte j of the first eight holds the low nibbles of scales j and j+8, byte 8+j of
// the last four the upper pairs of bits of scales j, j+4, j+8, j+12.
func unpackScales6(b []byte) (s [16]uint8) {
	for g := range s {
		s[g] = b[g%8]>>(g/8*4)&15 | b[8+g%4]>>(g/4*2)&3<<4
	}
	return s
}

func packScales6(b []byte, s *[16]uint8) {
	clear(b[:12])
	for g, v := range s {
		b[g%8] |= v & 15 << (g / 8 * 4)
		b[8+g%4] |= v >> 4 << (g / 4 * 2)
	}
}

func encodeQ3K(dst []byte, src, importance []float32) {
	var l [256]uint8
	var o [2]octet
	for i := range len(src) / 256 {
		x, b := src[256*i:256*i+256], (*[110]byte)(dst[110*i:])
		var s [16]uint8
		var d float32
		if importance == nil {
			d, s = scalesQ3K(x, &o)
		} else {
			d, s = weighedScalesQ3K(x, importance[256*i:256*i+256], &o)
		}
		packScales6(b[96:108], &s)
		binary.LittleEndian.PutUint16(b[108:], F32ToF16(d))
		d = F16ToF32(F32ToF16(d))
		for g := range 16 {
			xs, ls, half := x[16*g:16*g+16], l[16*g:16*g+16], &o[g/8]
			switch d := d * float32(int(s[g])-32); {
			case d == 0 && importance == nil:
				half.fit.Codes(ls, g%8, 4)
			default:
				half.requantize(ls, xs, d, g%8, 4)
			}
		}
		high := (*[32]byte)(b[:])
		clear(high[:])
		for k := range 8 {
			for j, v := range (*[32]uint8)(l[32*k:]) {
				high[j] |= v >> 2 << k
			}
		}
		for j := range l {
			l[j] &= 3
		}
		pack2(b[32:96], &l)
	}
}

// scalesQ3K finds the groups' scales with weights x*x and rounds them to six bits of the largest.
func scalesQ3K(x []float32, o *[2]octet) (d float32, s [16]uint8) {
	var scales [16]float32
	for h := range o {
		simd.FitDescend8(&o[h].fit, o[h].take(x[128*h:128*h+128]), 4)
		copy(scales[8*h:], o[h].fit.Scale[:])
	}
	top, _ := largest(scales[:])
	if top == 0 {
		return 0, s
	}
	inverse := -32 / top
	for g, v := range scales {
		s[g] = uint8(max(-32, min(31, int32(int8(nearest(float32(inverse*v)))))) + 32)
	}
	return 1 / inverse, s
}

func weighedScalesQ3K(x, importance []float32, o *[2]octet) (d float32, s [16]uint8) {
	var scales, sums [16]float32
	sigma2 := 2 * sumSquares(x) / 256
	for h := range o {
		xs := x[128*h : 128*h+128]
		groups, w := o[h].take(xs), o[h].weighed(xs, importance[128*h:128*h+128], sigma2)
		simd.FitSymmetric8(&o[h].fit, groups, w, 4)
		copy(scales[8*h:], o[h].fit.Scale[:])
		o[h].sums(sums[8*h:8*h+8], 16)
	}
	// The scales of the groups are a group themselves, of which one search of eight is made use of.
	var all octet
	for g, v := range scales {
		all.x[8*g], all.w[8*g] = v, sums[g]
	}
	simd.FitSymmetric8(&all.fit, all.x[:128], all.w[:128], 32)
	all.symmetric(s[:], scales[:], 0, 32)
	return all.fit.Scale[0], s
}

// sums sets dst to the sums of the weights of eight groups of n values, each in order.
func (o *octet) sums(dst []float32, n int) {
	clear(dst)
	for i := range n {
		for g, v := range o.w[8*i : 8*i+8] {
			dst[g] += v
		}
	}
}
