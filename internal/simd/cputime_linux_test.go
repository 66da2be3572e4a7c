package simd

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// cpuClock returns a clock of the CPU seconds this goroutine's thread has used: other programs on the machine
// do not make it go faster.
func cpuClock(b *testing.B) func() float64 {
	runtime.LockOSThread()
	b.Cleanup(runtime.UnlockOSThread)
	return func() float64 {
		var t unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
			b.Fatal(err)
		}
		return float64(t.Sec) + 1e-9*float64(t.Nsec)
	}
}
