//go:build amd64 && !purego

package simd

import "syscall"

// allowTiles asks the kernel to let this process use AMX's tile registers, which it saves for threads that do.
func allowTiles() bool {
	const (
		archPrctl      = 158
		reqXcompPerm   = 0x1023
		featureTileDat = 18
	)
	_, _, errno := syscall.RawSyscall(archPrctl, reqXcompPerm, featureTileDat, 0)
	return errno == 0
}
