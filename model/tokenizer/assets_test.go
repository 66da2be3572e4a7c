package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny"
)

// vectors reads the test texts and ids that llama.cpp ships beside a vocabulary.
func vectors(t *testing.T, base string) (texts []string, want [][]int32) {
	in, err := os.ReadFile(base + ".inp")
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(base + ".out")
	if err != nil {
		t.Fatal(err)
	}
	texts = strings.Split(string(in), "\n__ggml_vocab_test__\n")
	for line := range strings.Lines(string(out)) {
		ids := []int32{}
		for f := range strings.FieldsSeq(line) {
			n, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, int32(n))
		}
		want = append(want, ids)
	}
	if len(want) < len(texts) {
		texts = texts[:len(want)] // the last separator is followed by nothing
	}
	if len(texts) != len(want) || len(texts) < 40 {
		t.Fatalf("%d texts, %d lines of ids", len(texts), len(want))
	}
	return texts, want
}

func open(t testing.TB, dir string) *Tokenizer {
	t.Helper()
	tk, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func fromGGUF(t testing.TB, path string) *Tokenizer {
	t.Helper()
	tk, err := FromGGUF(filepath.Base(path), readVocabGGUF(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func TestVocabularyVectors(t *testing.T) {
	dir := tiny.Shared(t, "assets", "tokenizers")
	for _, c := range []struct{ vectors, gguf, hf string }{
		{"gpt2/ggml-vocab-gpt-2.gguf", "gpt2/ggml-vocab-gpt-2.gguf", "gpt2"},
		{"gpt2/ggml-vocab-gpt-2.gguf", "", "phi-2"}, // the same vocabulary with runs of spaces added
		{"phi-3-mini/ggml-vocab-phi-3.gguf", "phi-3-mini/ggml-vocab-phi-3.gguf", "phi-3-mini"},
		{"falcon/ggml-vocab-falcon.gguf", "falcon/ggml-vocab-falcon.gguf", "falcon"},
	} {
		texts, want := vectors(t, filepath.Join(dir, c.vectors))
		check := func(name string, tk *Tokenizer) {
			t.Run(name, func(t *testing.T) {
				compared := 0
				for i, text := range texts {
					if c.hf == "phi-2" && (strings.Contains(text, "  ") || strings.Contains(text, "\t\t")) {
						continue
					}
					compared++
					got, err := tk.Encode(text, false)
					if err != nil || !slices.Equal(got, want[i]) {
						t.Errorf("%q:\n got %v %v\nwant %v", text, got, err, want[i])
					}
				}
				if t.Logf("%d of %d texts", compared, len(texts)); compared < len(texts) && c.hf != "phi-2" {
					t.Error("some texts were not compared")
				}
			})
		}
		check(c.hf+" files", open(t, filepath.Join(dir, c.hf)))
		if c.gguf != "" {
			check(c.hf+" gguf", fromGGUF(t, filepath.Join(dir, c.gguf)))
		}
	}
}

// reference is the part of reference.json that holds token ids.
type reference struct {
	Prompts []struct {
		Text     string  `json:"text"`
		TokenIDs []int32 `json:"token_ids"`
	}
	Perplexity struct {
		TokenIDs []int32 `json:"token_ids"`
	}
}

func TestReferenceModels(t *testing.T) {
	dir := tiny.Shared(t, "assets", "models")
	corpora := tiny.Shared(t, "assets", "corpora")
	for _, c := range []struct {
		model string
		text  func() string
		bos   bool
	}{
		{"stories260K", func() string {
			all := strings.Split(readFile(t, corpora, "tinystories", "valid.txt"), "<|endoftext|>")
			for i := range all {
				all[i] = strings.TrimSpace(all[i])
			}
			return strings.Join(all[:20], "\n")
		}, true},
		{"microlm-base-gpt2", func() string {
			return string([]rune(readFile(t, corpora, "tinyshakespeare", "input.txt"))[:20000])
		}, false},
		{"slm4096-gpt2", func() string { return readFile(t, dir, "slm4096-gpt2", "training_text.txt") }, false},
	} {
		t.Run(c.model, func(t *testing.T) {
			tk := open(t, filepath.Join(dir, c.model))
			var ref reference
			if err := json.Unmarshal([]byte(readFile(t, dir, c.model, "reference.json")), &ref); err != nil {
				t.Fatal(err)
			}
			for _, p := range ref.Prompts {
				if c.model == "slm4096-gpt2" && strings.ContainsAny(p.Text, "4096") {
					continue // the reference program drops characters outside the vocabulary, tokenizer.json says <unk>
				}
				if got, err := tk.Encode(p.Text, true); err != nil || !slices.Equal(got, p.TokenIDs) {
					t.Errorf("%q: got %v %v, want %v", p.Text, got, err, p.TokenIDs)
				}
			}
			got, err := tk.Encode(c.text(), false)
			if n := len(ref.Perplexity.TokenIDs); err != nil || n == 0 || !slices.Equal(got[:min(n, len(got))], ref.Perplexity.TokenIDs) {
				t.Errorf("reference text: %v, %d ids, want %d: first difference at %d", err, len(got), n, firstDifference(got, ref.Perplexity.TokenIDs))
			}
			if tk.PrependsBOS() != c.bos {
				t.Errorf("PrependsBOS is %v", tk.PrependsBOS())
			}
		})
	}
}

func firstDifference(a, b []int32) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func readFile(t testing.TB, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestSentencePieceModel compares the binary model file of stories260K with its tokenizer.json, which agree on text without
// leading, trailing or doubled spaces.
func TestSentencePieceModel(t *testing.T) {
	dir := tiny.Shared(t, "assets", "models", "stories260K")
	tk := open(t, dir)
	sp, err := FromSentencePiece("tokenizer.model", []byte(readFile(t, dir, "tokenizer.model")))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(readFile(t, tiny.Shared(t, "assets", "corpora", "tinystories", "valid.txt"))), " ")
	a, err1 := tk.Encode(text, true)
	b, err2 := sp.Encode(text, true)
	if err1 != nil || err2 != nil || !slices.Equal(a, b) {
		t.Errorf("%v %v: first difference at %d of %d", err1, err2, firstDifference(a, b), len(a))
	}
	if got := sp.Decode(b, true); got != text {
		t.Error("decoded text differs")
	}
}

// corpora returns the texts of the shared corpora by name.
func corpora(t testing.TB) map[string]string {
	out := map[string]string{}
	dir := tiny.Shared(t, "assets", "corpora")
	names, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(names) < 10 {
		t.Fatal(err, names)
	}
	for _, n := range names {
		out[filepath.Base(filepath.Dir(n))+"/"+filepath.Base(n)] = readFile(t, n)
	}
	return out
}

func TestRoundTripCorpora(t *testing.T) {
	dir := tiny.Shared(t, "assets", "tokenizers")
	texts := corpora(t)
	cl100k, err := FromTiktoken("cl100k_base.tiktoken", []byte(readFile(t, dir, "cl100k_base", "cl100k_base.tiktoken")), SplitCL100K, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, tk := range map[string]*Tokenizer{
		"gpt2": open(t, filepath.Join(dir, "gpt2")), "phi-2": open(t, filepath.Join(dir, "phi-2")), "falcon": open(t, filepath.Join(dir, "falcon")),
		"phi-3": open(t, filepath.Join(dir, "phi-3-mini")), "neox": open(t, filepath.Join(dir, "gpt-neox-20b")), "cl100k": cl100k,
		"open llama": open(t, filepath.Join(dir, "open-llama-3b")),
	} {
		for file, text := range texts {
			if testing.Short() {
				text = strings.ToValidUTF8(text[:min(len(text), 50000)], "")
			}
			switch name {
			case "phi-3": // the symbol for a space is no character of its own, and a space follows what was an added token
				for _, a := range tk.added {
					text = strings.ReplaceAll(text, a.Content, "")
				}
				text = strings.ReplaceAll(text, "▁", "_")
			case "open llama": // its rules collapse white space and compose characters
				text, err = tk.norm.normalize(text)
				text = strings.TrimPrefix(strings.ReplaceAll(text, "▁", " "), " ")
			case "neox":
				text, err = tk.norm.normalize(text)
			}
			if err != nil {
				t.Fatal(err)
			}
			ids, err := tk.Encode(text, false)
			if err != nil {
				t.Fatalf("%s on %s: %v", name, file, err)
			}
			if got := tk.Decode(ids, true); got != text {
				n := firstByteDifference(got, text)
				t.Errorf("%s on %s: differs at byte %d: %q", name, file, n, clip(got[n:], 30))
			}
		}
	}
}

func firstByteDifference(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func writeFile(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}
