package gguf

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/model/codec"
)

// buffer is a file in memory that grows.
type buffer struct {
	mu sync.Mutex
	b  []byte
}

func (f *buffer) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if need := int(off) + len(p); need > len(f.b) {
		f.b = append(f.b, make([]byte, need-len(f.b))...)
	}
	return copy(f.b[off:], p), nil
}

// rewrite copies an open file through the writer, row by row from the last to the first.
func rewrite(t testing.TB, f *File) []byte {
	t.Helper()
	var infos []Info
	for _, x := range f.Tensors() {
		infos = append(infos, Info{x.Name, x.Codec, x.Shape})
	}
	out := &buffer{}
	w, err := NewWriter(out, infos, f.Metadata())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range f.Tensors() {
		for r := x.Rows() - 1; r >= 0; r-- {
			row, err := x.ReadRaw(r, r+1)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.WriteRows(x.Name, r, row); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	if int64(len(out.b)) != w.Size() {
		t.Fatalf("wrote %d bytes, Size is %d", len(out.b), w.Size())
	}
	return out.b
}

func lookupCodec(t testing.TB, name string) codec.Codec {
	t.Helper()
	c, err := codec.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sample is metadata with a value of every type.
func sample() *Metadata {
	m := &Metadata{}
	m.Set("general.architecture", "llama")
	for key, v := range []any{uint8(200), int8(-3), uint16(60000), int16(-300), uint32(1 << 31), int32(-70000), float32(1.5), true, false,
		"text with \x00 and é", uint64(1 << 63), int64(-1 << 40), 2.25,
		[]uint8{1, 2}, []int8{-1}, []uint16{}, []int16{-2, 3}, []uint32{4}, []int32{-5}, []float32{0.5, -0.25}, []bool{true, false, true},
		[]string{"", "a", "ab"}, []uint64{1 << 62}, []int64{-6}, []float64{1e300}} {
		m.Set("test.k"+string(rune('a'+key)), v)
	}
	return m
}

// TestRoundTrip writes a file with every value type and several codecs, and reads it back.
func TestRoundTrip(t *testing.T) {
	infos := []Info{
		{"blk.0.attn_q.weight", lookupCodec(t, "f32"), []int{3, 5}},
		{"blk.0.ffn.weight", lookupCodec(t, "f16"), []int{2, 3, 7}},
		{"norm", lookupCodec(t, "bf16"), []int{9}},
		{"counts", lookupCodec(t, "i32"), []int{1, 2, 1, 2}},
	}
	out := &buffer{}
	w, err := NewWriter(out, infos, sample())
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]byte{}
	for k, in := range infos {
		n := 1
		for _, d := range in.Shape {
			n *= d
		}
		_, size := in.Codec.Block()
		b := make([]byte, n*size)
		for i := range b {
			b[i] = byte(i*7 + k)
		}
		rows[in.Name] = b
		if err := w.WriteRows(in.Name, 0, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := os.WriteFile(path, out.b, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got, want []any
	for k, v := range f.Metadata().All() {
		got = append(got, k, v)
	}
	for k, v := range sample().All() {
		want = append(want, k, v)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("metadata:\n%v\nwant\n%v", got, want)
	}
	for i, x := range f.Tensors() {
		if x.Name != infos[i].Name || x.Codec != infos[i].Codec || !reflect.DeepEqual(x.Shape, infos[i].Shape) {
			t.Errorf("tensor %d: %s %s %v", i, x.Name, x.Codec.Name(), x.Shape)
		}
		b, err := x.ReadRaw(0, x.Rows())
		if err != nil || !bytes.Equal(b, rows[x.Name]) {
			t.Errorf("%s: other bytes (%v)", x.Name, err)
		}
	}
	if !bytes.Equal(rewrite(t, f), out.b) {
		t.Error("written again, it differs")
	}
}

// TestSharedVocabularies reads files that llama.cpp's converter wrote and writes them again to the same bytes.
func TestSharedVocabularies(t *testing.T) {
	for _, name := range []string{"falcon", "gpt-neox-20b", "gpt2", "phi-3-mini"} {
		paths, err := filepath.Glob(filepath.Join(tiny.Shared(t, "assets", "tokenizers", name), "*.gguf"))
		if err != nil || len(paths) != 1 {
			t.Fatal(paths, err)
		}
		f, err := Open(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		// Files without tensors may lack the padding to the alignment that llama.cpp's later writers add.
		got := rewrite(t, f)
		if !bytes.HasPrefix(got, want) || len(got)-len(want) >= 32 || len(bytes.Trim(got[len(want):], "\x00")) > 0 {
			t.Errorf("%s: written again, it differs (%d bytes, want %d)", name, len(got), len(want))
		}
		tokens, err := f.Metadata().Strings("tokenizer.ggml.tokens")
		if err != nil || len(tokens) < 30000 {
			t.Errorf("%s: %d tokens, %v", name, len(tokens), err)
		}
		f.Close()
	}
}
