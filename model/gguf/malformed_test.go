package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/internal/malformed"
	"github.com/parelm/pare/model/tensor"
)

var (
	corrupt     = tensor.ErrCorrupt
	unsupported = tensor.ErrUnsupported
	tooLarge    = tensor.ErrTooLarge
	invalid     = tensor.ErrInvalid
)

// raw builds the bytes of a file one field at a time; the writer itself refuses to write broken ones.
type raw []byte

func (b raw) u8(v uint8) raw      { return append(b, v) }
func (b raw) u32(v uint32) raw    { return binary.LittleEndian.AppendUint32(b, v) }
func (b raw) u64(v uint64) raw    { return binary.LittleEndian.AppendUint64(b, v) }
func (b raw) str(s string) raw    { return append(b.u64(uint64(len(s))), s...) }
func (b raw) add(more []byte) raw { return append(b, more...) }

// head begins a file.
func head(version uint32, tensors, pairs uint64) raw {
	return raw("GGUF").u32(version).u64(tensors).u64(pairs)
}

// info describes a tensor.
func (b raw) info(name string, typ uint32, off uint64, dims ...uint64) raw {
	b = b.str(name).u32(uint32(len(dims)))
	for _, d := range dims {
		b = b.u64(d)
	}
	return b.u32(typ).u64(off)
}

// data aligns to 32 and appends n bytes.
func (b raw) data(n int) raw {
	return append(b, make([]byte, int(pad(int64(len(b)), 32))+n)...)
}

// key begins a pair of the given value type.
func (b raw) key(key string, typ uint32) raw { return b.str(key).u32(typ) }

// list begins a pair that is an array.
func (b raw) list(key string, typ uint32, n uint64) raw {
	return b.key(key, typeArray).u32(typ).u64(n)
}

// many returns n copies of a piece.
func many(n int, piece raw) []byte { return bytes.Repeat(piece, n) }

var (
	pair1   = func() raw { return head(3, 0, 1) }
	tensor1 = func() raw { return head(3, 1, 0) }
	tensor2 = func() raw { return head(3, 2, 0) }
)

const f32, q4K = 0, 12 // tensor types

