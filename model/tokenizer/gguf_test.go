package tokenizer

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/model/tensor"
)

// sameIDs compares two tokenizers on the golden texts.
func sameIDs(t *testing.T, name string, a, b *Tokenizer, skip func(string) bool) {
	t.Helper()
	for _, text := range readGolden(t).Texts {
		if skip != nil && skip(text) {
			continue
		}
		x, y := mustEncode(t, a, text, Options{AddSpecial: true}), mustEncode(t, b, text, Options{AddSpecial: true})
		if !slices.Equal(x, y) {
			t.Errorf("%s: %q:\n%v\n%v", name, text, x, y)
			return
		}
		if d, e := a.Decode(x, true), b.Decode(x, true); d != e {
			t.Errorf("%s: ids of %q decode to %q and %q", name, text, d, e)
			return
		}
	}
}

func trainSmall(t testing.TB, o TrainOptions) *Tokenizer {
	t.Helper()
	tk, err := Train(t.Context(), strings.Lines(readFile(t, "testdata", "golden.json")), o)
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

// TestGGUFRoundTrip writes vocabularies as GGUF values and reads them back.
func TestGGUFRoundTrip(t *testing.T) {
	o := TrainOptions{VocabSize: 600, Special: []string{"<|endoftext|>"}, BOS: "<|endoftext|>", EOS: "<|endoftext|>"}
	llama3 := o
	llama3.Split, llama3.AddBOS = SplitCL100K, true
	for _, c := range []struct {
		name, model, pre string
		tk               *Tokenizer
		same             bool // the same ids on every text
	}{
		{"gpt2", "gpt2", "gpt-2", trainSmall(t, o), true},
		{"cl100k", "gpt2", "llama-bpe", trainSmall(t, llama3), true},
		{"llama from JSON", "llama", "default", openTestdata(t, "stories260K.json"), true},
		{"llama from SentencePiece", "llama", "default", openTestdata(t, "stories260K.model"), false}, // spaces are kept in llama.cpp
		{"bert", "bert", "default", openTestdata(t, "wordpiece.json"), false},                         // the least word length is another
		{"unigram", "t5", "default", openTestdata(t, "unigram_rules.model"), false},                   // rounding of sums
	} {
		g, err := c.tk.GGUF()
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if g.Model != c.model || g.Pre != c.pre || len(g.Tokens) != c.tk.VocabSize() || len(g.Types) != len(g.Tokens) {
			t.Errorf("%s: model %q, pre-tokenizer %q, %d tokens", c.name, g.Model, g.Pre, len(g.Tokens))
		}
		if g.BOS != c.tk.BOS() || g.EOS != c.tk.EOS() || *g.AddBOS != c.tk.PrependsBOS() {
			t.Errorf("%s: BOS %d, EOS %d, add BOS %v", c.name, g.BOS, g.EOS, *g.AddBOS)
		}
		back, err := FromGGUF(c.name, g)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if c.same {
			sameIDs(t, c.name, c.tk, back, nil)
			if back.Fingerprint() != c.tk.Fingerprint() {
				t.Errorf("%s: fingerprint changed", c.name)
			}
		}
		if again, err := back.GGUF(); err != nil || !slices.Equal(again.Tokens, g.Tokens) || !slices.Equal(again.Merges, g.Merges) {
			t.Errorf("%s: the values change on the way: %v", c.name, err)
		}
	}
}

func TestGGUFRefusals(t *testing.T) {
	for file, reason := range map[string]string{"microlm.json": "Lowercase", "suffix.json": "Lowercase", "bytelevel.json": "Lowercase",
		"bpe_suffix.model": "end", "bpe_plain.model": "byte fallback", "unigram_user.model": "byte fallback"} {
		_, err := openTestdata(t, file).GGUF()
		if !errors.Is(err, tensor.ErrUnsupported) || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: got %v, want a refusal for %q", file, err, reason)
		}
	}
	word, err := FromJSON("tokenizer.json", spoil("model", obj{"type": "WordLevel", "unk_token": "a", "vocab": obj{"a": 0}}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := word.GGUF(); err == nil || !strings.Contains(err.Error(), "WordLevel") {
		t.Errorf("word-level vocabulary: %v", err)
	}
	// A merge list that leaves out one way to make a piece cannot be expressed as scores.
	vocab := obj{"a": 256, "b": 257, "▁": 258, "ab": 259, "ba": 260, "aba": 261}
	for b := range 256 {
		vocab[byteName(byte(b))] = b
	}
	partial := spoil("model", obj{"type": "BPE", "byte_fallback": true, "vocab": vocab, "merges": []any{"a b", "b a", "ab a"}})
	s := strings.Replace(string(partial), `"pre_tokenizer":{"type":"Whitespace"}`, `"pre_tokenizer":{"type":"Metaspace","replacement":"▁","split":false}`, 1)
	s = strings.Replace(s, `"id":5`, `"id":262`, 1)
	tk, err := FromJSON("tokenizer.json", []byte(s))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tk.GGUF(); err == nil || !strings.Contains(err.Error(), "aba") {
		t.Errorf("partial merges: %v", err)
	}
}

// TestGGUFPreTokenizers makes a vocabulary for every name and checks that the name written back splits alike.
func TestGGUFPreTokenizers(t *testing.T) {
	small := trainSmall(t, TrainOptions{VocabSize: 400})
	g, err := small.GGUF()
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range ggufPre {
		g.Pre = name
		tk, err := FromGGUF(name, g)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text := "It's 12345 o'clock,\n\n  naïve — 東京 ABCdef!! x\t\ty"
		if got := tk.Decode(mustEncode(t, tk, text, Options{}), true); got != text {
			t.Errorf("%s: %q", name, got)
		}
		key, ok := splitKey(p.json())
		if name == "" || name == "default" || name == "falcon" {
			continue
		}
		if names := preNames()[key]; !ok || !slices.Contains(names, name) || ggufPre[names[0]].json() == nil {
			t.Errorf("%s is not found by what it does (%v)", name, names)
		}
	}
	// Other spellings of the same patterns.
	for _, c := range []struct{ pattern, name string }{
		{`(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`, ""},
		{patternGPT2, "gpt-2"},
		{`'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, ""},
		{strings.ReplaceAll(patternLlama3, `\r\n`, "\r\n"), "llama-bpe"},
		{strings.ReplaceAll(patternLlama3, `(?i:`, `(?i:(?:`)[:4] + `'s|'t|'re|'ve|'m|'ll|'d)` + strings.TrimPrefix(patternLlama3, contractions), "llama-bpe"},
		{strings.ReplaceAll(patternQwen2, `]?\p{L}+`, `]?+\p{L}++`), "qwen2"},
	} {
		quoted := string(mustJSON(c.pattern))
		raw := `{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":` + quoted + `},"behavior":"Removed","invert":true},` +
			`{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}`
		key, _ := splitKey([]byte(raw))
		got := ""
		if names := preNames()[key]; len(names) > 0 {
			got = names[0]
		}
		if got != c.name {
			t.Errorf("%s: got %q, want %q", c.pattern, got, c.name)
		}
	}
}

// TestFiles writes tokenizer.json and reads it back.
func TestFiles(t *testing.T) {
	tks := map[string]*Tokenizer{"trained": trainSmall(t, TrainOptions{VocabSize: 500, Split: SplitO200K, BOS: "<s>", EOS: "</s>", AddBOS: true, Special: []string{"<pad>"}})}
	for _, f := range []string{"bytelevel.json", "suffix.json", "prefix.json", "wordpiece.json", "unigram.json", "stories260K.json", "microlm.json", "bpe_plain.model"} {
		tks[f] = openTestdata(t, f)
	}
	for name, tk := range tks {
		files, err := tk.Files()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		dir := t.TempDir()
		for f, data := range files {
			writeFile(t, dir, f, data)
		}
		back := open(t, dir)
		sameIDs(t, name, tk, back, nil)
		if back.Fingerprint() != tk.Fingerprint() || back.BOS() != tk.BOS() || back.EOS() != tk.EOS() || back.PrependsBOS() != tk.PrependsBOS() {
			t.Errorf("%s: not the same after writing", name)
		}
		again, err := back.Files()
		if err != nil || string(again["tokenizer.json"]) != string(files["tokenizer.json"]) {
			t.Errorf("%s: writing twice gives another file (%v)", name, err)
		}
	}
	if _, err := openTestdata(t, "bpe_suffix.model").Files(); !errors.Is(err, tensor.ErrUnsupported) {
		t.Errorf("suffix: %v", err)
	}
}

// TestFingerprint: what changes ids changes it, what does not does not.
func TestFingerprint(t *testing.T) {
	base := func(f func(j obj)) string {
		j := validJSON()
		f(j)
		tk, err := FromJSON("tokenizer.json", mustJSON(j))
		if err != nil {
			t.Fatal(err)
		}
		return tk.Fingerprint()
	}
	model := func(j obj) obj { return j["model"].(obj) }
	want := base(func(obj) {})
	for name, f := range map[string]func(obj){
		"padding":        func(j obj) { j["padding"] = obj{"strategy": "BatchLongest"} },
		"merge spelling": func(j obj) { model(j)["merges"] = []any{[]any{"a", "b"}, "ab b"} },
		"special":        func(j obj) { j["added_tokens"] = []any{obj{"id": 5, "content": "<s>", "special": false}} },
		"template":       func(j obj) { j["post_processor"] = obj{"type": "ByteLevel", "trim_offsets": true} },
	} {
		if base(f) != want {
			t.Errorf("%s changes the fingerprint", name)
		}
	}
	for name, f := range map[string]func(obj){
		"piece":       func(j obj) { model(j)["vocab"].(obj)["d"] = 6 },
		"merges":      func(j obj) { model(j)["merges"] = []any{"a b"} },
		"order":       func(j obj) { v := model(j)["vocab"].(obj); v["a"], v["b"] = 1, 0 },
		"split":       func(j obj) { j["pre_tokenizer"] = obj{"type": "WhitespaceSplit"} },
		"normalizer":  func(j obj) { j["normalizer"] = obj{"type": "NFC"} },
		"added token": func(j obj) { j["added_tokens"] = []any{} },
		"unknown":     func(j obj) { model(j)["unk_token"] = nil },
	} {
		if base(f) == want {
			t.Errorf("%s does not change the fingerprint", name)
		}
	}
}

// TestFingerprintAcrossContainers: the same vocabulary from a directory and from GGUF.
func TestFingerprintAcrossContainers(t *testing.T) {
	dir := tiny.Shared(t, "assets", "tokenizers")
	for name, file := range map[string]string{"gpt2": "ggml-vocab-gpt-2.gguf", "phi-3-mini": "ggml-vocab-phi-3.gguf", "falcon": "ggml-vocab-falcon.gguf"} {
		a, b := open(t, filepath.Join(dir, name)), fromGGUF(t, filepath.Join(dir, name, file))
		if n := min(a.VocabSize(), b.VocabSize()); n < 32000 {
			t.Errorf("%s: %d pieces", name, n)
		}
		if a.Fingerprint() != b.Fingerprint() {
			t.Errorf("%s: fingerprints differ: %d and %d pieces", name, a.VocabSize(), b.VocabSize())
		}
	}
}
