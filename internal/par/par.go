// Package par runs loops on all cores with borders that do not depend on how many cores there are.
//
// A reduction that is summed per chunk and then over chunks in order gives the same bits for one, two or
// three threads, because the chunks are the same. That is the whole of pare's determinism over threads.
package par

import (
	"runtime"
	"sync"
	"sync/atomic"
)

var threads atomic.Int32

func init() { threads.Store(int32(runtime.GOMAXPROCS(0))) }

// Threads returns the number of threads that For uses.
func Threads() int { return int(threads.Load()) }

// SetThreads sets the number of threads that For uses; n < 1 means all cores.
func SetThreads(n int) {
	if n < 1 {
		n = runtime.GOMAXPROCS(0)
	}
	threads.Store(int32(n))
}

// For calls f(lo, hi) for the consecutive chunks [0,grain), [grain,2*grain), ... of [0,n), several at a time.
// The chunks depend on n and grain alone. f must not panic and must not depend on the order of the chunks.
func For(n, grain int, f func(lo, hi int)) {
	if grain < 1 {
		grain = 1
	}
	chunks := (n + grain - 1) / grain
	workers := min(Threads(), chunks)
	if workers <= 1 {
		for lo := 0; lo < n; lo += grain {
			f(lo, min(lo+grain, n))
		}
		return
	}
	var next atomic.Int64
	run := func() {
		for {
			c := int(next.Add(1)) - 1
			if c >= chunks {
				return
			}
			lo := c * grain
			f(lo, min(lo+grain, n))
		}
	}
	var wg sync.WaitGroup
	for range workers - 1 {
		wg.Go(run)
	}
	run()
	wg.Wait()
}
