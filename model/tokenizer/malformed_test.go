package tokenizer

import (
	"encoding/binary"
	"encoding/json"
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

// valid is a small tokenizer.json that every case of the table spoils in one place.
func validJSON() map[string]any {
	return map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": []any{map[string]any{"id": 5, "content": "<s>", "special": true}},
		"normalizer": nil, "pre_tokenizer": map[string]any{"type": "Whitespace"}, "post_processor": nil, "decoder": nil,
		"model": map[string]any{"type": "BPE", "unk_token": "a", "vocab": map[string]any{"a": 0, "b": 1, "ab": 2, "abb": 3, "c": 4}, "merges": []any{"a b", []any{"ab", "b"}}},
	}
}

func spoil(path string, value any) []byte {
	j := validJSON()
	m := j
	keys := strings.Split(path, ".")
	for _, k := range keys[:len(keys)-1] {
		m = m[k].(map[string]any)
	}
	if k := keys[len(keys)-1]; value == nil {
		delete(m, k)
	} else {
		m[k] = value
	}
	data, err := json.Marshal(j)
	if err != nil {
		panic(err)
	}
	return data
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

type obj = map[string]any

func split(pattern string) obj {
	return obj{"type": "Split", "pattern": obj{"Regex": pattern}, "behavior": "Isolated", "invert": false}
}

func unigramJSON(vocab any) []byte {
	return spoil("model", obj{"type": "Unigram", "unk_id": 0, "vocab": vocab})
}

// TestMalformed holds cases T01-T13 of the reliability plan, and what else a file may get wrong.
func TestMalformed(t *testing.T) {
	corrupt, unsupported, tooLarge := tensor.ErrCorrupt, tensor.ErrUnsupported, tensor.ErrTooLarge
	long := strings.Repeat("x", int(limits.Token)+1)
	for _, c := range []struct {
		name  string
		data  []byte
		class error
		field string
	}{
		{"T00 not JSON", []byte("{"), corrupt, ""},
		{"T00 empty", nil, corrupt, ""},
		{"T00 list", []byte("[]"), corrupt, "not an object"},
		{"T00 not UTF-8", []byte("{\"model\":\"\xff\"}"), corrupt, "UTF-8"},
		{"T00 deep", []byte(strings.Repeat("[", 20000)), corrupt, ""},
		{"T00 key twice", []byte(`{"model":{},"model":{}}`), corrupt, "twice"},
		{"T01 no model", spoil("model", nil), corrupt, "model"},
		{"T01 model is a string", spoil("model", "x"), corrupt, "model"},
		{"T01 no vocab", spoil("model.vocab", nil), corrupt, "vocab"},
		{"T01 no merges", spoil("model.merges", nil), corrupt, "merges"},
		{"T02 unknown model", spoil("model.type", "Magic"), unsupported, "Magic"},
		{"T02 unknown normalizer", spoil("normalizer", obj{"type": "Magic"}), unsupported, "Magic"},
		{"T02 unknown pre-tokenizer", spoil("pre_tokenizer", obj{"type": "Magic"}), unsupported, "Magic"},
		{"T02 unknown decoder", spoil("decoder", obj{"type": "Magic"}), unsupported, "Magic"},
		{"T02 unknown post-processor", spoil("post_processor", obj{"type": "Magic"}), unsupported, "Magic"},
		{"T02 dropout", spoil("model.dropout", 0.1), unsupported, "dropout"},
		{"T03 two tokens one id", spoil("model.vocab", obj{"a": 0, "b": 0}), corrupt, "two pieces have id 0"},
		{"T03 added token on a piece", spoil("added_tokens", []any{obj{"id": 1, "content": "<s>"}}), corrupt, "id 1"},
		{"T03 one token two ids", spoil("added_tokens", []any{obj{"id": 7, "content": "ab"}}), corrupt, "ab"},
		{"T03 one piece two ids", []byte(strings.Replace(string(spoil("x", 1)), `"a":0`, `"a":0,"a":9`, 1)), corrupt, "two ids"},
		{"T04 huge gap", spoil("model.vocab", obj{"a": 0, "b": 1000000}), corrupt, "1000000"},
		{"T04 negative id", spoil("model.vocab", obj{"a": -1}), corrupt, "-1"},
		{"T04 id 2^31", spoil("model.vocab", obj{"a": 1 << 31}), tooLarge, "2147483648"},
		{"T04 fraction", spoil("model.vocab", obj{"a": 1.5}), corrupt, "1.5"},
		{"T04 string", spoil("model.vocab", obj{"a": "0"}), corrupt, "vocab"},
		{"T04 added id negative", spoil("added_tokens", []any{obj{"id": -5, "content": "<s>"}}), tooLarge, "-5"},
		{"T04 added id 2^31", spoil("added_tokens", []any{obj{"id": 1 << 31, "content": "<s>"}}), corrupt, "added_tokens"},
		{"T05 unknown part", spoil("model.merges", []any{"a x"}), corrupt, "\"x\""},
		{"T05 unknown result", spoil("model.merges", []any{"b a"}), corrupt, "\"ba\""},
		{"T05 one part", spoil("model.merges", []any{"ab"}), corrupt, "merge 0"},
		{"T05 three parts", spoil("model.merges", []any{"a b c"}), corrupt, "merge 0"},
		{"T05 list of one", spoil("model.merges", []any{[]any{"a"}}), corrupt, "merge 0"},
		{"T05 number", spoil("model.merges", []any{7}), corrupt, "merge 0"},
		{"T06 cycle through an empty piece", spoil("model", obj{"type": "BPE", "vocab": obj{"": 0, "a": 1}, "merges": []any{[]any{"", "a"}}}), corrupt, "empty"},
		{"T06 duplicate merge", spoil("model.merges", []any{"a b", "a b"}), corrupt, "repeats"},
		{"T07 long added token", spoil("added_tokens", []any{obj{"id": 5, "content": long}}), tooLarge, "65536"},
		{"T07 empty added token", spoil("added_tokens", []any{obj{"id": 5, "content": ""}}), corrupt, "empty"},
		{"T07 long piece", spoil("model.vocab", obj{long: 0}), tooLarge, "65536"},
		{"T08 byte piece <0xZZ>", spoil("model", obj{"type": "BPE", "byte_fallback": true, "vocab": obj{"<0xZZ>": 0}, "merges": []any{}}), corrupt, "<0xZZ>"},
		{"T08 byte piece <0x-1>", spoil("model", obj{"type": "BPE", "byte_fallback": true, "vocab": obj{"<0x-1>": 0}, "merges": []any{}}), corrupt, "<0x-1>"},
		{"T09 some bytes missing", spoil("model", obj{"type": "BPE", "byte_fallback": true, "vocab": obj{"<0x00>": 0}, "merges": []any{}}), corrupt, "256"},
		{"T10 lookbehind", spoil("pre_tokenizer", split(`(?<=a)b`)), unsupported, "lookbehind"},
		{"T10 back reference", spoil("pre_tokenizer", split(`(a)\1`)), unsupported, "back reference"},
		{"T10 lazy", spoil("pre_tokenizer", split(`a+?b`)), unsupported, "lazy"},
		{"T10 nested quantifier with lookahead", spoil("pre_tokenizer", split(`(a*)*(?!b)`)), unsupported, "pre_tokenizer"},
		{"T10 open bracket", spoil("pre_tokenizer", split(`[a`)), unsupported, "missing ]"},
		{"T10 open group", spoil("pre_tokenizer", split(`(a`)), unsupported, "missing )"},
		{"T10 deep groups", spoil("pre_tokenizer", split(strings.Repeat("(", 5000)+"a"+strings.Repeat(")", 5000))), unsupported, "nested"},
		{"T10 huge repeat", spoil("pre_tokenizer", split(`(?:a{1000}){1000}`)), unsupported, "pre_tokenizer"},
		{"T10 long pattern", spoil("pre_tokenizer", split(strings.Repeat("a", reMaxLength+1))), unsupported, "longer"},
		{"T10 matches nothing", spoil("pre_tokenizer", split(`a*`)), unsupported, "empty string"},
		{"T10 unknown property", spoil("pre_tokenizer", split(`\p{Klingon}`)), unsupported, "Klingon"},
		{"T11 replace nothing", spoil("normalizer", obj{"type": "Replace", "pattern": obj{"String": ""}, "content": "x"}), unsupported, "empty pattern"},
		{"T12 score NaN", []byte(strings.Replace(string(unigramJSON([]any{[]any{"a", 1}})), `["a",1]`, `["a",NaN]`, 1)), corrupt, ""},
		{"T12 score 1e999", []byte(strings.Replace(string(unigramJSON([]any{[]any{"a", 1}})), `["a",1]`, `["a",1e999]`, 1)), corrupt, "score"},
		{"T12 no score", unigramJSON([]any{[]any{"a"}}), corrupt, "piece and a score"},
		{"T12 unk_id outside", spoil("model", obj{"type": "Unigram", "unk_id": 3, "vocab": []any{[]any{"a", 0}}}), corrupt, "unk_id"},
		{"T13 vocabulary beyond the limit", spoil("model.vocab", obj{"a": limits.Vocab}), tooLarge, "ids are"},
		{"T14 too many added tokens", spoil("added_tokens", manyAdded(int(limits.AddedTokens)+1)), tooLarge, "added_tokens"},
		{"template without a sequence", spoil("post_processor", obj{"type": "TemplateProcessing", "single": []any{}, "special_tokens": obj{}}), unsupported, "sequence A"},
		{"template with an unknown token", spoil("post_processor", obj{"type": "TemplateProcessing", "special_tokens": obj{},
			"single": []any{obj{"SpecialToken": obj{"id": "x"}}, obj{"Sequence": obj{"id": "A"}}}}), unsupported, "\"x\""},
		{"post-processor adds an id outside", spoil("post_processor", obj{"type": "BertProcessing", "sep": []any{"x", 99}, "cls": []any{"x", 0}}), corrupt, "99"},
		{"charsmap cut off", spoil("normalizer", obj{"type": "Precompiled", "precompiled_charsmap": "AAE="}), unsupported, "charsmap"},
		{"charsmap size", spoil("normalizer", obj{"type": "Precompiled", "precompiled_charsmap": "////////"}), unsupported, "charsmap"},
		{"metaspace of two characters", spoil("pre_tokenizer", obj{"type": "Metaspace", "replacement": "xy"}), unsupported, "one character"},
		{"half a surrogate pair", []byte(strings.Replace(string(spoil("x", 1)), `"abb"`, `"\ud800"`, 1)), corrupt, "surrogate"},
		{"unknown unk_token", spoil("model.unk_token", "zzz"), corrupt, "zzz"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mustFail(t, c.class, c.field, len(c.data), func() error { _, err := FromJSON("tokenizer.json", c.data); return err })
		})
	}
	if _, err := FromJSON("tokenizer.json", mustJSON(validJSON())); err != nil {
		t.Errorf("the valid twin fails: %v", err)
	}
	if _, err := FromJSON("tokenizer.json", spoil("model.vocab", obj{"a": 0, "b": 1, "ab": 2, "abb": 3, "c": 40})); err != nil {
		t.Errorf("a small gap fails: %v", err)
	}
}

