package codec

import "math"

// nvfp4: blocks of 64 values in four groups of 16: a scale byte for each group, an unsigned float of four exponent and three
// mantissa bits, then 32 bytes of four-bit floats as in mxfp4: byte 8g+j holds values 16g+j and 16g+8+j.

func init() { Register(&block{"nvfp4", 64, 36, decodeNVFP4, encodeNVFP4}) }

// halfUE4M3 returns half the value of a scale byte; 0x7f, which would be NaN, counts as zero.
func halfUE4M3(c byte) float32 {
	exp, mant := int(c>>3&15), float64(c&7)
	switch {
	case c == 0x7f || c == 0:
		return 0
	case exp == 0:
		return float32(math.Ldexp(mant, -10))
	}
	return float32(math.Ldexp(1+mant/8, exp-8))
}

// ue4m3 rounds v to a scale byte, halves up, at most 448.
func ue4m3(v float32) byte {
	if !(v > 0) {
		return 0
	}
	v = min(v, 448)
	b := math.Float32bits(v)
	exp := int(b>>23) - 127 + 7
	if exp <= 0 {
		return byte(min(7, int32(float32(v*512)+0.5)))
	}
	mant := int(b>>20&7) + int(b>>19&1)
	code := exp<<3 + mant // a mantissa of 8 carries into the exponent
	if code >= 15<<3 {
		return 0x7e
	}
	return byte(code)
}

func decodeNVFP4(dst []float32, src []byte) {
	for i := range len(dst) / 64 {
		b := (*[36]byte)(src[36*i:])
		for g := range 4 {
			y, q := (*[16]float32)(dst[64*i+16*g:]), (*[8]byte)(b[4+8*g:])
			d := halfUE4M3(b[g])
			for j, c := range q {
				y[j] = fp4Values[c&15] * d
				y[8+j] = fp4Values[c>>4] * d
			}
		}
	}
}

func encodeNVFP4(dst []byte, src, _ []float32) {
	for i := range len(src) / 64 {
		b := (*[36]byte)(dst[36*i:])
		for g := range 4 {
			x, q := (*[16]float32)(src[64*i+16*g:]), (*[8]byte)(b[4+8*g:])
			_, top := largest(x[:])
			b[g] = ue4m3(top / 6)
			d := halfUE4M3(b[g])
			for j := range q {
				q[j] = fp4Index(x[j], d) | fp4Index(x[8+j], d)<<4
			}
		}
	}
}
