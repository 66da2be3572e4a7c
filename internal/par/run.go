package par

import "sync/atomic"

// Worker is one of the threads inside Run.
type Worker struct {
	id, size int
	b        *barrier
}

// ID returns the worker's number, from 0 (the goroutine that called Run) to Size-1.
func (w *Worker) ID() int { return w.id }

// Size returns how many workers there are.
func (w *Worker) Size() int { return w.size }

// Sync returns when all workers have called it. What they wrote before it, all may read after it.
func (w *Worker) Sync() {
	if w.size > 1 {
		w.b.wait()
	}
}

// For is the package's For shared between the workers of one Run: all must call it with the same n and grain, each
// takes chunks, and it returns to all when all chunks are done. It costs a barrier, not a wake-up.
func (w *Worker) For(n, grain int, f func(lo, hi int)) {
	grain = max(grain, 1)
	if w.size == 1 {
		each(n, grain, f)
		return
	}
	if n <= grain {
		if n > 0 && w.id == 0 {
			f(0, n)
		}
	} else {
		for total := int64(chunks(n, grain)); ; {
			c := w.b.next.Add(1) - 1
			if c >= total {
				break
			}
			lo := int(c) * grain
			f(lo, lo+min(grain, n-lo))
		}
	}
	w.b.wait()
}

// Run calls f on up to Threads threads at the same time, once on each, and returns when all calls have returned. It is
// for work made of many small steps: the threads meet at Sync or For, which cost a fraction of a microsecond, instead of
// being woken for each step. How many come depends on the moment (one where the threads are busy), so results must not
// depend on Size. If a call panics, the others stop at their next Sync or For and Run panics with that value.
func Run(f func(w *Worker)) {
	if Threads() == 1 || !shared.acquire() {
		f(&Worker{size: 1})
		return
	}
	shared.crew = f
	shared.barrier.reset()
	shared.offer(Threads() - 1)
	shared.gather()
	shared.finish()
}

// gather waits for the threads to come, gives up on those that take long, and numbers those that came.
func (p *pool) gather() {
	b := &p.barrier
	size := 1
	for s := (spinner{}); ; {
		here := 0
		for _, t := range p.threads[:p.offers] {
			if t.state.Load() == running {
				here++
			}
		}
		if here == p.offers || !s.spin(muster) {
			break
		}
	}
	for _, t := range p.threads[:p.offers] {
		if !t.state.CompareAndSwap(offered, idle) {
			t.crew.id, t.crew.b = size, b
			size++
		}
	}
	for _, t := range p.threads[:p.offers] {
		t.crew.size = size
	}
	b.owner = Worker{0, size, b}
	b.size.Store(int32(size)) // opens the gate
}

// barrier is where the workers of a Run meet.
type barrier struct {
	pool  *pool
	owner Worker
	size  atomic.Int32 // 0 until all have come
	_     [64]byte
	count atomic.Int32 // those waiting
	_     [64]byte
	turn  atomic.Uint32 // meetings so far
	_     [64]byte
	next  atomic.Int64 // chunks that For has handed out
	_     [64]byte
}

// reset closes the gate and forgets an unfinished meeting.
func (b *barrier) reset() {
	b.size.Store(0)
	b.count.Store(0)
	b.next.Store(0)
}

// gate holds a thread until all have come.
func (b *barrier) gate() {
	for s := (spinner{}); b.size.Load() == 0; {
		s.spin(patience)
	}
}

// stopped unwinds a worker whose fellow has panicked.
type stopped struct{}

// wait returns when all have come. The last one resets what the next meeting needs.
func (b *barrier) wait() {
	turn := b.turn.Load()
	if b.count.Add(1) == b.size.Load() {
		b.count.Store(0)
		b.next.Store(0)
		b.turn.Store(turn + 1)
		return
	}
	for s := (spinner{}); b.turn.Load() == turn; {
		if b.pool.failed.Load() {
			panic(stopped{})
		}
		s.spin(patience)
	}
}
