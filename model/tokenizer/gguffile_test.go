package tokenizer

import (
	"encoding/binary"
	"math"
	"os"
	"testing"
)

// readVocabGGUF reads the metadata of a vocabulary-only GGUF file that the tests trust: the package under test must not import the
// reader of whole files.
func readVocabGGUF(t testing.TB, path string) *GGUF {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := &ggufReader{data: data[8:]} // magic, version
	r.u64()                          // tensors
	kv := map[string]any{}
	for range r.u64() {
		key := r.str()
		kv[key] = r.value(r.u32())
	}
	g := NewGGUF()
	str := func(key string) string { s, _ := kv["tokenizer.ggml."+key].(string); return s }
	g.Model, g.Pre = str("model"), str("pre")
	g.ChatTemplate, _ = kv["tokenizer.chat_template"].(string)
	g.Tokens, _ = kv["tokenizer.ggml.tokens"].([]string)
	g.Merges, _ = kv["tokenizer.ggml.merges"].([]string)
	g.Scores, _ = kv["tokenizer.ggml.scores"].([]float32)
	g.Types, _ = kv["tokenizer.ggml.token_type"].([]int32)
	id := func(key string, to *int32) {
		if v, ok := kv["tokenizer.ggml."+key+"_token_id"].(uint32); ok {
			*to = int32(v)
		}
	}
	id("bos", &g.BOS)
	id("eos", &g.EOS)
	id("unknown", &g.UNK)
	id("padding", &g.PAD)
	flag := func(key string, to **bool) {
		if v, ok := kv["tokenizer.ggml."+key].(bool); ok {
			*to = &v
		}
	}
	flag("add_bos_token", &g.AddBOS)
	flag("add_eos_token", &g.AddEOS)
	flag("add_space_prefix", &g.AddSpacePrefix)
	return g
}

type ggufReader struct{ data []byte }

func (r *ggufReader) take(n uint64) []byte {
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}
func (r *ggufReader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *ggufReader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *ggufReader) str() string { return string(r.take(r.u64())) }

func (r *ggufReader) value(kind uint32) any {
	switch kind {
	case 0, 1:
		return r.take(1)[0]
	case 2, 3:
		return binary.LittleEndian.Uint16(r.take(2))
	case 4:
		return r.u32()
	case 5:
		return int32(r.u32())
	case 6:
		return math.Float32frombits(r.u32())
	case 7:
		return r.take(1)[0] != 0
	case 8:
		return r.str()
	case 9:
		return r.array(r.u32(), r.u64())
	case 10, 11, 12:
		return r.u64()
	}
	panic(kind)
}

func (r *ggufReader) array(kind uint32, n uint64) any {
	switch kind {
	case 8:
		out := make([]string, n)
		for i := range out {
			out[i] = r.str()
		}
		return out
	case 6:
		out := make([]float32, n)
		for i := range out {
			out[i] = math.Float32frombits(r.u32())
		}
		return out
	case 5:
		out := make([]int32, n)
		for i := range out {
			out[i] = int32(r.u32())
		}
		return out
	}
	for range n {
		r.value(kind)
	}
	return nil
}
