package train

import (
	"math"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/tiny/models"
)

func TestOpenBackend(t *testing.T) {
	for config, want := range map[string]string{"": "pare", "pare": "pare", "go:ops_sequential": "go", "nonsense": "unknown", "xla:cuda": "-tags xla"} {
		t.Run(config, func(t *testing.T) {
			t.Setenv("GOMLX_BACKEND", "")
			for _, how := range []string{"setting", "environment"} {
				given := config
				if how == "environment" {
					t.Setenv("GOMLX_BACKEND", config)
					given = ""
				}
				b, err := openBackend(given, 1)
				switch {
				case err != nil && !strings.Contains(err.Error(), want):
					t.Errorf("%s: %v", how, err)
				case err == nil && b.Name() != want && want != "go":
					t.Errorf("%s: backend %s", how, b.Name())
				case err == nil && want == "go" && b.Name() == "pare":
					t.Errorf("%s: pare's backend", how)
				}
			}
		})
	}
}

// TestStepOnAnotherBackend trains some steps on pare's backend and on GoMLX's: the graphs ask nothing of the one that the
// other lacks, and both make the same weights.
func TestStepOnAnotherBackend(t *testing.T) {
	for _, name := range []string{"llama", "gpt2", "gemma2"} {
		t.Run(name, func(t *testing.T) {
			m := models.Model(t, name, 1)
			b := &Batch{Rows: 2, Length: 6}
			for i := range 12 {
				b.IDs = append(b.IDs, int32(i*7%m.Config.Vocab))
				b.Labels = append(b.Labels, int32(i*5%m.Config.Vocab))
			}
			train := func(backend string) []*Metrics {
				tr, err := New(m, []Loss{crossEntropy()}, Settings{Optimizer: Optimizer{Rate: 1e-2, Decay: 0.1, Clip: 1}, Schedule: Schedule{Steps: 4}, Backend: backend})
				if err != nil {
					t.Fatal(err)
				}
				var out []*Metrics
				for range 4 {
					x, err := tr.Step(t.Context(), []*Batch{b, b})
					if err != nil {
						t.Fatal(err)
					}
					out = append(out, x)
				}
				return out
			}
			own, other := train("pare"), train("go:ops_sequential")
			for i := range own {
				if d := math.Abs(own[i].Loss - other[i].Loss); !(d <= 1e-4*other[i].Loss) {
					t.Errorf("step %d: loss %g, on GoMLX's backend %g", i, own[i].Loss, other[i].Loss)
				}
				if d := math.Abs(own[i].Norm - other[i].Norm); !(d <= 1e-3*other[i].Norm) {
					t.Errorf("step %d: norm %g, on GoMLX's backend %g", i, own[i].Norm, other[i].Norm)
				}
			}
		})
	}
}

// TestThreads demands the same weights, bit for bit, of steps on 1, 2 and 3 threads, of a model large enough that every
// loop is shared among threads.
func TestThreads(t *testing.T) {
	defer par.SetThreads(0)
	s := benchShape{hidden: 96, layers: 2, heads: 4, kv: 2, ffn: 260, vocab: 700, rows: 3, length: 130}
	m := benchModel(t, s)
	var first []*Metrics
	var state string
	for _, threads := range []int{1, 2, 3} {
		par.SetThreads(threads)
		tr, err := New(m, []Loss{crossEntropy()}, Settings{Optimizer: Optimizer{Rate: 1e-2, Decay: 0.1, Clip: 1}, Schedule: Schedule{Steps: 3}, EMA: 0.9})
		if err != nil {
			t.Fatal(err)
		}
		var got []*Metrics
		for range 3 {
			x, err := tr.Step(t.Context(), []*Batch{s.batch(), s.batch()})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, x)
		}
		var b strings.Builder
		if err := tr.Save(&b); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first, state = got, b.String()
			continue
		}
		for i := range got {
			if got[i].Loss != first[i].Loss || got[i].Norm != first[i].Norm {
				t.Errorf("%d threads, step %d: loss %v and norm %v, on one thread %v and %v", threads, i, got[i].Loss, got[i].Norm, first[i].Loss, first[i].Norm)
			}
		}
		if b.String() != state {
			t.Errorf("%d threads make other weights than one", threads)
		}
	}
}
