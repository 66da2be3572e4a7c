//go:build !linux

package simd

import (
	"testing"
	"time"
)

// cpuClock returns a clock in seconds.
func cpuClock(*testing.B) func() float64 {
	start := time.Now()
	return func() float64 { return time.Since(start).Seconds() }
}
