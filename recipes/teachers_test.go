package recipes

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parelm/pare/distill"
	"github.com/parelm/pare/internal/report"
)

// taughtRecipe makes a teacher, writes down what it says, and teaches three students from that: a pruned one, one whose scales are
// tuned, and from the live teacher one that is trained through rounding.
const taughtRecipe = `
data: {train: ./text.txt, calib: ./text.txt}
seed: 5
stages:
  - name: teacher
    init:
      config: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 64, rms_norm_eps: 1e-5}
      tokenizer: {vocab_size: 300}
  - name: answers
    cache: {teacher: teacher, top: 5, draws: 5, max_seq_length: 32, max_tokens: 2000}
  - name: slim
    prune: {ffn: 0.5, multiple: 32, num_calibration_samples: 4, max_seq_length: 32}
  - name: student
    distill: {teacher: answers, steps: 3, batch_size: 2, lora: {rank: 2}, ignore: [embed]}
  - name: q4
    from: teacher
    quantize: {format: Q4_0}
  - name: tuned
    distill: {teacher: answers, tune: scales, steps: 3, batch_size: 2}
  - name: w4
    from: teacher
    quantize: {format: W4A16, group_size: 32}
  - name: w4-tuned
    distill: {teacher: answers, tune: scales, steps: 3, batch_size: 2}
  - name: rounded
    from: teacher
    distill: {teacher: teacher, qat: {format: Q4_0}, steps: 3, batch_size: 2, max_seq_length: 32}
  - name: own
    from: slim
    distill: {teacher: teacher, losses: {jsd: 1}, on_policy: {share: 0.5}, steps: 2, batch_size: 2, max_seq_length: 32}
  - name: report
    eval: {models: [teacher, q4, slim], tasks: [kld], answers: answers, max_tokens: 640}
`

// distances checks what was measured against the cached teacher: models that learned nothing are all close to it, within the error.
func distances(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r report.Report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	kld := map[string]*report.KLD{}
	for _, m := range r.Models {
		if m.KLD != nil {
			kld[m.Name] = m.KLD
		}
	}
	for _, name := range []string{"teacher", "q4", "slim"} {
		if k := kld[name]; k == nil || !(k.Stderr > 0 && math.Abs(k.Mean) < 5*k.Stderr) {
			t.Errorf("%s: divergence %+v", name, k)
		}
	}
}

// metricsOf checks what three steps of two sequences of 32 left behind: a line of JSON each, and the curve that the report draws.
func metricsOf(t *testing.T, dir string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var losses []float64
	for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		var p distill.Point
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatal(err)
		}
		if p.Step != i+1 || p.Tokens != int64(64*(i+1)) || !(p.Loss != 0 && p.Losses["kl"] == p.Loss && p.Norm > 0 && p.Rate > 0 && p.Speed > 0 && p.Seconds > 0) {
			t.Errorf("step %d: %s", i+1, line)
		}
		losses = append(losses, p.Loss)
	}
	if data, err = os.ReadFile(filepath.Join(dir, report.FactsFile)); err != nil {
		t.Fatal(err)
	}
	var f report.Facts
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	if len(losses) != 3 || len(f.Curves) < 1 || f.Curves[0].Name != "loss" || !slices.Equal(f.Curves[0].Values, losses) {
		t.Errorf("losses %v, curves %v", losses, f.Curves)
	}
}

func TestTeachers(t *testing.T) {
	l := newLab(t)
	l.writeTrained()
	l.write("r.yaml", taughtRecipe)
	r, err := Load(l.path("r.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := Run(context.Background(), r, Options{Out: l.path("out")})
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int64{}
	for _, a := range o.Artifacts {
		sizes[a.Name] = modelBytes(t, a.Path)
		if a.Name == "student" {
			metricsOf(t, a.Path)
		}
		if a.Name == "answers" {
			if st, err := os.Stat(filepath.Join(a.Path, cacheFile)); err != nil || st.Size() > 150*2000+1000 {
				t.Errorf("%v %v", st, err)
			}
		}
		if _, err := os.Stat(filepath.Join(a.Path, ggufFile)); (err == nil) != (a.Name == "q4" || a.Name == "tuned" || a.Name == "rounded") {
			t.Errorf("%s: GGUF file: %v", a.Name, err)
		}
	}
	distances(t, o.Report.JSON)
	if sizes["tuned"] != sizes["q4"] || sizes["rounded"] != sizes["q4"] || sizes["w4-tuned"] != sizes["w4"] || sizes["student"] != sizes["slim"] {
		t.Errorf("sizes %v: a format is another than that of what it was made from", sizes)
	}
	for text, want := range map[string]string{
		"eval: {tasks: [kld], answers: teacher, text: [text.txt]}":                          "no cached teacher",
		"from: answers\n    quantize: {format: Q8_0}":                                       `"answers" makes no model`,
		"from: teacher\n    distill: {teacher: answer, steps: 1}":                           `no model "answer"`,
		"from: teacher\n    cache: {teacher: teacher}":                                      "starts from no model",
		"from: teacher\n    distill: {teacher: teacher, tune: scales, steps: 1}":            "no weight of the student is quantized",
		"from: teacher\n    distill: {teacher: teacher, remote: {url: http://x}, steps: 1}": "choose one",
	} {
		l.write("bad.yaml", taughtRecipe+"  - name: bad\n    "+text+"\n")
		r, err := Load(l.path("bad.yaml"))
		if err == nil {
			_, err = Run(context.Background(), r, Options{Out: l.path("out")})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}
