package fsx

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/windows"
)

const nonblock = 0

// syncDir does nothing: NTFS journals directory entries itself and FlushFileBuffers refuses directories.
func syncDir(string) error { return nil }

// lock locks one byte far behind the end of a file, so that the holder's note in it stays readable. Directories cannot
// be locked here; an open file inside one keeps it from being removed, which is what the lock is for.
func lock(name string) (io.Closer, error) {
	if info, err := os.Stat(name); err != nil || info.IsDir() {
		return io.NopCloser(nil), err
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	o := windows.Overlapped{OffsetHigh: 1}
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	if err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &o); err != nil {
		f.Close()
		if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
			err = ErrBusy
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// FreeBytes returns the bytes that this user may still write on the disk that holds the existing path dir.
func FreeBytes(dir string) (int64, error) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, nil, nil); err != nil {
		return 0, &os.PathError{Op: "GetDiskFreeSpaceEx", Path: dir, Err: err}
	}
	return int64(min(free, 1<<62)), nil
}
