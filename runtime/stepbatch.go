package runtime

import (
	"context"
	"fmt"
)

// Work is the share of one session in a batched step.
type Work struct {
	Session *Session
	IDs     []int32 // appended to the sequence; at least one
	// All asks for the logits after every id; otherwise only those after the last are made.
	All bool
	// Logits receives the logits, in the order of the ids: [1 or len(IDs)][vocab]. The rows are the caller's to keep, unless Reuse is set.
	Logits [][]float32
	// Reuse lets rows go where those of the Work's last step were, so that a step touches no new memory.
	Reuse bool
}

// take appends a copy of a row of logits.
func (w *Work) take(logits []float32) {
	var row []float32
	if n := len(w.Logits); w.Reuse && n < cap(w.Logits) {
		row = w.Logits[:n+1][n]
	}
	w.Logits = append(w.Logits, append(row[:0], logits...))
}

// StepBatch appends ids to several sessions in one pass over the weights. Each gets the bits that it would get alone.
// The sessions must be different ones.
func (e *Engine) StepBatch(ctx context.Context, works []*Work) error {
	seen := map[*Session]bool{}
	for _, w := range works {
		if seen[w.Session] {
			return fmt.Errorf("a session stands twice in one batch")
		}
		seen[w.Session] = true
		if err := w.Session.check(w.IDs); err != nil {
			return err
		}
		w.Logits = w.Logits[:0]
	}
	written, prompts := &batchWork{}, &batchWork{prompt: true}
	flush := func(p *batchWork) error {
		if len(p.parts) == 0 {
			return nil
		}
		err := e.stepParts(ctx, p)
		*p = batchWork{prompt: p.prompt}
		return err
	}
	for _, w := range works {
		if w.Session.stale(len(w.IDs)) { // all of it must be computed again: by itself
			if err := w.alone(ctx); err != nil {
				return err
			}
			continue
		}
		start := len(w.Session.ids)
		total := start + len(w.IDs)
		for lo := 0; lo < len(w.IDs); {
			p, to := written, len(w.IDs)
			if start+lo < w.Session.until {
				p, to = prompts, min(to, w.Session.until-start)
			}
			if lo > 0 && p == written { // behind the end of its prompt, which comes first
				if err := flush(prompts); err != nil {
					return err
				}
			}
			n := min(to-lo, e.batch-len(p.ids))
			p.parts = append(p.parts, part{s: w.Session, n: n, pos: start + lo, total: total})
			p.ids = append(p.ids, w.IDs[lo:lo+n]...)
			p.works = append(p.works, w)
			if lo += n; len(p.ids) == e.batch {
				if err := flush(p); err != nil {
					return err
				}
			}
		}
	}
	if err := flush(prompts); err != nil {
		return err
	}
	return flush(written)
}

// batchWork is what goes through the layers together: all of it prompts, or none.
type batchWork struct {
	prompt bool
	parts  []part
	ids    []int32
	works  []*Work // of each part
}

// alone runs the work of a session that cannot share a batch.
func (w *Work) alone(ctx context.Context) error {
	from := len(w.IDs) - 1
	if w.All {
		from = 0
	}
	return w.Session.each(ctx, w.IDs, from, func(_ int, l []float32) error {
		w.take(l)
		return nil
	})
}

// stepParts runs one batch through all layers and makes the logits that are wanted.
func (e *Engine) stepParts(ctx context.Context, p *batchWork) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.prepare(ctx, len(p.ids)); err != nil {
		return err
	}
	b := e.newBatch(p.ids, p.prompt, p.parts...)
	e.run(b, 0, e.Model.Graph.Layers)
	var rows []int
	var owner []*Work
	for i := range b.parts {
		p, w := &b.parts[i], p.works[i]
		p.s.add(b.ids[p.lo:p.lo+p.n], b.prompt)
		for r := range p.n {
			if w.All || p.pos+r+1 == p.total {
				rows, owner = append(rows, p.lo+r), append(owner, w)
			}
		}
	}
	return e.tailRows(b, rows, func(i int, logits []float32) error {
		owner[i].take(logits)
		return nil
	})
}
