package distill

import "github.com/parelm/pare/internal/train"

// Reverse Kullback-Leibler divergence (Gu et al. 2023, MiniLLM, arXiv:2306.08543): L = T² sum q (ln q - ln p), with p and q as
// in KL. The student keeps to what the teacher finds probable, and may leave out the rest.
//
// With d = ln q - ln p the gradient for the logits is T q (d - L/T²). Where p all but vanishes d is in the thousands and that
// difference is all rounding; so L is taken off d first, and only q is differentiated.

func init() { register("reverse_kl", func() Loss { return &ReverseKL{Soft{Term: Term{1}}} }) }

// ReverseKL is the divergence of the teacher from the student.
type ReverseKL struct{ Soft }

func (l *ReverseKL) needs() need { return needLogits }

func (l *ReverseKL) build(b *build) (train.Loss, error) {
	temperature := l.at(b)
	return train.Loss{Inputs: b.logits(), Draw: func(t *train.Tape) train.Value {
		p, q := logProbabilities(t, temperature)
		d := q.Sub(p).Stop()
		mean := q.Exp().Mul(d).Sum().Stop()
		return q.Exp().Mul(d.Sub(mean)).Sum().Add(mean).Scale(temperature * temperature)
	}}, nil
}
