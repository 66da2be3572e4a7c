package calib

import (
	"context"
	"fmt"

	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/runtime"
)

// Texts that the model writes itself stand in for calibration texts that nobody has (Liu et al. 2023, LLM-QAT, 3.1): they are
// drawn from its own distribution at temperature 1, from the beginning-of-text token on, or from a random token where
// there is none. Where the model ends a text it begins another, as the streams of training have it.

// writers is how many texts are drawn at once.
const writers = 16

// Generate draws n texts of length tokens from the model. The same seed gives the same texts, for any number of threads.
func Generate(ctx context.Context, m *model.Model, n, length int, seed uint64) ([][]int32, error) {
	tok, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	if length < 2 || n < 1 {
		return nil, fmt.Errorf("%d texts of %d tokens: a text needs at least 2", n, length)
	}
	w := &writer{begin: -1, ends: map[int32]bool{}, vocab: m.Config.Vocab, seed: seed}
	if tok.PrependsBOS() {
		w.begin = tok.BOS()
	}
	for _, id := range m.EOS() {
		w.ends[id] = true
	}
	for id := range min(m.Config.Vocab, tok.VocabSize()) {
		if !tok.IsSpecial(int32(id)) {
			w.plain = append(w.plain, int32(id))
		}
	}
	if len(w.plain) == 0 {
		return nil, fmt.Errorf("the vocabulary has control tokens alone")
	}
	if w.e, err = runtime.Load(ctx, m, runtime.Options{Context: length}); err != nil {
		return nil, err
	}
	task := progress.Start(ctx, "write", "tokens", int64(n)*int64(length))
	defer task.Done()
	var out [][]int32
	for lo := 0; lo < n; lo += writers {
		texts, err := w.texts(ctx, lo, min(lo+writers, n), length, task)
		if err != nil {
			return nil, err
		}
		out = append(out, texts...)
	}
	return out, nil
}

type writer struct {
	e     *runtime.Engine
	begin int32 // -1: texts begin with one of plain
	plain []int32
	ends  map[int32]bool
	vocab int
	seed  uint64
}

// first returns the token that begins a text.
func (w *writer) first(text, at int) int32 {
	if w.begin >= 0 {
		return w.begin
	}
	return w.plain[rng.New(w.seed, rng.Hash("first"), uint64(text), uint64(at)).Intn(len(w.plain))]
}

// texts draws texts [lo,hi).
func (w *writer) texts(ctx context.Context, lo, hi, length int, task progress.Task) ([][]int32, error) {
	out := make([][]int32, hi-lo)
	works := make([]*runtime.Work, hi-lo)
	samplers := make([]*runtime.Sampler, hi-lo)
	for i := range out {
		out[i] = []int32{w.first(lo+i, 0)}
		works[i] = &runtime.Work{Session: w.e.NewSession(), IDs: out[i]}
		samplers[i] = runtime.NewSampler(runtime.Sampling{Temperature: 1, Seed: rng.New(w.seed, rng.Hash("text"), uint64(lo+i)).Uint64()}, nil, out[i])
	}
	for at := 1; at < length; at++ {
		if err := w.e.StepBatch(ctx, works); err != nil {
			return nil, err
		}
		for i, k := range works {
			id, err := samplers[i].Next(k.Logits[0])
			if err != nil {
				return nil, err
			}
			if w.ends[out[i][at-1]] { // the text is at its end: another begins
				id = w.first(lo+i, at)
			}
			if err := samplers[i].Accept(id); err != nil {
				return nil, err
			}
			out[i] = append(out[i], id)
			k.IDs = out[i][at:]
		}
		task.Add(int64(len(works)))
	}
	return out, nil
}
