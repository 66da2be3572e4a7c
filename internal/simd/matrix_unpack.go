package simd

import "math"

// Reading a packed tile in plain Go.

var (
	iq4Table = [16]int8{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}
	// fp4Table is twice the value of a 4-bit float, plus 16.
	fp4Table = [16]uint8{16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4}
)

// codesOf sets dst to the 32 codes of row lane in a block: signed where the layout says so.
func codesOf(dst *[blockCols]int16, layout codeLayout, c []byte, lane int) {
	at := func(plane, q int) int { return int(c[64*plane+4*lane+q]) }
	for i := range 8 {
		for q := range 4 {
			var v int
			switch layout {
			case size8:
				v = int(int8(at(i, q)))
			case size2, size3:
				v = at(i/4, q) >> (2 * (i % 4)) & 3
			default:
				v = at(i%4, q) >> (i / 4 * 4) & 15
			}
			switch layout {
			case size5:
				v |= at(4, q) >> i & 1 << 4
			case size6:
				v |= at(4+i/4, q) >> (2 * (i % 4)) & 3 << 4
			case size3:
				v |= at(2, q) >> i & 1 << 2
			case sizeIQ4:
				v = int(iq4Table[v])
			case sizeFP4:
				v = int(fp4Table[v])
			}
			dst[4*i+q] = int16(v)
		}
	}
}

// scalesOf returns the scales and minimums of row lane for block b of the section with header h, one each or two.
func (f *quantFormat) scalesOf(h []byte, b, lane int) (d, m [2]float32) {
	half := func(at int) float32 { return halfToFloat(le.Uint16(h[at+2*lane:])) }
	byteAt := func(at, n int) int { return int(h[at+n/4*64+4*lane+n%4]) } // byte n of a row's words
	switch f.name {
	case "q8_0", "q4_0", "q5_0", "iq4_nl":
		d[0] = half(0)
	case "q4_1", "q5_1":
		d[0], m[0] = half(0), half(32)
	case "mxfp4":
		d[0] = math.Float32frombits(uint32(h[lane])<<23) * 0.5
	case "q4_k", "q5_k":
		s := h[64+32*b+lane:]
		d[0], m[0] = half(0)*float32(s[0]), -(half(32) * float32(s[16]))
	case "iq4_xs":
		s := int(le.Uint32(h[32+4*lane:])>>(4*b)&15) | int(le.Uint16(h[96+2*lane:])>>(2*b)&3)<<4
		d[0] = half(0) * float32(s-32)
	default:
		if f.group.bits != 0 {
			d[0] = math.Float32frombits(le.Uint32(h[4*lane:]))
			if f.group.offset {
				m[0] = d[0] * (math.Float32frombits(le.Uint32(h[64+4*lane:])) + f.bias())
			}
			return d, m
		}
		for p := range 2 {
			g := 2*b + p
			switch f.name {
			case "q6_k":
				d[p] = half(0) * float32(int8(h[32+16*g+lane]))
			case "q3_k":
				s := byteAt(32, g%8)>>(g/8*4)&15 | byteAt(32, 8+g%4)>>(g/4*2)&3<<4
				d[p] = half(0) * float32(s-32)
			case "q2_k":
				s := byteAt(64, g)
				d[p], m[p] = half(0)*float32(s&15), -(half(32) * float32(s>>4))
			}
		}
	}
	return d, m
}

// bias is what unsigned bytes lack, stored less 128: it goes back through the minimum, except for kernels that read them
// as unsigned.
func (f *quantFormat) bias() float32 {
	if f.kind == kindSA && impl != avx512 {
		return 128
	}
	return 0
}
