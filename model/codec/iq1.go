package codec

import "encoding/binary"

// The one-bit grid formats: super-blocks of 256 values in groups of eight, each a grid point of -1, 0 and 1 shifted by
// 1/8 up or down: x = d*(2s+1)*(p ± 1/8) with a three-bit scale s and a half d. They are read, not written.
//
//	iq1_s  d; 32 low index bytes; for each 32 values a 16-bit word of four upper index triples, the scale, the shift's sign
//	iq1_m  32 low index bytes, 16 bytes of nibbles (upper index triple, shift's sign), 8 bytes of four 16-bit words: each
//	       four scales for 16 values, and in their top nibbles the half d

func init() {
	Register(&block{"iq1_s", 256, 50, decodeIQ1S, nil})
	Register(&block{"iq1_m", 256, 56, decodeIQ1M, nil})
}

// shifted sets y to d*(p ± 1/8).
func shifted(y []float32, d float32, p *[8]int8, down bool) {
	shift := float32(0.125)
	if down {
		shift = -shift
	}
	y = y[:8]
	for j, v := range p {
		y[j] = d * (float32(v) + shift)
	}
}

func decodeIQ1S(dst []float32, src []byte) {
	g := allGrids().iq1
	for i := range len(dst) / 256 {
		b := (*[50]byte)(src[50*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		for l := range 32 {
			word := int(binary.LittleEndian.Uint16(b[34+l/4*2:]))
			n := int(b[2+l]) | word>>(l%4*3)&7<<8
			shifted(dst[256*i+8*l:], d*float32(2*(word>>12&7)+1), &g[n], word&0x8000 != 0)
		}
	}
}

func decodeIQ1M(dst []float32, src []byte) {
	g := allGrids().iq1
	for i := range len(dst) / 256 {
		b := (*[56]byte)(src[56*i:])
		var word [4]uint16
		var half uint16
		for k := range word {
			word[k] = binary.LittleEndian.Uint16(b[48+2*k:])
			half |= word[k] >> 12 << (4 * k)
		}
		d := F16ToF32(half)
		for l := range 32 {
			nibble := b[32+l/2] >> (l % 2 * 4)
			s := word[l/8] >> (l / 2 % 4 * 3) & 7
			n := int(b[l]) | int(nibble&7)<<8
			shifted(dst[256*i+8*l:], d*float32(2*s+1), &g[n], nibble&8 != 0)
		}
	}
}
