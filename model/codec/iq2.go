package codec

import "encoding/binary"

// The two-bit grid formats: super-blocks of 256 values in groups of eight, each a grid point, eight signs and a scale
// d*(1/2 + s)/4 shared by 32 values (iq2_xxs) or 16 (the others), d a half. They are read, not written.
//
//	iq2_xxs  d; for each 32 values: four index bytes, then a word of four times seven even signs and the four-bit scale
//	iq2_xs   d; 32 16-bit words of a nine-bit index and seven even signs; 8 bytes of scales
//	iq2_s    d; 32 low index bytes, 32 sign bytes, 8 bytes of upper index pairs, 8 bytes of scales

func init() {
	Register(&block{"iq2_xxs", 256, 66, decodeIQ2XXS, nil})
	Register(&block{"iq2_xs", 256, 74, decodeIQ2XS, nil})
	Register(&block{"iq2_s", 256, 82, decodeIQ2S, nil})
}

func decodeIQ2XXS(dst []float32, src []byte) {
	g := allGrids().iq2xxs
	for i := range len(dst) / 256 {
		b := (*[66]byte)(src[66*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		for k := range 8 {
			index := b[2+8*k:][:4]
			word := binary.LittleEndian.Uint32(b[6+8*k:])
			scale := d * (0.5 + float32(word>>28)) * 0.25
			for l, n := range index {
				signed(dst[256*i+32*k+8*l:][:8], scale, g[n][:], evenSigns(word>>(7*l)))
			}
		}
	}
}

func decodeIQ2XS(dst []float32, src []byte) {
	g := allGrids().iq2xs
	for i := range len(dst) / 256 {
		b := (*[74]byte)(src[74*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		for l := range 32 {
			word := binary.LittleEndian.Uint16(b[2+2*l:])
			scale := d * (0.5 + float32(b[66+l/4]>>(l/2%2*4)&15)) * 0.25
			signed(dst[256*i+8*l:][:8], scale, g[word&511][:], evenSigns(uint32(word>>9)))
		}
	}
}

func decodeIQ2S(dst []float32, src []byte) {
	g := allGrids().iq2s
	for i := range len(dst) / 256 {
		b := (*[82]byte)(src[82*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		for l := range 32 {
			n := int(b[2+l]) | int(b[66+l/4])>>(l%4*2)&3<<8
			scale := d * (0.5 + float32(b[74+l/4]>>(l/2%2*4)&15)) * 0.25
			signed(dst[256*i+8*l:][:8], scale, g[n][:], b[34+l])
		}
	}
}
