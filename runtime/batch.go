package runtime

import "github.com/parelm/pare/model"

// batch is a number of rows on their way through the plan: tokens of one sequence or of several.
type batch struct {
	e      *Engine
	rows   int
	prompt bool // all of it is of prompts: see Session.Prompt
	ids    []int32
	parts  []part
	bufs   [][]float32
	seen   map[*model.Node]bool // inputs shown to the tap
	over   bool                 // the tap wants nothing more
}

// tap shows the input of linear layers, once a batch, to the engine's tap.
func (b *batch) tap(n *model.Node, x []float32) {
	if b.e.tap == nil || b.seen[n] {
		return
	}
	if b.seen == nil {
		b.seen = map[*model.Node]bool{}
	}
	b.seen[n] = true
	b.e.tap(n, x, b.rows)
}

// Stop ends the batch at the tap that calls it: what reads the input is not computed, and the results of the call that runs it
// mean nothing. For those who want the inputs alone.
func (e *Engine) Stop() { e.work.over, e.tailWork.over = true, true }

// part is the rows of one sequence in a batch.
type part struct {
	s     *Session
	lo, n int
	pos   int // position of the first row
	total int // length the sequence will have after the call that these rows are part of
}

// f returns buffer i as rows of a width.
func (b *batch) f(i, width int) []float32 { return b.bufs[i][:b.rows*width] }

// row returns row r of buffer i.
func (b *batch) row(i, width, r int) []float32 { return b.bufs[i][r*width : (r+1)*width] }

// newBatch returns a batch on the engine's buffers, in place of the last one.
func (e *Engine) newBatch(ids []int32, prompt bool, parts ...part) *batch {
	b := &e.work
	*b = batch{e: e, prompt: prompt, parts: append(b.parts[:0], parts...), ids: ids}
	for i := range b.parts {
		b.parts[i].lo = b.rows
		b.rows += parts[i].n
	}
	b.bufs = grow(&e.bufs, e.plan.widths, b.rows)
	return b
}

// grow makes each buffer hold that many rows and returns them.
func grow(bufs *[][]float32, widths []int, rows int) [][]float32 {
	for i, w := range widths {
		if i == len(*bufs) {
			*bufs = append(*bufs, nil)
		}
		if len((*bufs)[i]) < rows*w {
			(*bufs)[i] = make([]float32, rows*w)
		}
	}
	return *bufs
}

// run executes segments [lo, hi]: 0 is what comes before the layers, i+1 is layer i.
func (e *Engine) run(b *batch, lo, hi int) {
	for s := lo; s <= hi; s++ {
		for i := range e.plan.segments[s].steps {
			if e.plan.segments[s].steps[i].run(b); b.over {
				return
			}
		}
	}
}

// headRows is how many rows go through the head at once: the logits of a whole prompt over a large vocabulary would not
// fit.
const headRows = 32

// tail runs what follows the layers on rows [from, rows) of b and calls f with the logits of each.
func (e *Engine) tail(b *batch, from int, f func(row int, logits []float32) error) error {
	e.tailList = e.tailList[:0]
	for r := from; r < b.rows; r++ {
		e.tailList = append(e.tailList, r)
	}
	return e.tailRows(b, e.tailList, func(i int, logits []float32) error { return f(from+i, logits) })
}

// tailRows runs what follows the layers on the given rows of b and calls f with the logits of each, in their order.
func (e *Engine) tailRows(b *batch, rows []int, f func(i int, logits []float32) error) error {
	hidden, vocab := e.plan.hidden, e.Vocab()
	for lo := 0; lo < len(rows); lo += headRows {
		n := min(headRows, len(rows)-lo)
		t := &e.tailWork
		*t = batch{e: e, rows: n, bufs: grow(&e.tailBufs, e.plan.tail, n)}
		in := t.f(stream, hidden)
		for i, r := range rows[lo : lo+n] {
			copy(in[i*hidden:(i+1)*hidden], b.bufs[stream][r*hidden:(r+1)*hidden])
		}
		e.run(t, len(e.plan.segments)-1, len(e.plan.segments)-1)
		if err := e.missed(); err != nil {
			return err
		}
		logits := t.f(e.plan.logits, vocab)
		for r := range n {
			if err := f(lo+r, logits[r*vocab:(r+1)*vocab]); err != nil {
				return err
			}
		}
	}
	return nil
}
