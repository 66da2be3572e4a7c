package codec

import (
	"encoding/binary"
	"math"
)

// The formats in which ggml keeps activations; files hold them hardly ever.
//
// q8_1: blocks of 32 values, half d, half d*sum(q), 32 signed bytes: x = d*q.
//
// q8_k: blocks of 256 values, float32 d, 256 signed bytes, 16 16-bit sums of 16 bytes each: x = d*q.

func init() {
	Register(&block{"q8_1", 32, 36, decodeQ8_1, encodeQ8_1})
	Register(&block{"q8_k", 256, 292, decodeQ8K, encodeQ8K})
}

// VecDot returns the format in which ggml multiplies a row of activations with a matrix in format c (vec_dot_type of its type
// traits): Q8_K for blocks of 256 values, Q8_0 for smaller ones (Q8_1, where it is Q8_1 there, has the same values and their sums
// besides), and the format itself for float16 and bfloat16. It is nil for float32 and for formats that ggml does not have.
func VecDot(c Codec) Codec {
	name := "q8_0"
	switch b, ok := c.(*block); {
	case c.Name() == "f16" || c.Name() == "bf16":
		return c
	case !ok || b.values == 1:
		return nil
	case b.values == 256:
		name = "q8_k"
	}
	v, err := Lookup(name)
	if err != nil {
		return nil
	}
	return v
}

func decodeQ8_1(dst []float32, src []byte) {
	for i := range len(dst) / 32 {
		y, b := (*[32]float32)(dst[32*i:]), (*[36]byte)(src[36*i:])
		d := F16ToF32(binary.LittleEndian.Uint16(b[:]))
		for j := range y {
			y[j] = d * float32(int8(b[4+j]))
		}
	}
}

func encodeQ8_1(dst []byte, src, _ []float32) {
	for i := range len(src) / 32 {
		x, b := (*[32]float32)(src[32*i:]), (*[36]byte)(dst[36*i:])
		_, top := largest(x[:])
		d := top / 127
		var inverse float32
		if d != 0 {
			inverse = 1 / d
		}
		total := 0
		for j, v := range x {
			q := int8(roundAway(v * inverse))
			b[4+j] = byte(q)
			total += int(q)
		}
		putAffine(b[:], d, float32(total)*d)
	}
}

func decodeQ8K(dst []float32, src []byte) {
	for i := range len(dst) / 256 {
		y, b := dst[256*i:256*i+256], (*[292]byte)(src[292*i:])
		d := math.Float32frombits(binary.LittleEndian.Uint32(b[:]))
		for j := range y {
			y[j] = d * float32(int8(b[4+j]))
		}
	}
}

func encodeQ8K(dst []byte, src, _ []float32) {
	for i := range len(src) / 256 {
		x, b := src[256*i:256*i+256], (*[292]byte)(dst[292*i:])
		clear(b[:])
		top, _ := largest(x)
		if top == 0 {
			continue
		}
		inverse := -127 / top
		binary.LittleEndian.PutUint32(b[:], math.Float32bits(1/inverse))
		for g := range 16 {
			total := 0
			for j := 16 * g; j < 16*g+16; j++ {
				q := min(127, nearest(float32(inverse*x[j])))
				b[4+j] = byte(q)
				total += int(q)
			}
			binary.LittleEndian.PutUint16(b[260+2*g:], uint16(total))
		}
	}
}
