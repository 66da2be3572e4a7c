package codec

import "encoding/binary"

// q5_0: blocks of 32 values, a half scale d, 32 fifth bits in one word, 32 nibbles: x = d*(q-16). The value of largest
// magnitude lies on q = 0. Nibbles lie as in q4_0; bit j of the word belongs to value j.

func init() { Register(&block{"q5_0", 32, 22, decodeQ5_0, encodeQ5_0}) }

func decodeQ5_0(dst []float32, src []byte) {
	for i := range len(dst) / 32 {
		y, b := (*[32]float32)(dst[32*i:]), (*[22]byte)(src[22*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		high := binary.LittleEndian.Uint32(b[2:])
		for j, q := range b[6:] {
			y[j] = d * float32(int(uint32(q&15)|high>>j<<4&16)-16)
			y[16+j] = d * float32(int(uint32(q>>4)|high>>(16+j)<<4&16)-16)
		}
	}
}

func encodeQ5_0(dst []byte, src, importance []float32) {
	var q [32]uint8
	if importance != nil {
		encodeSymmetric32(src, importance, 16, &q, func(i int, d float32) {
			b := (*[22]byte)(dst[22*i:])
			binary.LittleEndian.PutUint16(b[:], F32ToF16(d))
			pack5(b[2:], &q)
		})
		return
	}
	for i := range len(src) / 32 {
		x, b := (*[32]float32)(src[32*i:]), (*[22]byte)(dst[22*i:])
		top, _ := largest(x[:])
		d := top / -16
		var inverse float32
		if d != 0 {
			inverse = 1 / d
		}
		binary.LittleEndian.PutUint16(b[:], F32ToF16(d))
		for j, v := range x {
			q[j] = min(31, uint8(int8(float32(v*inverse)+16.5)))
		}
		pack5(b[2:], &q)
	}
}

// pack5 writes the fifth bits and the nibbles of 32 codes.
func pack5(b []byte, q *[32]uint8) {
	var high uint32
	for j, v := range q {
		high |= uint32(v>>4&1) << j
	}
	binary.LittleEndian.PutUint32(b, high)
	b = b[4:20]
	for j := range b {
		b[j] = q[j]&15 | q[16+j]<<4
	}
}
