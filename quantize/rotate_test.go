package quantize

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/reference"
	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

// TestPaley expects orthogonal rows, entries ±1 and a first column of ones.
func TestPaley(t *testing.T) {
	for _, n := range []int{1, 12, 20, 28, 36, 60, 76, 172} {
		h := paley(n)
		if h == nil {
			if n != 172 {
				t.Errorf("no matrix of size %d", n)
			}
			continue
		}
		for i := range n {
			if h[i*n] != 1 {
				t.Fatalf("size %d: row %d begins with %g", n, i, h[i*n])
			}
			for k := range n {
				var dot float32
				for j := range n {
					if h[i*n+j] != 1 && h[i*n+j] != -1 {
						t.Fatalf("size %d: entry %g", n, h[i*n+j])
					}
					dot += h[i*n+j] * h[k*n+j]
				}
				if want := float32(0); i == k && dot != float32(n) || i != k && dot != want {
					t.Fatalf("size %d: rows %d and %d have product %g", n, i, k, dot)
				}
			}
		}
	}
}

// TestTurn expects lengths to stay, the mean where asked, and large values to spread.
func TestTurn(t *testing.T) {
	for _, n := range []int{2, 64, 80, 96, 172, 320, 896, 2304} {
		for _, mean := range []bool{false, true} {
			q, err := newTurn(n, mean, 1)
			if err != nil {
				t.Fatal(err)
			}
			s, x := rng.New(3), make([]float32, n)
			var sum, square float64
			for i := range x {
				x[i] = float32(s.Normal())
				sum, square = sum+float64(x[i]), square+float64(x[i])*float64(x[i])
			}
			q.apply(x)
			for _, v := range x {
				sum, square = sum-float64(v), square-float64(v)*float64(v)
			}
			if math.Abs(square) > 1e-3 || mean && math.Abs(sum) > 1e-3 {
				t.Errorf("%d values, mean %v: squares change by %g, the sum by %g", n, mean, square, sum)
			}
			clear(x)
			x[n/2] = 1
			q.apply(x)
			for _, v := range x {
				if limit := 6 / math.Sqrt(float64(q.n)); math.Abs(float64(v)) > limit && q.n >= 64 {
					t.Errorf("%d values, mean %v: an outlier of 1 leaves %g", n, mean, v)
				}
			}
		}
	}
	if _, err := newTurn(77, false, 1); err == nil {
		t.Error("77 values have no Hadamard matrix")
	}
}

// unrotatable returns what forbids turning a model's stream: a norm whose scale goes into the stream, or token shifts.
// Empty where nothing does.
func unrotatable(g *model.Graph) string {
	for _, name := range []string{"embed_norm", "layers.0.attn.post_norm", "layers.0.pre_norm"} {
		if g.Weight(name) != nil || g.Weight(name+".weight") != nil {
			return name
		}
	}
	return ""
}

// TestRotate expects the logits of every family that can be rotated, and the refusal of every other.
func TestRotate(t *testing.T) {
	for _, name := range models.Names() {
		m := models.Model(t, name, 1)
		r, err := (&Settings{Rotate: "hadamard"}).Prepare(m)
		if where := unrotatable(m.Graph); where != "" {
			if err == nil || !strings.Contains(err.Error(), where) {
				t.Errorf("%s: %v, want a refusal that names %s", name, err, where)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want, got := logitsOf(t, m), logitsOf(t, r)
		for i := range want {
			if !(math.Abs(got[i]-want[i]) < 1e-4) {
				t.Errorf("%s: logit %d is %v, was %v", name, i, got[i], want[i])
				break
			}
		}
	}
}

func logitsOf(t *testing.T, m *model.Model) []float64 {
	t.Helper()
	trace, err := reference.Run(m.Graph, func(w *model.Weight) ([]float32, error) { return m.Tensor(w).Float32() }, samples[0])
	if err != nil {
		t.Fatal(err)
	}
	return trace[m.Graph.Logits.ID]
}

// TestRotatedFile expects a rotated model with a tied bfloat16 embedding to be written with a head of its own, both in
// bfloat16, and to be read back as it was.
func TestRotatedFile(t *testing.T) {
	m, err := models.Model(t, "llama3_rope_tied", 1).As("bf16")
	if err != nil {
		t.Fatal(err)
	}
	q, r, err := Run(context.Background(), m, Settings{Format: "w4a16", GroupSize: 16, Rotate: "hadamard"}, &RTN{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	path := t.TempDir()
	if err := q.SaveHF(context.Background(), dir(path)); err != nil {
		t.Fatal(err)
	}
	back, err := model.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	for _, name := range []string{"embed", "head"} {
		if f := back.Tensor(back.Graph.Weight(name)).Codec.Name(); f != "bf16" {
			t.Errorf("%s is %s", name, f)
		}
	}
	want, got := logitsOf(t, q), logitsOf(t, back)
	for i := range want {
		if want[i] != got[i] {
			t.Fatalf("logit %d is %v, was %v", i, got[i], want[i])
		}
	}
}