var badFiles = []struct {
	id    string
	data  raw
	class error
	says  string
}{
	{"empty file", nil, corrupt, "magic"},
	{"G01 wrong magic", raw("GGUX").u32(3).u64(0).u64(0), corrupt, "magic"},
	{"G01 older ggml file", raw("tjgg").u32(3).u64(0).u64(0), unsupported, "before GGUF"},
	{"P02 zip archive", raw("PK\x03\x04").u32(3).u64(0).u64(0), unsupported, "zip"},
	{"P04 git-lfs pointer", raw("version https://git-lfs.github.com/spec/v1\n"), unsupported, "git-lfs"},
	{"G02 version 0", head(0, 0, 0), unsupported, "version"},
	{"G02 version 1", head(1, 0, 0), unsupported, "version"},
	{"G02 version 4", head(4, 0, 0), unsupported, "version"},
	{"G02 big endian", head(3<<24, 0, 0), unsupported, "big-endian"},
	{"G03 tensor count 2^64-1", head(3, 1<<64-1, 0), tooLarge, "tensor count"},
	{"G04 pair count 2^64-1", head(3, 0, 1<<64-1), tooLarge, "metadata count"},
	{"G05 tensor count for a short file", head(3, 200_000, 0).data(64), corrupt, "tensor count"},
	{"G05 pair count for a short file", head(3, 0, 60_000).data(64), corrupt, "metadata count"},
	{"G06 key length 2^64-1", pair1().u64(1<<64 - 1).data(64), tooLarge, "key 0"},
	{"G06 key length past the end", pair1().u64(65535).data(64), corrupt, "key 0"},
	{"G07 empty key", pair1().key("", typeUint8).u8(1).data(0), corrupt, "key 0"},
	{"G08 key not UTF-8", pair1().key("a\xff", typeUint8).u8(1).data(0), corrupt, "UTF-8"},
	{"G09 duplicate key", head(3, 0, 2).key("a.b", typeUint8).u8(1).key("a.b", typeInt8).u8(1).data(0), corrupt, `key "a.b"`},
	{"G10 value type 13", pair1().key("a", 13).data(64), unsupported, `key "a"`},
	{"G10 value type 255", pair1().key("a", 255).data(64), unsupported, `key "a"`},
	{"G10 element type 13", pair1().list("a", 13, 1).data(64), unsupported, `key "a"`},
	{"G11 string past the end", pair1().key("a", typeString).u64(1000).data(64), corrupt, `key "a"`},
	{"G11 string length 2^64-1", pair1().key("a", typeString).u64(1<<64 - 1).data(64), tooLarge, `key "a"`},
	{"G11 string in an array past the end", pair1().list("a", typeString, 2).str("x").u64(1000).data(64), corrupt, `key "a"`},
	{"G12 array of arrays", pair1().list("a", typeArray, 1).u32(typeUint8).u64(1).u8(1).data(64), unsupported, `key "a"`},
	{"G13 count times size wraps", pair1().list("a", typeFloat64, 1<<61).data(64), tooLarge, `key "a"`},
	{"G13 count past the end", pair1().list("a", typeFloat64, 1<<20).data(64), corrupt, `key "a"`},
	{"G14 64 Mi empty strings in a kibibyte", pair1().list("a", typeString, 64<<20).data(1024), corrupt, `key "a"`},
	{"G14 64 Mi bytes in a kibibyte", pair1().list("a", typeUint8, 64<<20).data(1024), corrupt, `key "a"`},
	{"G15 bool 2", pair1().key("a", typeBool).u8(2).data(0), corrupt, `key "a"`},
	{"G15 bool 2 in an array", pair1().list("a", typeBool, 2).u8(1).u8(2).data(0), corrupt, `key "a"`},
	{"G16 alignment 0", pair1().key("general.alignment", typeUint32).u32(0).data(64), invalid, "general.alignment"},
	{"G16 alignment 13", pair1().key("general.alignment", typeUint32).u32(13).data(64), invalid, "general.alignment"},
	{"G16 alignment 4", pair1().key("general.alignment", typeUint32).u32(4).data(64), invalid, "general.alignment"},
	{"G16 alignment 2^31", pair1().key("general.alignment", typeUint32).u32(1 << 31).data(64), invalid, "general.alignment"},
	{"G16 alignment of another type", pair1().key("general.alignment", typeUint64).u64(32).data(64), invalid, "general.alignment"},
	{"G17 no dimensions", tensor1().info("w", f32, 0).data(64), corrupt, `tensor "w"`},
	{"G17 five dimensions", tensor1().info("w", f32, 0, 1, 1, 1, 1, 1).data(64), tooLarge, `tensor "w"`},
	{"G17 2^32-1 dimensions", tensor1().str("w").u32(1<<32 - 1).data(64), tooLarge, `tensor "w"`},
	{"G18 dimension 0", tensor1().info("w", f32, 0, 4, 0).data(64), corrupt, `tensor "w"`},
	{"G19 dimension -1", tensor1().info("w", f32, 0, 1<<64-1).data(64), corrupt, `tensor "w"`},
	{"G20 product of dimensions wraps", tensor1().info("w", f32, 0, 1<<32, 1<<32).data(64), corrupt, `tensor "w"`},
	{"G20 product of dimensions wraps to 4", tensor1().info("w", f32, 0, 2147483649, 8589934588).data(64), corrupt, `tensor "w"`},
	{"G21 two dimensions of 2^63-64", tensor2().info("v", f32, 0, 1<<63-64).info("w", f32, 0, 1<<63-64).data(64), corrupt, `tensor "v"`},
	{"G22 bytes wrap", tensor1().info("w", f32, 0, 1<<62).data(64), corrupt, `tensor "w"`},
	{"G22 bytes wrap in blocks", tensor1().info("w", 15, 0, 1<<62).data(64), corrupt, `tensor "w"`},
	{"G23 row no multiple of the block", tensor1().info("w", q4K, 0, 255).data(144), corrupt, `tensor "w"`},
	{"G24 unknown type", tensor1().info("w", 77, 0, 256).data(144), unsupported, `tensor "w"`},
	{"G24 removed type 4", tensor1().info("w", 4, 0, 256).data(144), unsupported, "q4_2"},
	{"G24 removed type 31", tensor1().info("w", 31, 0, 256).data(144), unsupported, "q4_0_4_4"},
	{"G25 offset unaligned", tensor1().info("w", f32, 16, 1).data(64), corrupt, `tensor "w"`},
	{"G26 offset 2^64-1", tensor1().info("w", f32, 1<<64-1, 1).data(64), corrupt, `tensor "w"`},
	{"G26 offset 2^64-32", tensor1().info("w", f32, 1<<64-32, 1).data(64), corrupt, `tensor "w"`},
	{"G26 offset 2^63-32", tensor1().info("w", f32, 1<<63-32, 16).data(64), corrupt, `tensor "w"`},
	{"G27 end past the file by one", tensor1().info("w", 24, 0, 65).data(64), corrupt, `tensor "w"`},
	{"G27 offset past the end", tensor1().info("w", f32, 64, 1).data(64), corrupt, `tensor "w"`},
	{"G28 overlap", tensor2().info("v", f32, 0, 16).info("w", f32, 32, 8).data(64), corrupt, `tensor "w"`},
	{"G28 same place", tensor2().info("v", f32, 0, 8).info("w", f32, 0, 8).data(64), corrupt, `tensor "w"`},
	{"G29 duplicate tensor", tensor2().info("w", f32, 0, 8).info("w", f32, 32, 8).data(64), corrupt, `tensor "w"`},
	{"G30 name of 65 bytes", tensor1().info(strings.Repeat("x", 65), f32, 0, 8).data(64), tooLarge, "tensor 0"},
	{"G30 name length 2^64-1", tensor1().u64(1<<64 - 1).data(64), tooLarge, "tensor 0"},
	{"G30 empty name", tensor1().info("", f32, 0, 8).data(64), invalid, "tensor 0"},
	{"G30 path in a name", tensor1().info("../w", f32, 0, 8).data(64), invalid, ".."},
	{"G30 NUL in a name", tensor1().info("a\x00b", f32, 0, 8).data(64), invalid, "control"},
	{"G31 data one byte short", tensor1().info("w", f32, 0, 8).data(31), corrupt, `tensor "w"`},
	{"G31 no data at all", tensor1().info("w", f32, 0, 8), corrupt, `tensor "w"`},
}

