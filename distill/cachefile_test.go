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
