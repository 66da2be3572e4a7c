package distill

import (
	"fmt"
	"math"

	"github.com/parelm/pare/internal/train"
)

// Generalised Jensen-Shannon divergence (Agarwal et al. 2023, GKD, arXiv:2306.13649): with m = b p + (1-b) q
//
//	L = T² [ b KL(p || m) + (1-b) KL(q || m) ]
//
// ln m is computed as a log-sum-exp. The gradient for ln q is (1-b) q (ln q - ln m): what flows through m cancels with the
// derivative of q ln q, so both logarithms are drawn as constants and nothing has to cancel in floating point. The factor
// T² is ours, as in KL; TRL's trainer has none.

func init() { register("jsd", func() Loss { return &JSD{Soft: Soft{Term: Term{1}}, Beta: 0.5} }) }

// JSD is the generalised Jensen-Shannon divergence.
type JSD struct {
	Soft
	// Beta is the teacher's share of the mixture: near 0 it acts like kl, near 1 like reverse_kl.
	Beta float64 `yaml:"beta" above:"0" below:"1"`
}

func (l *JSD) needs() need { return needLogits }

func (l *JSD) build(b *build) (train.Loss, error) {
	if !(l.Beta > 0 && l.Beta < 1) {
		return train.Loss{}, fmt.Errorf("beta is %g, must be between 0 and 1", l.Beta)
	}
	temperature := l.at(b)
	return train.Loss{Inputs: b.logits(), Draw: func(t *train.Tape) train.Value {
		p, q := logProbabilities(t, temperature)
		x, y := p.Plus(math.Log(l.Beta)), q.Plus(math.Log(1-l.Beta))
		m := x.Max(y).Add(x.Sub(y).Abs().Scale(-1).Softplus()).Stop()
		forward := p.Exp().Mul(p.Sub(m)).Sum().Scale(l.Beta)
		reverse := q.Exp().Mul(q.Stop().Sub(m)).Sum().Scale(1 - l.Beta)
		return forward.Add(reverse).Scale(temperature * temperature)
	}}, nil
}
