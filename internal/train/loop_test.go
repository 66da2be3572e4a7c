package train

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

// What a step does with its settings, one by one. That AdamW, its decay of matrices alone and clipping are PyTorch's is what
// TestCurve shows.

// loopTrainer trains a tiny Llama with given losses.
func loopTrainer(t *testing.T, m *model.Model, s Settings, losses ...Loss) *Trainer {
	t.Helper()
	if s.Schedule.Steps == 0 {
		s.Schedule = Schedule{Kind: "constant", Steps: 100}
	}
	tr, err := New(m, losses, s)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// loopBatch is a batch of rows sequences of 6; a third of the labels do not count.
func loopBatch(m *model.Model, first, rows int) *Batch {
	b := &Batch{Rows: rows, Length: 6, Inputs: map[string]any{}}
	factor := make([]float32, 0, rows*6)
	for i := first * 6; i < (first+rows)*6; i++ {
		b.IDs = append(b.IDs, int32(i*i*7+i)%int32(m.Config.Vocab))
		label := int32(i*5+1) % int32(m.Config.Vocab)
		if i%3 == 0 {
			label = -100
		}
		b.Labels = append(b.Labels, label)
		factor = append(factor, 1)
	}
	b.Inputs["factor"] = factor
	return b
}

// factored is cross-entropy times a number that comes with each row: a way to make a loss infinite.
func factored(name string, weight float64) Loss {
	ce := crossEntropy()
	return Loss{Name: name, Weight: weight, Inputs: []Input{{Name: "factor"}}, Draw: func(t *Tape) Value { return ce.Draw(t).Mul(t.Input("factor")) }}
}

func loopWeights(t *testing.T, tr *Trainer) [][]float32 {
	t.Helper()
	tensors, err := tr.Tensors()
	if err != nil {
		t.Fatal(err)
	}
	var out [][]float32
	for _, w := range tr.student.model.Graph.Weights {
		v, err := tensors[w].Float32()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

// TestAccumulation: batches whose gradients are added up make the step that one batch of all their sequences makes, though not
// every row counts.
func TestAccumulation(t *testing.T) {
	m := models.Model(t, "llama", 1)
	s := Settings{Optimizer: Optimizer{Rate: 1e-2, Clip: 1e-3}}
	whole, parts := loopTrainer(t, m, s, crossEntropy()), loopTrainer(t, m, s, crossEntropy())
	a, err := whole.Step(t.Context(), []*Batch{loopBatch(m, 0, 5)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := parts.Step(t.Context(), []*Batch{loopBatch(m, 0, 2), loopBatch(m, 2, 2), loopBatch(m, 4, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(a.Loss-b.Loss) > 1e-6*a.Loss || math.Abs(a.Norm-b.Norm) > 1e-5*a.Norm || a.Rows != 20 || b.Rows != 20 {
		t.Errorf("whole %+v, in parts %+v", a, b)
	}
	x, y := loopWeights(t, whole), loopWeights(t, parts)
	for i := range x {
		for k := range x[i] {
			if d := math.Abs(float64(x[i][k] - y[i][k])); d > 2e-4 { // Adam makes steps of the rate out of the smallest gradients
				t.Fatalf("%s: %g and %g", m.Graph.Weights[i].Name, x[i][k], y[i][k])
			}
		}
	}
}

// TestWeightsOfLosses: the total is the weighted sum, and so is the gradient.
func TestWeightsOfLosses(t *testing.T) {
	m := models.Model(t, "llama", 1)
	b := []*Batch{loopBatch(m, 0, 3)}
	one, err := loopTrainer(t, m, Settings{}, crossEntropy()).Step(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	second := factored("other", 0.5)
	two := crossEntropy()
	two.Weight = 3
	got, err := loopTrainer(t, m, Settings{}, two, second).Step(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(got.Losses["ce"]-one.Loss) > 1e-6*one.Loss || math.Abs(got.Losses["other"]-one.Loss) > 1e-6*one.Loss {
		t.Errorf("losses %v, alone %g", got.Losses, one.Loss)
	}
	if math.Abs(got.Loss-3.5*one.Loss) > 1e-5*one.Loss || math.Abs(got.Norm-3.5*one.Norm) > 1e-4*one.Norm {
		t.Errorf("the sum is %g with a gradient of %g, want 3.5 times %g and %g", got.Loss, got.Norm, one.Loss, one.Norm)
	}
}

// TestMean: with EMA the result is e = f e + (1-f) w over the weights of a run without.
func TestMean(t *testing.T) {
	m := models.Model(t, "llama", 1)
	plain := loopTrainer(t, m, Settings{Optimizer: Optimizer{Rate: 1e-2}}, crossEntropy())
	mean := loopTrainer(t, m, Settings{Optimizer: Optimizer{Rate: 1e-2}, EMA: 0.75}, crossEntropy())
	want := loopWeights(t, plain)
	for step := range 4 {
		b := []*Batch{loopBatch(m, step, 2)}
		for _, tr := range []*Trainer{plain, mean} {
			if _, err := tr.Step(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
		for i, w := range loopWeights(t, plain) {
			for k, v := range w {
				want[i][k] += 0.25 * (v - want[i][k])
			}
		}
	}
	for i, w := range loopWeights(t, mean) {
		for k, v := range w {
			if math.Abs(float64(v-want[i][k])) > 1e-6 {
				t.Fatalf("%s: %g, want %g", m.Graph.Weights[i].Name, v, want[i][k])
			}
		}
	}
}

// TestGuard: a step whose loss or gradient is not finite is an error that names the step and changes nothing, and training can go on.
func TestGuard(t *testing.T) {
	m := models.Model(t, "llama", 1)
	tr := loopTrainer(t, m, Settings{EMA: 0.5, Optimizer: Optimizer{Rate: 1e-2}}, factored("ce", 1))
	state := func() string {
		var b bytes.Buffer
		if err := tr.Save(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	good := []*Batch{loopBatch(m, 0, 2)}
	if _, err := tr.Step(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	before := state()
	for _, x := range []float32{float32(math.Inf(1)), float32(math.NaN()), 1e38} { // the last is a finite loss with an infinite gradient
		bad := loopBatch(m, 1, 2)
		bad.Inputs["factor"].([]float32)[4] = x
		_, err := tr.Step(t.Context(), []*Batch{loopBatch(m, 0, 2), bad})
		if !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), "step 2:") {
			t.Errorf("factor %g: error %v", x, err)
		}
		if state() != before || tr.Steps() != 1 {
			t.Fatalf("factor %g: the step changed something", x)
		}
	}
	if _, err := tr.Step(t.Context(), good); err != nil || state() == before {
		t.Errorf("training does not go on: %v", err)
	}
}

// TestSchedules are known points of each schedule, of 100 steps with 10 of warm-up and a floor of a tenth.
func TestSchedules(t *testing.T) {
	for kind, want := range map[string]map[int]float64{
		"cosine":   {0: 0.1, 4: 0.5, 9: 1, 10: 1, 55: 0.55, 100: 0.1},
		"linear":   {9: 1, 10: 1, 55: 0.55, 100: 0.1},
		"constant": {0: 0.1, 9: 1, 55: 1, 100: 1},
		"wsd":      {0: 0.1, 10: 1, 82: 1, 91: 0.55, 100: 0.1},
	} {
		s := Schedule{Kind: kind, Warmup: 10, Steps: 100, Floor: 0.1}
		for step, v := range want {
			if got := s.at(step); math.Abs(got-v) > 1e-9 {
				t.Errorf("%s at step %d is %g, want %g", kind, step, got, v)
			}
		}
	}
}
