package distill

import (
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
)

// TestLiveIsTheModel: a student that is its own teacher has nothing to learn, by every loss. The runtime answers for the
// teacher and the training graph for the student, so the two executors agree too.
func TestLiveIsTheModel(t *testing.T) {
	for _, family := range []string{"llama", "gpt2", "gemma2"} {
		m := models.Model(t, family, 4)
		teacher, err := Live(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		losses := Losses{}
		for _, name := range LossNames() {
			l, err := NewLoss(name)
			if err != nil {
				t.Fatal(err)
			}
			if name != "ce" {
				losses[name] = l
			}
		}
		losses["topk_kl"].(*TopKKL).K = 10
		s := quick()
		s.Losses, s.Steps, s.LearningRate = losses, 1, 1e-9
		_, r := mustRun(t, m, teacher, s, Options{})
		for name, v := range r.Points[0].Losses {
			if !(v < 1e-4) {
				t.Errorf("%s: %s of a model with itself is %g", family, name, v)
			}
		}
		if len(r.Points[0].Losses) != len(losses) {
			t.Errorf("%s: losses %v", family, r.Points[0].Losses)
		}
	}
}

// TestFollows: a student of other widths comes closer to the teacher, its hidden states through projections.
func TestFollows(t *testing.T) {
	teacher, err := Live(t.Context(), models.Model(t, "llama", 1))
	if err != nil {
		t.Fatal(err)
	}
	s := quick()
	s.Steps, s.LearningRate, s.Temperature = 60, 5e-3, 2
	s.Losses = Losses{"kl": &KL{Soft{Term: Term{1}}}, "hidden": &Hidden{Term: Term{0.1}, Distance: "mse", Layers: map[string]int{"1": 2}}}
	_, r := mustRun(t, models.Model(t, "llama", 9), teacher, s, Options{})
	first, last := r.Points[0].Losses, r.Points[59].Losses
	for _, name := range []string{"kl", "hidden"} {
		if !(last[name] < 0.8*first[name]) {
			t.Errorf("%s went from %g to %g", name, first[name], last[name])
		}
	}
}

func TestRefused(t *testing.T) {
	m := models.Model(t, "llama", 1)
	teacher, err := Live(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	s := quick()
	for want, change := range map[string]func(*Settings){
		"at least 2":           func(s *Settings) { s.MaxSeqLength = 1 },
		"no state of the stud": func(s *Settings) { s.Losses = Losses{"hidden": &Hidden{Term: Term{1}, Layers: map[string]int{"7": 0}}} },
		"no state of the teac": func(s *Settings) { s.Losses = Losses{"hidden": &Hidden{Term: Term{1}, Layers: map[string]int{"1": 9}}} },
		"k is 1000":            func(s *Settings) { s.Losses = Losses{"topk_kl": &TopKKL{Soft: Soft{Term: Term{1}}, K: 1000}} },
		"make no sequence":     func(s *Settings) { s.MaxSeqLength = 120; s.Validation = 0 },
	} {
		bad := s
		change(&bad)
		_, _, err := Run(t.Context(), m, teacher, text(100, m.Config.Vocab), bad, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	s.Losses = Losses{"kl": &KL{Soft{Term: Term{1}}}}
	if _, _, err := Run(t.Context(), m, nil, text(100, m.Config.Vocab), s, Options{}); err == nil || !strings.Contains(err.Error(), "needs a teacher") {
		t.Errorf("KL without a teacher: %v", err)
	}
	if err := Compatible(models.Model(t, "phi3", 1), models.Model(t, "gpt2", 1)); models.Config(t, "phi3").Vocab != models.Config(t, "gpt2").Vocab && err == nil {
		t.Error("vocabularies of other sizes pass")
	}
}
