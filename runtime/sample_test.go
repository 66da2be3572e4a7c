package runtime

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

// TestPick draws often and compares frequencies with the distribution that each filter leaves.
func TestPick(t *testing.T) {
	logits := []float32{1, 3, 2, 0, -1, 3} // ids 1 and 5 tie
	p := func(temperature float64, ids ...int) map[int32]float64 {
		sum, out := 0.0, map[int32]float64{}
		for _, i := range ids {
			sum += math.Exp(float64(logits[i]) / temperature)
		}
		for _, i := range ids {
			out[int32(i)] = math.Exp(float64(logits[i])/temperature) / sum
		}
		return out
	}
	for name, c := range map[string]struct {
		s    Sampling
		want map[int32]float64
	}{
		"all":         {Sampling{Temperature: 1}, p(1, 0, 1, 2, 3, 4, 5)},
		"hot":         {Sampling{Temperature: 2}, p(2, 0, 1, 2, 3, 4, 5)},
		"top-k":       {Sampling{Temperature: 1, TopK: 3}, p(1, 1, 5, 2)},
		"top-p":       {Sampling{Temperature: 1, TopP: 0.5}, p(1, 1, 5)},
		"min-p":       {Sampling{Temperature: 0.5, MinP: 0.2}, p(0.5, 1, 5, 2)},
		"together":    {Sampling{Temperature: 1, TopK: 4, TopP: 0.99, MinP: 0.3}, p(1, 1, 5, 2)},
		"greedy":      {Sampling{}, map[int32]float64{1: 1}},
		"greedy hard": {Sampling{Temperature: 0, TopK: 1}, map[int32]float64{1: 1}},
	} {
		count, n := map[int32]int{}, 20000
		for seed := range uint64(n) {
			c.s.Seed = seed
			count[c.s.Pick(logits, 7)]++
		}
		for id := range int32(6) {
			got := float64(count[id]) / float64(n)
			if math.Abs(got-c.want[id]) > 0.012 {
				t.Errorf("%s: id %d drawn with frequency %.3f, want %.3f", name, id, got, c.want[id])
			}
		}
	}
	s := Sampling{Temperature: 1, Seed: 3}
	if first, again := s.Pick(logits, 5), s.Pick(logits, 5); first != again {
		t.Error("the same seed and position give different tokens")
	}
}

// TestGenerate compares greedy text with that of an independent program.
func TestGenerate(t *testing.T) {
	for _, name := range []string{"stories260K", "microlm-base-gpt2", "slm4096-gpt2"} {
		dir := tiny.Shared(t, "assets", "models", name)
		var ref struct {
			Prompts []struct {
				IDs    []int32   `json:"token_ids"`
				Greedy []int32   `json:"greedy_new_token_ids"`
				Logits []float64 `json:"logits_last_position"`
			} `json:"prompts"`
		}
		data, err := os.ReadFile(filepath.Join(dir, "reference.json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &ref); err != nil {
			t.Fatal(err)
		}
		m, err := model.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		e, err := Load(context.Background(), m, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range ref.Prompts {
			logits, err := e.NewSession().Step(context.Background(), p.IDs)
			if err != nil {
				t.Fatal(err)
			}
			for j, v := range p.Logits {
				if math.Abs(float64(logits[j])-v) > 1e-4*max(1, math.Abs(v)) {
					t.Fatalf("%s prompt %d: logit %d is %v, want %v", name, i, j, logits[j], v)
				}
			}
			var got []int32
			if _, err := e.NewSession().Generate(context.Background(), p.IDs, len(p.Greedy), Sampling{}, nil, func(id int32) error {
				got = append(got, id)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if len(p.Greedy) == 0 {
				t.Fatalf("%s: reference without greedy ids", name)
			}
			for j := range p.Greedy {
				if got[j] != p.Greedy[j] {
					t.Fatalf("%s prompt %d: greedy token %d is %d, want %d", name, i, j, got[j], p.Greedy[j])
				}
			}
		}
	}
}

// TestStops ends generations for every reason.
func TestStops(t *testing.T) {
	e, err := Load(context.Background(), models.Model(t, "llama", 1), Options{Context: 12})
	if err != nil {
		t.Fatal(err)
	}
	run := func(n int, eos []int32, emit func(int32) error) (Stop, int) {
		t.Helper()
		count := 0
		stop, err := e.NewSession().Generate(context.Background(), []int32{1, 2, 3}, n, Sampling{}, eos, func(id int32) error {
			count++
			return emit(id)
		})
		if err != nil {
			t.Fatal(err)
		}
		return stop, count
	}
	var first int32
	if stop, n := run(4, nil, func(id int32) error { first = id; return nil }); stop != StopLength || n != 4 {
		t.Errorf("%s after %d", stop, n)
	}
	if stop, n := run(4, nil, func(id int32) error { first = id; return ErrStop }); stop != StopCaller || n != 1 {
		t.Errorf("%s after %d", stop, n)
	}
	if stop, n := run(4, []int32{first}, func(int32) error { return nil }); stop != StopEOS || n != 0 {
		t.Errorf("%s after %d", stop, n)
	}
	if stop, n := run(100, nil, func(int32) error { return nil }); stop != StopContext || n != 10 {
		t.Errorf("%s after %d", stop, n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err = e.NewSession().Generate(ctx, []int32{1}, 5, Sampling{}, nil, func(int32) error { cancel(); return nil })
	if err == nil {
		t.Error("a cancelled generation ends without an error")
	}
}
