package cli

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/parelm/pare/internal/tiny"
)

// TestReferenceCheckpoints holds the verbs to what an independent program in float64 computed for trained checkpoints:
// perplexity to four digits under the declared protocol, and the greedy text, id by id.
func TestReferenceCheckpoints(t *testing.T) {
	for _, name := range []string{"stories260K", "microlm-base-gpt2", "slm4096-gpt2"} {
		t.Run(name, func(t *testing.T) {
			dir := tiny.Shared(t, "assets", "models", name)
			data, err := os.ReadFile(filepath.Join(dir, "reference.json"))
			if err != nil {
				t.Fatal(err)
			}
			var ref struct {
				Perplexity json.RawMessage
				Prompts    []struct {
					Text   string
					IDs    []int32 `json:"token_ids"`
					Greedy []int32 `json:"greedy_new_token_ids"`
				}
			}
			if err := json.Unmarshal(data, &ref); err != nil {
				t.Fatal(err)
			}
			ids := filepath.Join(t.TempDir(), "ids.json")
			if err := os.WriteFile(ids, ref.Perplexity, 0o644); err != nil {
				t.Fatal(err)
			}
			var want struct {
				Perplexity float64
				Predicted  int64
				NLL        float64 `json:"nll_total"`
			}
			if err := json.Unmarshal(ref.Perplexity, &want); err != nil {
				t.Fatal(err)
			}
			var got struct{ Perplexity perplexity }
			answerOf(t, &got, "eval", dir, "--ids", ids)
			p := got.Perplexity
			if math.Abs(p.Value-want.Perplexity) > 5e-5 || p.Tokens != want.Predicted || math.Abs(p.NLL-want.NLL) > 1e-5*want.NLL {
				t.Errorf("perplexity %.6f, nll %.4f of %d ids; want %.6f, %.4f, %d", p.Value, p.NLL, p.Tokens, want.Perplexity, want.NLL, want.Predicted)
			}
			compared := 0
			for _, x := range ref.Prompts {
				var said struct {
					Text   string
					IDs    []int32
					Prompt int `json:"prompt_tokens"`
				}
				var cut struct{ IDs []int32 }
				if answerOf(t, &cut, "tokenize", dir, x.Text); !slices.Equal(cut.IDs, x.IDs) {
					t.Logf("%q: the reference leaves out characters that tokenizer.json makes <unk>: skipped", x.Text)
					continue
				}
				compared++
				answerOf(t, &said, "generate", dir, "-p", x.Text, "-n", "64")
				n := min(len(said.IDs), len(x.Greedy))
				if n == 0 || said.Prompt != len(x.IDs) {
					t.Fatalf("%q: %d ids after a prompt of %d, want %d after %d", x.Text, len(said.IDs), said.Prompt, len(x.Greedy), len(x.IDs))
				}
				for i := range n {
					if said.IDs[i] != x.Greedy[i] {
						t.Fatalf("%q: id %d is %d, want %d", x.Text, i, said.IDs[i], x.Greedy[i])
					}
				}
			}
			if compared < 2 {
				t.Errorf("only %d prompts compared", compared)
			}
		})
	}
}

// answerOf runs a command line within the process and decodes its JSON.
func answerOf(t *testing.T, v any, args ...string) {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), append([]string{"pare", "--json"}, args...), &out, &errs); code != 0 {
		t.Fatalf("%v: exit code %d\n%s", args, code, &errs)
	}
	if err := json.Unmarshal(out.Bytes(), v); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, &out)
	}
}
