package prune

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/runtime"
)

var samples = [][]int32{{3, 17, 99, 4, 4, 56, 23, 9, 12, 77}, {8, 71, 64, 2, 90, 11, 45, 6, 6, 100}, {1, 2, 3, 5, 8, 13, 21, 34, 55, 89}}

// uneven returns a tiny model in which units differ in weight: unit i of every axis that down and o read is scaled by a
// factor from 0.05 to 1 in scrambled order, so that a good criterion can find what matters.
func uneven(t *testing.T, name string) *model.Model {
	m := models.Model(t, name, 3)
	changed := map[*model.Weight]*tensor.Tensor{}
	for _, w := range m.Graph.Weights {
		if !strings.HasSuffix(w.Name, ".down") && !strings.HasSuffix(w.Name, ".o") {
			continue
		}
		v, err := m.Tensor(w).Float32()
		if err != nil {
			t.Fatal(err)
		}
		last := w.Dims[len(w.Dims)-1]
		for i := range v {
			unit := i % last.Size() / last.Block
			v[i] *= 0.05 + 0.95*float32(unit*7%last.Axis.Size)/float32(last.Axis.Size)
		}
		changed[w] = tensor.FromFloat32(w.Name, w.Shape(), v)
	}
	return m.With(changed)
}

// divergence returns the mean KL divergence of small from m over the samples.
func divergence(t *testing.T, m, small *model.Model, samples [][]int32) float64 {
	t.Helper()
	run := func(m *model.Model) (out [][]float64) {
		for _, ids := range samples {
			for _, row := range logits(t, m, ids) {
				p := make([]float64, len(row))
				sum := 0.0
				for i, v := range row {
					p[i] = math.Exp(float64(v))
					sum += p[i]
				}
				for i := range p {
					p[i] /= sum
				}
				out = append(out, p)
			}
		}
		return out
	}
	p, q := run(m), run(small)
	var kl float64
	for i := range p {
		for j := range p[i] {
			kl += p[i][j] * math.Log(p[i][j]/q[i][j])
		}
	}
	return kl / float64(len(p))
}

