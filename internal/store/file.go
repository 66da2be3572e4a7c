package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"

	"github.com/parelm/pare/internal/fsx"
)

// File is one file of an output being made. It is hashed while it is written in order, and read again for its hash
// where it was not. WriteAt is safe for concurrent use on ranges that do not overlap; Write is for one goroutine.
type File struct {
	fsys     fsx.FS
	path     string
	f        fsx.File
	volatile bool

	mu     sync.Mutex
	off    int64     // where Write goes on
	hash   hash.Hash // of the first `hashed` bytes, while they came in order
	hashed int64
	order  bool // so far every byte came right behind the one before
	size   int64
	err    error // the first failure: it sticks
	closed bool
}

func createFile(fsys fsx.FS, path string, volatile bool) (*File, error) {
	f, err := fsys.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	CrashPoint("file-created")
	return &File{fsys: fsys, path: path, f: f, volatile: volatile, hash: sha256.New(), order: true}, nil
}

// Write appends p.
func (f *File) Write(p []byte) (int, error) {
	f.mu.Lock()
	off := f.off
	f.off += int64(len(p))
	f.mu.Unlock()
	return f.WriteAt(p, off)
}

// WriteAt writes p at byte off. Gaps read as zeros.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	if f.err == nil && f.closed {
		f.err = fmt.Errorf("%s: write after Close", f.path)
	}
	if f.err != nil {
		f.mu.Unlock()
		return 0, f.err
	}
	if f.order = f.order && off == f.hashed; f.order {
		f.hash.Write(p)
		f.hashed += int64(len(p))
	}
	f.size = max(f.size, off+int64(len(p)))
	f.mu.Unlock()

	crashHalf("file-half", f.f, p, off)
	n, err := f.f.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = &os.PathError{Op: "write", Path: f.path, Err: io.ErrShortWrite}
	}
	return n, f.fail(err)
}

// ReadAt reads what was written.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// fail keeps the first error.
func (f *File) fail(err error) error {
	if err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.err == nil {
			f.err = err
		}
	}
	return err
}

// Sync makes what was written so far durable. Close does so too.
func (f *File) Sync() error {
	f.mu.Lock()
	err := f.err
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return f.fail(f.f.Sync())
}

// Close makes the file durable and closes it. Closing twice is no error.
func (f *File) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return f.err
	}
	f.closed = true
	err := f.err
	f.mu.Unlock()
	CrashPoint("file-written")
	if err == nil {
		err = f.fail(f.f.Sync())
		CrashPoint("file-synced")
	}
	if e := f.f.Close(); err == nil {
		err = f.fail(e)
	}
	return err
}

// abandon closes the file without making it durable.
func (f *File) abandon() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		f.f.Close()
	}
}

// entry returns the manifest's line for a closed file.
func (f *File) entry(name string) (FileEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && !f.closed {
		f.err = fmt.Errorf("%s: not closed before Commit", f.path)
	}
	if f.err != nil {
		return FileEntry{}, f.err
	}
	e := FileEntry{Name: name, Bytes: f.size, Volatile: f.volatile}
	if f.order {
		e.SHA256 = hex.EncodeToString(f.hash.Sum(nil))
		return e, nil
	}
	sum, size, err := sumFile(f.fsys, f.path, nil)
	if err == nil && size != f.size {
		err = fmt.Errorf("%s: %d bytes were written, %d are there", f.path, f.size, size)
	}
	e.SHA256 = sum
	return e, err
}

// sumFile returns the SHA-256 and the size of a file on disk.
func sumFile(fsys fsx.FS, path string, read func(int64)) (sum string, size int64, err error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return "", 0, err
	}
	sum, size, err = fsx.Sum(f, read)
	return sum, size, errors.Join(err, f.Close())
}
