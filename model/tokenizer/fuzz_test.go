package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"unicode/utf8"
)

// FuzzLoadJSON: whatever a tokenizer.json holds, it is refused or it works.
func FuzzLoadJSON(f *testing.F) {
	f.Add(mustJSON(validJSON()), "ab abb c")
	for _, n := range []string{"prefix.json", "suffix.json", "wordpiece.json"} {
		f.Add([]byte(readFile(f, "testdata", n)), "Hello <s> wörld 12")
	}
	f.Add(unigramJSON([]any{[]any{"<unk>", 0}, []any{"▁a", -1.5}, []any{"b", -2}}), "a b c")
	f.Add(spoil("pre_tokenizer", split(patternO200k)), "aB 1")
	f.Add(spoil("normalizer", obj{"type": "Replace", "pattern": obj{"Regex": "a+"}, "content": "b"}), "aab")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tk, err := FromJSON("tokenizer.json", data)
		if err != nil {
			return
		}
		tryOut(t, tk, text)
	})
}

// tryOut uses every part of a tokenizer; the costly half, writing files and reading them, for a quarter of the texts.
func tryOut(t *testing.T, tk *Tokenizer, text string) {
	if len(text) > 300 {
		return
	}
	ids, err := tk.EncodeOptions(text, Options{AddSpecial: true, ParseSpecial: true})
	if err != nil {
		return
	}
	for _, id := range ids {
		if id < 0 || int(id) >= tk.VocabSize() || tk.Piece(id) == "" {
			t.Fatalf("id %d of %q is not in the vocabulary", id, text)
		}
	}
	if s := tk.Decode(ids, false); !utf8.ValidString(s) {
		t.Fatalf("%q", s)
	}
	streamed(tk, ids, true)
	if len(text)%4 > 0 {
		return
	}
	tk.Fingerprint()
	if files, err := tk.Files(); err == nil {
		back, err := FromJSON("tokenizer.json", files["tokenizer.json"])
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if again, err := back.EncodeOptions(text, Options{AddSpecial: true, ParseSpecial: true}); err == nil && !slices.Equal(ids, again) && !tk.spec.model.sentencePiece {
			t.Fatalf("%q: %v before, %v after writing", text, ids, again)
		}
	}
	if g, err := tk.GGUF(); err == nil {
		if _, err := FromGGUF("x.gguf", g); err != nil {
			t.Fatalf("GGUF values cannot be read: %v", err)
		}
	}
}

// FuzzLoadSentencePiece does the same for tokenizer.model.
func FuzzLoadSentencePiece(f *testing.F) {
	for _, n := range []string{"bpe_user.model", "unigram_rules.model", "bpe_suffix.model"} {
		data, err := os.ReadFile(filepath.Join("testdata", n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "Hello  world ﬁ")
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tk, err := FromSentencePiece("tokenizer.model", data)
		if err == nil {
			tryOut(t, tk, text)
		}
	})
}

// FuzzLoadGGUF does the same for the values of a GGUF file, given as JSON.
func FuzzLoadGGUF(f *testing.F) {
	tk := trainSmall(f, TrainOptions{VocabSize: 300, Split: SplitGPT2, BOS: "<s>"})
	g, err := tk.GGUF()
	if err != nil {
		f.Fatal(err)
	}
	for _, pre := range []string{g.Pre, "llama-bpe", "deepseek-v3", "tekken", "none"} {
		g.Pre = pre
		f.Add(mustJSON(g), "Hello <s> wörld 12")
	}
	for _, m := range []string{"llama", "t5", "bert", "rwkv"} {
		x := NewGGUF()
		x.Model, x.Tokens, x.Scores, x.Types, x.UNK = m, []string{"<unk>", "<0x41>", "▁a", "b", "##c"}, []float32{0, -1, -2, -3, -4}, []int32{2, 6, 1, 1, 4}, 0
		f.Add(mustJSON(x), "a bc A")
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		g := NewGGUF()
		if json.Unmarshal(data, g) != nil {
			return
		}
		if tk, err := FromGGUF("x.gguf", g); err == nil {
			tryOut(t, tk, text)
		}
	})
}

// FuzzRoundTrip: a byte-level vocabulary gives back every text, whole, streamed, and as bytes; and long and short merging agree.
func FuzzRoundTrip(f *testing.F) {
	var tks []*Tokenizer
	for _, s := range []Split{SplitGPT2, SplitCL100K, SplitO200K} {
		tks = append(tks, trainSmall(f, TrainOptions{VocabSize: 700, Split: s, BOS: "<s>"}))
	}
	for i, s := range snippets {
		f.Add(byte(i), s+" "+s)
	}
	f.Add(byte(0), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa<s>")
	f.Fuzz(func(t *testing.T, k byte, text string) {
		if len(text) > 300 {
			return
		}
		want, tk := validUTF8(text), tks[int(k)%len(tks)]
		ids := mustEncode(t, tk, text, Options{})
		if got := tk.Decode(ids, true); got != want {
			t.Fatalf("%q decodes to %q", text, got)
		}
		if got := streamed(tk, ids, true); got != want {
			t.Fatalf("%q streams as %q", text, got)
		}
		var raw []byte
		for _, id := range ids {
			raw = append(raw, tk.Bytes(id)...)
		}
		if string(raw) != want {
			t.Fatalf("bytes of %q are %q", text, raw)
		}
		m := tk.model.(*bpe)
		if word := m.symbols(nil, want); len(word) > 0 {
			e := tk.encoder()
			long := slices.Clone(word)
			if got := long[:e.long.merge(m, long)]; !slices.Equal(got, mergeNaively(m, word)) {
				t.Fatalf("long merge of %q", text)
			}
		}
	})
}

// FuzzRegex: patterns are refused or scanned without harm.
func FuzzRegex(f *testing.F) {
	for _, p := range patternsUnderTest {
		f.Add(p.pattern, "It's 12345 éx\n\n  y")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		sc, err := compileRegex(pattern)
		if err != nil || len(text) > 300 || !utf8.ValidString(text) {
			return
		}
		end := 0
		step := &patternSplit{scanner: sc}
		step.split(piece{text, true}, &scanState{}, func(p piece) {
			if text[end:end+len(p.s)] != p.s {
				t.Fatalf("pieces of %q are not in order", text)
			}
			end += len(p.s)
		})
		if end != len(text) {
			t.Fatalf("%q: %d of %d bytes", text, end, len(text))
		}
	})
}
