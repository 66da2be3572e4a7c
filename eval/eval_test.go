package eval

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/runtime"
)

func load(t *testing.T, m *model.Model) *runtime.Engine {
	t.Helper()
	e, err := runtime.Load(context.Background(), m, runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func open(t *testing.T, name string) *model.Model {
	t.Helper()
	m, err := model.Open(tiny.Shared(t, "assets", "models", name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// TestReference compares perplexities with those of an independent program in float64.
func TestReference(t *testing.T) {
	for name, c := range map[string]struct {
		window int
		bos    int32
	}{"stories260K": {511, 1}, "microlm-base-gpt2": {64, -1}, "slm4096-gpt2": {128, -1}} {
		t.Run(name, func(t *testing.T) {
			var ref struct {
				Perplexity struct {
					IDs        []int32 `json:"token_ids"`
					Total      float64 `json:"nll_total"`
					Predicted  int     `json:"predicted"`
					Perplexity float64 `json:"perplexity"`
				} `json:"perplexity"`
			}
			data, err := os.ReadFile(filepath.Join(tiny.Shared(t, "assets", "models", name), "reference.json"))
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, &ref); err != nil {
				t.Fatal(err)
			}
			want := ref.Perplexity
			p, err := Measure(context.Background(), load(t, open(t, name)), want.IDs, Protocol{Window: c.window, Stride: c.window, BOS: c.bos})
			if err != nil {
				t.Fatal(err)
			}
			if p.Tokens != want.Predicted || math.Abs(p.NLL-want.Total) > 1e-5*want.Total || math.Abs(p.Value-want.Perplexity) > 5e-5 {
				t.Errorf("perplexity %.6f of %d ids, nll %.4f; want %.6f, %d, %.4f", p.Value, p.Tokens, p.NLL, want.Perplexity, want.Predicted, want.Total)
			}
		})
	}
}

// TestCut counts every id once, whatever window and stride, and gives each at least the promised context.
func TestCut(t *testing.T) {
	ids := make([]int32, 103)
	for i := range ids {
		ids[i] = int32(i)
	}
	for _, p := range []Protocol{{10, 10, -1}, {10, 10, 7}, {10, 3, -1}, {10, 3, 7}, {200, 200, 7}, {1, 1, 7}, {103, 103, -1}} {
		seen := map[int32]int{}
		for k, w := range p.cut(ids) {
			first := 0
			if p.BOS >= 0 {
				if w.ids[0] != p.BOS {
					t.Fatalf("%+v: window %d begins with %d", p, k, w.ids[0])
				}
				first = 1
			}
			for i := w.score; i < len(w.ids); i++ {
				seen[w.ids[i]]++
				if k > 0 && i-first < p.Window-p.Stride && p.Stride < p.Window {
					t.Errorf("%+v: id %d has only %d before it", p, w.ids[i], i-first)
				}
			}
		}
		for _, id := range ids {
			want := 1
			if p.BOS < 0 && (id == 0 || p.Stride == p.Window && int(id)%p.Window == 0) {
				want = 0
			}
			if seen[id] != want {
				t.Errorf("%+v: id %d scored %d times, want %d", p, id, seen[id], want)
			}
		}
	}
}

// TestCompare checks divergence against plain arithmetic on a tiny model and a copy with noise.
func TestCompare(t *testing.T) {
	a, b := models.Model(t, "llama", 1), models.Model(t, "llama", 2)
	ids := make([]int32, 90)
	for i := range ids {
		ids[i] = int32(i * 37 % 128)
	}
	p := Protocol{Window: 20, Stride: 20, BOS: 1}
	same, err := Compare(context.Background(), load(t, a), load(t, a), ids, p)
	if err != nil {
		t.Fatal(err)
	}
	if same.KLD.Mean != 0 || same.Top1.Value != 1 || same.Ratio.Value != 1 || same.Ratio.StdErr != 0 {
		t.Errorf("a model differs from itself: %+v %+v", same.KLD, same.Top1)
	}
	other, err := Compare(context.Background(), load(t, a), load(t, b), ids, p)
	if err != nil {
		t.Fatal(err)
	}
	var kl float64
	n := 0
	for lo := 0; lo < len(ids); lo += 20 {
		w := append([]int32{1}, ids[lo:min(lo+20, len(ids))]...)
		x, y := rows(t, a, w), rows(t, b, w)
		for i := range len(w) - 1 {
			for j := range x[i] {
				kl += math.Exp(x[i][j]) * (x[i][j] - y[i][j])
			}
			n++
		}
	}
	if math.Abs(other.KLD.Mean-kl/float64(n)) > 1e-9 || other.Perplexity.Tokens != n {
		t.Errorf("divergence %v over %d, want %v over %d", other.KLD.Mean, other.Perplexity.Tokens, kl/float64(n), n)
	}
	if other.KLD.P99 > other.KLD.Max || other.KLD.Median > other.KLD.P99 || !(other.KLD.StdErr > 0) {
		t.Errorf("divergence %+v", other.KLD)
	}
}

func rows(t *testing.T, m *model.Model, ids []int32) [][]float64 {
	t.Helper()
	var out [][]float64
	err := load(t, m).NewSession().Each(context.Background(), ids, func(_ int, l []float32) error {
		out = append(out, logSoftmax(l))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestInterval draws many streams from a known distribution: the true mean must lie within two standard errors about as
// often as it should.
func TestInterval(t *testing.T) {
	for _, c := range []struct {
		windows int
		alike   float64
	}{{30, 0.5}, {8, 0}, {1, 0}, {3, 0}} {
		hits, trials := 0, 400
		for seed := range uint64(trials) {
			sums, sizes, square := drawClusters(seed, c.windows, c.alike)
			mean, se := clustered(sums, sizes, square)
			if math.Abs(mean-1) < 2*se {
				hits++
			}
		}
		if share := float64(hits) / float64(trials); share < 0.88 || share > 0.98 {
			t.Errorf("%d windows: two standard errors cover the truth in %.0f %% of cases", c.windows, 100*share)
		}
	}
}

// drawClusters returns sums of items whose mean is 1 and which are alike within a cluster, and the sum of their squares.
func drawClusters(seed uint64, clusters int, alike float64) (sums []float64, sizes []int, square float64) {
	s := rng.New(seed)
	for range clusters {
		n, shift := 25+s.Intn(20), alike*s.Normal()
		var sum float64
		for range n {
			v := 1 + shift + s.Normal()
			sum += v
			square += v * v
		}
		sums, sizes = append(sums, sum), append(sizes, n)
	}
	return sums, sizes, square
}

func TestBench(t *testing.T) {
	path := tiny.Shared(t, "assets", "models", "stories260K")
	b, err := Bench(context.Background(), path, 64, 16, 2)
	if err != nil {
		t.Fatal(err)
	}
	if !(b.Prefill.TokensPerSecond > 0 && b.Decode.TokensPerSecond > 0) || b.Prefill.Tokens != 64 || b.LoadSeconds <= 0 {
		t.Errorf("%+v", b)
	}
	if b.Decode.Ceiling <= 0 || b.Decode.OfCeiling <= 0 || b.Prefill.Ceiling != 0 {
		t.Errorf("ceilings of %+v", b)
	}
	if b.PeakMemory != 0 && (b.PeakMemory < 1<<20 || b.PeakMemory > 1<<31) {
		t.Errorf("peak memory %d", b.PeakMemory)
	}
}
