package simd

import (
	"math/rand/v2"
	"testing"
)

// arena is memory for kernel tests: slices that end at a page that faults, or lie at any offset between canaries.
type arena struct {
	t testing.TB
	b []byte
	f []float32
}

const canary = -12345.5

func newArena(t testing.TB, pages int) *arena {
	b := guarded(t, pages)
	f, ok := Float32s(b)
	if !ok {
		t.Fatal("page not aligned")
	}
	return &arena{t, b, f}
}

// place returns n float32 at an offset of values from the start, or ending at the last page where offset is negative. The
// rest of the memory is filled with canaries.
func (a *arena) place(n, offset int) []float32 {
	for i := range a.f {
		a.f[i] = canary
	}
	if offset < 0 {
		offset = len(a.f) - n
	}
	return a.f[offset : offset+n : offset+n]
}

// check fails if anything but x has been written.
func (a *arena) check(what string, n, offset int) {
	if offset < 0 {
		offset = len(a.f) - n
	}
	for i, v := range a.f {
		if v != canary && (i < offset || i >= offset+n) {
			a.t.Fatalf("%s: n=%d offset=%d: wrote at %d", what, n, offset, i-offset)
		}
	}
}

// lengths calls f for every length up to 257, ending at the guard page and at each offset from 0 to 31.
func lengths(f func(n, offset int)) {
	for n := range 258 {
		f(n, -1)
		for o := range 32 {
			if n < 40 || (n+o)%32 == 0 || n%64 < 2 { // every length, every offset, most of both
				f(n, o)
			}
		}
	}
}

func fill(r *rand.Rand, x []float32, lo, hi float32) {
	for i := range x {
		x[i] = lo + (hi-lo)*r.Float32()
	}
}
