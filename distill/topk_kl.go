package distill

import (
	"fmt"

	"github.com/parelm/pare/internal/train"
)

// KL over the teacher's K most probable tokens. What the other tokens have is folded into one more class, the tail, for teacher and
// student alike:
//
//	L = T² [ sum over K of p (ln p - ln q) + p_tail (ln p_tail - ln q_tail) ]
//
// where p and q are softmaxes over the whole vocabulary first. ln q_tail is a log-sum-exp over the other tokens, not
// ln(1 - sum), which would cancel. With `tail: drop` both are instead renormalised over the K tokens, as implementations do that keep
// no more of the teacher; the student then learns nothing about the probability of everything else.

func init() {
	register("topk_kl", func() Loss { return &TopKKL{Soft: Soft{Term: Term{1}}, K: 64, Tail: "fold"} })
}

// TopKKL is the divergence over the teacher's most probable tokens.
type TopKKL struct {
	Soft
	// K is how many tokens of the teacher count.
	K int `yaml:"k" min:"1" max:"65536"`
	// Tail says what becomes of the others: fold makes them one more class, drop renormalises the K.
	Tail string `yaml:"tail" oneof:"fold drop"`
}

func (l *TopKKL) needs() need { return needTop }

// Inputs of a batch: the teacher's most probable tokens [rows, K], their ln p [rows, K], and that of all others [rows].
// Which temperature ln p is at is part of the name.
func topNames(k int, temperature float64) (ids, kept, tail string) {
	return fmt.Sprintf("teacher.top%d", k), fmt.Sprintf("teacher.top%d.%g", k, temperature), fmt.Sprintf("teacher.tail%d.%g", k, temperature)
}

func (l *TopKKL) build(b *build) (train.Loss, error) {
	if l.K >= b.vocab {
		return train.Loss{}, fmt.Errorf("k is %d, the vocabulary has %d tokens: use kl", l.K, b.vocab)
	}
	temperature := l.at(b)
	if b.most > 0 && (l.K > b.most || temperature != 1) {
		return train.Loss{}, fmt.Errorf("k is %d at temperature %g: this teacher names its %d most probable tokens, at temperature 1", l.K, temperature, b.most)
	}
	b.want.top = append(b.want.top, topWant{l.K, temperature})
	ids, kept, tail := topNames(l.K, temperature)
	inputs := []train.Input{{Name: ids, Width: l.K, Int: true}, {Name: kept, Width: l.K}, {Name: tail}}
	return train.Loss{Inputs: inputs, Draw: func(t *train.Tape) train.Value {
		p, z := t.Input(kept), t.Logits().Scale(1/temperature)
		if l.Tail == "drop" {
			q, _ := z.Pick(t.Input(ids))
			p, q = p.LogSoftmax(), q.LogSoftmax()
			return p.Exp().Mul(p.Sub(q)).Sum().Scale(temperature * temperature)
		}
		q, others := z.LogSoftmax().Pick(t.Input(ids))
		rest := t.Input(tail)
		sum := p.Exp().Mul(p.Sub(q)).Sum()
		return sum.Add(rest.Exp().Mul(rest.Sub(others))).Scale(temperature * temperature)
	}}, nil
}
