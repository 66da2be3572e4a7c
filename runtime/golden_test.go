package runtime

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/safetensors"
)

// TestGolden compares logits with those of the reference implementations, the prompt given whole and in pieces, and the
// greedy continuation.
func TestGolden(t *testing.T) {
	root := tiny.Shared(t, "golden", "arch")
	dirs, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if d.IsDir() {
			t.Run(d.Name(), func(t *testing.T) { golden(t, filepath.Join(root, d.Name())) })
		}
	}
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func golden(t *testing.T, dir string) {
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
	readJSON(t, filepath.Join(dir, "io.json"), &io)
	want, err := safetensors.Open(filepath.Join(dir, "expected.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	ctx := context.Background()
	e, err := Load(ctx, m, Options{Batch: 16})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range io.Sequences {
		x, _ := want.Tensor("logits_" + s.Name)
		expect, err := x.Float32()
		if err != nil {
			t.Fatal(err)
		}
		whole := collect(t, e.NewSession(), s.IDs)
		worst := 0.0
		for i, v := range expect {
			worst = max(worst, math.Abs(float64(v-whole[i])))
		}
		if !(worst <= 1e-4) {
			t.Errorf("%s: logits differ by %.3g", s.Name, worst)
		}
		pieces := e.NewSession()
		var cut []float32
		for lo, n := 0, 1; lo < len(s.IDs); lo, n = lo+n, n+3 {
			cut = append(cut, collect(t, pieces, s.IDs[lo:min(lo+n, len(s.IDs))])...)
		}
		if !lengthDependent(m) {
			for i := range whole {
				if whole[i] != cut[i] {
					t.Fatalf("%s: logit %d is %v given whole and %v given in pieces", s.Name, i, whole[i], cut[i])
				}
			}
		}
	}
	var gen struct {
		NewTokens []int32 `json:"new_tokens"`
		Margin    float64 `json:"min_top1_margin"`
	}
	readJSON(t, filepath.Join(dir, "generate.json"), &gen)
	s := e.NewSession()
	logits, err := s.Step(ctx, io.Sequences[0].IDs)
	if err != nil {
		t.Fatal(err)
	}
	if gen.Margin < 1e-3 {
		return
	}
	for i, id := range gen.NewTokens {
		best := int32(0)
		for j, v := range logits {
			if v > logits[best] {
				best = int32(j)
			}
		}
		if best != id {
			t.Fatalf("greedy token %d is %d, want %d", i, best, id)
		}
		if logits, err = s.Step(ctx, []int32{best}); err != nil {
			t.Fatal(err)
		}
	}
}

func lengthDependent(m *model.Model) bool {
	r := m.Config.Layers[0].Rope
	return r != nil && r.LengthDependent() > 0
}

func collect(t *testing.T, s *Session, ids []int32) []float32 {
	t.Helper()
	var out []float32
	err := s.Each(context.Background(), ids, func(_ int, logits []float32) error {
		out = append(out, logits...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
