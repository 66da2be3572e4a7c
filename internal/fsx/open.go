package fsx

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
)

// OpenRegular opens a file for reading and refuses everything else with ErrNotRegular: a directory, a FIFO (which would
// wait for a writer for ever), a device. Symbolic links are followed.
func OpenRegular(name string) (*os.File, error) {
	// Look before opening, since opening some devices already does something; and again on the open file, since the
	// name may mean something else by then.
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if err := regular(name, info); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil {
		err = regular(name, info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func regular(name string, info fs.FileInfo) error {
	kind := "a special file"
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return nil
	case mode.IsDir():
		kind = "a directory"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a FIFO"
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	case mode&fs.ModeDevice != 0:
		kind = "a device"
	}
	return fmt.Errorf("%s is %s: %w", name, kind, ErrNotRegular)
}

// ReadLimited reads a whole regular file of at most limit bytes; a longer one is ErrTooLarge and is not read.
func ReadLimited(name string, limit int64) ([]byte, error) {
	f, err := OpenRegular(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, tooLarge(name, limit)
	}
	return readLimited(f, name, limit)
}

// readLimited trusts no size: files in /proc say 0, and any file may grow.
func readLimited(r io.Reader, name string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = tooLarge(name, limit)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

func tooLarge(name string, limit int64) error {
	return fmt.Errorf("%s: %w: over the limit of %d bytes", name, ErrTooLarge, limit)
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }}

// SumWith is Sum that ends with its context.
func SumWith(ctx context.Context, f io.Reader, read func(n int64)) (sum string, size int64, err error) {
	return Sum(&cancelled{ctx, f}, read)
}

// cancelled is a reader that ends with its context.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader; it ends with the context's error.
func (c *cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// Sum reads r to its end and returns the SHA-256 of what it read, in hex, and how many bytes that were. read, where not
// nil, is told of every piece.
func Sum(r io.Reader, read func(n int64)) (sum string, size int64, err error) {
	h := sha256.New()
	buf := *buffers.Get().(*[]byte)
	defer buffers.Put(&buf)
	for {
		n, err := r.Read(buf)
		h.Write(buf[:n])
		size += int64(n)
		if read != nil && n > 0 {
			read(int64(n))
		}
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), size, nil
		}
		if err != nil {
			return "", size, err
		}
	}
}
