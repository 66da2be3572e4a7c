package distill

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/runtime"
)

// written makes a cached teacher of a tiny model and opens it.
func written(t *testing.T, teacher Teacher, m *model.Model, s CacheSettings, o Options) (path string, data []byte) {
	t.Helper()
	var b bytes.Buffer
	if _, err := WriteCache(t.Context(), &b, teacher, m, text(4000, m.Config.Vocab), s, o); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "answers.cache")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path, b.Bytes()
}

func TestCacheFile(t *testing.T) {
	m := models.Model(t, "llama", 1)
	teacher, err := Live(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	cs := CacheSettings{MaxSeqLength: 16, Seed: 3}
	path, data := written(t, teacher, m, cs, Options{Name: "teacher"})
	c := newMemory()
	var cut bytes.Buffer
	if _, err := WriteCache(t.Context(), &cut, teacher, m, text(4000, m.Config.Vocab), cs, Options{Name: "teacher", Checkpoints: dying{c, 2}}); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	if _, again := written(t, teacher, m, cs, Options{Name: "teacher", Checkpoints: c}); !bytes.Equal(again, data) {
		t.Error("a killed run that goes on writes another file")
	}
	f, err := OpenCache(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Sequences != 249 || f.Length != 16 || f.Top != 20 || f.Draws != 10 || f.CacheInfo.Teacher != "teacher" || !IsCache(path) {
		t.Errorf("%+v", f.CacheInfo)
	}
	if n := float64(len(data)) / float64(f.Sequences*f.Length); n > 150 {
		t.Errorf("%.1f bytes a token", n)
	}
	if err := f.Compatible(m); err != nil {
		t.Error(err)
	}
	s := quick()
	s.TeacherCache = &Sparse{}
	small := models.Model(t, "llama", 8)
	want, _, err := Run(t.Context(), small, teacher, text(4000, 128), s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.TeacherCache, s.MaxSeqLength = nil, 0
	got, r, err := Run(t.Context(), small, f.Teacher(), Text{}, s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !same(weightsOf(t, want), weightsOf(t, got)) || len(r.Points) != s.Steps {
		t.Error("the file teaches something else than the cache in memory")
	}
	s.MaxSeqLength = 15
	if _, _, err := Run(t.Context(), small, f.Teacher(), Text{}, s, Options{}); err == nil {
		t.Error("sequences of another length were taken")
	}
}

// TestCacheTop learns from the top of a cache by topk_kl, as from the live teacher, up to the rounding of ln p.
func TestCacheTop(t *testing.T) {
	m := models.Model(t, "llama", 1)
	teacher, err := Live(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := Cached(teacher, Sparse{}, 3)
	if err != nil {
		t.Fatal(err)
	}
	s := quick()
	s.Steps, s.LearningRate, s.Losses = 1, 1e-9, Losses{"topk_kl": &TopKKL{Soft: Soft{Term: Term{1}}, K: 12, Tail: "fold"}}
	small := models.Model(t, "llama", 8)
	loss := func(x Teacher) float64 {
		b := newBatch(2, 16)
		fill(b, text(17, 128).IDs, -1)
		fill(b, text(40, 128).IDs[20:37], -1)
		r := &run{s: s, student: small, teacher: x, report: &Report{}}
		if err := r.prepare(text(400, 128)); err != nil {
			t.Fatal(err)
		}
		if err := r.answer(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		ids, p, tail := topNames(12, 1)
		sum := 0.0
		for i, id := range b.Inputs[ids].([]int32) {
			sum += float64(id) * float64(b.Inputs[p].([]float32)[i])
		}
		for _, v := range b.Inputs[tail].([]float32) {
			sum += float64(v)
		}
		return sum
	}
	if a, b := loss(teacher), loss(kept); math.Abs(a-b) > 1e-3*math.Abs(a) {
		t.Errorf("the cache's top sums to %g, the teacher's to %g", b, a)
	}
	s.Losses = Losses{"topk_kl": &TopKKL{Soft: Soft{Term: Term{1}}, K: 30, Tail: "fold"}}
	if _, _, err := Run(t.Context(), small, kept, text(400, 128), s, Options{}); err == nil {
		t.Error("more tokens than the cache has were asked for")
	}
}

// TestCacheDamage flips every byte in turn: the damage is found when the file is opened or its records are read.
func TestCacheDamage(t *testing.T) {
	m := models.Model(t, "llama", 1)
	teacher, err := Live(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	_, data := written(t, teacher, m, CacheSettings{MaxSeqLength: 8, MaxTokens: 17, Sparse: Sparse{Top: 2, Draws: 2}}, Options{})
	readAll := func(data []byte) error {
		c, err := readCache("x", bytes.NewReader(data), int64(len(data)))
		for i := 0; err == nil && i < c.Sequences; i++ {
			_, err = c.records(i)
		}
		return err
	}
	if err := readAll(data); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x41
		if readAll(bad) == nil {
			t.Fatalf("damage at byte %d of %d goes unnoticed", i, len(data))
		}
		if readAll(data[:i]) == nil {
			t.Fatalf("a file of %d of %d bytes is taken", i, len(data))
		}
	}
}

// TestCacheCompare measures models against a file: the teacher is at no distance from itself, another model as far as it is from the live
// teacher, in whole and where the file has the top alone at most that.
func TestCacheCompare(t *testing.T) {
	m, other := models.Model(t, "llama", 1), models.Model(t, "llama", 8)
	teacher, err := Live(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	b, w := newBatch(1, 16), &want{needs: needLogits}
	var exact, tokens float64
	engines := map[*model.Model]*runtime.Engine{}
	for _, x := range []*model.Model{m, other} {
		if engines[x], err = runtime.Load(t.Context(), x, runtime.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	student := &live{e: engines[other]}
	x := text(4000, m.Config.Vocab)
	for i := range 249 {
		b.IDs, b.Labels = b.IDs[:0], b.Labels[:0]
		fill(b, x.IDs[i*16:(i+1)*16+1], x.BOS)
		rows := [2][]float32{}
		for k, l := range []Teacher{teacher, student} {
			if err := l.answer(t.Context(), b, w); err != nil {
				t.Fatal(err)
			}
			rows[k] = b.Inputs[teacherLogits].([]float32)
		}
		for r := range 16 {
			lo, hi := r*m.Config.Vocab, (r+1)*m.Config.Vocab
			p, q := softmax(rows[0][lo:hi], 1), softmax(rows[1][lo:hi], 1)
			for v := range p {
				exact += p[v] * math.Log(p[v]/q[v])
			}
			tokens++
		}
	}
	exact /= tokens
	for name, s := range map[string]CacheSettings{"whole": {MaxSeqLength: 16, Seed: 3}, "top": {MaxSeqLength: 16, Sparse: Sparse{Top: 10, Draws: 1}}} {
		path, _ := written(t, teacher, m, s, Options{})
		f, err := OpenCache(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		self, err := f.Compare(t.Context(), engines[m], 0)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(self.Mean) > 0.01*exact+4*self.StdErr || self.Top1 != 1 || self.Tokens != 249*16 {
			t.Errorf("%s: the teacher against itself: %+v", name, self)
		}
		c, err := f.Compare(t.Context(), engines[other], 0)
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(c.Mean-exact) > 0.01*exact+4*self.StdErr || !(c.StdErr > 0 && c.StdErr < 0.1*exact && c.Top1 < 0.5 && c.Max >= c.P99 && c.Perplexity > 1) {
			t.Errorf("%s: the divergence is %g, %+v", name, exact, c)
		}
		some, err := f.Compare(t.Context(), engines[other], 40)
		if err != nil || some.Tokens != 48 {
			t.Errorf("%+v, %v", some, err)
		}
	}
	path, _ := written(t, teacher, m, CacheSettings{MaxSeqLength: 16}, Options{})
	f, err := OpenCache(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	e, err := runtime.Load(t.Context(), headed(t, 2), runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Compare(t.Context(), e, 0); !errors.Is(err, tensor.ErrInvalid) {
		t.Errorf("another vocabulary: %v", err)
	}
}

// TestFoldedDivergence: without draws all that is not in the top is one class.
func TestFoldedDivergence(t *testing.T) {
	logits := []float32{1, -1, 2, 0.5}
	q := softmax(logits, 1)
	p := []float64{0.3, 0, 0.5, 0.2} // the last is the tail's
	h, want := 0.0, 0.0
	for i, b := range []float64{q[0], 0, q[2], q[1] + q[3]} {
		if p[i] > 0 {
			h -= p[i] * math.Log(p[i])
			want += p[i] * math.Log(p[i]/b)
		}
	}
	x := &position{ids: []int32{2, 0, -1}, p: []float32{0.5, 0.3, 0}, entropy: float32(h)}
	if got, best, _ := x.divergence(logits); math.Abs(got-want) > 1e-6 || best != 2 {
		t.Errorf("%g, want %g; likeliest %d", got, want, best)
	}
}
