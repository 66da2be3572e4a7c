package distill

import (
	"math"
	"testing"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/tiny/models"
)

// TestSparseIsUnbiased averages what is kept of one position over many seeds: it must come to the distribution itself,
// within five standard errors of the draws, and every record must sum to 1.
func TestSparseIsUnbiased(t *testing.T) {
	const vocab, seeds = 200, 4000
	r := rng.New(3)
	logits := make([]float32, vocab)
	for i := range logits {
		logits[i] = float32(1.5 * r.Normal())
	}
	s := Sparse{Top: 5, Draws: 6}
	p := softmax(logits, 1)
	top := largest(nil, logits, s.Top)
	tail := 1.0
	for _, id := range top {
		tail -= p[id]
	}
	mean := make([]float64, vocab)
	ids, got := make([]int32, 11), make([]float32, 11)
	for seed := range uint64(seeds) {
		clear(got)
		record := encodeSparse(nil, logits, top, s, rng.New(seed))
		rest, h, err := decodeSparse(record, ids, got)
		if err != nil || len(rest) != 0 {
			t.Fatalf("%d bytes of a record are left over, %v", len(rest), err)
		}
		if want := entropy(p); math.Abs(float64(h)-want) > 1.0/entropyCodes {
			t.Fatalf("entropy %g, want %g", h, want)
		}
		sum := 0.0
		for i, id := range ids {
			if id >= 0 {
				mean[id] += float64(got[i]) / seeds
				sum += float64(got[i])
			}
		}
		if math.Abs(sum-1) > 1e-5 {
			t.Fatalf("probabilities of a record sum to %g", sum)
		}
	}
	for i := range mean {
		error := 5*tail*math.Sqrt(p[i]/tail/float64(s.Draws*seeds)) + 1e-3*p[i] // of the code of ln p
		if math.Abs(mean[i]-p[i]) > error {
			t.Errorf("token %d: %.6f on average, its probability is %.6f (allowed error %.6f)", i, mean[i], p[i], error)
		}
	}
}

// TestCachedTeachesLikeLive: a student taught from a cache ends as close to the teacher as one that was taught live, up to a
// tenth of the way, at no more than 150 bytes a token; and the same again, bit for bit.
func TestCachedTeachesLikeLive(t *testing.T) {
	m := models.Model(t, "llama", 1)
	teacher, err := Live(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	small := models.Model(t, "llama", 8)
	s := quick()
	s.Steps, s.LearningRate = 120, 5e-3
	after := func(s Settings) (map[string][]float32, float64) {
		out, _, err := Run(t.Context(), small, teacher, text(8000, 128), s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		one := quick()
		one.Steps, one.LearningRate = 1, 1e-9
		_, r := mustRun(t, out, teacher, one, Options{})
		return weightsOf(t, out), r.Points[0].Loss
	}
	before := func() float64 {
		one := quick()
		one.Steps, one.LearningRate = 1, 1e-9
		_, r := mustRun(t, small, teacher, one, Options{})
		return r.Points[0].Loss
	}()
	_, live := after(s)
	s.TeacherCache = &Sparse{}
	weights, kept := after(s)
	if !(live < before && kept < live+0.1*(before-live)) {
		t.Errorf("divergence %.4f before, %.4f taught live, %.4f from the cache", before, live, kept)
	}
	again, _ := after(s)
	if !same(weights, again) {
		t.Error("the same cache taught something else")
	}
	x, err := Cached(teacher, Sparse{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	c := x.(*cached)
	b := newBatch(1, 100)
	fill(b, text(101, 128).IDs, -1)
	if err := c.answer(t.Context(), b, &want{needs: needSparse}); err != nil {
		t.Fatal(err)
	}
	record, err := c.record(t.Context(), b.IDs)
	if n := len(record); err != nil || n > 150*100 {
		t.Errorf("%d bytes for 100 tokens, %v", n, err)
	}
	s.Temperature = 2
	if _, _, err := Run(t.Context(), small, teacher, text(8000, 128), s, Options{}); err == nil {
		t.Error("a cache serves a temperature that it does not know")
	}
}

func entropy(p []float64) float64 {
	h := 0.0
	for _, x := range p {
		if x > 0 {
			h -= x * math.Log(x)
		}
	}
	return h
}
