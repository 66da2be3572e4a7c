package par

import (
	"runtime"
	"time"
)

// How long to spin. A token step starts a loop every few microseconds, so sleeping between them would cost more than
// the loops; a program that does something else should have its core back soon.
const (
	keep     = 20 * time.Microsecond  // spinning without letting other goroutines go first
	patience = 100 * time.Microsecond // spinning at all
	muster   = 2 * time.Millisecond   // waiting for a thread to come to Run, which it then serves for long
)

// spinner counts one wait.
type spinner struct {
	rounds int
	start  time.Time
	yield  bool
}

// spin waits a moment and reports whether the wait has lasted less than limit.
func (s *spinner) spin(limit time.Duration) bool {
	pause()
	s.rounds++
	if s.rounds%64 != 0 {
		return true
	}
	if s.start.IsZero() {
		s.start = time.Now()
		s.yield = Threads() > runtime.GOMAXPROCS(0) // then somebody waits for this core
	}
	d := time.Since(s.start)
	if s.yield || d > keep {
		runtime.Gosched()
	}
	return d < limit
}
