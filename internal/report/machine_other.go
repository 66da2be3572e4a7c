//go:build !linux

package report

// hardware cannot tell on this system.
func hardware() (cpu string, memory int64) { return "", 0 }
