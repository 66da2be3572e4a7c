package prune

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/parelm/pare/internal/corpus"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

// checkpoint writes a tiny model with a tokenizer.
func checkpoint(t *testing.T, family string) string {
	t.Helper()
	files, err := models.Files(family, 5, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(path, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestVocab trims the vocabulary of a written checkpoint: the text is cut as before, the logits of the tokens that stay are
// those of before, ids in the configuration are new, and the plan knew the size. Both containers carry it on.
func TestVocab(t *testing.T) {
	const words = "The old fox carries two blue cups. A gray bird opens the last page."
	for _, family := range []string{"llama", "llama3_rope_tied", "gpt2", "phi"} {
		t.Run(family, func(t *testing.T) {
			path := checkpoint(t, family)
			file := filepath.Join(t.TempDir(), "words.txt")
			if err := os.WriteFile(file, []byte(words), 0o644); err != nil {
				t.Fatal(err)
			}
			m, err := model.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			s := Settings{Vocab: []string{file}}
			planned, err := s.Outline(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			size, err := planned.SizeHF(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			small, r, err := Run(t.Context(), m, nil, s)
			if err != nil {
				t.Fatal(err)
			}
			if w := r.Widths["vocab"]; w[0] != m.Config.Vocab || w[1] != len(r.Tokens) || w[1] >= w[0] || small.Config.Vocab != w[1] {
				t.Fatalf("widths %v of a vocabulary of %d", w, small.Config.Vocab)
			}
			out := t.TempDir()
			if err := small.SaveHF(t.Context(), dir(out)); err != nil {
				t.Fatal(err)
			}
			if got := sizeOf(t, out); got != size {
				t.Errorf("%d bytes written, %d planned", got, size)
			}
			back, err := model.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			defer back.Close()
			_, again, err := back.KeepTokens(idsOf(t, back, words))
			if err != nil || len(again) != len(r.Tokens) {
				t.Errorf("trimming again leaves %d of %d tokens, %v", len(again), len(r.Tokens), err)
			}
			ids, new := idsOf(t, m, words), idsOf(t, back, words)
			for i, id := range new {
				if r.Tokens[id] != ids[i] {
					t.Fatalf("ids %v became %v", ids, new)
				}
			}
			sameLogits(t, m, back, ids[:20], new[:20], r.Tokens)
			var conf map[string]any
			data, err := os.ReadFile(filepath.Join(out, "config.json"))
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, &conf); err != nil {
				t.Fatal(err)
			}
			tok, err := back.Tokenizer()
			if err != nil {
				t.Fatal(err)
			}
			if conf["bos_token_id"] != float64(tok.BOS()) || !slices.Contains(back.EOS(), tok.EOS()) {
				t.Errorf("config.json says BOS %v, the tokenizer %d; EOS %v, the tokenizer %d", conf["bos_token_id"], tok.BOS(), back.EOS(), tok.EOS())
			}
		})
	}
}

func idsOf(t *testing.T, m *model.Model, text string) []int32 {
	t.Helper()
	tok, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	ids, err := tok.Encode(text, true)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func sizeOf(t *testing.T, path string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

// sameLogits compares the logits of two models whose ids differ: old[i] is what id i of small was.
func sameLogits(t *testing.T, m, small *model.Model, ids, new, old []int32) {
	t.Helper()
	a, b := logits(t, m, ids), logits(t, small, new)
	for i := range b {
		for j, v := range b[i] {
			if w := a[i][old[j]]; math.Abs(float64(v-w)) > 1e-5*(1+math.Abs(float64(w))) {
				t.Fatalf("position %d, token %d: logit %v was %v", i, j, v, w)
			}
		}
	}
}

// TestVocabIDs takes ids as they are, from a file.
func TestVocabIDs(t *testing.T) {
	m, err := model.Open(checkpoint(t, "llama"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	file := filepath.Join(t.TempDir(), "ids.json")
	if err := os.WriteFile(file, []byte("[301, 399]"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, r, err := Run(context.Background(), m, nil, Settings{Vocab: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []int32{301, 399} {
		if !slices.Contains(r.Tokens, id) {
			t.Errorf("token %d went", id)
		}
	}
	if err := os.WriteFile(file, []byte("[400]"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Run(context.Background(), m, nil, Settings{Vocab: []string{file}}); err == nil {
		t.Error("an id out of the vocabulary accepted")
	}
	if _, err := corpus.ReadIDs(file, 401); err != nil {
		t.Error(err)
	}
}
