package codec

import "encoding/binary"

// The three-bit grid formats: super-blocks of 256 values in groups of four, each a grid point; signs for eight values at a
// time; a half d. They are read, not written.
//
//	iq3_xxs  d; 64 index bytes; for each 32 values a word of four times seven even signs and the four-bit scale s: d*(1/2 + s)/2
//	iq3_s    d; 64 low index bytes, 8 bytes of ninth index bits, 32 sign bytes, 4 bytes of scales s: d*(1 + 2s)

func init() {
	Register(&block{"iq3_xxs", 256, 98, decodeIQ3XXS, nil})
	Register(&block{"iq3_s", 256, 110, decodeIQ3S, nil})
}

func decodeIQ3XXS(dst []float32, src []byte) {
	g := allGrids().iq3xxs
	for i := range len(dst) / 256 {
		b := (*[98]byte)(src[98*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		for k := range 8 {
			word := binary.LittleEndian.Uint32(b[66+4*k:])
			scale := d * (0.5 + float32(word>>28)) * 0.5
			for l := range 4 {
				index, y, signs := b[2+8*k+2*l:], dst[256*i+32*k+8*l:][:8], evenSigns(word>>(7*l))
				signed(y[:4], scale, g[index[0]][:4], signs)
				signed(y[4:], scale, g[index[1]][:4], signs>>4)
			}
		}
	}
}

func decodeIQ3S(dst []float32, src []byte) {
	g := allGrids().iq3s
	for i := range len(dst) / 256 {
		b := (*[110]byte)(src[110*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		for l := range 32 {
			scale := d * float32(1+2*int(b[106+l/8]>>(l/4%2*4)&15))
			high := int(b[66+l/4]) >> (l % 4 * 2) // ninth bits of the two indexes
			y, signs := dst[256*i+8*l:][:8], b[74+l]
			signed(y[:4], scale, g[int(b[2+2*l])|high&1<<8][:4], signs)
			signed(y[4:], scale, g[int(b[3+2*l])|high>>1&1<<8][:4], signs>>4)
		}
	}
}