// logits returns a row for every position.
func logits(t *testing.T, m *model.Model, ids []int32) (out [][]float32) {
	t.Helper()
	e, err := runtime.Load(context.Background(), m, runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = e.NewSession().Each(context.Background(), ids, func(_ int, row []float32) error {
		out = append(out, append([]float32(nil), row...))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func prune(t *testing.T, m *model.Model, s Settings) *model.Model {
	t.Helper()
	small, r, err := Run(context.Background(), m, samples, s)
	if err != nil {
		t.Fatal(err)
	}
	want := s.Sizes(m.Config)
	for i := range want.Layers {
		a, b := &want.Layers[i], &small.Config.Layers[i]
		if a.FFN != b.FFN || a.Heads != b.Heads || a.KVHeads != b.KVHeads || want.Hidden != small.Config.Hidden {
			t.Fatalf("layer %d became %+v, Sizes said %+v", i, b, a)
		}
	}
	if r.Parameters != small.Graph.Parameters() || r.Parameters != model.Draw(want).Parameters() {
		t.Errorf("%d parameters, report says %d, Sizes %d", small.Graph.Parameters(), r.Parameters, model.Draw(want).Parameters())
	}
	return small
}

// TestCriteria expects every criterion to beat the mean of random choices, and repair to beat none.
func TestCriteria(t *testing.T) {
	for _, c := range []struct {
		name string
		Settings
	}{
		{"llama", Settings{FFN: 0.5}}, {"gpt2", Settings{FFN: 0.5}}, {"phi", Settings{FFN: 0.5}}, {"gemma2", Settings{FFN: 0.5}},
		{"qwen2", Settings{FFN: 0.5}}, {"olmo2", Settings{FFN: 0.5}},
		{"llama", Settings{Heads: 0.5}}, {"olmo", Settings{Heads: 0.5}}, {"gpt_neox", Settings{Heads: 0.5}}, {"gemma2", Settings{Heads: 0.5}},
	} {
		m := uneven(t, c.name)
		try := func(criterion string, repair bool, seed uint64) float64 {
			s := c.Settings
			s.Criterion, s.NoRepair, s.Seed = criterion, !repair, seed
			return divergence(t, m, prune(t, m, s), samples)
		}
		random := 0.0
		for seed := range uint64(6) {
			random += try("random", false, seed) / 6
		}
		activation, magnitude, repaired := try("activation", false, 0), try("magnitude", false, 0), try("activation", true, 0)
		t.Logf("%s ffn %v heads %v: activation %.4g, magnitude %.4g, random %.4g, repaired %.4g", c.name, c.FFN, c.Heads, activation, magnitude, random, repaired)
		if !(activation < random && magnitude < random) {
			t.Errorf("%s: a criterion is not better than random", c.name)
		}
		if !(repaired < activation) {
			t.Errorf("%s: repair made it worse", c.name)
		}
	}
}

// TestAll prunes every dimension at once, writes the result and reads it back.
func TestAll(t *testing.T) {
	m := uneven(t, "llama")
	small := prune(t, m, Settings{Depth: 0.5, FFN: 0.75, Heads: 0.5, Hidden: 0.75})
	path := t.TempDir()
	if err := small.SaveHF(context.Background(), dir(path)); err != nil {
		t.Fatal(err)
	}
	back, err := model.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if kl := divergence(t, small, back, samples); math.Abs(kl) > 1e-9 {
		t.Errorf("the written model differs by %v", kl)
	}
}

type dir string

func (d dir) Create(name string) (model.SinkFile, error) {
	return os.Create(filepath.Join(string(d), name))
}

// TestThreads expects the same weights for any number of threads.
func TestThreads(t *testing.T) {
	defer par.SetThreads(0)
	m := uneven(t, "llama")
	var first []float32
	for _, threads := range []int{1, 2, 3} {
		par.SetThreads(threads)
		small := prune(t, m, Settings{FFN: 0.5, Heads: 0.5})
		var all []float32
		for _, w := range small.Graph.Weights {
			v, err := small.Tensor(w).Float32()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, v...)
		}
		if first == nil {
			first = all
		}
		for i := range first {
			if first[i] != all[i] {
				t.Fatalf("weight %d differs with %d threads", i, threads)
			}
		}
	}
}

func TestSettings(t *testing.T) {
	c := models.Config(t, "llama")
	for _, bad := range []Settings{{}, {FFN: 1.5}, {Depth: -0.1}, {FFN: math.NaN()}, {FFN: 0.5, Criterion: "luck"}, {FFN: 0.5, Multiple: -1}} {
		if err := bad.Check(c); err == nil {
			t.Errorf("%+v accepted", bad)
		}
	}
	s := Settings{}
	for _, v := range []struct {
		size  int
		ratio float64
		want  int
	}{{172, 0.75, 128}, {5632, 0.75, 4352}, {688, 0.75, 512}, {40, 0.5, 20}, {10, 0.01, 1}, {4096, 0.5, 2048}} {
		if got := s.width(v.size, v.ratio); got != v.want {
			t.Errorf("%v of %d is %d, want %d", v.ratio, v.size, got, v.want)
		}
	}
}

// TestStories prunes a trained model: block influence must not choose the layers whose loss hurts most, and activation
// importance must beat random choice clearly.
func TestStories(t *testing.T) {
	path := tiny.Shared(t, "assets", "models", "stories260K")
	m, err := model.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var ref struct {
		Perplexity struct {
			TokenIDs []int32 `json:"token_ids"`
		} `json:"perplexity"`
	}
	data, err := os.ReadFile(filepath.Join(path, "reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &ref); err != nil {
		t.Fatal(err)
	}
	ids := ref.Perplexity.TokenIDs
	if len(ids) < 2048 {
		t.Fatalf("%d reference ids", len(ids))
	}
	calib, held := [][]int32{ids[:256], ids[256:512], ids[512:768], ids[768:1024]}, [][]int32{ids[1024:1280], ids[1280:1536]}
	kl := map[string]float64{}
	for name, s := range map[string]Settings{
		"activation": {FFN: 0.75, NoRepair: true}, "random": {FFN: 0.75, NoRepair: true, Criterion: "random", Seed: 1},
		"repaired": {FFN: 0.75}, "depth": {Depth: 0.8},
	} {
		small, r, err := Run(context.Background(), m, calib, s)
		if err != nil {
			t.Fatal(err)
		}
		kl[name] = divergence(t, m, small, held)
		t.Logf("%s: divergence %.4f, layers removed %v, influence %.3v", name, kl[name], r.Layers, r.Influence)
	}
	first, err := m.KeepLayers([]int{1, 2, 3, 4}) // the layer with the largest influence
	if err != nil {
		t.Fatal(err)
	}
	kl["first layer"] = divergence(t, m, first, held)
	if !(kl["activation"] < 0.8*kl["random"]) || !(kl["repaired"] < 0.75*kl["activation"]) || !(kl["depth"] < 0.5*kl["first layer"]) {
		t.Errorf("divergences %v", kl)
	}
}
