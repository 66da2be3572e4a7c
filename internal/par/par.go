// Package par runs loops on all cores with borders that do not depend on how many cores there are.
//
// A reduction that is summed per chunk and then over chunks in order gives the same bits for one, two or
// three threads, because the chunks are the same. That is the whole of pare's determinism over threads.
//
// The threads are kept: they spin for some microseconds after a loop, because the next one is usually near, and
// sleep after that. A loop started inside another one, or while another goroutine's loop has the threads, runs on the
// goroutine that started it; with fixed borders this changes nothing but the time.
package par

import (
	"runtime"
	"sync/atomic"
)

// maxThreads bounds the threads that SetThreads takes, so that a slip of the hand does not start a million.
const maxThreads = 1024

var threads atomic.Int32

func init() { threads.Store(int32(min(runtime.GOMAXPROCS(0), maxThreads))) }

// Threads returns the number of threads that For and Run use, the calling one included.
func Threads() int { return int(threads.Load()) }

// SetThreads sets the number of threads that For and Run use; n < 1 means all cores.
func SetThreads(n int) {
	if n < 1 {
		n = runtime.GOMAXPROCS(0)
	}
	threads.Store(int32(min(n, maxThreads)))
}

// For calls f(lo, hi) for the consecutive chunks [0,grain), [grain,2*grain), ... of [0,n), several at a time, and
// returns when all are done. The chunks depend on n and grain alone; a grain below 1 is 1. Each thread goes through a stretch of
// them in order, so that it reads memory on and on, and helps with the stretches of the others when its own is done; f must not
// depend on the order of the chunks. If f panics, no further chunk starts and For panics with that value in the caller's goroutine.
func For(n, grain int, f func(lo, hi int)) {
	grain = max(grain, 1)
	if n <= grain || Threads() == 1 || !shared.acquire() {
		each(n, grain, f)
		return
	}
	shared.loop(n, grain, false, f)
}

// Runs calls f(lo, hi) for runs of consecutive numbers of [0,n), several at a time, and returns when all are done: For where the work
// on a number does not depend on which others its chunk has. Each thread goes through a stretch of the numbers in order, a third of what is
// left of it at a time, and then takes single numbers from the stretches of others: few calls, and little to wait for at the end.
func Runs(n int, f func(lo, hi int)) {
	if n == 0 {
		return
	}
	if n == 1 || Threads() == 1 || !shared.acquire() {
		f(0, n)
		return
	}
	shared.loop(n, 1, true, f)
}

// each is For on one thread.
func each(n, grain int, f func(lo, hi int)) {
	for lo := 0; lo < n; lo += grain {
		f(lo, min(lo+grain, n))
	}
}

// chunks returns how many chunks of grain make n, without overflow for any n.
func chunks(n, grain int) int {
	c := n / grain
	if n%grain != 0 {
		c++
	}
	return c
}
