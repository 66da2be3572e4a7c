package recipes

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

// tinyModel writes a tiny checkpoint of a family and a text beside it.
func tinyModel(t *testing.T, dir, family string) (dirOfModel, text string) {
	t.Helper()
	files, err := models.Files(family, 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	dirOfModel, text = filepath.Join(dir, "model"), filepath.Join(dir, "text.txt")
	if err := os.Mkdir(dirOfModel, 0o755); err != nil {
		t.Fatal(err)
	}
	for n, data := range files {
		if err := os.WriteFile(filepath.Join(dirOfModel, n), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(text, []byte(strings.Repeat(models.Text, 4)), 0o644); err != nil {
		t.Fatal(err)
	}
	return dirOfModel, text
}

// TestRecover runs the built-in recipe for models of one's own.
func TestRecover(t *testing.T) {
	dir := t.TempDir()
	m, text := tinyModel(t, dir, "llama")
	r, err := Load("recover", "model="+m, "data.train="+text, "data.calib="+text, "data.heldout="+text, "slim.num_calibration_samples=2", "slim.max_seq_length=32",
		"slim.depth=0.5", "slim.multiple=8", "recovered.steps=2", "recovered.max_seq_length=16", "report.max_tokens=200")
	if err != nil {
		t.Fatal(err)
	}
	o, err := Run(context.Background(), r, Options{Out: filepath.Join(dir, "out"), Workspace: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Artifacts) != 3 {
		t.Errorf("%d artifacts", len(o.Artifacts))
	}
}

// published are the built-in recipes of published models: the config.json of each, and the tiny checkpoint of its family.
var published = map[string]struct {
	config, tiny string
	billions     float64 // of parameters
}{
	"tinyllama": {"tinyllama-1.1b", "llama", 1.10}, "phi-2": {"phi-2", "phi", 2.78}, "mistral-7b": {"mistral-7b-v0.1", "mistral", 7.24},
	"gemma-2b": {"gemma-2b", "gemma", 2.51}, "falcon-1b": {"falcon-rw-1b", "falcon_rw", 1.31}, "olmo-1b": {"olmo-1b", "olmo", 1.18},
}

// TestFamilies runs the recipe of every published model from its beginning to its report, on a tiny checkpoint of its family.
func TestFamilies(t *testing.T) {
	for name, x := range published {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m, text := tinyModel(t, dir, x.tiny)
			sets := []string{"model=" + m, "data.train=" + text, "data.calib=" + text, "data.heldout=" + text,
				"slim.num_calibration_samples=2", "slim.max_seq_length=32", "slim.depth=0.5", "slim.multiple=8", "recovered.steps=2", "recovered.max_seq_length=16", "recovered.validation=0",
				"q4.num_calibration_samples=2", "q4.max_seq_length=32", "w4a16.num_calibration_samples=2", "w4a16.max_seq_length=32", "w4a16.group_size=-1",
				"report.max_tokens=200", "report.bench_prompt=4", "report.bench_generate=2"}
			r, err := Load(name, sets...)
			if err != nil {
				t.Fatal(err)
			}
			o, err := Run(context.Background(), r, Options{Out: filepath.Join(dir, "out"), Workspace: []string{dir}})
			if err != nil {
				t.Fatal(err)
			}
			if len(o.Artifacts) != 5 {
				t.Errorf("%d artifacts", len(o.Artifacts))
			}
		})
	}
}

// TestFamilyPlans plans every recipe on the real shape of its model: the sizes and memory that it foretells are those of so many
// parameters, and q4 is the size that llama.cpp's mix has.
func TestFamilyPlans(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text.txt")
	if err := os.WriteFile(text, []byte(models.Text), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, x := range published {
		data, err := os.ReadFile(filepath.Join("..", "model", "testdata", "published", x.config+".json"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := model.ParseConfig(x.config, data)
		if err != nil {
			t.Fatal(err)
		}
		base := model.Random(c, 1).Outline(c)
		if base, err = base.As("bf16"); err != nil {
			t.Fatal(err)
		}
		params := float64(base.Graph.Parameters())
		if d := params/1e9 - x.billions; d < -0.02 || d > 0.02 {
			t.Errorf("%s has %.3g parameters, want %.3g billion", name, params, x.billions)
		}
		r, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		made := map[string]*Model{Base: {Name: Base, Forecast: base, Bytes: base.Bytes()}}
		from := Base
		for _, s := range r.Stages[:4] {
			if s.From != "" {
				from = s.From
			}
			if d, ok := s.Settings.(*distillStage); ok {
				d.Train = []string{text}
			}
			e, err := s.Settings.Plan(t.Context(), &Planning{Name: s.Name, In: made[from], Refs: made})
			if err != nil {
				t.Fatalf("%s, %s: %v", name, s.Name, err)
			}
			made[s.Name], from = &Model{Name: s.Name, Forecast: e.Model, Bytes: e.OutputBytes}, s.Name
			small := float64(e.Model.(*model.Model).Graph.Parameters())
			t.Logf("%-10s %-9s %8s on disk, %8s of memory, about %s", name, s.Name, report.Bytes(e.OutputBytes), report.Bytes(e.PeakMemory), report.Duration(e.Seconds))
			bits := 8 * float64(e.OutputBytes) / small
			low, high := 15.9, 16.1
			if s.Kind == "quantize" { // with an untied or tied head and embedding in more bits, and rows that no block of 256 fits in f16
				low, high = 4, 9.5
			}
			if bits < low || bits > high || small < 0.7*params || small > 0.9*params {
				t.Errorf("%s, %s: %.3g parameters at %.2f bits", name, s.Name, small, bits)
			}
			if s.Kind == "distill" && float64(e.PeakMemory) < 4*small+2*params {
				t.Errorf("%s: %s of memory do not hold a student in float32 and its teacher", name, report.Bytes(e.PeakMemory))
			}
		}
	}
}
