//go:build !linux

package recipes

// AvailableMemory cannot tell on this system: it returns 0, and plans are not held to it.
func AvailableMemory() int64 { return 0 }

func resetPeak() {}

func peakMemory() int64 { return 0 }
