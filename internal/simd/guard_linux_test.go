package simd

import (
	"testing"

	"golang.org/x/sys/unix"
)

// guarded returns n writable bytes between two pages that nobody may touch: reading or writing past either end is a fault.
// Both ends are page borders where n is a multiple of the page size.
func guarded(t testing.TB, pages int) []byte {
	size := unix.Getpagesize()
	b, err := unix.Mmap(-1, 0, (pages+2)*size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	in := b[size : (pages+1)*size : (pages+1)*size]
	if err := unix.Mprotect(in, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	return in
}
