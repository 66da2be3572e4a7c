package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/parelm/pare/runtime"
)

// Errors of a request that was not begun.
var (
	errBusy     = errors.New("all places are taken and the queue is full: try again later")
	errDraining = errors.New("the server is stopping")
	errLoading  = errors.New("the model is loading")
)

// pool runs tasks over one model: a fixed number of sessions, and a queue before them.
type pool struct {
	e       *runtime.Engine
	draft   *runtime.Engine // nil for none
	o       *Options
	m       *metrics
	mu      sync.Mutex
	wake    chan struct{} // holds one element when there may be work
	waiting []*task
	slots   []*slot
	given   int64 // slots given out so far
	closing bool
	done    chan struct{}
}

// slot is a place for one running task, with the session that outlives it.
type slot struct {
	s     *runtime.Session
	t     *task            // nil: free
	used  int64            // when it was last given out, as a count
	draft *runtime.Session // of the draft model; nil for none
	guess []int32          // what it drafted for the coming step
	work  runtime.Work     // of a step that writes: its logits are used up by the end of the turn
}

func newPool(model *Model, o *Options, m *metrics) *pool {
	p := &pool{e: model.Engine, draft: model.Draft, o: o, m: m, wake: make(chan struct{}, 1), done: make(chan struct{})}
	for range o.Parallel {
		s := &slot{s: p.e.NewSession()}
		if p.draft != nil {
			s.draft = p.draft.NewSession()
		}
		p.slots = append(p.slots, s)
	}
	go p.run()
	return p
}

func (p *pool) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// submit queues tasks, all or none.
func (p *pool) submit(tasks ...*task) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return errDraining
	}
	p.sweep()
	if p.over(len(tasks)) {
		return errBusy
	}
	p.waiting = append(p.waiting, tasks...)
	for _, t := range tasks {
		context.AfterFunc(t.ctx, p.poke)
	}
	p.poke()
	return nil
}

// over reports whether n more tasks are too many. The caller holds the lock.
func (p *pool) over(n int) bool {
	free := 0
	for _, s := range p.slots {
		if s.t == nil {
			free++
		}
	}
	return len(p.waiting)+n > p.o.Queue+free
}

// crowded reports whether not even one more task has room.
func (p *pool) crowded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over(1) {
		return false
	}
	p.sweep() // some may have been cancelled meanwhile
	return p.over(1)
}

// sweep takes cancelled tasks out of the queue and tells each its end: its request waits for that, and a task that is no
// longer in the queue or on a slot is one that nobody else will end. The caller holds the lock.
func (p *pool) sweep() {
	left := p.waiting[:0]
	for _, t := range p.waiting {
		if t.ctx.Err() == nil {
			left = append(left, t)
			continue
		}
		p.m.cancelled.Add(1)
		p.m.finished("abort", time.Since(t.start))
		t.end("", context.Cause(t.ctx))
	}
	clear(p.waiting[len(left):])
	p.waiting = left
}

// gauges are what a server holds at the moment.
type gauges struct {
	model            string
	running, waiting int
	held, room       int // tokens that sessions of running tasks hold, and could hold
}

// count adds what the pool holds.
func (p *pool) count(g *gauges) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.slots {
		if s.t != nil {
			g.running++
			g.held += s.t.read + s.t.made
		}
	}
	g.waiting += len(p.waiting)
	g.room += len(p.slots) * p.e.Context()
}

// drain refuses new tasks and waits for the others until ctx ends, which ends them.
func (p *pool) drain(ctx context.Context) {
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	p.poke()
	select {
	case <-p.done:
		return
	case <-ctx.Done():
	}
	p.mu.Lock()
	for _, t := range p.waiting {
		t.cancel(errDraining)
	}
	for _, s := range p.slots {
		if s.t != nil {
			s.t.cancel(errDraining)
		}
	}
	p.mu.Unlock()
	p.poke()
	<-p.done
}

