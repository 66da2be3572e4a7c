package quantize

import (
	"context"
	"fmt"
	"math"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/runtime"
)

// judge measures how far models are from the original on a few texts: the mean Kullback-Leibler divergence of the
// distributions of the next token, in nats. Only layers whose weights changed since the last time are read again.
type judge struct {
	e       *runtime.Engine
	m       *model.Model // what the engine holds
	samples [][]int32
	log     [][]float32 // log probabilities of the original, a sample each
}

// judgeValues bounds the log probabilities that are kept: 256 MB.
const judgeValues = 64 << 20

// newJudge runs the original. Of the samples as many are used as tokens and memory allow.
func newJudge(ctx context.Context, m *model.Model, samples [][]int32, tokens int) (*judge, error) {
	tokens = min(tokens, judgeValues/m.Config.Vocab)
	j := &judge{m: m}
	longest := 0
	for i := 0; i < len(samples) && tokens > 0; i++ {
		s := samples[i][:min(len(samples[i]), tokens)]
		tokens -= len(s)
		longest = max(longest, len(s))
		j.samples = append(j.samples, s)
	}
	if len(j.samples) == 0 {
		return nil, fmt.Errorf("no text to measure divergence on")
	}
	var err error
	if j.e, err = runtime.Load(ctx, m, runtime.Options{Batch: longest}); err != nil {
		return nil, err
	}
	vocab := m.Config.Vocab
	err = j.run(ctx, func(sample, row int, logits []float32) {
		if row == 0 {
			j.log = append(j.log, make([]float32, len(j.samples[sample])*vocab))
		}
		logSoftmax(j.log[sample][row*vocab:(row+1)*vocab], logits)
	})
	return j, err
}

// run calls f with the logits of every token.
func (j *judge) run(ctx context.Context, f func(sample, row int, logits []float32)) error {
	for i, ids := range j.samples {
		x, err := j.e.Embed(ctx, ids)
		if err != nil {
			return err
		}
		for l := range j.m.Graph.Layers {
			if err := j.e.Layer(ctx, l, x); err != nil {
				return err
			}
		}
		if err := j.e.Head(ctx, x, func(row int, logits []float32) error { f(i, row, logits); return nil }); err != nil {
			return err
		}
	}
	return nil
}

// divergence returns the mean divergence of a model of the same graph.
func (j *judge) divergence(ctx context.Context, m *model.Model) (float64, error) {
	changed := map[int]bool{}
	for _, n := range m.Graph.Nodes {
		for _, w := range n.Weights {
			if w != nil && m.Tensor(w) != j.m.Tensor(w) {
				changed[calib.Segment(m.Graph, n)] = true
			}
		}
	}
	j.e.SetModel(m)
	j.m = m
	for l := -1; l <= m.Graph.Layers; l++ { // weights that both ends share are read once more, no harm
		if changed[l] {
			j.e.UnloadLayer(l)
		}
	}
	for l := -1; l <= m.Graph.Layers; l++ {
		if err := j.e.LoadLayer(ctx, l); err != nil {
			return 0, err
		}
	}
	vocab := m.Config.Vocab
	var sum float64
	tokens := 0
	q := make([]float32, vocab)
	err := j.run(ctx, func(sample, row int, logits []float32) {
		logSoftmax(q, logits)
		p := j.log[sample][row*vocab : (row+1)*vocab]
		sum += klOf(p, q)
		tokens++
	})
	return sum / float64(max(tokens, 1)), err
}

// klOf returns the divergence of log probabilities q from p, in chunks that are summed in order.
func klOf(p, q []float32) float64 {
	const chunk = 4096
	sums := make([]float64, (len(p)+chunk-1)/chunk)
	par.For(len(p), chunk, func(lo, hi int) {
		var s float64
		for i, v := range p[lo:hi] {
			s += math.Exp(float64(v)) * (float64(v) - float64(q[lo+i]))
		}
		sums[lo/chunk] = s
	})
	var kl float64
	for _, s := range sums {
		kl += s
	}
	return kl
}

// logSoftmax sets dst to log probabilities.
func logSoftmax(dst, logits []float32) {
	top := math.Inf(-1)
	for _, v := range logits {
		top = max(top, float64(v))
	}
	const chunk = 4096
	sums := make([]float64, (len(logits)+chunk-1)/chunk)
	par.For(len(logits), chunk, func(lo, hi int) {
		for _, v := range logits[lo:hi] {
			sums[lo/chunk] += math.Exp(float64(v) - top)
		}
	})
	var sum float64
	for _, s := range sums {
		sum += s
	}
	norm := top + math.Log(sum)
	for i, v := range logits {
		dst[i] = float32(float64(v) - norm)
	}
}
