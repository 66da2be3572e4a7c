package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
)

// TestPublishedCounts inspects the config.json files of published models, as they stand on their model pages, and expects
// the parameter counts that were published.
func TestPublishedCounts(t *testing.T) {
	for _, p := range []struct {
		file string
		want int64 // tied heads count once
	}{
		{"phi-2", 2_779_683_840},           // safetensors metadata of huggingface.co/microsoft/phi-2
		{"tinyllama-1.1b", 1_100_048_384},  // safetensors metadata of huggingface.co/TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T
		{"mistral-7b-v0.1", 7_241_732_096}, // safetensors metadata of huggingface.co/mistralai/Mistral-7B-v0.1
		{"gemma-2b", 2_506_172_416},        // KerasHub preset gemma_2b_en
		{"falcon-rw-1b", 1_311_625_216},    // KerasHub preset falcon_refinedweb_1b_en
		{"falcon-7b", 6_921_720_704},       // model page: 7,217,189,760 with the tied head of 65024 x 4544 counted again
		{"olmo-1b", 1_176_764_416},         // allenai/OLMo, OLMo-1B
	} {
		var v inspection
		out := printed(t, "inspect", filepath.Join("..", "..", "model", "testdata", "published", p.file+".json"), "--json")
		if err := json.Unmarshal(out, &v); err != nil {
			t.Fatal(err)
		}
		if v.Parameters != p.want || v.ActiveParameters != p.want {
			t.Errorf("%s: %d parameters, %d active, want %d", p.file, v.Parameters, v.ActiveParameters, p.want)
		}
		var sum int64
		for _, part := range v.Parts {
			sum += part.Parameters
		}
		if sum != p.want {
			t.Errorf("%s: the parts add up to %d", p.file, sum)
		}
	}
}

// TestInspectEveryFamily describes every family in words.
func TestInspectEveryFamily(t *testing.T) {
	for _, name := range models.Names() {
		file := filepath.Join("..", "tiny", "models", "configs", name+".json")
		text := string(printed(t, "inspect", file, "--tensors"))
		for _, want := range []string{"architecture  ", "parameters    ", "positions     ", "embedding", "share"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", name, want, text)
			}
		}
		if strings.Contains(text, "%!") || strings.Contains(text, "  \n") {
			t.Errorf("%s: badly formatted:\n%s", name, text)
		}
	}
}

// printed returns what a command line that must succeed prints.
func printed(t *testing.T, args ...string) []byte {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(context.Background(), append([]string{"pare"}, args...), &out, &errs); code != exitOK {
		t.Fatalf("pare %v: exit code %d\n%s", args, code, errs.String())
	}
	return out.Bytes()
}
