package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/parelm/pare/internal/reference"
	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/safetensors"
	"github.com/parelm/pare/runtime"
)

// goldenTolerance is that of the reference data's README.
const goldenTolerance = 1e-4

// TestGoldenConvert takes every reference checkpoint to GGUF and back with `pare convert`, and expects of each of the three
// forms the logits, hidden states and greedy tokens of the reference implementations, from the slow and the fast
// executor, and of the last the tensors of the first, bit for bit.
func TestGoldenConvert(t *testing.T) {
	root := tiny.Shared(t, "golden", "arch")
	dirs, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		for _, sub := range []string{"", "bf16_sharded"} {
			in := filepath.Join(root, d.Name(), sub)
			if _, err := os.Stat(filepath.Join(in, "config.json")); err != nil {
				continue
			}
			t.Run(filepath.Join(d.Name(), sub), func(t *testing.T) {
				t.Parallel()
				g := readGolden(t, in, filepath.Join(root, d.Name()))
				gguf, hf := filepath.Join(t.TempDir(), "model.gguf"), filepath.Join(t.TempDir(), "hf")
				must(t, "convert", in, "-o", gguf)
				must(t, "convert", gguf, "-o", hf)
				for _, form := range []string{in, gguf, hf} {
					g.check(t, form)
				}
				sameTensors(t, in, hf)
			})
		}
	}
}

// must runs a command line that must succeed.
func must(t *testing.T, args ...string) {
	t.Helper()
	var errs bytes.Buffer
	if code := run(context.Background(), append([]string{"pare"}, args...), io.Discard, &errs); code != exitOK {
		t.Fatalf("pare %v: exit code %d\n%s", args, code, errs.String())
	}
}

// golden is what one folder of the reference data expects.
type golden struct {
	Sequences []struct {
		Name string
		IDs  []int32 `json:"input_ids"`
	}
	want     *safetensors.File
	generate struct {
		NewTokens []int32 `json:"new_tokens"`
		Margin    float64 `json:"min_top1_margin"`
	}
}

func readGolden(t *testing.T, dir, inputs string) *golden {
	t.Helper()
	g := &golden{}
	for _, f := range []struct {
		path string
		v    any
		must bool
	}{{filepath.Join(inputs, "io.json"), g, true}, {filepath.Join(dir, "generate.json"), &g.generate, dir == inputs}} {
		data, err := os.ReadFile(f.path)
		if err == nil {
			err = json.Unmarshal(data, f.v)
		}
		if err != nil && f.must {
			t.Fatal(err)
		}
	}
	var err error
	if g.want, err = safetensors.Open(filepath.Join(dir, "expected.safetensors")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.want.Close() })
	return g
}

// check runs one form of the checkpoint in both executors.
func (g *golden) check(t *testing.T, path string) {
	t.Helper()
	m, err := model.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	e, err := runtime.Load(context.Background(), m, runtime.Options{Batch: 16})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range g.Sequences {
		trace, err := reference.Run(m.Graph, func(w *model.Weight) ([]float32, error) { return m.Tensor(w).Float32() }, s.IDs)
		if err != nil {
			t.Fatal(err)
		}
		g.compare(t, path+" reference", "logits_"+s.Name, trace[m.Graph.Logits.ID])
		var logits []float64
		err = e.NewSession().Each(context.Background(), s.IDs, func(_ int, row []float32) error {
			logits = append(logits, wide(row)...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		g.compare(t, path+" runtime", "logits_"+s.Name, logits)
		if s.Name == "a" {
			g.hidden(t, path, m, e, trace, s.IDs)
			g.greedy(t, path, e, s.IDs)
		}
	}
}

// hidden compares the residual stream before each layer and after the last.
func (g *golden) hidden(t *testing.T, path string, m *model.Model, e *runtime.Engine, trace reference.Trace, ids []int32) {
	t.Helper()
	ctx := context.Background()
	x, err := e.Embed(ctx, ids)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range m.Graph.Entry {
		if i > 0 {
			if err := e.Layer(ctx, i-1, x); err != nil {
				t.Fatal(err)
			}
		}
		name := fmt.Sprintf("hidden_a.%d", i)
		switch {
		case m.Graph.Recurrent() && (i == 0 || i == m.Graph.Layers): // these folders have no embedding entry
			continue
		case m.Graph.Recurrent():
			name = fmt.Sprintf("hidden_a.%d", i-1)
		case i == m.Graph.Layers:
			name = "prenorm_a"
		}
		g.compare(t, path+" reference", name, trace[n.ID])
		g.compare(t, path+" runtime", name, wide(x))
	}
}

// greedy compares the greedy continuation where the margin leaves no doubt.
func (g *golden) greedy(t *testing.T, path string, e *runtime.Engine, prompt []int32) {
	t.Helper()
	if g.generate.Margin < 1e-3 {
		return
	}
	var got []int32
	_, err := e.NewSession().Generate(context.Background(), prompt, len(g.generate.NewTokens), runtime.Sampling{}, nil, func(id int32) error {
		got = append(got, id)
		return nil
	})
	if err != nil || !slices.Equal(got, g.generate.NewTokens) {
		t.Errorf("%s: greedy tokens are %v (%v), want %v", path, got, err, g.generate.NewTokens)
	}
}

func (g *golden) compare(t *testing.T, who, name string, got []float64) {
	t.Helper()
	x, ok := g.want.Tensor(name)
	if !ok {
		if name[0] == 'l' { // the bf16 folders hold logits alone
			t.Fatalf("no %s among the expected tensors", name)
		}
		return
	}
	want, err := x.Float32()
	if err != nil {
		t.Fatal(err)
	}
	if len(want) != len(got) {
		t.Fatalf("%s: %s has %d values, want %d", who, name, len(got), len(want))
	}
	worst := 0.0
	for i, v := range want {
		worst = max(worst, math.Abs(float64(v)-got[i]))
	}
	if !(worst <= goldenTolerance) {
		t.Errorf("%s: %s differs by %.3g, allowed %.1g", who, name, worst, goldenTolerance)
	}
}

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// sameTensors compares the tensors of two Hugging Face directories bit for bit.
func sameTensors(t *testing.T, want, got string) {
	t.Helper()
	a, err := safetensors.OpenDir(want)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := safetensors.OpenDir(got)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if len(a.Tensors()) != len(b.Tensors()) {
		t.Errorf("%d tensors became %d", len(a.Tensors()), len(b.Tensors()))
	}
	for _, x := range a.Tensors() {
		y, ok := b.Tensor(x.Name)
		if !ok {
			t.Errorf("%s is gone", x.Name)
			continue
		}
		p, err := x.ReadRaw(0, x.Rows())
		if err != nil {
			t.Fatal(err)
		}
		q, err := y.ReadRaw(0, y.Rows())
		if err != nil {
			t.Fatal(err)
		}
		if x.Codec != y.Codec || !slices.Equal(x.Shape, y.Shape) || !bytes.Equal(p, q) {
			t.Errorf("%s changed", x.Name)
		}
	}
}
