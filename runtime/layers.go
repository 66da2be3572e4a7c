package runtime

import (
	"context"
	"fmt"
)

// Layerwise work: calibration, pruning and quantization take many sequences through one layer before they go on to the
// next, so that only that layer's weights are in memory and its inputs can be seen or its weights exchanged.

// Embed runs what comes before the layers on one sequence and returns the residual stream, [tokens, hidden].
func (e *Engine) Embed(ctx context.Context, ids []int32) ([]float32, error) {
	for _, id := range ids {
		if id < 0 || int(id) >= e.Vocab() {
			return nil, fmt.Errorf("token id %d: the vocabulary has %d", id, e.Vocab())
		}
	}
	x := make([]float32, len(ids)*e.plan.hidden)
	return x, e.segment(ctx, 0, ids, x)
}

// Layer runs layer i on the residual stream of one whole sequence, in place.
func (e *Engine) Layer(ctx context.Context, i int, x []float32) error {
	return e.segment(ctx, i+1, nil, x)
}

// segment runs one segment on a sequence from its start, a batch at a time.
func (e *Engine) segment(ctx context.Context, seg int, ids []int32, x []float32) error {
	hidden := e.plan.hidden
	total := len(x) / hidden
	if e.scratch == nil {
		e.scratch = e.NewSession()
	}
	if err := e.Ready(ctx); err != nil {
		return err
	}
	s := e.scratch
	s.Reset()
	for lo := 0; lo < total; lo += e.batch {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(e.batch, total-lo)
		var these []int32
		if ids != nil {
			these = ids[lo : lo+n]
		}
		b := e.newBatch(these, false, part{s: s, n: n, pos: lo, total: total})
		if seg > 0 {
			copy(b.f(stream, hidden), x[lo*hidden:(lo+n)*hidden])
		}
		e.run(b, seg, seg)
		copy(x[lo*hidden:(lo+n)*hidden], b.f(stream, hidden))
	}
	return nil
}

// Head runs what follows the layers on rows of the residual stream and calls f with the logits of each.
func (e *Engine) Head(ctx context.Context, x []float32, f func(row int, logits []float32) error) error {
	hidden := e.plan.hidden
	rows := len(x) / hidden
	b := &batch{e: e, rows: rows, bufs: [][]float32{x}}
	if err := ctx.Err(); err != nil {
		return err
	}
	return e.tail(b, 0, f)
}