func manyAdded(n int) (out []any) {
	for i := range n {
		out = append(out, obj{"id": i + 5, "content": fmt.Sprint("<", i, ">")})
	}
	return out
}

// mustFail checks class and text of an error and what it cost for size bytes of input.
func mustFail(t *testing.T, class error, field string, size int, f func() error) {
	t.Helper()
	malformed.Check(t, malformed.Want{Class: class, Texts: []string{field}, Bytes: int64(size)}, func() (io.Closer, error) { return io.NopCloser(nil), f() })
}

// TestMalformedSentencePiece spoils a model file.
func TestMalformedSentencePiece(t *testing.T) {
	good, err := os.ReadFile("testdata/bpe_user.model")
	if err != nil {
		t.Fatal(err)
	}
	piece := func(text string, score float32, kind int) []byte {
		b := append([]byte{0x0a, byte(len(text))}, text...)
		b = binary.LittleEndian.AppendUint32(append(b, 0x15), math.Float32bits(score))
		b = append(b, 0x18, byte(kind))
		return append([]byte{0x0a, byte(len(b))}, b...)
	}
	bpe := []byte{0x12, 0x02, 0x18, 0x02} // trainer_spec.model_type = BPE
	join := func(parts ...[]byte) (out []byte) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	unk := piece("<unk>", 0, 2)
	for _, c := range []struct {
		name  string
		data  []byte
		class error
		field string
	}{
		{"empty", nil, tensor.ErrCorrupt, "none"},
		{"text", []byte("hello there, this is text"), tensor.ErrCorrupt, "SentencePiece"},
		{"length beyond the end", []byte{0x0a, 0xff, 0x01}, tensor.ErrCorrupt, "needs"},
		{"length 2^64-1", []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, tensor.ErrCorrupt, "needs"},
		{"number too long", []byte{0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, tensor.ErrCorrupt, "number"},
		{"no unknown piece", join(piece("a", 0, 1), bpe), tensor.ErrCorrupt, "unknown piece"},
		{"two unknown pieces", join(unk, piece("<unk2>", 0, 2), bpe), tensor.ErrCorrupt, "both"},
		{"empty piece", join(unk, piece("", 0, 1), bpe), tensor.ErrCorrupt, "empty"},
		{"piece twice", join(unk, piece("a", 0, 1), piece("a", 0, 1), bpe), tensor.ErrCorrupt, "two ids"},
		{"score NaN", join(unk, piece("a", float32(math.NaN()), 1), bpe), tensor.ErrCorrupt, "number"},
		{"type 9", join(unk, piece("a", 0, 9), bpe), tensor.ErrCorrupt, "type 9"},
		{"byte piece", join(unk, piece("<0xGG>", 0, 6), bpe), tensor.ErrCorrupt, "<0xGG>"},
		{"not UTF-8", join(unk, piece("\xff", 0, 1), bpe), tensor.ErrCorrupt, "UTF-8"},
		{"word model", join(unk, []byte{0x12, 0x02, 0x18, 0x03}), tensor.ErrUnsupported, "model type 3"},
		{"broken charsmap", join(unk, bpe, []byte{0x1a, 0x07, 0x12, 0x05, 9, 9, 9, 9, 9}), tensor.ErrUnsupported, "charsmap"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mustFail(t, c.class, c.field, len(c.data), func() error { _, err := FromSentencePiece("tokenizer.model", c.data); return err })
		})
	}
	for n := range good { // cut off anywhere: an error or fewer pieces, never a panic
		if n%7 == 0 {
			_, _ = FromSentencePiece("tokenizer.model", good[:n])
		}
	}
}

