//go:build !linux

package simd

// largePages returns n zero bytes. Other systems are not asked for large pages.
func largePages(n int) []byte { return make([]byte, n) }
