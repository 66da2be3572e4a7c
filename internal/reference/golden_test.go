package reference

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/safetensors"
)

// tolerance is the golden README's: float32 noise is up to 1.2e-5, wrong maths moves logits by 5e-4 and more.
const tolerance = 1e-4

// TestGolden compares logits and hidden states with those of the reference implementations.
func TestGolden(t *testing.T) {
	root := tiny.Shared(t, "golden", "arch")
	dirs, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		dir := filepath.Join(root, d.Name())
		t.Run(d.Name(), func(t *testing.T) { golden(t, dir, dir) })
		if bf16 := filepath.Join(dir, "bf16_sharded"); exists(bf16) {
			t.Run(d.Name()+"/bf16_sharded", func(t *testing.T) { golden(t, bf16, dir) })
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// golden runs the checkpoint in dir on the sequences that inputs lists.
func golden(t *testing.T, dir, inputs string) {
	m, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var io struct {
		Sequences []struct {
			Name string  `json:"name"`
			IDs  []int32 `json:"input_ids"`
		}
	}
	data, err := os.ReadFile(filepath.Join(inputs, "io.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &io); err != nil {
		t.Fatal(err)
	}
	want, err := safetensors.Open(filepath.Join(dir, "expected.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	weights := func(w *model.Weight) ([]float32, error) { return m.Tensor(w).Float32() }
	for _, s := range io.Sequences {
		trace, err := Run(m.Graph, weights, s.IDs)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, want, "logits_"+s.Name, trace[m.Graph.Logits.ID])
		if s.Name != "a" {
			continue
		}
		for i, n := range m.Graph.Entry {
			name := "hidden_a." + string(rune('0'+i))
			if i == m.Graph.Layers {
				name = "prenorm_a"
			}
			if m.Graph.Recurrent() {
				if i == 0 || i == m.Graph.Layers {
					continue
				}
				name = "hidden_a." + string(rune('0'+i-1))
			}
			compare(t, want, name, trace[n.ID])
		}
	}
}

func compare(t *testing.T, f *safetensors.File, name string, got []float64) {
	t.Helper()
	x, ok := f.Tensor(name)
	if !ok {
		if !strings.HasPrefix(name, "logits") { // the bf16 folders hold logits alone
			return
		}
		t.Fatalf("no %s among the expected tensors", name)
	}
	want, err := x.Float32()
	if err != nil {
		t.Fatal(err)
	}
	if len(want) != len(got) {
		t.Fatalf("%s: %d values, want %d", name, len(got), len(want))
	}
	worst := 0.0
	for i, v := range want {
		worst = max(worst, math.Abs(float64(v)-got[i]))
	}
	if !(worst <= tolerance) {
		t.Errorf("%s: differs by %.3g, allowed %.1g", name, worst, tolerance)
	}
	t.Logf("%s: max difference %.2g", name, worst)
}