// TestMalformedGGUF covers the tokenizer metadata (G36-G38 of the plan).
func TestMalformedGGUF(t *testing.T) {
	good := func() *GGUF {
		g := NewGGUF()
		g.Model, g.Tokens = "llama", []string{"<unk>", "<s>", "</s>", "a", "b", "ab"}
		g.Scores, g.Types = []float32{0, 0, 0, -1, -2, -3}, []int32{2, 3, 3, 1, 1, 1}
		return g
	}
	for _, c := range []struct {
		name  string
		f     func(g *GGUF)
		class error
		field string
	}{
		{"no tokens", func(g *GGUF) { g.Tokens = nil }, tensor.ErrCorrupt, "tokens"},
		{"fewer types", func(g *GGUF) { g.Types = g.Types[:2] }, tensor.ErrCorrupt, "token_type"},
		{"fewer scores", func(g *GGUF) { g.Scores = g.Scores[:2] }, tensor.ErrCorrupt, "scores"},
		{"no scores", func(g *GGUF) { g.Scores = nil }, tensor.ErrCorrupt, "scores"},
		{"bos outside", func(g *GGUF) { g.BOS = 6 }, tensor.ErrCorrupt, "bos"},
		{"eos negative", func(g *GGUF) { g.EOS = -2 }, tensor.ErrCorrupt, "eos"},
		{"type 7", func(g *GGUF) { g.Types[3] = 7 }, tensor.ErrCorrupt, "type 7"},
		{"unknown model", func(g *GGUF) { g.Model = "plamo2" }, tensor.ErrUnsupported, "plamo2"},
		{"unknown pre-tokenizer", func(g *GGUF) { g.Model, g.Pre, g.Merges = "gpt2", "kimi-k9", []string{"a b"} }, tensor.ErrUnsupported, "kimi-k9"},
		{"no merges", func(g *GGUF) { g.Model, g.Pre = "gpt2", "gpt-2" }, tensor.ErrCorrupt, "merges"},
		{"merge of one", func(g *GGUF) { g.Model, g.Pre, g.Merges = "gpt2", "gpt-2", []string{"ab"} }, tensor.ErrCorrupt, "merge 0"},
		{"merge unknown", func(g *GGUF) { g.Model, g.Pre, g.Merges = "gpt2", "gpt-2", []string{"a z"} }, tensor.ErrCorrupt, "\"z\""},
		{"piece twice", func(g *GGUF) { g.Tokens[5] = "a" }, tensor.ErrCorrupt, "two ids"},
		{"byte token", func(g *GGUF) { g.Tokens[5], g.Types[5] = "<0xQQ>", 6 }, tensor.ErrCorrupt, "<0xQQ>"},
		{"score NaN", func(g *GGUF) { g.Scores[5] = float32(math.NaN()) }, tensor.ErrCorrupt, "score"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := good()
			c.f(g)
			mustFail(t, c.class, c.field, 1000, func() error { _, err := FromGGUF("model.gguf", g); return err })
		})
	}
	if _, err := FromGGUF("model.gguf", good()); err != nil {
		t.Errorf("the valid twin fails: %v", err)
	}
}

