package eval

import (
	"context"
	"fmt"
	"math"
	"sort"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/runtime"
)

// Perplexity is exp of the mean negative log-likelihood of the scored ids.
type Perplexity struct {
	Value    float64 `json:"value"`
	StdErr   float64 `json:"stderr"` // of Value, from the spread between windows
	Tokens   int     `json:"tokens"` // scored
	NLL      float64 `json:"nll"`    // sum, in nats
	Protocol string  `json:"protocol"`
	Stream   string  `json:"stream"` // hash of the ids
}

// Divergence compares a model with a baseline, position by position, on the scored ids.
type Divergence struct {
	Mean   float64 `json:"mean"` // of KL(baseline || model), in nats
	StdErr float64 `json:"stderr"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

// Share is a proportion.
type Share struct {
	Value  float64 `json:"value"`
	StdErr float64 `json:"stderr"`
}

// Comparison is a model measured against a baseline on one stream.
type Comparison struct {
	Perplexity *Perplexity
	Baseline   *Perplexity
	KLD        *Divergence
	Top1       *Share // positions where both think the same id most likely
	// Ratio is the model's perplexity over the baseline's; its error is that of paired windows, much smaller than the
	// errors of the two.
	Ratio Share
}

// Measure returns the perplexity of a model on a stream of ids.
func Measure(ctx context.Context, e *runtime.Engine, ids []int32, p Protocol) (*Perplexity, error) {
	c, err := measure(ctx, nil, e, ids, p)
	if err != nil {
		return nil, err
	}
	return c.Perplexity, nil
}

// Compare measures a model and a baseline on the same stream. The two must have the same vocabulary.
func Compare(ctx context.Context, baseline, e *runtime.Engine, ids []int32, p Protocol) (*Comparison, error) {
	if a, b := baseline.Vocab(), e.Vocab(); a != b {
		return nil, fmt.Errorf("the baseline has %d tokens in its vocabulary, the model %d: they cannot be compared", a, b)
	}
	return measure(ctx, baseline, e, ids, p)
}

// tally sums what one model did, by window.
type tally struct {
	nll    []float64
	tokens []int
	square float64 // sum of squares over ids
}

func measure(ctx context.Context, baseline, e *runtime.Engine, ids []int32, p Protocol) (*Comparison, error) {
	windows := p.cut(ids)
	if len(windows) == 0 {
		return nil, fmt.Errorf("%d ids leave nothing to score", len(ids))
	}
	engines := []*runtime.Engine{e}
	if baseline != nil {
		engines = append(engines, baseline)
	}
	m := &meter{}
	sums := make([]tally, len(engines))
	sessions := make([]*runtime.Session, len(engines))
	for i, x := range engines {
		sessions[i] = x.NewSession()
	}
	task := progress.Start(ctx, "evaluate", "tokens", int64(len(ids)))
	defer task.Done()
	for _, w := range windows {
		if err := m.window(ctx, sessions, w, sums); err != nil {
			return nil, err
		}
		task.Add(int64(len(w.ids) - w.score))
	}
	c := &Comparison{Perplexity: sums[0].perplexity(p, ids)}
	if baseline == nil {
		return c, nil
	}
	c.Baseline = sums[1].perplexity(p, ids)
	c.KLD = m.divergence()
	same := 0
	for _, s := range m.same {
		if s {
			same++
		}
	}
	v := float64(same) / float64(len(m.same))
	c.Top1 = &Share{v, math.Sqrt(v * (1 - v) / float64(len(m.same)))}
	diff := make([]float64, len(windows))
	for i := range diff {
		diff[i] = sums[0].nll[i] - sums[1].nll[i]
	}
	mean, se := clustered(diff, sums[0].tokens, m.square)
	c.Ratio = Share{math.Exp(mean), math.Exp(mean) * se}
	return c, nil
}

// meter collects position by position.
type meter struct {
	kl     []float64
	sizes  []int // scored positions of each window
	same   []bool
	square float64 // sum of squares of what separates the two models' negative log-likelihoods
}

// blockRows is how many rows of the baseline's logits are kept while the other model catches up.
const blockRows = 128

// window runs one window through all sessions, block by block, so that two models' logits are compared without keeping
// more than a block of them.
func (m *meter) window(ctx context.Context, sessions []*runtime.Session, w window, sums []tally) error {
	for i := range sessions {
		sessions[i].Reset()
		sums[i].nll = append(sums[i].nll, 0)
		sums[i].tokens = append(sums[i].tokens, len(w.ids)-w.score)
	}
	m.sizes = append(m.sizes, len(w.ids)-w.score)
	last := len(w.ids) - 1 // the last id is predicted, never read
	for lo := 0; lo < last; lo += blockRows {
		hi := min(lo+blockRows, last)
		rows := make([][][]float64, len(sessions)) // log probabilities by model and row
		for i, s := range sessions {
			logits := make([][]float32, hi-lo)
			err := s.Each(ctx, w.ids[lo:hi], func(r int, l []float32) error {
				logits[r] = append([]float32(nil), l...)
				return nil
			})
			if err != nil {
				return err
			}
			rows[i] = make([][]float64, hi-lo)
			par.For(hi-lo, 4, func(a, b int) {
				for r := a; r < b; r++ {
					if lo+r+1 >= w.score {
						rows[i][r] = logSoftmax(logits[r])
					}
				}
			})
		}
		m.block(w, lo, hi, rows, sums)
	}
	return nil
}

func (m *meter) block(w window, lo, hi int, rows [][][]float64, sums []tally) {
	first := max(lo, w.score-1)
	if first >= hi {
		return
	}
	kl, same := make([]float64, hi-first), make([]bool, hi-first)
	for at := first; at < hi; at++ {
		var diff float64
		for i := range rows {
			v := -rows[i][at-lo][w.ids[at+1]]
			sums[i].nll[len(sums[i].nll)-1] += v
			sums[i].square += v * v
			diff = v - diff
		}
		m.square += diff * diff
	}
	if len(rows) < 2 {
		return
	}
	par.For(hi-first, 4, func(a, b int) {
		for i := a; i < b; i++ {
			q, p := rows[0][first+i-lo], rows[1][first+i-lo]
			var d float64
			bestP, bestQ := 0, 0
			for j, lp := range p {
				d += math.Exp(lp) * (lp - q[j])
				if lp > p[bestP] {
					bestP = j
				}
				if q[j] > q[bestQ] {
					bestQ = j
				}
			}
			kl[i], same[i] = max(d, 0), bestP == bestQ
		}
	})
	m.kl = append(m.kl, kl...)
	m.same = append(m.same, same...)
}

// logSoftmax returns log probabilities in float64.
func logSoftmax(logits []float32) []float64 {
	top := float64(logits[0])
	for _, v := range logits {
		top = max(top, float64(v))
	}
	var sum float64
	for _, v := range logits {
		sum += math.Exp(float64(v) - top)
	}
	norm := top + math.Log(sum)
	out := make([]float64, len(logits))
	for i, v := range logits {
		out[i] = float64(v) - norm
	}
	return out
}

func (t *tally) perplexity(p Protocol, ids []int32) *Perplexity {
	r := &Perplexity{Protocol: p.String(), Stream: StreamHash(ids)}
	for i, v := range t.nll {
		r.NLL += v
		r.Tokens += t.tokens[i]
	}
	mean, se := clustered(t.nll, t.tokens, t.square)
	r.Value = math.Exp(mean)
	r.StdErr = r.Value * se
	return r
}

// minClusters is how many windows it takes for a standard error from their spread.
const minClusters = 8

// clustered returns the mean of sums over sizes and its standard error when the clusters, not the single items, are
// independent: the ratio estimator's linearised variance. Of too few clusters the spread is not known; then the items are
// taken as independent, square being the sum of their squares.
func clustered(sums []float64, sizes []int, square float64) (mean, stderr float64) {
	var total float64
	n := 0
	for i, s := range sums {
		total += s
		n += sizes[i]
	}
	mean = total / float64(n)
	k := len(sums)
	if k < minClusters {
		return mean, math.Sqrt(max(square/float64(n)-mean*mean, 0) / float64(n))
	}
	var v float64
	for i, s := range sums {
		d := s - mean*float64(sizes[i])
		v += d * d
	}
	return mean, math.Sqrt(v*float64(k)/float64(k-1)) / float64(n)
}

func (m *meter) divergence() *Divergence {
	sums := make([]float64, len(m.sizes))
	at, square := 0, 0.0
	for i, n := range m.sizes {
		for _, v := range m.kl[at : at+n] {
			sums[i] += v
			square += v * v
		}
		at += n
	}
	d := &Divergence{}
	d.Mean, d.StdErr = clustered(sums, m.sizes, square)
	s := append([]float64(nil), m.kl...)
	sort.Float64s(s)
	d.Median, d.Max = s[len(s)/2], s[len(s)-1]
	d.P99 = s[min(len(s)-1, len(s)*99/100)]
	return d
}
