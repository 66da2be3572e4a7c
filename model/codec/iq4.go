package codec

import "encoding/binary"

// iq4_nl: blocks of 32 values, a half scale d and 32 nibbles that index a fixed table of unevenly spaced values:
// x = d*table[q]. Nibbles lie as in q4_0.
//
// iq4_xs: super-blocks of 256 values in 8 groups of 32: x = d*(s-32)*table[q] with a six-bit scale s of the group: half d,
// 16 bits of the scales' upper pairs, 4 bytes of their low nibbles, then the groups' nibbles as in iq4_nl.

func init() {
	Register(&block{"iq4_nl", 32, 18, decodeIQ4NL, encodeIQ4NL})
	Register(&block{"iq4_xs", 256, 136, decodeIQ4XS, encodeIQ4XS})
}

// iq4Values is the table: finer near zero.
var iq4Values = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// iq4Index returns the index of the table value nearest to v; in the middle, of the larger. The middles are multiples of
// one half, so that the floor of 2v says on which side of each v lies.
func iq4Index(v float32) uint8 {
	if v <= iq4Values[0] {
		return 0
	}
	if !(v < iq4Values[15]) { // NaN too
		return 15
	}
	return iq4Nearest[uint32(int32(float64(2*v)+256))&511] // the sum is exact, so the conversion is the floor
}

// iq4Nearest[256+k] is the index for values from k/2 on, below (k+1)/2.
var iq4Nearest = func() (t [512]uint8) {
	for i := range t {
		for j := 1; j < 16 && float32(i-256) >= iq4Values[j-1]+iq4Values[j]; j++ {
			t[i] = uint8(j)
		}
	}
	return t
}()

func decodeIQ4NL(dst []float32, src []byte) {
	for i := range len(dst) / 32 {
		b := (*[18]byte)(src[18*i:])
		decodeIQ4((*[32]float32)(dst[32*i:]), F16ToF32(binary.LittleEndian.Uint16(b[:])), (*[16]byte)(b[2:]))
	}
}

func decodeIQ4(y *[32]float32, d float32, q *[16]byte) {
	for j, v := range q {
		y[j] = d * iq4Values[v&15]
		y[16+j] = d * iq4Values[v>>4]
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
	var w [32]float32
	for i := range len(src) / 32 {
		x, b := src[32*i:32*i+32], (*[18]byte)(dst[18*i:])
		weighIQ4(w[:], x, importance, 32*i, sumSquares(x)*(2.0/32))
		d := scaleIQ4(x, w[:])
		binary.LittleEndian.PutUint16(b[:], F32ToF16(d))
		codesIQ4((*[16]byte)(b[2:]), x, d)
	}
}

// weighIQ4 sets w to x*x, or with importances, which begin at the given place, to what weigh says.
func weighIQ4(w, x, importance []float32, at int, sigma2 float32) {
	if importance != nil {
		weigh(w, importance[at:], x, sigma2)
		return
	}
	for i, v := range x {
		w[i] = v * v
	}
}

// codesIQ4 sets the nibbles of 32 values for scale d.
func codesIQ4(q *[16]byte, x []float32, d float32) {
	var inverse float32
	if d != 0 {
		inverse = 1 / d
	}
	for j := range q {
		q[j] = iq4Index(inverse*x[j]) | iq4Index(inverse*x[16+j])<<4
	}
}

func encodeIQ4XS(dst []byte, src, importance []float32) {
	var w [32]float32
	var scales [8]float32
	for i := range len(src) / 256 {
		x, b := src[256*i:256*i+256], (*[136]byte)(dst[136*i:])
		sigma2 := sumSquares(x) * (2.0 / 256)
		for g := range scales {
			xs := x[32*g : 32*g+32]
			weighIQ4(w[:], xs, importance, 256*i+32*g, sigma2)
			scales[g] = scaleIQ4(xs, w[:])
		}
		top, _ := largest(scales[:])
		d := -top / 32
		var inverse float32
		if d != 0 {
			inverse = 1 / d
		}
		clear(b[:8])
		var high uint16
		for g, v := range scales {
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

// scaleIQ4 finds the scale of a group: the largest magnitude is tried on the table's first value and on fifteen places
// from 7 below to 7 above it; of each try's codes the best scale follows in closed form, as in symmetric.
func scaleIQ4(x, w []float32) float32 {
	top, magnitude := largest(x)
	if magnitude < tiny {
		return 0
	}
	try := func(inverse float32) (sumqx, sumq2 float32) {
		for i, v := range x {
			q := iq4Values[iq4Index(inverse*v)]
			wq := float32(w[i] * q)
			sumqx += float32(wq * v)
			sumq2 += float32(wq * q)
		}
		return sumqx, sumq2
	}
	sumqx, sumq2 := try(1 / (-top / iq4Values[0]))
	var d float32
	if sumq2 > 0 {
		d = sumqx / sumq2
	}
	best := d * sumqx
	for step := float32(-7); step <= 7; step++ {
		sumqx, sumq2 = try((step + iq4Values[0]) / top)
		if sumq2 > 0 && float32(sumqx*sumqx) > float32(best*sumq2) {
			d = sumqx / sumq2
			best = d * sumqx
		}
	}
	return d
}