// run is the loop. One goroutine runs it: the engine takes one batch at a time.
func (p *pool) run() {
	defer close(p.done)
	for {
		active, more := p.admit()
		if len(active) == 0 {
			if !more {
				return
			}
			<-p.wake
			continue
		}
		if !p.turn(active) { // all wait for their readers
			select {
			case <-p.wake:
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// admit gives free slots to waiting tasks and returns the slots with tasks; more is false when none will come.
func (p *pool) admit() (active []*slot, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.slots {
		if s.t != nil && s.t.ctx.Err() != nil {
			p.end(s, "", context.Cause(s.t.ctx))
		}
	}
	p.sweep()
	for len(p.waiting) > 0 {
		t := p.waiting[0]
		s, from := p.place(t)
		if s == nil {
			break
		}
		p.waiting = p.waiting[1:]
		p.begin(s, from, t)
	}
	for _, s := range p.slots {
		if s.t != nil {
			active = append(active, s)
		}
	}
	return active, !p.closing || len(p.waiting) > 0
}

// held returns how many tokens of a text a session holds, but for the last one, whose logits are needed.
func held(s *runtime.Session, text []int32) int { return min(s.Common(text), len(text)-1) }

// known is held where the session can be cut to that.
func known(s *runtime.Session, text []int32) int { return cut(s, held(s, text)) }

// cut returns n where the session can be cut to so many tokens, else 0.
func cut(s *runtime.Session, n int) int {
	if !s.CanTruncate(n) {
		return 0
	}
	return n
}

// knows is known for a task's prompt: what the session did not compute as it would this prompt does not count, so that no text depends on
// what came before it, and whoever asks for the log probabilities of a prompt has it read anew.
func (p *pool) knows(s *runtime.Session, t *task) int {
	if t.scores {
		return 0
	}
	return cut(s, s.Reusable(held(s, t.prompt), len(t.prompt)))
}

// place returns the free slot for a task, nil when none is free, and the session to copy the beginning of its prompt from,
// if that is another. A slot whose conversation goes on takes it; else the one that was used longest ago, so that the
// others keep what they know: what they share with the prompt is copied, which costs thousands of times less than to read
// it again.
func (p *pool) place(t *task) (best *slot, from *runtime.Session) {
	if !slices.ContainsFunc(p.slots, func(s *slot) bool { return s.t == nil }) {
		return nil, nil
	}
	most, shared := 0, 0
	for _, s := range p.slots {
		n := p.knows(s.s, t)
		if s.t == nil && n > most && s.s.Common(t.prompt) >= s.s.Len()-1 {
			best, most = s, n
		}
		if n > shared {
			from, shared = s.s, n
		}
	}
	if best == nil {
		for _, s := range p.slots {
			if s.t == nil && (best == nil || s.used < best.used) {
				best = s
			}
		}
	}
	if shared <= p.knows(best.s, t) {
		from = nil
	}
	return best, from
}

// begin starts a task on a slot, with what its session, or the one to copy from, knows of its prompt.
func (p *pool) begin(s *slot, from *runtime.Session, t *task) {
	p.given++
	s.used = p.given
	n := p.knows(s.s, t)
	switch {
	case from != nil:
		if n = p.knows(from, t); !s.s.CopyFrom(from, n) {
			n = 0
		}
	case n > 0:
		if err := s.s.Truncate(context.Background(), n); err != nil {
			n = 0
		}
	}
	if n == 0 {
		s.s.Reset()
	}
	s.s.Prompt(len(t.prompt))
	if s.draft != nil && known(s.draft, t.prompt) == 0 {
		s.draft.Reset()
	}
	t.read, t.cached, t.ids = n, n, slices.Clone(t.prompt)
	p.m.cached.Add(int64(n))
	p.m.queue.observe(time.Since(t.began))
	s.t = t
}

// end frees a slot. The caller holds the lock.
func (p *pool) end(s *slot, reason string, err error) {
	t := s.t
	s.t = nil
	if err != nil {
		p.m.cancelled.Add(1)
		reason = "abort"
	}
	p.m.finished(reason, time.Since(t.start))
	t.end(reason, err)
}

// turn takes one step of all tasks that can go on. It reports whether any could.
func (p *pool) turn(active []*slot) bool {
	p.guess(active)
	works, slots := p.share(active)
	if len(works) == 0 {
		return false
	}
	err := p.step(p.e, works)
	if err != nil {
		slog.Error("a step failed", "error", err)
	}
	var group sync.WaitGroup
	reasons, errs := make([]string, len(slots)), make([]error, len(slots))
	for i, s := range slots {
		if err != nil {
			errs[i] = errInternal
			s.s = p.e.NewSession() // nobody knows what the old one holds
			continue
		}
		group.Go(func() { reasons[i], errs[i] = s.t.took(s.s, works[i]) })
	}
	group.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range slots {
		if reasons[i] != "" || errs[i] != nil {
			p.end(s, reasons[i], errs[i])
		}
	}
	return true
}

// share says what each task adds to the coming step: a piece of its prompt, or its last token and what was drafted.
func (p *pool) share(active []*slot) (works []*runtime.Work, slots []*slot) {
	budget := p.o.Chunk
	if !slices.ContainsFunc(active, func(s *slot) bool { return s.t.writes() }) {
		budget = 8 * p.o.Chunk // nobody waits for a token
	}
	for _, s := range active {
		t := s.t
		switch {
		case t.full(): // its reader is slow
			continue
		case !t.writes():
			n := min(budget, len(t.prompt)-t.read)
			if n == 0 {
				continue
			}
			budget -= n
			works = append(works, &runtime.Work{Session: s.s, IDs: t.prompt[t.read : t.read+n], All: t.scores})
		default:
			ids := append([]int32{t.ids[len(t.ids)-1]}, s.guess...)
			s.work.Session, s.work.IDs, s.work.All, s.work.Reuse = s.s, ids, true, true
			works = append(works, &s.work)
		}
		slots = append(slots, s)
	}
	return works, slots
}

var errInternal = errors.New("the model could not take this step")

// step runs a batch of one of the models; a panic below is an error of this batch alone.
func (p *pool) step(e *runtime.Engine, works []*runtime.Work) (err error) {
	defer func() {
		if x := recover(); x != nil {
			slog.Error("panic in a step", "panic", x, "stack", string(debug.Stack()))
			err = fmt.Errorf("internal error: %v", x)
		}
	}()
	if e == p.e {
		for _, w := range works {
			p.m.steps.Add(int64(len(w.IDs)))
		}
	}
	return e.StepBatch(context.Background(), works)
}