// TestMalformedDirectory spoils the files around a vocabulary.
func TestMalformedDirectory(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(class error, field string) {
		t.Helper()
		if _, err := Open(dir); !errors.Is(err, class) || !strings.Contains(err.Error(), field) {
			t.Errorf("got %v, want %q about %q", err, class, field)
		}
	}
	check(tensor.ErrUnsupported, "tokenizer.json")
	write("tokenizer.json", string(mustJSON(validJSON())))
	write("tokenizer_config.json", "{")
	check(tensor.ErrCorrupt, "tokenizer_config.json")
	write("tokenizer_config.json", `{"added_tokens_decoder":{"x":{"content":"a"}}}`)
	check(tensor.ErrCorrupt, "added_tokens_decoder")
	write("tokenizer_config.json", `{"chat_template":"`+strings.Repeat("x", int(limits.Template)+1)+`"}`) // T14
	check(tensor.ErrTooLarge, "chat_template")
	write("tokenizer_config.json", `{"chat_template":5}`)
	check(tensor.ErrCorrupt, "chat_template")
	write("tokenizer_config.json", `{"bos_token":{"content":"<s>"},"eos_token":null,"chat_template":[{"name":"x","template":"1"},{"name":"default","template":"2"}]}`)
	tk, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if tk.BOS() != 5 || tk.EOS() != -1 || tk.ChatTemplate() != "2" || tk.PrependsBOS() {
		t.Errorf("bos %d, eos %d, template %q", tk.BOS(), tk.EOS(), tk.ChatTemplate())
	}
	if err := os.Remove(filepath.Join(dir, "tokenizer.json")); err != nil {
		t.Fatal(err)
	}
	write("vocab.json", `{"a":0,"b":1,"ab":2}`)
	write("merges.txt", "#version: 0.2\na b\nb c\n")
	check(tensor.ErrCorrupt, "line 3")
	write("merges.txt", "#version: 0.2\r\na b\r\n")
	if tk, err = Open(dir); err != nil || tk.VocabSize() != 3 {
		t.Errorf("vocab and merges: %v", err)
	}
}
