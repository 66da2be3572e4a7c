package tensor

import (
	"encoding/binary"
	"fmt"
)

// CheckFinite reads the whole tensor and returns an error of class ErrCorrupt that names the first value that is NaN or
// infinite, as a damaged block scale makes it, or nil.
func (t *Tensor) CheckFinite() error {
	cols, rows := t.Cols(), t.Rows()
	step := chunkRows(4 * cols)
	buf := make([]float32, min(step, rows)*cols)
	for lo := 0; lo < rows; lo += step {
		hi := min(lo+step, rows)
		values := buf[:(hi-lo)*cols]
		if err := t.ReadFloat32(values, lo, hi); err != nil {
			return err
		}
		for i, v := range values {
			if v-v != 0 { // NaN or infinite
				return Errorf(ErrCorrupt, "", fmt.Sprintf("tensor %q", t.Name), "%s value %v in row %d, column %d", t.Codec.Name(), v, lo+i/cols, i%cols)
			}
		}
	}
	return nil
}

// CheckRaw is CheckFinite for rows that have been read already, of a plain float format; other formats pass. first is the
// row that data begins with.
func (t *Tensor) CheckRaw(first int, data []byte) error {
	bad := -1
	switch t.Codec.Name() {
	case "f32":
		for i := 0; i+4 <= len(data); i += 4 {
			if binary.LittleEndian.Uint32(data[i:])&0x7f800000 == 0x7f800000 {
				bad = i / 4
				break
			}
		}
	case "bf16":
		bad = nonFinite16(data, 0x7f80)
	case "f16":
		bad = nonFinite16(data, 0x7c00)
	}
	if bad < 0 {
		return nil
	}
	cols := t.Cols()
	return Errorf(ErrCorrupt, "", fmt.Sprintf("tensor %q", t.Name), "%s value in row %d, column %d is NaN or infinite", t.Codec.Name(), first+bad/cols, bad%cols)
}

// nonFinite16 returns the place of the first 16-bit float whose exponent is all ones, or -1.
func nonFinite16(data []byte, exponent uint16) int {
	// Four at a time: in a lane whose exponent bits are all ones, nothing is left of their complement, and taking one
	// away borrows from the bit above.
	const tops, ones = 0x8000800080008000, 0x0001000100010001
	exponents := uint64(exponent) * ones
	i := 0
	for i+8 <= len(data) {
		left := ^binary.LittleEndian.Uint64(data[i:]) & exponents
		if ((left|tops)-ones)&tops != tops {
			break
		}
		i += 8
	}
	for ; i+2 <= len(data); i += 2 {
		if binary.LittleEndian.Uint16(data[i:])&exponent == exponent {
			return i / 2
		}
	}
	return -1
}
