package distill

import (
	"errors"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/tiny/models"
)

// TestOnPolicy learns from what the student writes itself: it comes closer to the teacher on such texts, with the same bits for any number
// of threads and after a break.
func TestOnPolicy(t *testing.T) {
	defer par.SetThreads(0)
	teacher, err := Live(t.Context(), models.Model(t, "llama", 1))
	if err != nil {
		t.Fatal(err)
	}
	small := models.Model(t, "llama", 8)
	s := quick()
	s.Steps, s.LearningRate, s.CheckpointEvery, s.Validation = 30, 5e-3, 4, 0
	s.Losses, s.OnPolicy = Losses{"jsd": &JSD{Soft: Soft{Term: Term{1}}, Beta: 0.5}}, &OnPolicy{Share: 0.5}
	want, r := mustRun(t, small, teacher, s, Options{})
	if first, last := r.Points[0].Loss, mean(r.Points, 3); !(last < 0.8*first) {
		t.Errorf("the divergence went from %.4f to %.4f", first, last)
	}
	par.SetThreads(3)
	c := newMemory()
	if _, _, err := Run(t.Context(), small, teacher, text(2000, 128), s, Options{Checkpoints: dying{c, 3}}); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	got, r := mustRun(t, small, teacher, s, Options{Checkpoints: c})
	if r.Resumed != 12 || !same(got, want) {
		t.Errorf("resumed after %d steps; the same weights: %v", r.Resumed, same(got, want))
	}
	s.OnPolicy = nil
	if other, _ := mustRun(t, small, teacher, s, Options{}); same(other, want) {
		t.Error("without on-policy text the weights are the same")
	}
	for what, set := range map[string]func(s *Settings){
		"cached teacher": func(s *Settings) { s.TeacherCache, s.Losses = &Sparse{}, nil },
		"write what it":  func(s *Settings) { s.Losses["ce"] = &CE{Term{1}} },
		"leaves nothing": func(s *Settings) { s.OnPolicy.Prompt = 16 },
	} {
		s := s
		s.OnPolicy, s.Losses = &OnPolicy{Share: 0.5}, Losses{"kl": &KL{Soft{Term: Term{1}}}}
		set(&s)
		if _, _, err := Run(t.Context(), small, teacher, text(2000, 128), s, Options{}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v, want %q", err, what)
		}
	}
}
