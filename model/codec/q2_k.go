package codec

import "encoding/binary"

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
	for i := range len(src) / 256 {
		x, b := src[256*i:256*i+256], (*[84]byte)(dst[84*i:])
		if importance == nil {
			scalesQ2K(b, x, &l)
		} else {
			weighedScalesQ2K(b, x, importance[256*i:256*i+256], &l)
		}
		d := F16ToF32(binary.LittleEndian.Uint16(b[80:]))
		m := F16ToF32(binary.LittleEndian.Uint16(b[82:]))
		for g := range 16 {
			requantize(x[16*g:16*g+16], d*float32(b[g]&15), m*float32(b[g]>>4), 3, l[16*g:])
		}
		pack2(b[16:80], &l)
	}
}

// scalesQ2K finds the groups' scales and minima with absolute errors weighed by |x|, and rounds both to four bits of
// their maxima.
func scalesQ2K(b *[84]byte, x []float32, l *[256]uint8) {
	var w [16]float32
	var scales, mins [16]float32
	for g := range 16 {
		xs := x[16*g : 16*g+16]
		for j, v := range xs {
			w[j] = abs(v)
		}
		scales[g], mins[g] = affine(xs, w[:], 3, ladder{first: -0.5, step: 0.1, count: 15, absolute: true}, l[16*g:])
	}
	var ls, lm [16]uint8
	d := maxScale(scales[:], ls[:], 15)
	m := maxScale(mins[:], lm[:], 15)
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

func weighedScalesQ2K(b *[84]byte, x, importance []float32, l *[256]uint8) {
	var scales, mins, sums [16]float32
	var w [16]float32
	sigma2 := sumSquares(x) / 256
	for g := range 16 {
		xs := x[16*g : 16*g+16]
		weigh(w[:], importance[16*g:], xs, sigma2)
		for _, v := range w {
			sums[g] += v
		}
		scales[g], mins[g] = affine(xs, w[:], 3, fineLadder, l[16*g:])
	}
	var ls, lm [16]uint8
	d := levels(scales[:], sums[:], 15, ls[:])
	m := levels(mins[:], sums[:], 15, lm[:])
	for g := range 16 {
		b[g] = ls[g] | lm[g]<<4
	}
	putAffine(b[80:], d, m)
}

// requantize sets l to the codes of x on the grid d*l - m. Where d is 0 the codes stay: they have no effect.
func requantize(x []float32, d, m float32, nmax int32, l []uint8) {
	if d == 0 {
		return
	}
	for i, v := range x {
		l[i] = uint8(max(0, min(nmax, nearest((v+m)/d))))
	}
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
