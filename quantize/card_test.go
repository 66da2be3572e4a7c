package quantize

import (
	"context"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
)

// TestCard expects the card to name every matrix, its error, and how to run the file.
func TestCard(t *testing.T) {
	m := models.Model(t, "llama", 3)
	_, r, err := Run(context.Background(), m, Settings{Format: "q4_k_m", TargetBPW: 9}, &RTN{}, Options{Samples: samples})
	if err != nil {
		t.Fatal(err)
	}
	text := string((&Card{Name: "small", Base: "/models/base", Format: "q4_k_m", Algorithm: "rtn", File: "model.gguf", Report: r}).Markdown())
	for _, x := range r.Tensors {
		if strings.Count(text, "| "+x.Name+" |") != 2 {
			t.Errorf("%s is not in both tables", x.Name)
		}
	}
	for _, s := range []string{"base quantized to Q4_K_M", "llama-cli -m model.gguf", "FROM ./model.gguf", "sensitivities"} {
		if !strings.Contains(text, s) {
			t.Errorf("no %q in the card", s)
		}
	}
	if strings.Contains(text, "/models") {
		t.Error("the card names a directory of this machine")
	}
	dir := string((&Card{Name: "small", Format: "w4a16", Algorithm: "rtn", Report: r}).Markdown())
	if !strings.Contains(dir, "vllm serve") || strings.Contains(dir, "llama-cli") {
		t.Error("a directory is for vLLM")
	}
}
