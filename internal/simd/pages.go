package simd

import (
	"sync"
	"weak"
)

// Memory of packed weights. A token reads all of it once, so it should lie on large pages: translations of 4 KiB pages
// take a walk every few dozen nanoseconds of reading, and what fetches ahead stops at their ends. Weights are cut from
// chunks that the system is asked to back with large pages; a chunk lives as long as one of its weights.

const (
	largePage = 2 << 20
	chunkSize = 32 << 20
)

// weightChunk is a chunk and how much of it is taken.
type weightChunk struct {
	data []byte
	used int
}

var (
	chunkMutex sync.Mutex
	lastChunk  weak.Pointer[weightChunk] // while one of its weights lives
)

// weightBytes returns n zero bytes for weights, from a multiple of 64 on, and what must live as long as they.
func weightBytes(n int) ([]byte, *weightChunk) {
	chunkMutex.Lock()
	defer chunkMutex.Unlock()
	c := lastChunk.Value()
	if c == nil || len(c.data)-c.used < n {
		c = &weightChunk{data: LargePages(max(chunkSize, n))}
		lastChunk = weak.Make(c)
	}
	b := c.data[c.used:][:n:n]
	c.used += (n + 63) &^ 63
	return b, c
}

// LargePages returns n zero bytes and what is left of their last large page, on large pages if the system has some to give.
func LargePages(n int) []byte { return largePages((n + largePage - 1) &^ (largePage - 1)) }
