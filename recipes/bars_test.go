package recipes

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/stat"

	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/tiny"
)

var (
	bars     = flag.Bool("bars", false, "measure what distillation gives back, which takes minutes")
	barSeeds = flag.Int("bar-seeds", 3, "seeds of -bars")
	barWhom  = flag.String("bar-teachers", "stories260K,quickstart", "teachers of -run ScaleBars")
)

// perplexities runs a recipe and returns the perplexity of each model, with its standard error.
func perplexities(t *testing.T, text, shared string) (ppl, se map[string]float64) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "r.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	o, err := Run(context.Background(), r, Options{Out: filepath.Join(dir, "out"), Workspace: []string{shared, here}})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(o.Report.JSON)
	if err != nil {
		t.Fatal(err)
	}
	var rep report.Report
	if err := json.Unmarshal(data, &rep); err != nil {
		t.Fatal(err)
	}
	ppl, se = map[string]float64{}, map[string]float64{}
	for _, m := range rep.Models {
		if m.Perplexity != nil {
			ppl[m.Name], se[m.Name] = m.Perplexity.Value, m.Perplexity.Stderr
		}
	}
	for _, s := range rep.Stages {
		t.Logf("%s: %.0f s, %s of memory, %s foretold", s.Name, s.Seconds, report.Bytes(s.PeakMemory), report.Bytes(s.EstimatedMemory))
	}
	return ppl, se
}

// stories is the beginning of a recipe for stories260K, a teacher of real text.
func stories(shared string, seed int) string {
	return fmt.Sprintf(`
model: %[1]s/models/stories260K
data: {calib: %[1]s/corpora/calibration/tiny.txt, train: %[1]s/corpora/tinystories/train.txt, heldout: %[1]s/corpora/tinystories/valid.txt}
seed: %[2]d
stages:
`, shared, seed)
}

// TestRecoveryBars prunes stories260K to three quarters of its feed-forward width and a layer less, and teaches it again, by text alone and
// by text and teacher. Seven tenths of the gap to the teacher must close, and the teacher must help clearly.
func TestRecoveryBars(t *testing.T) {
	if !*bars {
		t.Skip("-bars measures recovery after pruning")
	}
	shared := tiny.Shared(t, "assets")
	t.Logf("| seed | teacher | pruned | cross-entropy alone | divergence and cross-entropy | gap closed |")
	for seed := 1; seed <= *barSeeds; seed++ {
		ppl, se := perplexities(t, stories(shared, seed)+`
  - name: slim
    prune: {ffn: 0.75, depth: 0.8, num_calibration_samples: 64, max_seq_length: 256}
  - name: alone
    distill: {losses: {ce: 1}, steps: 250, batch_size: 8, learning_rate: 6e-3}
  - name: taught
    from: slim
    distill: {teacher: base, losses: {kl: 1, ce: 1}, steps: 250, batch_size: 8, learning_rate: 6e-3}
  - name: report
    eval: {models: [base, slim, alone, taught], tasks: [perplexity], max_tokens: 20000}
`, shared)
		closed := (ppl["slim"] - ppl["taught"]) / (ppl["slim"] - ppl["base"])
		t.Logf("| %d | %.2f | %.2f | %.2f | %.2f ± %.2f | %.0f %% |", seed, ppl["base"], ppl["slim"], ppl["alone"], ppl["taught"], se["taught"], 100*closed)
		if !(closed >= 0.7 && ppl["taught"] < 0.97*ppl["alone"]) {
			t.Errorf("seed %d: %v", seed, ppl)
		}
	}
}

