//go:build !linux

package peak

// Reset does nothing here.
func Reset() {}

// Bytes returns 0: unknown here.
func Bytes() int64 { return 0 }
