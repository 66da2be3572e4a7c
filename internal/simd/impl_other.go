//go:build (!amd64 && !arm64) || purego

package simd

const (
	least   = generic
	best    = generic
	fastest = generic
)

const hasBrainDots, manyStreams = false, false