// TestCachedBars teaches the same pruned student by a teacher that runs and by what it said before, with several seeds. The means of the
// two must be no further apart than seeds are.
func TestCachedBars(t *testing.T) {
	if !*bars {
		t.Skip("-bars measures a cached teacher beside a live one")
	}
	shared := tiny.Shared(t, "assets")
	var live, cached []float64
	t.Logf("| seed | live | cached |")
	for seed := 1; seed <= *barSeeds; seed++ {
		ppl, _ := perplexities(t, stories(shared, seed)+`
  - name: slim
    prune: {ffn: 0.75, depth: 0.8, num_calibration_samples: 64, max_seq_length: 256}
  - name: answers
    cache: {teacher: base, max_seq_length: 256}
  - name: live
    from: slim
    distill: {teacher: base, losses: {kl: 1, ce: 1}, steps: 250, batch_size: 8, max_seq_length: 256, learning_rate: 6e-3}
  - name: cached
    from: slim
    distill: {teacher: answers, losses: {kl: 1, ce: 1}, steps: 250, batch_size: 8, max_seq_length: 256, learning_rate: 6e-3}
  - name: report
    eval: {models: [live, cached], tasks: [perplexity], max_tokens: 20000}
`, shared)
		t.Logf("| %d | %.3f | %.3f |", seed, ppl["live"], ppl["cached"])
		live, cached = append(live, ppl["live"]), append(cached, ppl["cached"])
	}
	spread := max(slices.Max(live)-slices.Min(live), slices.Max(cached)-slices.Min(cached))
	if apart := math.Abs(stat.Mean(live, nil) - stat.Mean(cached, nil)); apart > spread {
		t.Errorf("means %.3f apart, seeds %.3f", apart, spread)
	}
}

// tunings are the formats whose scales are tuned, and from what.
var tunings = []struct{ name, settings string }{
	{"w4a16", "{format: W4A16, group_size: 32, allow_fallback: true}"},
	{"q4_0", "{format: Q4_0, allow_fallback: true}"},
}

// tuned are the ways to tune each teacher's students: by the teacher and the text, and by the teacher alone, which takes a small student
// many steps; and how much of the perplexity must come back at least.
var tuned = map[string][]struct {
	name, how string
	least     float64
}{
	"stories260K": {
		{"kl, ce", "losses: {kl: 1, ce: 1}, steps: 300, batch_size: 4, learning_rate: 1e-2", 0.5},
		{"kl", "losses: {kl: 1}, steps: 1000, batch_size: 8, learning_rate: 8e-3, min_lr_ratio: 0.02, eval_every: 200", 0.45},
	},
	"quickstart": {
		{"kl, ce", "losses: {kl: 1, ce: 1}, steps: 150, batch_size: 4, learning_rate: 1e-2", 0.5},
		{"kl", "losses: {kl: 1}, steps: 120, batch_size: 4, learning_rate: 5e-3, eval_every: 60", 0.5},
	},
}

// TestScaleBars rounds teachers to four bits and tunes scales, norms and biases, codes fixed.
func TestScaleBars(t *testing.T) {
	if !*bars {
		t.Skip("-bars measures the tuning of scales")
	}
	shared := tiny.Shared(t, "assets")
	quickstart := `
model: ` + mustAbs(t, "builtin/quickstart/teacher") + `
data: {calib: ` + mustAbs(t, "builtin/quickstart/text/train.txt") + `, train: ` + mustAbs(t, "builtin/quickstart/text/train.txt") + `, heldout: ` + mustAbs(t, "builtin/quickstart/text/heldout.txt") + `}
seed: %d
stages:
`
	t.Logf("| teacher | seed | format | losses | teacher | four bits | tuned | came back |")
	for teacher := range strings.SplitSeq(*barWhom, ",") {
		for seed := 1; seed <= *barSeeds; seed++ {
			var b strings.Builder
			b.WriteString(map[string]string{"stories260K": stories(shared, seed), "quickstart": fmt.Sprintf(quickstart, seed)}[teacher])
			for _, f := range tunings {
				fmt.Fprintf(&b, "  - name: %s\n    from: base\n    quantize: %s\n", f.name, f.settings)
				for i, w := range tuned[teacher] {
					fmt.Fprintf(&b, "  - name: %s-%d\n    from: %s\n    distill: {teacher: base, tune: scales, max_seq_length: 256, %s}\n", f.name, i, f.name, w.how)
				}
			}
			b.WriteString("  - name: report\n    eval: {tasks: [perplexity], max_tokens: 40000, window: 256}\n")
			ppl, _ := perplexities(t, b.String(), shared)
			for _, f := range tunings {
				for i, w := range tuned[teacher] {
					got := ppl[fmt.Sprintf("%s-%d", f.name, i)]
					back := (ppl[f.name] - got) / (ppl[f.name] - ppl["base"])
					t.Logf("| %s | %d | %s | %s | %.3f | %.3f | %.3f | %.0f %% |", teacher, seed, f.name, w.name, ppl["base"], ppl[f.name], got, 100*back)
					if !(back >= w.least) {
						t.Errorf("%s, seed %d, %s by %s: %v", teacher, seed, f.name, w.name, ppl)
					}
				}
			}
		}
	}
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
