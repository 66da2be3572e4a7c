package distill

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
)

// TestDevices teaches students on one device and on several, which share batches: by logits and hidden states together, by tuned scales, with
// rounding, and on the student's own text. The losses are those of one device within rounding, and a run that was broken off goes on to
// the same weights, bit for bit.
func TestDevices(t *testing.T) {
	defer par.SetThreads(0)
	m := learned(t)
	teacher, err := Live(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	q, err := codec.Lookup("q4_0")
	if err != nil {
		t.Fatal(err)
	}
	formats := map[*model.Weight]codec.Codec{}
	for _, w := range m.Graph.Weights {
		if w.Role == model.RoleMatrix {
			formats[w] = q
		}
	}
	hidden := lossKinds["hidden"]()
	hidden.term().Weight = 0.1
	other := model.Random(m.Config, 8)
	taught := Losses{"kl": &KL{Soft: Soft{Term: Term{1}}}, "hidden": hidden}
	for name, c := range map[string]struct {
		student *model.Model
		set     func(s *Settings)
		formats map[*model.Weight]codec.Codec
	}{
		"hidden":    {other, func(s *Settings) { s.Losses, s.GradientAccumulation, s.EMA = taught, 2, 0.5 }, nil},
		"scales":    {quantized(t, m, "q4_0"), func(s *Settings) { s.Tune = tuneScales }, nil},
		"rounding":  {m, func(s *Settings) {}, formats},
		"on policy": {other, func(s *Settings) { s.OnPolicy = &OnPolicy{Share: 0.5} }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := quick()
			s.Steps, s.LearningRate, s.CheckpointEvery, s.EvalEvery, s.Validation = 6, 1e-3, 1, 2, 0.03
			c.set(&s)
			train := func(devices int, o Options) (map[string][]float32, *Report, error) {
				s.Devices, o.Formats = devices, c.formats
				out, r, err := Run(t.Context(), c.student, teacher, text(2000, 64), s, o)
				if err != nil {
					return nil, nil, err
				}
				return weightsOf(t, out), r, nil
			}
			_, one, err := train(1, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{2, 4} {
				want, r, err := train(n, Options{})
				if err != nil {
					t.Fatal(err)
				}
				for i, p := range r.Points {
					w := one.Points[i]
					if !(math.Abs(p.Loss-w.Loss) <= 1e-4*w.Loss) || p.Held != nil && !(math.Abs(*p.Held-*w.Held) <= 1e-4**w.Held) {
						t.Errorf("%d devices, step %d: loss %g and norm %g, on one %g and %g", n, p.Step, p.Loss, p.Norm, w.Loss, w.Norm)
					}
				}
				par.SetThreads(3)
				states := newMemory()
				if _, _, err := train(n, Options{Checkpoints: dying{states, 3}}); !errors.Is(err, errStop) {
					t.Fatal(err)
				}
				par.SetThreads(1)
				got, r, err := train(n, Options{Checkpoints: states})
				if err != nil {
					t.Fatal(err)
				}
				if r.Resumed != 3 || !same(got, want) {
					t.Errorf("%d devices: resumed after %d steps, the same weights: %t", n, r.Resumed, same(got, want))
				}
			}
		})
	}
}

// TestUnevenDevices: a batch that devices cannot share evenly is refused, with both numbers.
func TestUnevenDevices(t *testing.T) {
	s := quick()
	s.Devices = 3
	if err := s.Check(models.Model(t, "llama", 1), false); err == nil || !strings.Contains(err.Error(), "batch_size is 4, which 3 devices") {
		t.Error(err)
	}
}
