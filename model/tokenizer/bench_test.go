package tokenizer

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny"
)

func benchEncode(b *testing.B, tk *Tokenizer, text string) {
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tk.Encode(text, false); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncode measures one core on English prose, code, and what tokenizers are slow on.
func BenchmarkEncode(b *testing.B) {
	dir := tiny.Shared(b, "assets", "tokenizers")
	prose := readFile(b, tiny.Shared(b, "assets", "corpora", "war-and-peace", "war-and-peace.txt"))[:1<<20]
	texts := []struct{ name, text string }{
		{"prose", prose},
		{"code", readFile(b, tiny.Shared(b, "assets", "corpora", "calibration", "code.txt"))},
		{"multilingual", readFile(b, tiny.Shared(b, "assets", "corpora", "calibration", "multilingual.txt"))},
		{"prose128K", prose[:131072]},
		{"Z", strings.Repeat("Z", 131072)}, {"space", strings.Repeat(" ", 131072)}, {"newline", strings.Repeat("\n", 131072)}, {"é", strings.Repeat("é", 131072)},
	}
	for _, v := range []string{"gpt2", "phi-3-mini", "falcon", "gpt-neox-20b", "phi-2"} {
		tk := open(b, filepath.Join(dir, v))
		for _, x := range texts {
			b.Run(v+"/"+x.name, func(b *testing.B) { benchEncode(b, tk, x.text) })
		}
	}
}
