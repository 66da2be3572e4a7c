package codec

import "encoding/binary"

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
	var l [256]int8
	for i := range len(src) / 256 {
		x, b := src[256*i:256*i+256], (*[110]byte)(dst[110*i:])
		var s [16]uint8
		var d float32
		if importance == nil {
			d, s = scalesQ3K(x, &l)
		} else {
			d, s = weighedScalesQ3K(x, importance[256*i:256*i+256], &l)
		}
		packScales6(b[96:108], &s)
		binary.LittleEndian.PutUint16(b[108:], F32ToF16(d))
		d = F16ToF32(F32ToF16(d))
		var q [256]uint8
		clear(b[:32])
		for g := range 16 {
			requantizeSymmetric(x[16*g:16*g+16], d*float32(int(s[g])-32), 4, l[16*g:])
		}
		for j, v := range l {
			b[j%32] |= uint8(v) >> 2 << (j / 32)
			q[j] = uint8(v) & 3
		}
		pack2(b[32:96], &q)
	}
}

// scalesQ3K finds the groups' scales with weights x*x and rounds them to six bits of the largest.
func scalesQ3K(x []float32, l *[256]int8) (d float32, s [16]uint8) {
	var scales [16]float32
	for g := range scales {
		scales[g] = descend(x[16*g:16*g+16], 4, l[16*g:])
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

func weighedScalesQ3K(x, importance []float32, l *[256]int8) (d float32, s [16]uint8) {
	var scales, sums [16]float32
	var w [16]float32
	sigma2 := 2 * sumSquares(x) / 256
	for g := range scales {
		xs := x[16*g : 16*g+16]
		weigh(w[:], importance[16*g:], xs, sigma2)
		for _, v := range w {
			sums[g] += v
		}
		scales[g] = symmetric(xs, w[:], 4, l[16*g:])
	}
	var ls [16]int8
	d = symmetric(scales[:], sums[:], 32, ls[:])
	for g, v := range ls {
		s[g] = uint8(v)
	}
	return d, s
}

// requantizeSymmetric sets l to nmax plus the codes of x on the grid d*l. Where d is 0 the codes stay: they have no
// effect.
func requantizeSymmetric(x []float32, d float32, nmax int32, l []int8) {
	if d == 0 {
		return
	}
	for i, v := range x {
		l[i] = int8(nmax + max(-nmax, min(nmax-1, nearest(v/d))))
	}
}

// descend is symmetric with weights x*x by coordinate descent: from the grid that puts the largest magnitude on -nmax,
// up to five rounds move single codes to their best place while that explains more.
func descend(x []float32, nmax int32, l []int8) float32 {
	top, magnitude := largest(x)
	if magnitude < tiny {
		clear(l[:len(x)])
		return 0
	}
	inverse := -float32(nmax) / top
	var sumlx, suml2 float32
	for i, v := range x {
		q := max(-nmax, min(nmax-1, nearest(float32(inverse*v))))
		l[i] = int8(q)
		w := v * v
		sumlx += float32(float32(w*v) * float32(q))
		suml2 += float32(float32(w*float32(q)) * float32(q))
	}
	for range 5 {
		changed := false
		for i, v := range x {
			w, q := v*v, float32(l[i])
			slx := sumlx - float32(float32(w*v)*q)
			if !(slx > 0) {
				continue
			}
			sl2 := suml2 - float32(float32(w*q)*q)
			n := max(-nmax, min(nmax-1, nearest(float32(v*sl2)/slx)))
			if n == int32(l[i]) {
				continue
			}
			q = float32(n)
			slx += float32(float32(w*v) * q)
			sl2 += float32(float32(w*q) * q)
			if sl2 > 0 && float32(float32(slx*slx)*suml2) > float32(float32(sumlx*sumlx)*sl2) {
				l[i], sumlx, suml2 = int8(n), slx, sl2
				changed = true
			}
		}
		if !changed {
			break
		}
	}
	for i := range x {
		l[i] += int8(nmax)
	}
	if suml2 > 0 {
		return sumlx / suml2
	}
	return 0
}
