package distill

import (
	"fmt"

	"github.com/parelm/pare/internal/train"
)

// Forward Kullback-Leibler divergence (Hinton, Vinyals & Dean 2015, arXiv:1503.02531). With p = softmax(teacher/T) and
// q = softmax(student/T)
//
//	L = T² sum p (ln p - ln q),   dL/dlogits = T (q - p)
//
// The student has to cover all that the teacher finds possible. T² keeps gradients the size they have at T = 1.

func init() { register("kl", func() Loss { return &KL{Soft{Term: Term{1}}} }) }

// KL is the divergence of the student from the teacher.
type KL struct{ Soft }

func (l *KL) needs() need { return needLogits }

func (l *KL) build(b *build) (train.Loss, error) {
	temperature := l.at(b)
	if b.sparse > 0 {
		return sparseKL(b, temperature)
	}
	return train.Loss{Inputs: b.logits(), Draw: func(t *train.Tape) train.Value {
		p, q := logProbabilities(t, temperature)
		return p.Exp().Mul(p.Sub(q)).Sum().Scale(temperature * temperature)
	}}, nil
}

// teacherLogits is the name of the teacher's logits among a batch's inputs, [rows, vocabulary].
const teacherLogits = "teacher.logits"

func (b *build) logits() []train.Input { return []train.Input{{Name: teacherLogits, Width: b.vocab}} }

// logProbabilities returns ln p of the teacher and ln q of the student at a temperature.
func logProbabilities(t *train.Tape, temperature float64) (p, q train.Value) {
	p = t.Input(teacherLogits).Scale(1 / temperature).LogSoftmax().Stop()
	return p, t.Logits().Scale(1 / temperature).LogSoftmax()
}

// sparseKL is the divergence from what a cached teacher keeps of a position, at temperature 1: -H(p) - sum p^ ln q, whose value and
// gradient are those of the whole distribution on average.
func sparseKL(b *build, temperature float64) (train.Loss, error) {
	if temperature != 1 {
		return train.Loss{}, fmt.Errorf("a cached teacher knows its probabilities at temperature 1, not at %g", temperature)
	}
	b.want.needs = b.want.needs&^needLogits | needSparse
	inputs := []train.Input{{Name: sparseIDs, Width: b.sparse, Int: true}, {Name: sparseProb, Width: b.sparse}, {Name: sparseEntropy}}
	return train.Loss{Inputs: inputs, Draw: func(t *train.Tape) train.Value {
		q, _ := t.Logits().LogSoftmax().Pick(t.Input(sparseIDs))
		return t.Input(sparseProb).Mul(q).Sum().Add(t.Input(sparseEntropy)).Scale(-1)
	}}, nil
}
