package distill

import "github.com/parelm/pare/internal/train"

// KL between standardised logits (Sun et al. 2024, arXiv:2403.01427): both rows of logits are shifted to mean 0 and scaled to
// standard deviation T before the softmax, so that the student has to match the order and the shape of the teacher's
// logits but not their size:
//
//	z -> (z - mean) / (std + 1e-7) * scale / T
//
// The loss is multiplied by T². For vocabularies of language models the logits of a confident teacher lie ten deviations
// above the mean; scale gives them back that range. It is no more than a factor on 1/T, told apart because the
// stage's temperature is shared with other losses.

func init() {
	register("standardized_kl", func() Loss { return &StandardizedKL{Soft: Soft{Term: Term{1}}, Scale: 1} })
}

// StandardizedKL is the divergence between standardised logits.
type StandardizedKL struct {
	Soft
	// Scale is the standard deviation that logits are given.
	Scale float64 `yaml:"scale" above:"0"`
}

func (l *StandardizedKL) needs() need { return needLogits }

func (l *StandardizedKL) build(b *build) (train.Loss, error) {
	temperature := l.at(b)
	return train.Loss{Inputs: b.logits(), Draw: func(t *train.Tape) train.Value {
		p := standardized(t.Input(teacherLogits)).Scale(l.Scale / temperature).LogSoftmax().Stop()
		q := standardized(t.Logits()).Scale(l.Scale / temperature).LogSoftmax()
		return p.Exp().Mul(p.Sub(q)).Sum().Scale(temperature * temperature)
	}}, nil
}

// standardized shifts and scales each row to mean 0 and standard deviation 1.
func standardized(z train.Value) train.Value {
	z = z.Sub(z.Mean())
	return z.Div(z.Mul(z).Mean().Plus(1e-14).Sqrt().Plus(1e-7))
}
