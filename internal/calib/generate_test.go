package calib

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

// TestGenerate expects texts of the asked length inside the vocabulary, the same for the same seed and any number of
// threads, and others for another seed.
func TestGenerate(t *testing.T) {
	files, err := models.Files("llama", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(d, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := model.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	write := func(n int, seed uint64) [][]int32 {
		texts, err := Generate(context.Background(), m, n, 12, seed)
		if err != nil {
			t.Fatal(err)
		}
		return texts
	}
	a := write(18, 1)
	if len(a) != 18 {
		t.Fatalf("%d texts", len(a))
	}
	tok, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	different := false
	for _, ids := range a {
		if len(ids) != 12 || ids[0] != tok.BOS() {
			t.Fatalf("text %v", ids)
		}
		for _, id := range ids {
			if id < 0 || int(id) >= m.Config.Vocab {
				t.Fatalf("token %d", id)
			}
		}
		different = different || fmt.Sprint(ids) != fmt.Sprint(a[0])
	}
	if !different {
		t.Error("all texts are the same")
	}
	par.SetThreads(1)
	b := write(18, 1)
	par.SetThreads(0)
	if fmt.Sprint(a) != fmt.Sprint(b) {
		t.Error("one thread writes other texts")
	}
	if fmt.Sprint(a) == fmt.Sprint(write(18, 2)) {
		t.Error("another seed writes the same texts")
	}
	if _, err := Generate(context.Background(), m, 1, 1, 1); err == nil {
		t.Error("texts of one token pass")
	}
}
