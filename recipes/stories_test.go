package recipes

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/tiny"
)

// TestStories takes a real checkpoint through pruning, distillation on TinyStories, quantization and evaluation. What pruning
// takes away comes back in good part; GPTQ costs little. Run again, everything is reused; with other numbers of threads, all
// digests are the same.
func TestStories(t *testing.T) {
	shared := tiny.Shared(t, "assets")
	dir := t.TempDir()
	text := fmt.Sprintf(`
model: %[1]s/models/stories260K
data: {calib: %[1]s/corpora/calibration/tiny.txt, train: %[1]s/corpora/tinystories/train.txt, heldout: %[1]s/corpora/tinystories/valid.txt}
seed: 7
stages:
  - name: slim
    prune: {ffn: 0.5, num_calibration_samples: 8, max_seq_length: 256}
  - name: student
    distill: {teacher: base, losses: {kl: 1}, steps: 40, batch_size: 4, max_seq_length: 128, learning_rate: 2e-3}
  - name: q4
    quantize: {algorithm: gptq, format: Q4_0, allow_fallback: true, num_calibration_samples: 8, max_seq_length: 256}
  - name: w4
    from: base
    quantize: {algorithm: gptq, format: W4A16, group_size: 32, num_calibration_samples: 8, max_seq_length: 256, allow_fallback: true}
  - name: q8
    from: base
    quantize: {format: Q8_0, allow_fallback: true}
  - name: report
    eval: {tasks: [perplexity, kld], max_tokens: 3000}
gate: {model: q8, max_degradation: {perplexity: 1%%}, max_size: 1MB}
`, shared)
	path := filepath.Join(dir, "stories.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(out string) (*Plan, *Outcome) {
		t.Helper()
		r, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Out: filepath.Join(dir, out), Workspace: []string{shared}}
		p, err := NewPlan(context.Background(), r, o)
		if err != nil {
			t.Fatal(err)
		}
		res, err := Run(context.Background(), r, o)
		if err != nil {
			t.Fatal(err)
		}
		return p, res
	}
	defer par.SetThreads(0)
	var first *Outcome
	for threads := 1; threads <= 3; threads++ {
		par.SetThreads(threads)
		plan, res := run(fmt.Sprint("out", threads))
		if !res.Gate.OK {
			t.Errorf("gate %+v", res.Gate)
		}
		qualities(t, res)
		for i, a := range res.Artifacts {
			if plan.Stages[i].Kind != "eval" && plan.Stages[i].Output != modelBytes(t, a.Path) {
				t.Errorf("%s: planned %d bytes, wrote %d", a.Name, plan.Stages[i].Output, modelBytes(t, a.Path))
			}
			if first != nil && first.Artifacts[i].Digest != a.Digest {
				t.Errorf("%s: another digest with %d threads", a.Name, threads)
			}
		}
		if first == nil {
			first = res
		}
	}
	_, again := run("out1")
	for _, a := range again.Artifacts {
		if !a.Reused {
			t.Errorf("%s was made again", a.Name)
		}
	}
	md, err := os.ReadFile(first.Report.MD)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", md)
}

// qualities holds the chain to what every link of it should do.
func qualities(t *testing.T, o *Outcome) {
	t.Helper()
	data, err := os.ReadFile(o.Report.JSON)
	if err != nil {
		t.Fatal(err)
	}
	var r report.Report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	ppl := map[string]float64{}
	for _, m := range r.Models {
		if m.Perplexity != nil {
			ppl[m.Name] = m.Perplexity.Value
		}
	}
	lost, back := ppl["slim"]-ppl["base"], ppl["slim"]-ppl["student"]
	if !(lost > 0.1 && back > 0.3*lost && ppl["q4"] < 1.25*ppl["student"] && ppl["q8"] < 1.01*ppl["base"]) {
		t.Errorf("perplexities %v", ppl)
	}
	if len(r.Pairs) != len(r.Models)-1 || r.Curves == nil {
		t.Errorf("%d comparisons of %d models, %d curves", len(r.Pairs), len(r.Models), len(r.Curves))
	}
}

// modelBytes returns the bytes of an artifact's model files.
func modelBytes(t *testing.T, dir string) int64 {
	t.Helper()
	var n int64
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch e.Name() {
		case "manifest.json", report.FactsFile, report.TimingsFile, "metrics.jsonl", "README.md":
			continue
		}
		st, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		n += st.Size()
	}
	return n
}