func put(t testing.TB, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMalformed(t *testing.T) {
	for _, c := range badFiles {
		t.Run(c.id, func(t *testing.T) {
			path := put(t, t.TempDir(), "bad.gguf", c.data)
			malformed.Check(t, malformed.Want{Class: c.class, Texts: []string{"bad.gguf", c.says}, Bytes: int64(len(c.data))},
				func() (io.Closer, error) { return Open(path) })
		})
	}
}

// goodFiles are valid twins of the broken ones, near the limits.
var goodFiles = []struct {
	id      string
	data    raw
	tensors int
}{
	{"nothing", head(3, 0, 0), 0},
	{"version 2", head(2, 1, 0).info("w", f32, 0, 8).data(32), 1},
	{"no padding after the last tensor", tensor1().info("w", f32, 0, 1).data(4), 1},
	{"tensors in another order than their data", tensor2().info("v", f32, 32, 8).info("w", f32, 0, 8).data(64), 2},
	{"space between tensors", tensor2().info("v", f32, 0, 1).info("w", f32, 64, 1).data(68), 2},
	{"name of 64 bytes", tensor1().info(strings.Repeat("x", 64), f32, 0, 8).data(32), 1},
	{"four dimensions", tensor1().info("w", f32, 0, 1, 2, 2, 2).data(32), 1},
	{"block type", tensor1().info("w", q4K, 0, 512, 2).data(4 * 144), 1},
	{"alignment 8", head(3, 1, 1).key("general.alignment", typeUint32).u32(8).info("w", 24, 0, 8).u64(0).u64(0).u64(0), 1},
	{"empty arrays", head(3, 0, 2).list("a", typeString, 0).list("b", typeFloat64, 0), 0},
	{"strings", head(3, 0, 1).list("a", typeString, 1000).add(many(1000, raw{}.str(""))), 0},
}

func TestValidTwins(t *testing.T) {
	for _, c := range goodFiles {
		t.Run(c.id, func(t *testing.T) {
			f, err := Open(put(t, t.TempDir(), "good.gguf", c.data))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if len(f.Tensors()) != c.tensors {
				t.Errorf("%d tensors, want %d", len(f.Tensors()), c.tensors)
			}
			for _, x := range f.Tensors() {
				if _, err := x.Float32(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// model returns metadata that passes Check, changed by the given pairs; nil removes a key.
func model(pairs ...any) *Metadata {
	m := &Metadata{}
	for _, p := range []pair{{"general.architecture", "llama"}, {"llama.block_count", uint32(2)}, {"llama.embedding_length", uint32(64)},
		{"llama.attention.head_count", uint32(8)}, {"llama.attention.head_count_kv", uint32(4)}, {"llama.context_length", uint32(512)},
		{"llama.rope.scaling.type", "yarn"}, {"tokenizer.ggml.tokens", []string{"a", "b", "c"}}, {"tokenizer.ggml.scores", []float32{0, 1, 2}},
		{"tokenizer.ggml.token_type", []int32{1, 1, 1}}, {"tokenizer.ggml.bos_token_id", uint32(1)}} {
		m.Set(p.key, p.value)
	}
	for i := 0; i < len(pairs); i += 2 {
		if key := pairs[i].(string); pairs[i+1] == nil {
			m.Delete(key)
		} else {
			m.Set(key, pairs[i+1])
		}
	}
	return m
}

// written returns the bytes of a file with metadata and no tensors.
func written(t testing.TB, m *Metadata) []byte {
	t.Helper()
	out := &buffer{}
	if _, err := NewWriter(out, nil, m); err != nil {
		t.Fatal(err)
	}
	return out.b
}

// TestMalformedModels opens files whose container is whole but whose metadata cannot be a model's.
func TestMalformedModels(t *testing.T) {
	for _, c := range []struct {
		id    string
		m     *Metadata
		class error
		says  string
	}{
		{"G32 architecture missing", model("general.architecture", nil), invalid, "general.architecture"},
		{"G32 architecture a number", model("general.architecture", uint32(1)), invalid, "general.architecture"},
		{"G32 architecture empty", model("general.architecture", ""), invalid, "general.architecture"},
		{"G33 block_count 0", model("llama.block_count", uint32(0)), invalid, "llama.block_count"},
		{"G33 block_count 2^32", model("llama.block_count", uint64(1<<32)), tooLarge, "llama.block_count"},
		{"G33 block_count negative", model("llama.block_count", int32(-1)), invalid, "llama.block_count"},
		{"G33 block_count a float", model("llama.block_count", float32(2)), invalid, "llama.block_count"},
		{"G33 block_count missing", model("llama.block_count", nil), invalid, "llama.block_count"},
		{"G33 width over the limit", model("llama.embedding_length", uint32(1<<31)), tooLarge, "llama.embedding_length"},
		{"G33 context 0", model("llama.context_length", uint32(0)), invalid, "llama.context_length"},
		{"G34 heads 0", model("llama.attention.head_count", uint32(0)), invalid, "llama.attention.head_count"},
		{"G34 key heads 0", model("llama.attention.head_count_kv", uint32(0)), invalid, "llama.attention.head_count_kv"},
		{"G35 heads not dividing the width", model("llama.attention.head_count", uint32(12)), invalid, "llama.attention.head_count"},
		{"G35 key heads not dividing the heads", model("llama.attention.head_count_kv", uint32(3)), invalid, "llama.attention.head_count_kv"},
		{"G35 more key heads than heads", model("llama.attention.head_count_kv", uint32(16)), tooLarge, "llama.attention.head_count_kv"},
		{"G36 scores as int8", model("tokenizer.ggml.scores", []int8{0, 1, 2}), invalid, "tokenizer.ggml.scores"},
		{"G36 tokens as numbers", model("tokenizer.ggml.tokens", []uint32{1, 2, 3}), invalid, "tokenizer.ggml.tokens"},
		{"G37 fewer tokens than types", model("tokenizer.ggml.token_type", []int32{1, 1, 1, 1}), invalid, "tokenizer.ggml.token_type"},
		{"G37 fewer scores than tokens", model("tokenizer.ggml.scores", []float32{1}), invalid, "tokenizer.ggml.scores"},
		{"G38 bos out of range", model("tokenizer.ggml.bos_token_id", uint32(3)), invalid, "tokenizer.ggml.bos_token_id"},
		{"G38 eos 2^32-1", model("tokenizer.ggml.eos_token_id", uint32(1<<32-1)), invalid, "tokenizer.ggml.eos_token_id"},
		{"G41 rope type unknown", model("llama.rope.scaling.type", "spiral"), unsupported, "llama.rope.scaling.type"},
		{"G41 rope type a number", model("llama.rope.scaling.type", uint32(1)), invalid, "llama.rope.scaling.type"},
	} {
		t.Run(c.id, func(t *testing.T) {
			data := written(t, c.m)
			path := put(t, t.TempDir(), "bad.gguf", data)
			malformed.Check(t, malformed.Want{Class: c.class, Texts: []string{"bad.gguf", c.says}, Bytes: int64(len(data))}, func() (io.Closer, error) {
				f, err := Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				return f, f.Metadata().Check()
			})
		})
	}
	for id, m := range map[string]*Metadata{
		"valid twin":               model(),
		"no vocabulary":            model("tokenizer.ggml.tokens", nil, "tokenizer.ggml.scores", nil),
		"heads by layer":           model("llama.attention.head_count", []uint32{8, 0}),
		"head width of its own":    model("llama.attention.head_count", uint32(12), "llama.attention.key_length", uint32(8)),
		"no attention (recurrent)": model("llama.attention.head_count", nil),
	} {
		if err := m.Check(); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestDamagedBlock(t *testing.T) {
	t.Run("G40 block with NaN scale", func(t *testing.T) {
		data := tensor1().info("w", q4K, 0, 256, 3).data(3 * 144)
		at := len(data) - 144
		binary.LittleEndian.PutUint16(data[at:], 0x7e00)
		f, err := Open(put(t, t.TempDir(), "bad.gguf", data))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		v, err := f.Tensors()[0].Float32()
		if err != nil || !math.IsNaN(float64(v[512])) {
			t.Errorf("decoded %v, %v", v[512], err)
		}
		err = f.Tensors()[0].CheckFinite()
		if !errors.Is(err, corrupt) || !strings.Contains(err.Error(), `tensor "w"`) || !strings.Contains(err.Error(), "row 2, column 0") {
			t.Errorf("CheckFinite says %v", err)
		}
		binary.LittleEndian.PutUint16(data[at:], 0)
		f, err = Open(put(t, t.TempDir(), "good.gguf", data))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Tensors()[0].CheckFinite(); err != nil {
			t.Error(err)
		}
	})
}

// TestCut cuts a valid file at every byte of its head and data.
func TestCut(t *testing.T) {
	t.Run("G42 cut at every byte", func(t *testing.T) {
		m := sample()
		m.Set("tokenizer.ggml.tokens", strings.Fields(strings.Repeat("token ", 150)))
		out := &buffer{}
		infos := []Info{{"a", lookupCodec(t, "f32"), []int{7, 9}}, {"b", lookupCodec(t, "q4_k"), []int{2, 256}}, {"c", lookupCodec(t, "f16"), []int{3}}}
		w, err := NewWriter(out, infos, m)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range infos {
			x := tensor.Tensor{Codec: in.Codec, Shape: in.Shape}
			if err := w.WriteRows(in.Name, 0, make([]byte, x.Bytes())); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(out.b); n < 3000 || n > 5000 {
			t.Fatalf("the file has %d bytes, it should be about 4 KiB", n)
		}
		end := len(out.b) - 26 // the last tensor's 6 bytes are followed by padding
		for n := range len(out.b) {
			h, err := parse(bytes.NewReader(out.b[:n]), "cut.gguf", int64(n))
			if n >= end {
				if err != nil {
					t.Fatalf("cut in the last padding, at %d: %v", n, err)
				}
				continue
			}
			if err == nil {
				t.Fatalf("cut at %d of %d: accepted with %d tensors", n, len(out.b), len(h.tensors))
			}
			if !errors.Is(err, corrupt) || !strings.Contains(err.Error(), "cut.gguf") {
				t.Fatalf("cut at %d: %v", n, err)
			}
		}
	})
}

// split returns the parts of a model of three files with a tensor each.
func split(t testing.TB) map[string][]byte {
	parts := map[string][]byte{}
	for i := range 3 {
		m := &Metadata{}
		if i == 0 {
			m = model()
		}
		m.Set("split.no", uint16(i))
		m.Set("split.count", uint16(3))
		m.Set("split.tensors.count", int32(3))
		name := "w" + string(rune('0'+i))
		out := &buffer{}
		w, err := NewWriter(out, []Info{{name, lookupCodec(t, "f32"), []int{2}}}, m)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteRows(name, 0, []byte{0, 0, 128, 63, 0, 0, byte(i), 64}); err != nil {
			t.Fatal(err)
		}
		parts["m-0000"+string(rune('1'+i))+"-of-00003.gguf"] = out.b
	}
	return parts
}

func TestSplit(t *testing.T) {
	const first, second, third = "m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"
	for _, c := range []struct {
		id, open string
		change   func(parts map[string][]byte)
		class    error
		says     []string
	}{
		{"G39 part 2 of 3 missing", first, func(p map[string][]byte) { delete(p, second) }, corrupt, []string{second, "missing"}},
		{"G39 second part opened", second, func(map[string][]byte) {}, invalid, []string{second, first}},
		{"G39 first part renamed", "model.gguf", func(p map[string][]byte) { p["model.gguf"] = p[first] }, invalid, []string{"model.gguf", "split.count"}},
		{"G39 name says another count", "m-00001-of-00004.gguf", func(p map[string][]byte) { p["m-00001-of-00004.gguf"] = p[first] }, corrupt, []string{"split.count"}},
		{"G39 parts exchanged", first, func(p map[string][]byte) { p[second], p[third] = p[third], p[second] }, corrupt, []string{second, "split.no"}},
		{"G39 tensor in two parts", first, func(p map[string][]byte) {
			p[third] = bytes.Replace(p[third], []byte("w2"), []byte("w1"), 1)
		}, corrupt, []string{third, `tensor "w1"`}},
		{"G39 wrong tensor count", first, func(p map[string][]byte) {
			key := raw{}.key("split.tensors.count", typeInt32)
			p[first] = bytes.Replace(p[first], key.u32(3), key.u32(4), 1)
		}, corrupt, []string{first, "split.tensors.count"}},
		{"G39 part broken", first, func(p map[string][]byte) { p[third] = p[third][:40] }, corrupt, []string{third}},
	} {
		t.Run(c.id, func(t *testing.T) {
			parts, dir, size := split(t), t.TempDir(), int64(0)
			c.change(parts)
			for name, data := range parts {
				put(t, dir, name, data)
				size += int64(len(data))
			}
			malformed.Check(t, malformed.Want{Class: c.class, Texts: c.says, Bytes: size}, func() (io.Closer, error) { return Open(filepath.Join(dir, c.open)) })
		})
	}
	t.Run("valid twin", func(t *testing.T) {
		dir := t.TempDir()
		for name, data := range split(t) {
			put(t, dir, name, data)
		}
		f, err := Open(filepath.Join(dir, first))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if len(f.Tensors()) != 3 || len(f.Files()) != 3 {
			t.Fatalf("%d tensors in %v", len(f.Tensors()), f.Files())
		}
		x, ok := f.Tensor("w2")
		if !ok {
			t.Fatal("no w2")
		}
		if v, err := x.Float32(); err != nil || v[0] != 1 || v[1] != 2.03125 {
			t.Errorf("w2 is %v, %v", v, err)
		}
	})
}

// TestManyTensors opens the most tensors and the largest vocabulary within the bounds on time and memory.
func TestManyTensors(t *testing.T) {
	b := head(3, uint64(limits.GGUFTensors), 1).key("general.alignment", typeUint32).u32(8)
	for i := range limits.GGUFTensors {
		b = b.info(fmt.Sprintf("%05x", i), 24, uint64(8*i), 1)
	}
	b = b.data(8 * int(limits.GGUFTensors))
	path := put(t, t.TempDir(), "many.gguf", b)
	c, err := malformed.Measure(t, int64(len(b)), func() (io.Closer, error) { return Open(path) })
	if err != nil {
		t.Fatal(err)
	}
	c.Close()

	b = head(3, 0, 2).list("tokenizer.ggml.tokens", typeString, uint64(limits.Vocab))
	for range limits.Vocab {
		b = b.u64(0)
	}
	b = b.list("tokenizer.ggml.scores", typeFloat32, uint64(limits.Vocab))
	b = b.add(make([]byte, 4*limits.Vocab))
	path = put(t, t.TempDir(), "vocab.gguf", b)
	c, err = malformed.Measure(t, int64(len(b)), func() (io.Closer, error) { return Open(path) })
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
