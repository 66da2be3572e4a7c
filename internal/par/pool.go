package par

import (
	"errors"
	"sync/atomic"
)

// States of a worker. The pool's owner takes it from idle to offered and may take the offer back; the worker takes it from
// offered to running and, when done, to idle. So a worker that is slow to wake never holds up a loop that the others
// have finished without it, and never sees a loop that is over.
const (
	idle = iota
	offered
	running
)

// thread is one kept goroutine. Each has cache lines of its own: the owner writes state while others spin on theirs.
type thread struct {
	state  atomic.Int32
	asleep atomic.Bool
	wake   chan struct{}
	id     int    // its place among the threads, from 1 on: 0 is the owner
	crew   Worker // its part in Run
	_      [128]byte
}

// pool is the kept threads and the one job they may work at. The goroutine that holds busy owns all fields that are not
// atomic; threads read them while they are running.
type pool struct {
	busy    atomic.Bool
	threads []*thread
	offers  int // threads[:offers] have been offered the job

	// The job: chunks of [0,n) handed out by shares, one for each thread, or, where crew is set, one call of crew on each thread.
	n, grain int
	f        func(lo, hi int)
	runs     bool // a thread takes several chunks of its own share at a time
	crew     func(w *Worker)
	shares   []share
	barrier  barrier
	_        [64]byte

	failed   atomic.Bool // somebody panicked, so stop
	panicked any         // the value, if it was a thread: written by the one that set failed
	waiting  atomic.Bool // the owner sleeps until a thread is done
	done     chan struct{}
}

// share is a stretch of chunks: those from next to end have not been handed out.
type share struct {
	next atomic.Int64
	end  int64
	_    [112]byte
}

var shared = newPool()

func newPool() *pool {
	p := &pool{done: make(chan struct{}, 1)}
	p.barrier.pool = p
	return p
}

// acquire takes the pool unless it is taken.
func (p *pool) acquire() bool { return !p.busy.Load() && p.busy.CompareAndSwap(false, true) }

// offer offers the job to k threads, starting those that do not exist yet and waking those that sleep.
func (p *pool) offer(k int) {
	for len(p.threads) < k {
		t := &thread{id: len(p.threads) + 1, wake: make(chan struct{}, 1)}
		p.threads = append(p.threads, t)
		go p.serve(t)
	}
	p.offers = k
	for _, t := range p.threads[:k] {
		t.state.Store(offered)
		if t.asleep.Load() && t.asleep.CompareAndSwap(true, false) {
			t.wake <- struct{}{}
		}
	}
}

// loop runs f over the chunks of [0,n) on the threads, for the goroutine that holds the pool.
func (p *pool) loop(n, grain int, runs bool, f func(lo, hi int)) {
	p.n, p.grain, p.runs, p.f = n, grain, runs, f
	c := chunks(n, grain)
	k := min(Threads(), c)
	p.share(c, k)
	p.offer(k - 1)
	p.finish()
}

// share divides c chunks among k threads.
func (p *pool) share(c, k int) {
	if cap(p.shares) < k {
		p.shares = make([]share, k)
	}
	p.shares = p.shares[:k]
	for i := range p.shares {
		s := &p.shares[i]
		s.next.Store(int64(c/k*i + min(i, c%k)))
		s.end = int64(c/k*(i+1) + min(i+1, c%k))
	}
}

// serve is the life of a thread.
func (p *pool) serve(t *thread) {
	defer func() { go p.serve(t) }() // a job ended the goroutine with runtime.Goexit
	for s := (spinner{}); ; s = (spinner{}) {
		for t.state.Load() != offered && s.spin(patience) {
		}
		if t.state.CompareAndSwap(offered, running) {
			p.work(t)
			continue
		}
		t.asleep.Store(true)
		if t.state.Load() == offered && t.asleep.CompareAndSwap(true, false) {
			continue
		}
		<-t.wake
	}
}

// work does a thread's part of the job and leaves the first panic for the owner.
func (p *pool) work(t *thread) {
	normal := false
	defer func() {
		if !normal {
			value := recover()
			if value == nil {
				value = errors.New("par: a parallel function ended its goroutine")
			}
			if p.failed.CompareAndSwap(false, true) {
				p.panicked = value
			}
		}
		t.state.Store(idle)
		if p.waiting.Load() && p.waiting.CompareAndSwap(true, false) {
			p.done <- struct{}{}
		}
	}()
	if p.crew != nil {
		p.barrier.gate()
		p.crew(&t.crew)
	} else {
		p.chunks(t.id)
	}
	normal = true
}

// chunks takes chunks of the loop until none is left: first those of thread id's share, then what is left of the others'.
func (p *pool) chunks(id int) {
	n, grain, f := p.n, p.grain, p.f
	for i := range p.shares {
		s := &p.shares[(id+i)%len(p.shares)]
		for next := s.next.Load(); next < s.end; next = s.next.Load() {
			take := int64(1)
			if p.runs && i == 0 {
				take = (s.end-next)/3 + 1
			}
			c := s.next.Add(take) - take // others may have come between
			if c >= s.end {
				break
			}
			if p.failed.Load() {
				return
			}
			lo := int(c) * grain
			f(lo, min(n, lo+int(min(take, s.end-c))*grain))
		}
	}
}

// finish does the owner's part of the job, takes back the offers nobody took, waits for the threads that did and frees
// the pool. The first panic goes on in the owner: by itself if it was the owner's, else anew.
func (p *pool) finish() {
	normal := false
	defer func() {
		first := normal || p.failed.CompareAndSwap(false, true)
		if !first {
			recover() // the owner's own panic came second
		}
		for _, t := range p.threads[:p.offers] {
			if !t.state.CompareAndSwap(offered, idle) {
				p.await(t)
			}
		}
		value := p.panicked
		p.f, p.crew, p.panicked, p.runs = nil, nil, nil, false
		p.failed.Store(false)
		p.busy.Store(false)
		if value != nil {
			panic(value)
		}
	}()
	if p.crew != nil {
		p.crew(&p.barrier.owner)
	} else {
		p.chunks(0)
	}
	normal = true
}

// await waits until t is idle: spinning first, asleep if that takes long.
func (p *pool) await(t *thread) {
	for s := (spinner{}); t.state.Load() == running; {
		if s.spin(patience) {
			continue
		}
		p.waiting.Store(true)
		if t.state.Load() == running || !p.waiting.CompareAndSwap(true, false) {
			<-p.done // if t is done by now, somebody has seen the flag and sends
		}
		s = spinner{}
	}
}
