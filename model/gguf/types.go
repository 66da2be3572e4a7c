package gguf

import (
	"fmt"

	"github.com/parelm/pare/model/codec"
)

// The value types of metadata, by their numbers in the file.
const (
	typeUint8 = iota
	typeInt8
	typeUint16
	typeInt16
	typeUint32
	typeInt32
	typeFloat32
	typeBool
	typeString
	typeArray
	typeUint64
	typeInt64
	typeFloat64
)

var typeNames = [...]string{"uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "bool", "string", "array", "uint64", "int64", "float64"}

// typeSizes holds the bytes of one value; of a string, its length field alone.
var typeSizes = [...]int64{1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8}

// ggmlTypes names the codec of each tensor type, by its number in the file.
var ggmlTypes = map[uint32]string{
	0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 9: "q8_1",
	10: "q2_k", 11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k", 15: "q8_k",
	16: "iq2_xxs", 17: "iq2_xs", 18: "iq3_xxs", 19: "iq1_s", 20: "iq4_nl", 21: "iq3_s", 22: "iq2_s", 23: "iq4_xs",
	24: "i8", 25: "i16", 26: "i32", 27: "i64", 28: "f64", 29: "iq1_m", 30: "bf16",
	34: "tq1_0", 35: "tq2_0", 39: "mxfp4", 40: "nvfp4", 41: "q1_0", 42: "q2_0",
}

// removedTypes names types that files of 2023 and 2024 hold and nobody reads any more.
var removedTypes = map[uint32]string{
	4: "q4_2", 5: "q4_3", 31: "q4_0_4_4", 32: "q4_0_4_8", 33: "q4_0_8_8", 36: "iq4_nl_4_4", 37: "iq4_nl_4_8", 38: "iq4_nl_8_8",
}

// typeIDs maps a codec's name to the number of its tensor type.
var typeIDs = func() map[string]uint32 {
	m := map[string]uint32{}
	for id, name := range ggmlTypes {
		m[name] = id
	}
	return m
}()

// lookup returns the codec of a tensor type.
func lookup(id uint32) (codec.Codec, error) {
	if name, ok := removedTypes[id]; ok {
		return nil, fmt.Errorf("type %d (%s) was removed from the format", id, name)
	}
	name, ok := ggmlTypes[id]
	if !ok {
		return nil, fmt.Errorf("unknown type %d", id)
	}
	return codec.Lookup(name)
}
