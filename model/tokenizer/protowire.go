package tokenizer

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A SentencePiece model file is a Protocol Buffers message. Five field kinds of one schema need no library.

// protoField is one field of a message: num is its number; v holds a varint or the bits of a fixed-width number, b the bytes of a
// length-delimited one.
type protoField struct {
	num int
	v   uint64
	b   []byte
}

func (f protoField) float() float64 { return float64(math.Float32frombits(uint32(f.v))) }
func (f protoField) bool() bool     { return f.v != 0 }
func (f protoField) int32() int32   { return int32(uint32(f.v)) } // negative numbers are sign-extended to 64 bits

// protoFields calls f for each field of the message data.
func protoFields(data []byte, f func(protoField) error) error {
	for len(data) > 0 {
		tag, n := binary.Uvarint(data)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return fmt.Errorf("broken field tag")
		}
		data = data[n:]
		x := protoField{num: int(tag >> 3)}
		switch tag & 7 {
		case 0:
			x.v, n = binary.Uvarint(data)
			if n <= 0 {
				return fmt.Errorf("field %d: broken number", x.num)
			}
		case 1:
			if n = 8; len(data) < n {
				return fmt.Errorf("field %d: cut off", x.num)
			}
			x.v = binary.LittleEndian.Uint64(data)
		case 2:
			size, k := binary.Uvarint(data)
			if k <= 0 || size > uint64(len(data)-k) {
				return fmt.Errorf("field %d: needs %d bytes, %d are left", x.num, size, max(len(data)-k, 0))
			}
			n = k + int(size)
			x.b = data[k:n]
		case 5:
			if n = 4; len(data) < n {
				return fmt.Errorf("field %d: cut off", x.num)
			}
			x.v = uint64(binary.LittleEndian.Uint32(data))
		default:
			return fmt.Errorf("field %d: wire type %d is unknown", x.num, tag&7)
		}
		if err := f(x); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
