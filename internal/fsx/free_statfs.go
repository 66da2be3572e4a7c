//go:build linux || darwin || freebsd

package fsx

import (
	"math"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"
)

// FreeBytes returns the bytes that a normal user may still write on the disk that holds the existing path dir.
func FreeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	blocks := max(int64(s.Bavail), 0) // signed on some systems: the reserve may be in use
	hi, lo := bits.Mul64(uint64(blocks), uint64(s.Bsize))
	if hi != 0 || lo > math.MaxInt64 {
		return math.MaxInt64, nil
	}
	return int64(lo), nil
}
