package par

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// withThreads runs a test with several numbers of threads, more than there are cores included.
func withThreads(t *testing.T, f func(t *testing.T)) {
	for _, n := range []int{1, 2, 3, 8} {
		t.Run(fmt.Sprintf("threads=%d", n), func(t *testing.T) {
			SetThreads(n)
			defer SetThreads(0)
			f(t)
		})
	}
}

func TestForCoversEveryIndexOnce(t *testing.T) {
	withThreads(t, func(t *testing.T) {
		for n := range 70 {
			for _, grain := range []int{-1, 0, 1, 2, 7, 64, 1000} {
				seen := make([]atomic.Int32, n)
				For(n, grain, func(lo, hi int) {
					if g := max(grain, 1); lo%g != 0 || hi != min(lo+g, n) {
						t.Errorf("n=%d grain=%d: chunk [%d,%d)", n, grain, lo, hi)
					}
					for i := lo; i < hi; i++ {
						seen[i].Add(1)
					}
				})
				for i := range seen {
					if seen[i].Load() != 1 {
						t.Fatalf("n=%d grain=%d: index %d done %d times", n, grain, i, seen[i].Load())
					}
				}
			}
		}
	})
}

// Every number comes once, whoever takes it, and few calls do.
func TestRunsCoverEveryNumberOnce(t *testing.T) {
	defer SetThreads(0)
	for _, k := range []int{1, 2, 3, 8} {
		SetThreads(k)
		for _, n := range []int{0, 1, 2, 3, 7, 64, 1000} {
			seen, calls := make([]atomic.Int32, n), atomic.Int32{}
			Runs(n, func(lo, hi int) {
				if lo >= hi {
					t.Errorf("%d threads, %d numbers: a run from %d to %d", k, n, lo, hi)
				}
				calls.Add(1)
				for i := lo; i < hi; i++ {
					seen[i].Add(1)
				}
			})
			for i := range seen {
				if c := seen[i].Load(); c != 1 {
					t.Fatalf("%d threads, %d numbers: %d came %d times", k, n, i, c)
				}
			}
			if k == 1 && calls.Load() > 1 {
				t.Errorf("%d numbers took %d calls on one thread", n, calls.Load())
			}
		}
	}
}

// The writes of all chunks must be visible to the caller: plain memory, so the race detector looks too.
func TestForPublishesWrites(t *testing.T) {
	withThreads(t, func(t *testing.T) {
		x := make([]int, 1000)
		for round := range 2000 {
			For(len(x), 100, func(lo, hi int) {
				for i := lo; i < hi; i++ {
					x[i] += i
				}
			})
			if i := round % len(x); x[i] != i*(round+1) {
				t.Fatalf("round %d: x[%d] = %d", round, i, x[i])
			}
		}
	})
}

func TestForNestedAndConcurrent(t *testing.T) {
	withThreads(t, func(t *testing.T) {
		var total atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 200 {
					For(8, 1, func(lo, hi int) {
						For(8, 2, func(lo, hi int) { total.Add(int64(hi - lo)) })
					})
				}
			})
		}
		wg.Wait()
		if total.Load() != 4*200*64 {
			t.Fatalf("%d", total.Load())
		}
	})
}

func TestForPanic(t *testing.T) {
	withThreads(t, func(t *testing.T) {
		for round := range 300 {
			at := round % 50
			got := catch(func() {
				For(50, 1, func(lo, _ int) {
					if lo == at {
						panic(lo)
					}
				})
			})
			if got != at {
				t.Fatalf("round %d: panic %v", round, got)
			}
			ok := 0
			var mu sync.Mutex
			For(10, 1, func(int, int) { mu.Lock(); ok++; mu.Unlock() })
			if ok != 10 {
				t.Fatalf("after a panic a loop does %d of 10 chunks", ok)
			}
		}
	})
}

func TestForManyPanics(t *testing.T) {
	withThreads(t, func(t *testing.T) {
		for range 300 {
			if got := catch(func() { For(50, 1, func(lo, _ int) { panic("all") }) }); got != "all" {
				t.Fatalf("panic %v", got)
			}
		}
	})
}

// A function that ends its goroutine, as FailNow does, must not take the pool with it, whoever's goroutine it was.
func TestForGoexit(t *testing.T) {
	withThreads(t, func(t *testing.T) {
		for round := range 50 {
			done := make(chan any)
			go func() {
				defer close(done)
				defer func() {
					if v := recover(); v != nil {
						done <- v
					}
				}()
				For(16, 1, func(lo, _ int) {
					if lo == round%16 {
						runtime.Goexit()
					}
				})
			}()
			<-done // a value if it was another goroutine, closed if it was this one
			var n atomic.Int32
			For(16, 1, func(int, int) { n.Add(1) })
			if n.Load() != 16 || shared.busy.Load() {
				t.Fatalf("round %d: the pool is lost", round)
			}
		}
	})
}

func TestForAfterSleep(t *testing.T) {
	SetThreads(3)
	defer SetThreads(0)
	for range 20 {
		time.Sleep(3 * time.Millisecond) // the threads sleep by now
		var n atomic.Int32
		For(64, 1, func(int, int) { n.Add(1); time.Sleep(20 * time.Microsecond) })
		if n.Load() != 64 {
			t.Fatal(n.Load())
		}
	}
}

// A chunk that takes long lets the caller sleep instead of burning its core.
func TestForWaitsAsleep(t *testing.T) {
	SetThreads(2)
	defer SetThreads(0)
	for range 5 {
		var n atomic.Int32
		For(2, 1, func(lo, _ int) { time.Sleep(time.Duration(1+lo) * 3 * time.Millisecond); n.Add(1) })
		if n.Load() != 2 {
			t.Fatal(n.Load())
		}
	}
}

