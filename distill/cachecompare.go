package distill

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/runtime"
)

// A cached teacher as the baseline of a measurement: how far a model is from what the teacher said, without the teacher. With H the
// entropy of its distribution p at a position and p^ what is kept of it
//
//	KL(p || q) = -H - sum p ln q,   and its estimate   -H - sum p^ ln q
//
// is right on average over the draws (see cached.go), up to the rounding of H and ln p. Where nothing was drawn, all that is not
// in the top is one class, and the result a lower bound.

// CacheComparison is a model measured against a cached teacher over the cache's own text.
type CacheComparison struct {
	Mean, StdErr float64 // of KL(teacher || model) in nats; the error is from the spread between sequences
	P99, Max     float64 // of the estimates of single positions, which sampling widens
	Top1         float64 // share of positions where both think the same token most likely
	Top1StdErr   float64
	Perplexity   float64 // of the model on the text
	Tokens       int     // positions looked at
}

// Compare runs a model over the text of a cache, or the sequences that begin within its first most tokens unless that is 0.
func (c *CacheFile) Compare(ctx context.Context, e *runtime.Engine, most int) (*CacheComparison, error) {
	if err := c.Compatible(e.Model); err != nil {
		return nil, err
	}
	n := c.Sequences
	if most > 0 {
		n = min(n, (most+c.Length-1)/c.Length)
	}
	if e.Model.Config.MaxContext() < c.Length {
		return nil, fmt.Errorf("%s holds sequences of %d tokens, the model's context is %d: %w", c.path, c.Length, e.Model.Config.MaxContext(), model.ErrUnsupported)
	}
	task := progress.Start(ctx, "compare", "tokens", int64(n*c.Length))
	defer task.Done()
	s := e.NewSession()
	out := &CacheComparison{Tokens: n * c.Length}
	var estimates []float64
	means := make([]float64, n)
	var nll float64
	var same int
	for i := range n {
		b := newBatch(1, c.Length)
		fill(b, c.ids[i*c.Length:(i+1)*c.Length+1], c.BOS)
		record, err := c.records(i)
		if err != nil {
			return nil, err
		}
		x := &position{draws: c.Draws > 0, ids: make([]int32, c.Top+c.Draws), p: make([]float32, c.Top+c.Draws)}
		s.Reset()
		err = s.Each(ctx, b.IDs, func(at int, logits []float32) error {
			if record, x.entropy, err = decodeSparse(record, x.ids, x.p); err != nil {
				return c.errorf(fmt.Sprintf("sequence %d", i), "%v", err)
			}
			kl, best, norm := x.divergence(logits)
			estimates, means[i] = append(estimates, kl), means[i]+kl/float64(c.Length)
			nll += norm - float64(logits[b.Labels[at]])
			if x.ids[0] == best {
				same++
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		task.Add(int64(c.Length))
	}
	for _, m := range means {
		out.Mean += m / float64(n)
	}
	for _, m := range means {
		out.StdErr += (m - out.Mean) * (m - out.Mean) / float64(n*max(1, n-1))
	}
	out.StdErr = math.Sqrt(out.StdErr)
	slices.Sort(estimates)
	out.P99, out.Max = estimates[len(estimates)*99/100], estimates[len(estimates)-1]
	out.Perplexity = math.Exp(nll / float64(out.Tokens))
	out.Top1 = float64(same) / float64(out.Tokens)
	out.Top1StdErr = math.Sqrt(out.Top1 * (1 - out.Top1) / float64(out.Tokens))
	return out, nil
}

// position is what a cache keeps of one.
type position struct {
	draws   bool
	ids     []int32
	p       []float32
	entropy float32
}

// divergence returns the estimate for a model's logits, its likeliest token, and the log of the sum of their exponentials.
func (x *position) divergence(logits []float32) (kl float64, best int32, norm float64) {
	for i, z := range logits {
		if z > logits[best] {
			best = int32(i)
		}
	}
	peak, sum := float64(logits[best]), 0.0
	for _, z := range logits {
		sum += math.Exp(float64(z) - peak)
	}
	norm = peak + math.Log(sum)
	kl = -float64(x.entropy)
	p, q := 1.0, 1.0 // of the others
	for k, id := range x.ids {
		if id < 0 {
			break
		}
		ln := float64(logits[id]) - norm
		kl -= float64(x.p[k]) * ln
		p, q = p-float64(x.p[k]), q-math.Exp(ln)
	}
	if !x.draws && p > 0 {
		kl -= p * math.Log(max(q, 1e-12))
	}
	return kl, best, norm
}
