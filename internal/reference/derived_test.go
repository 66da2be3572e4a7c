package reference_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/reference"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/gguf"
	"github.com/parelm/pare/model/safetensors"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/runtime"
)

// derived is a checkpoint and the logits of its last token, computed in numpy's float64 by a program of its own that was
// written from the published definitions of the family. Tensors are [mean, width, shape...]; see fill.
type derived struct {
	Config  json.RawMessage
	IDs     []int32
	Tensors map[string][]float64
	Logits  []float64
}

// TestDerived compares the families that have no checkpoint among the reference data: names and shapes of tensors as files
// have them, and logits, from the Hugging Face directory and from the GGUF file written of it.
func TestDerived(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "derived", "*.json"))
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var d derived
			if err := json.Unmarshal(data, &d); err != nil {
				t.Fatal(err)
			}
			dir := d.checkpoint(t)
			m, err := model.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			d.compare(t, "safetensors", m)
			stored, err := m.Stored()
			if err != nil || len(stored) != len(d.Tensors) {
				t.Errorf("uses %d of %d tensors (%v)", len(stored), len(d.Tensors), err)
			}
			file := filepath.Join(dir, "model.gguf")
			saveGGUF(t, m, file)
			g, err := model.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			d.compare(t, "GGUF", g)
			bare := withoutConfig(t, file)
			g, err = model.Open(bare)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			d.compare(t, "GGUF of another program", g)
		})
	}
}

// compare runs the model in both executors.
func (d *derived) compare(t *testing.T, from string, m *model.Model) {
	t.Helper()
	trace, err := reference.Run(m.Graph, func(w *model.Weight) ([]float32, error) { return m.Tensor(w).Float32() }, d.IDs)
	if err != nil {
		t.Fatal(err)
	}
	slow := trace[m.Graph.Logits.ID]
	slow = slow[len(slow)-len(d.Logits):]
	e, err := runtime.Load(context.Background(), m, runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fast, err := e.NewSession().Step(context.Background(), d.IDs)
	if err != nil {
		t.Fatal(err)
	}
	worst, runs := 0.0, 0.0
	for i, v := range d.Logits {
		worst = max(worst, math.Abs(slow[i]-v))
		runs = max(runs, math.Abs(float64(fast[i])-v))
	}
	if !(worst <= 2e-5) || !(runs <= 1e-4) {
		t.Errorf("%s: logits differ by %.3g in the slow executor, by %.3g in the fast one", from, worst, runs)
	}
}

// checkpoint writes a Hugging Face directory.
func (d *derived) checkpoint(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), d.Config, 0o644); err != nil {
		t.Fatal(err)
	}
	f32, err := codec.Lookup("f32")
	if err != nil {
		t.Fatal(err)
	}
	var infos []safetensors.Info
	for name, spec := range d.Tensors {
		infos = append(infos, safetensors.Info{Name: name, Codec: f32, Shape: shapeOf(spec)})
	}
	out, err := os.Create(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w, err := safetensors.NewWriter(out, infos, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, spec := range d.Tensors {
		x := tensor.FromFloat32(name, shapeOf(spec), fill(name, spec))
		raw, err := x.ReadRaw(0, x.Rows())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteRows(name, 0, raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func shapeOf(spec []float64) []int {
	var shape []int
	for _, n := range spec[2:] {
		shape = append(shape, int(n))
	}
	return shape
}

// fill makes a tensor's values of its name and their places alone: mean + width * a number between -1 and 1.
func fill(name string, spec []float64) []float32 {
	seed := uint32(2166136261) // FNV-1a
	for i := range len(name) {
		seed = (seed ^ uint32(name[i])) * 16777619
	}
	n := 1
	for _, d := range shapeOf(spec) {
		n *= d
	}
	v := make([]float32, n)
	for i := range v {
		x := uint32(i)*2654435761 + seed
		x = (x ^ x>>16) * 0x45d9f3b
		x = (x ^ x>>16) * 0x45d9f3b
		x ^= x >> 16
		v[i] = float32(spec[0] + float64(spec[1]*(float64(x)/(1<<31)-1)))
	}
	return v
}

func saveGGUF(t *testing.T, m *model.Model, path string) {
	t.Helper()
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := m.SaveGGUF(context.Background(), out, model.GGUFOptions{}); err != nil {
		t.Fatal(err)
	}
}

// withoutConfig copies a GGUF file but for the keys that only pare writes.
func withoutConfig(t *testing.T, path string) string {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	meta := &gguf.Metadata{}
	for k, v := range f.Metadata().All() {
		if !strings.HasPrefix(k, "pare.") {
			meta.Set(k, v)
		}
	}
	var infos []gguf.Info
	for _, x := range f.Tensors() {
		infos = append(infos, gguf.Info{Name: x.Name, Codec: x.Codec, Shape: x.Shape})
	}
	bare := path + ".bare.gguf"
	out, err := os.Create(bare)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w, err := gguf.NewWriter(out, infos, meta)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range f.Tensors() {
		raw, err := x.ReadRaw(0, x.Rows())
		if err == nil {
			err = w.WriteRows(x.Name, 0, raw)
		}
		if err != nil {
			t.Fatal(fmt.Errorf("%s: %w", x.Name, err))
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return bare
}
