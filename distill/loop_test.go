package distill

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/internal/train"
	"github.com/parelm/pare/model"
)

// validation returns the loss of a model on the text that a run holds back.
func validation(t *testing.T, m *model.Model, x Text, s Settings) float64 {
	t.Helper()
	s.Steps, s.LearningRate, s.LoRA, s.Patience, s.EMA = 1, 1e-30, nil, 0, 0 // look, and change nothing
	_, r, err := Run(t.Context(), m, nil, x, s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return *r.Points[0].Held
}

// TestResultIsWhatWasMeasured: with patience the result is the model of the best look, not of the last; with LoRA it is the model with
// the thin matrices added in, factor included.
func TestResultIsWhatWasMeasured(t *testing.T) {
	m := models.Model(t, "llama", 1)
	x := text(400, m.Config.Vocab)
	s := quick()
	s.Steps, s.EvalEvery, s.Patience, s.LearningRate, s.Schedule, s.Validation = 400, 5, 2, 2e-2, "constant", 0.05
	out, r, err := Run(t.Context(), m, nil, x, s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, last := validation(t, out, x, s), *r.Points[len(r.Points)-1].Held; math.Abs(got-r.Best) > 1e-5*r.Best || r.Best >= last {
		t.Errorf("the result has a loss of %g, the best was %g, the last %g", got, r.Best, last)
	}
	s = quick()
	s.LoRA, s.LearningRate, s.Validation = &LoRA{Rank: 4, Alpha: 10}, 3e-2, 0.05
	if out, r, err = Run(t.Context(), m, nil, text(2000, m.Config.Vocab), s, Options{}); err != nil {
		t.Fatal(err)
	}
	first, last := r.Points[0].Loss, *r.Points[len(r.Points)-1].Held
	if got := validation(t, out, text(2000, m.Config.Vocab), s); math.Abs(got-last) > 1e-5*last || !(last < first-0.1) {
		t.Errorf("with LoRA the result has a loss of %g, training measured %g, and %g at first", got, last, first)
	}
}

// brittle is a teacher that says something that is not a number, from some question on.
type brittle struct {
	Teacher
	left int
}

func (b *brittle) answer(ctx context.Context, x *train.Batch, w *want) error {
	err := b.Teacher.answer(ctx, x, w)
	if b.left--; b.left < 0 {
		x.Inputs[teacherLogits].([]float32)[5] = float32(math.NaN())
	}
	return err
}

// TestGuardKeepsTheLastGoodState: where a loss is not a number the error names the step, the state before it is kept, and a
// run with a sound teacher goes on from there to the weights of a run that never broke.
func TestGuardKeepsTheLastGoodState(t *testing.T) {
	m := models.Model(t, "llama", 1)
	teacher, err := Live(t.Context(), models.Model(t, "llama", 2))
	if err != nil {
		t.Fatal(err)
	}
	s := quick()
	s.Steps, s.Validation = 8, 0
	want, _ := mustRun(t, m, teacher, s, Options{})
	c := newMemory()
	_, r, err := Run(t.Context(), m, &brittle{teacher, 5}, text(2000, m.Config.Vocab), s, Options{Checkpoints: c})
	if !errors.Is(err, train.ErrNotFinite) || !strings.Contains(err.Error(), "step 6:") || !strings.Contains(err.Error(), "good up to step 5") {
		t.Fatalf("error %v", err)
	}
	if len(r.Points) != 5 || c.files["step-0000000005"] == nil {
		t.Fatalf("%d points are known, %d states kept", len(r.Points), len(c.files))
	}
	got, r := mustRun(t, m, teacher, s, Options{Checkpoints: c})
	if r.Resumed != 5 || !same(got, want) {
		t.Errorf("resumed after step %d, the weights of a run that never broke: %v", r.Resumed, same(got, want))
	}
}
