//go:build unix

package fsx

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// nonblock keeps opening a FIFO or a device from waiting for a peer.
const nonblock = syscall.O_NONBLOCK

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // some network and FUSE file systems cannot sync a directory, and keep it durable themselves
	}
	return errors.Join(err, d.Close())
}

// lock holds an flock, which the kernel gives up when the process ends and which works on directories too.
func lock(name string) (io.Closer, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		err = ErrBusy
	case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOLCK):
		return f, nil // a file system without locks: run unguarded rather than not at all
	}
	f.Close()
	return nil, fmt.Errorf("%s: %w", name, err)
}
