package distill

import "github.com/parelm/pare/internal/train"

// Cross-entropy with the text itself: -ln q(next token), where q is the student's probability. With the logit z of the next
// token and the log-sum-exp r of all others it is ln(1 + e^(r-z)), which neither overflows nor cancels. Alone it is plain
// pre-training, or continued pre-training where the student has been trained before.

func init() { register("ce", func() Loss { return &CE{Term{1}} }) }

// CE is the cross-entropy with the text.
type CE struct{ Term }

func (l *CE) needs() need { return 0 }

func (l *CE) build(*build) (train.Loss, error) {
	return train.Loss{Draw: func(t *train.Tape) train.Value {
		kept, rest := t.Logits().Pick(t.Labels())
		return rest.Sub(kept).Softplus()
	}}, nil
}
