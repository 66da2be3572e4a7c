//go:build amd64 && !purego && !linux

package simd

// allowTiles: tiles are used under Linux alone.
func allowTiles() bool { return false }
