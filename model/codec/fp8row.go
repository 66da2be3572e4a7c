package codec

import (
	"encoding/binary"
	"math"
)

// fp8: rows of eight-bit floats (f8_e4m3) under one float32 scale, as safetensors checkpoints with weights in FP8 have them:
// x = scale * q. A block is a row: the scale, little endian, then a byte a value. The scale puts the largest magnitude
// on the largest code.

// rowFP8 is the codec; Lookup knows it as "fp8".
type rowFP8 struct{}

// fp8Head is the bytes before the codes of a row.
const fp8Head = 4

var e4m3Values = e4m3.decode()

// Name returns "fp8".
func (rowFP8) Name() string { return "fp8" }

// Block returns 0, 0: a block is a whole row.
func (rowFP8) Block() (values, bytes int) { return 0, 0 }

// Decode multiplies codes with the scale of their row.
func (rowFP8) Decode(dst []float32, src []byte) {
	n := rowLength(len(dst), len(src), fp8Head)
	for len(dst) > 0 {
		scale := math.Float32frombits(binary.LittleEndian.Uint32(src))
		for i, c := range src[fp8Head : fp8Head+n] {
			dst[i] = scale * e4m3Values[c]
		}
		dst, src = dst[n:], src[fp8Head+n:]
	}
}

// Encode ignores importances: a scale that clips would cost large values more than it gives small ones, whose steps are
// relative.
func (rowFP8) Encode(dst []byte, src, _ []float32) {
	n := rowLength(len(src), len(dst), fp8Head)
	for len(src) > 0 {
		_, top := largest(src[:n])
		scale := top / e4m3.max
		if scale == 0 {
			scale = 1
		}
		binary.LittleEndian.PutUint32(dst, math.Float32bits(scale))
		for i, v := range src[:n] {
			dst[fp8Head+i] = e4m3.encode(v / scale)
		}
		dst, src = dst[fp8Head+n:], src[n:]
	}
}

// rowLength returns the values of a row, of values in bytes with a head before each row and a byte a value.
func rowLength(values, bytes, head int) int {
	if rows := (bytes - values) / head; rows > 0 {
		return values / rows
	}
	return values
}