func TestRun(t *testing.T) {
	withThreads(t, func(t *testing.T) {
		for range 50 {
			var sizes, ids atomic.Int64
			var size int
			rounds := make([]int, 64) // one per worker, read by all after each barrier
			Run(func(w *Worker) {
				ids.Add(1 << (4 * w.ID()))
				sizes.Add(int64(w.Size()))
				if w.ID() == 0 {
					size = w.Size()
				}
				for r := range 20 {
					rounds[w.ID()] = r + 1
					w.Sync()
					for i := range w.Size() {
						if rounds[i] != r+1 {
							t.Errorf("round %d: worker %d is at %d", r, i, rounds[i])
						}
					}
					w.Sync()
				}
			})
			want := int64(0)
			for i := range size {
				want += 1 << (4 * i)
			}
			if size < 1 || size > Threads() || ids.Load() != want || sizes.Load() != int64(size*size) {
				t.Fatalf("size %d, ids %x, sizes %d", size, ids.Load(), sizes.Load())
			}
		}
	})
}

func TestRunFor(t *testing.T) {
	withThreads(t, func(t *testing.T) {
		x := make([]int, 257)
		var wrong atomic.Int32
		Run(func(w *Worker) {
			for round := range 500 {
				w.For(len(x), 1+round%300, func(lo, hi int) {
					for i := lo; i < hi; i++ {
						x[i]++
					}
				})
				if x[round%257] != round+1 {
					wrong.Add(1)
				}
				w.Sync()
			}
		})
		if wrong.Load() != 0 {
			t.Fatalf("%d wrong", wrong.Load())
		}
	})
}

func TestRunPanic(t *testing.T) {
	withThreads(t, func(t *testing.T) {
		for round := range 100 {
			got := catch(func() {
				Run(func(w *Worker) {
					for i := range 10 {
						if i == 5 && w.ID() == round%w.Size() {
							panic("stop")
						}
						w.Sync()
					}
				})
			})
			if got != "stop" {
				t.Fatalf("panic %v", got)
			}
			n := 0
			Run(func(w *Worker) {
				w.For(10, 10, func(lo, hi int) { n += hi - lo })
			})
			if n != 10 {
				t.Fatal("Run after a panic")
			}
		}
	})
}

func TestRunInside(t *testing.T) {
	withThreads(t, func(t *testing.T) {
		var n atomic.Int32
		For(4, 1, func(int, int) {
			Run(func(w *Worker) {
				w.Sync()
				w.For(10, 3, func(lo, hi int) { n.Add(int32(hi - lo)) })
			})
		})
		if n.Load() != 40 {
			t.Fatal(n.Load())
		}
	})
}

func TestNoAllocation(t *testing.T) {
	SetThreads(2)
	defer SetThreads(0)
	x := make([]int64, 16)
	f := func(lo, hi int) { x[lo] += int64(hi) }
	g := func(w *Worker) { w.For(16, 1, f) }
	For(16, 1, f)
	if a := testing.AllocsPerRun(200, func() { For(16, 1, f) }); a != 0 {
		t.Errorf("For allocates %v times", a)
	}
	if a := testing.AllocsPerRun(200, func() { Run(g) }); a > 0.1 { // a busy pool costs one
		t.Errorf("Run allocates %v times", a)
	}
}

func TestSetThreads(t *testing.T) {
	defer SetThreads(0)
	for _, c := range []struct{ set, want int }{{1, 1}, {5, 5}, {0, runtime.GOMAXPROCS(0)}, {-3, runtime.GOMAXPROCS(0)}, {1 << 30, maxThreads}} {
		SetThreads(c.set)
		if Threads() != c.want {
			t.Errorf("SetThreads(%d): %d threads", c.set, Threads())
		}
	}
}

func catch(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

// BenchmarkFor measures what a loop with nothing to do costs when the threads are awake.
func BenchmarkFor(b *testing.B) {
	for _, n := range []int{1, 2} {
		b.Run(fmt.Sprintf("threads=%d", n), func(b *testing.B) {
			SetThreads(n)
			defer SetThreads(0)
			f := func(lo, hi int) {}
			for b.Loop() {
				For(2, 1, f)
			}
		})
	}
}

// BenchmarkForMeet measures a loop in which both threads take part.
func BenchmarkForMeet(b *testing.B) {
	SetThreads(2)
	defer SetThreads(0)
	var came atomic.Int32
	f := func(int, int) {
		came.Add(1)
		for i := 0; came.Load() < 2 && i < 1<<16; i++ {
		}
	}
	for b.Loop() {
		came.Store(0)
		For(2, 1, f)
	}
}

// BenchmarkWorkerFor measures one step inside Run.
func BenchmarkWorkerFor(b *testing.B) {
	SetThreads(2)
	defer SetThreads(0)
	f := func(lo, hi int) {}
	n := b.N
	Run(func(w *Worker) {
		for range n {
			w.For(2, 1, f)
		}
	})
}

// BenchmarkForAsleep measures a loop whose threads must be woken.
func BenchmarkForAsleep(b *testing.B) {
	SetThreads(2)
	defer SetThreads(0)
	var work time.Duration
	for range b.N {
		time.Sleep(time.Millisecond)
		start := time.Now()
		var came atomic.Int32
		For(2, 1, func(int, int) {
			came.Add(1)
			for came.Load() < 2 && time.Since(start) < time.Millisecond { // until both are here
			}
		})
		work += time.Since(start)
	}
	b.ReportMetric(float64(work.Nanoseconds())/float64(b.N), "ns/wake")
}
