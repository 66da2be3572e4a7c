package simd

import (
	"syscall"
	"unsafe"
)

// largePages returns n zero bytes that begin at a large page, n a multiple of its size, on large pages if the system has
// some to give.
func largePages(n int) []byte {
	b := make([]byte, n+largePage)
	b = b[-uintptr(unsafe.Pointer(unsafe.SliceData(b)))&(largePage-1):][:n]
	_ = syscall.Madvise(b, syscall.MADV_HUGEPAGE) // advice: without it all works as well, only slower
	return b
}
