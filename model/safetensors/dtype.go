package safetensors

import "github.com/parelm/pare/model/codec"

// dtype is an element type of the format.
type dtype struct {
	name  string
	bits  int64
	codec codec.Codec // nil for types that pare does not read
}

// read maps the format's type names, written maps codecs.
var read, written = func() (map[string]*dtype, map[codec.Codec]*dtype) {
	r, w := map[string]*dtype{}, map[codec.Codec]*dtype{}
	for _, d := range []struct {
		name  string
		bits  int64
		codec string
	}{
		{"F64", 64, "f64"}, {"F32", 32, "f32"}, {"F16", 16, "f16"}, {"BF16", 16, "bf16"},
		{"I64", 64, "i64"}, {"I32", 32, "i32"}, {"I16", 16, "i16"}, {"I8", 8, "i8"},
		{"U64", 64, "u64"}, {"U32", 32, "u32"}, {"U16", 16, "u16"}, {"U8", 8, "u8"}, {"BOOL", 8, "bool"},
		{"F8_E4M3", 8, "f8_e4m3"}, {"F8_E5M2", 8, "f8_e5m2"}, {"F8_E8M0", 8, "f8_e8m0"},
		{"F8_E4M3FNUZ", 8, ""}, {"F8_E5M2FNUZ", 8, ""}, {"C64", 64, ""},
		{"F4", 4, ""}, {"F6_E2M3", 6, ""}, {"F6_E3M2", 6, ""},
	} {
		t := &dtype{name: d.name, bits: d.bits}
		if d.codec != "" {
			c, err := codec.Lookup(d.codec)
			if err != nil {
				panic(err) // a codec of this repository is missing
			}
			t.codec = c
			w[c] = t
		}
		r[d.name] = t
	}
	return r, w
}()
