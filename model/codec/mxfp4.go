package codec

import "math"

// mxfp4: the OCP microscaling format (MX v1.0, 2023): blocks of 32 values, one power-of-two scale 2^(e-127) and 32 nibbles
// of four-bit floats (sign, two exponent bits, one mantissa bit). Nibbles lie as in q4_0. ggml keeps the table doubled
// and halves the scale.

func init() { Register(&block{"mxfp4", 32, 17, decodeMXFP4, encodeMXFP4}) }

// fp4Values is twice the value of each four-bit float.
var fp4Values = [16]float32{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}

// halfE8M0 returns 2^(e-128).
func halfE8M0(e byte) float32 {
	if e < 2 {
		return math.Float32frombits(0x00200000 << e)
	}
	return math.Float32frombits(uint32(e-1) << 23)
}

// fp4Index returns the code of the value nearest to v on the grid d; of equally near ones the smaller. d has so few
// digits that its products with the middles between codes, which all have few, are exact.
func fp4Index(v, d float32) byte {
	a := abs(v)
	if !(a < 64*d) { // no scale, or one that was cut off: in float32 distances may be equal that are not
		return fp4Search(v, d)
	}
	code := over(a, 0.5*d) + over(a, 1.5*d) + over(a, 2.5*d) + over(a, 3.5*d) + over(a, 5*d) + over(a, 7*d) + over(a, 10*d)
	if v < 0 && code > 0 {
		code += 8 // the sign bit; zero has none
	}
	return code
}

// fp4Search compares all distances.
func fp4Search(v, d float32) byte {
	best, least := 0, abs(float32(fp4Values[0]*d)-v)
	for i := 1; i < 16; i++ {
		if e := abs(float32(fp4Values[i]*d) - v); e < least {
			best, least = i, e
		}
	}
	return byte(best)
}

// over returns 1 if a > b, else 0.
func over(a, b float32) byte {
	if a > b {
		return 1
	}
	return 0
}

func decodeMXFP4(dst []float32, src []byte) {
	for i := range len(dst) / 32 {
		y, b := (*[32]float32)(dst[32*i:]), (*[17]byte)(src[17*i:])
		d := halfE8M0(b[0])
		for j, q := range b[1:] {
			y[j] = fp4Values[q&15] * d
			y[16+j] = fp4Values[q>>4] * d
		}
	}
}

func encodeMXFP4(dst []byte, src, _ []float32) {
	for i := range len(src) / 32 {
		x, b := (*[32]float32)(src[32*i:]), (*[17]byte)(dst[17*i:])
		var e byte
		if _, top := largest(x[:]); top > 0 {
			// The logarithm is rounded to float32 as in the reference, so that values just below a power of two count as it.
			e = byte(int32(math.Floor(float64(float32(math.Log2(float64(top)))))) - 2 + 127)
		}
		b[0] = e
		d := halfE8M0(e)
		for j := range 16 {
			b[1+j] = fp4Index(x[j], d) | fp4Index(x[16+j], d)<<4
		}
	}
}
