package tokenizer

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/parelm/pare/internal/tiny"
)

const trimText = "Once upon a time there was a little girl named Lily. She loved to play outside, in the park!\nüñí 猫 🙂 x1"

// trimmed tries what Trim promises on one tokenizer: the text that the pieces were taken from is cut as before, and another
// text still says the same.
func trimmed(t *testing.T, tk *Tokenizer, text, other string) {
	t.Helper()
	ids := mustEncode(t, tk, text, Options{AddSpecial: true})
	small, old, err := tk.Trim(ids)
	if err != nil {
		t.Fatal(err)
	}
	if small.VocabSize() != len(old) || len(old) > tk.VocabSize() || !slices.IsSorted(old) {
		t.Fatalf("%d pieces of %d, %d old ids", small.VocabSize(), tk.VocabSize(), len(old))
	}
	files, err := small.Files()
	if err != nil {
		t.Fatal(err)
	}
	back, err := FromJSON("tokenizer.json", files["tokenizer.json"])
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Tokenizer{"trimmed": small, "written and read": back} {
		got := mustEncode(t, s, text, Options{AddSpecial: true})
		for i, id := range got {
			got[i] = old[id]
		}
		if !slices.Equal(got, ids) {
			t.Errorf("%s: ids %v, want %v", name, got, ids)
		}
		a, b := tk.Decode(mustEncode(t, tk, other, Options{}), false), s.Decode(mustEncode(t, s, other, Options{}), false)
		if a != b {
			t.Errorf("%s: another text became %q, want %q", name, b, a)
		}
	}
	for id, was := range old {
		if small.Piece(int32(id)) != tk.Piece(was) {
			t.Errorf("id %d is %q, was %q", id, small.Piece(int32(id)), tk.Piece(was))
		}
	}
	if x, y := tk.BOS(), small.BOS(); x >= 0 && old[y] != x || x < 0 && y >= 0 {
		t.Errorf("BOS is %d, was %d", y, x)
	}
}

func TestTrim(t *testing.T) {
	for _, file := range []string{"bytelevel.json", "microlm.json", "prefix.json", "stories260K.json", "stories260K.model", "suffix.json", "unigram.json",
		"wordpiece.json", "bpe_plain.model", "bpe_user.model"} {
		t.Run(file, func(t *testing.T) { trimmed(t, openTestdata(t, file), trimText, "zebras quickly xylophone; Dog") })
	}
}

// TestTrimPublished trims vocabularies that are in use, with a text that needs a few thousand of their pieces.
func TestTrimPublished(t *testing.T) {
	text, err := os.ReadFile(tiny.Shared(t, "assets", "corpora", "calibration", "technical.txt"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(tiny.Shared(t, "assets", "corpora", "calibration", "multilingual.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gpt2", "phi-2", "phi-3-mini", "falcon", "gpt-neox-20b", "open-llama-3b"} {
		t.Run(name, func(t *testing.T) {
			tk, err := Open(tiny.Shared(t, "assets", "tokenizers", name))
			if err != nil {
				t.Fatal(err)
			}
			trimmed(t, tk, string(text[:60_000]), string(other[:20_000]))
		})
	}
}

func TestTrimRefuses(t *testing.T) {
	tk := openTestdata(t, "bytelevel.json")
	for _, id := range []int32{-1, int32(tk.VocabSize())} {
		if _, _, err := tk.Trim([]int32{id}); err == nil {
			t.Errorf("id %d accepted", id)
		}
	}
	raw := json.RawMessage(`{"type":"TemplateProcessing","single":[],"special_tokens":{"x":{"id":"x","ids":[7],"tokens":["x"]}}}`)
	if _, err := renumberPost(raw, []int32{0, 1}); err == nil {
		t.Error("an id out of the vocabulary accepted")
	}
}
