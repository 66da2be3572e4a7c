package distill

import "github.com/parelm/pare/internal/train"

// Total variation distance (Wen et al. 2023, f-DISTILL, arXiv:2307.15190): L = T/2 sum |p - q|, with p and q as in KL. It is
// bounded by T, so single positions where both disagree wildly count no more than others.

func init() { register("tvd", func() Loss { return &TVD{Soft{Term: Term{1}}} }) }

// TVD is the total variation distance.
type TVD struct{ Soft }

func (l *TVD) needs() need { return needLogits }

func (l *TVD) build(b *build) (train.Loss, error) {
	temperature := l.at(b)
	return train.Loss{Inputs: b.logits(), Draw: func(t *train.Tape) train.Value {
		p, q := logProbabilities(t, temperature)
		return p.Exp().Sub(q.Exp()).Abs().Sum().Scale(temperature / 2)
	}}, nil
}
