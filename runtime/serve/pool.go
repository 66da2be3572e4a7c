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
)

// pool runs tasks over one engine: a fixed number of sessions, and a queue before them.
type pool struct {
	e       *runtime.Engine
	o       *Options
	m       *metrics
	mu      sync.Mutex
	wake    chan struct{} // holds one element when there may be work
	waiting []*task
	slots   []*slot
	closing bool
	done    chan struct{}
}

// slot is a place for one running task, with the session that outlives it.
type slot struct {
	s    *runtime.Session
	t    *task // nil: free
	used int64 // when it was last given out, as a count
}

func newPool(e *runtime.Engine, o *Options, m *metrics) *pool {
	p := &pool{e: e, o: o, m: m, wake: make(chan struct{}, 1), done: make(chan struct{})}
	for range o.Parallel {
		p.slots = append(p.slots, &slot{s: e.NewSession()})
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
	free := 0
	for _, s := range p.slots {
		if s.t == nil {
			free++
		}
	}
	if len(p.waiting)+len(tasks) > p.o.Queue+free {
		return errBusy
	}
	p.waiting = append(p.waiting, tasks...)
	for _, t := range tasks {
		context.AfterFunc(t.ctx, p.poke)
	}
	p.poke()
	return nil
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
		t.end("", context.Cause(t.ctx))
	}
	clear(p.waiting[len(left):])
	p.waiting = left
}

// counts returns how many tasks run and wait.
func (p *pool) counts() (running, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.slots {
		if s.t != nil {
			running++
		}
	}
	return running, len(p.waiting)
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
		s := p.place(t)
		if s == nil {
			break
		}
		p.waiting = p.waiting[1:]
		p.begin(s, t)
	}
	for _, s := range p.slots {
		if s.t != nil {
			active = append(active, s)
		}
	}
	return active, !p.closing || len(p.waiting) > 0
}

// place returns the free slot whose session shares the longest beginning with the prompt; of equals, the one that was
// used longest ago. nil when none is free.
func (p *pool) place(t *task) *slot {
	var best *slot
	most := -1
	for _, s := range p.slots {
		if s.t != nil {
			continue
		}
		n := min(s.s.Common(t.prompt), len(t.prompt)-1)
		if !s.s.CanTruncate(n) {
			n = 0
		}
		if n > most || n == most && s.used < best.used {
			best, most = s, n
		}
	}
	return best
}

// begin starts a task on a slot, with what the session knows of its prompt.
func (p *pool) begin(s *slot, t *task) {
	p.m.turns++
	s.used = p.m.turns
	n := min(s.s.Common(t.prompt), len(t.prompt)-1)
	if n > 0 && s.s.CanTruncate(n) {
		if err := s.s.Truncate(context.Background(), n); err != nil {
			n = 0
		}
	} else {
		n = 0
	}
	if n == 0 {
		s.s.Reset()
	}
	t.read, t.cached = n, n
	p.m.cached.Add(int64(n))
	s.t = t
}

// end frees a slot. The caller holds the lock.
func (p *pool) end(s *slot, reason string, err error) {
	t := s.t
	s.t = nil
	if err != nil {
		p.m.cancelled.Add(1)
	}
	t.end(reason, err)
}

// turn takes one step of all tasks that can go on. It reports whether any could.
func (p *pool) turn(active []*slot) bool {
	var works []*runtime.Work
	var slots []*slot
	budget := p.o.Chunk
	if !slices.ContainsFunc(active, func(s *slot) bool { return s.t.read == len(s.t.prompt) }) {
		budget = 8 * p.o.Chunk // nobody waits for a token
	}
	for _, s := range active {
		t := s.t
		switch {
		case t.read < len(t.prompt):
			n := min(budget, len(t.prompt)-t.read)
			if n == 0 {
				continue
			}
			budget -= n
			works = append(works, &runtime.Work{Session: s.s, IDs: t.prompt[t.read : t.read+n]})
		case t.full(): // its reader is slow
			continue
		default:
			works = append(works, &runtime.Work{Session: s.s, IDs: []int32{t.last}})
		}
		slots = append(slots, s)
	}
	if len(works) == 0 {
		return false
	}
	err := p.step(works)
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

var errInternal = errors.New("the model could not take this step")

// step runs the batch; a panic below is an error of this batch alone.
func (p *pool) step(works []*runtime.Work) (err error) {
	defer func() {
		if x := recover(); x != nil {
			slog.Error("panic in a step", "panic", x, "stack", string(debug.Stack()))
			err = fmt.Errorf("internal error: %v", x)
		}
	}()
	for _, w := range works {
		p.m.steps.Add(int64(len(w.IDs)))
	}
	return p.e.StepBatch(context.Background(), works)
}
