package reference_test

import (
	"context"
	"encoding/binary"
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/parelm/pare/internal/reference"
	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/runtime"
)

var full = flag.Bool("full", false, "run the larger blocks too (up to 2 GB of memory)")

// TestPublishedBlocks runs one block of published models, in its real shape, through the slow and the fast executor on random
// weights. The embedding is cut to a few tokens: its shape says nothing about the block.
func TestPublishedBlocks(t *testing.T) {
	for _, name := range []string{"tinyllama-1.1b", "falcon-rw-1b", "olmo-1b", "phi-2", "gemma-2b", "mistral-7b-v0.1", "falcon-7b"} {
		t.Run(name, func(t *testing.T) {
			c := oneBlock(t, name)
			m := random(t, c)
			if n := m.Graph.Parameters(); n > 55_000_000 && !*full {
				t.Skipf("%d million parameters: runs with -full", n/1e6)
			}
			ids := []int32{3, 17, 60, 4}
			trace, err := reference.Run(m.Graph, func(w *model.Weight) ([]float32, error) { return m.Tensor(w).Float32() }, ids)
			if err != nil {
				t.Fatal(err)
			}
			want := trace[m.Graph.Logits.ID]
			e, err := runtime.Load(context.Background(), m, runtime.Options{})
			if err != nil {
				t.Fatal(err)
			}
			worst, size := 0.0, 0.0
			err = e.NewSession().Each(context.Background(), ids, func(i int, logits []float32) error {
				for j, v := range logits {
					size = max(size, math.Abs(want[i*c.Vocab+j]))
					worst = max(worst, math.Abs(float64(v)-want[i*c.Vocab+j]))
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if !(size > 0.1) || !(worst <= 1e-5*(1+size)) {
				t.Errorf("logits up to %.3g differ by %.3g", size, worst)
			}
		})
	}
}

// oneBlock reads a published config.json and cuts it to one layer and 64 tokens.
func oneBlock(t *testing.T, name string) *model.Config {
	t.Helper()
	file := filepath.Join("..", "..", "model", "testdata", "published", name+".json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := model.ParseConfig(file, data)
	if err != nil {
		t.Fatal(err)
	}
	c.Layers, c.Vocab = c.Layers[:1], 64
	return c
}

// random returns a model whose weights are uniform and keep activations near 1; they are computed when read.
func random(t *testing.T, c *model.Config) *model.Model {
	t.Helper()
	f32, err := codec.Lookup("f32")
	if err != nil {
		t.Fatal(err)
	}
	m := model.Random(c, 1)
	changed := map[*model.Weight]*tensor.Tensor{}
	for _, w := range m.Graph.Weights {
		shape := w.Shape()
		u := uniform{name: w.Name, cols: shape[len(shape)-1], width: math.Sqrt(3 / float64(shape[len(shape)-1]))}
		if w.Role == model.RoleVector {
			u.width = 0.5
			if len(w.Name) < 5 || w.Name[len(w.Name)-5:] != ".bias" {
				u.mean = 1
			}
		}
		if w.Role == model.RoleEmbed {
			u.width = 1
		}
		changed[w] = &tensor.Tensor{Name: w.Name, Codec: f32, Shape: shape, Src: u}
	}
	return m.With(changed)
}

type uniform struct {
	name        string
	cols        int
	mean, width float64
}

func (u uniform) ReadRows(dst []byte, lo, hi int) error {
	id := rng.Hash(u.name)
	for r := lo; r < hi; r++ {
		s := rng.New(7, id, uint64(r))
		for j := range u.cols {
			v := u.mean + u.width*(2*s.Float64()-1)
			binary.LittleEndian.PutUint32(dst[4*((r-lo)*u.cols+j):], math.Float32bits(float32(v)))
		}
	}
	return nil
}
