// Package fsxtest holds file systems that fail the way real ones do, for the tests of everything that writes.
package fsxtest

import (
	"io"
	"io/fs"
	"sync"

	"github.com/parelm/pare/internal/fsx"
)

// Fault passes calls through to another file system until the At-th, which fails with Err.
type Fault struct {
	FS   fsx.FS
	At   int   // which call fails, from 1; 0 never
	Err  error // what it fails with; nil means a short write where the call writes, and io.ErrUnexpectedEOF elsewhere
	Dead bool  // every later call fails as well: the disk is gone

	mu     sync.Mutex
	calls  int
	failed string
}

// Failed returns what the first call that failed was, for messages.
func (f *Fault) Failed() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

// Calls returns how many calls were made so far.
func (f *Fault) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// next counts a call and returns the error it must fail with.
func (f *Fault) next() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.At == 0 || f.calls < f.At || f.calls > f.At && !f.Dead {
		return nil
	}
	if f.Err == nil {
		return io.ErrUnexpectedEOF
	}
	return f.Err
}

func (f *Fault) pathErr(op, name string) error {
	err := f.next()
	if err == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed == "" {
		f.failed = op + " " + name
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// OpenFile implements fsx.FS.
func (f *Fault) OpenFile(name string, flag int, perm fs.FileMode) (fsx.File, error) {
	if err := f.pathErr("open", name); err != nil {
		return nil, err
	}
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultFile{file, f, name}, nil
}

// Mkdir implements fsx.FS.
func (f *Fault) Mkdir(name string, perm fs.FileMode) error {
	if err := f.pathErr("mkdir", name); err != nil {
		return err
	}
	return f.FS.Mkdir(name, perm)
}

// Rename implements fsx.FS.
func (f *Fault) Rename(oldName, newName string) error {
	if err := f.pathErr("rename", oldName); err != nil {
		return err
	}
	return f.FS.Rename(oldName, newName)
}

// Remove implements fsx.FS.
func (f *Fault) Remove(name string) error {
	if err := f.pathErr("remove", name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// Lstat implements fsx.FS.
func (f *Fault) Lstat(name string) (fs.FileInfo, error) {
	if err := f.pathErr("lstat", name); err != nil {
		return nil, err
	}
	return f.FS.Lstat(name)
}

// ReadDir implements fsx.FS.
func (f *Fault) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := f.pathErr("readdir", name); err != nil {
		return nil, err
	}
	return f.FS.ReadDir(name)
}

// SyncDir implements fsx.FS.
func (f *Fault) SyncDir(name string) error {
	if err := f.pathErr("fsync", name); err != nil {
		return err
	}
	return f.FS.SyncDir(name)
}

// Lock implements fsx.FS.
func (f *Fault) Lock(name string) (io.Closer, error) {
	if err := f.pathErr("lock", name); err != nil {
		return nil, err
	}
	return f.FS.Lock(name)
}

type faultFile struct {
	fsx.File
	f    *Fault
	name string
}

func (f *faultFile) Read(p []byte) (int, error) {
	if err := f.f.pathErr("read", f.name); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.f.pathErr("read", f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.f.pathErr("write", f.name); err != nil {
		n, _ := f.File.Write(p[:len(p)/2]) // a failing disk has often taken a part
		return n, f.short(err)
	}
	return f.File.Write(p)
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.f.pathErr("write", f.name); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], off)
		return n, f.short(err)
	}
	return f.File.WriteAt(p, off)
}

// short turns the error of a write into none at all where no error was asked for: the caller has to look at n.
func (f *faultFile) short(err error) error {
	if f.f.Err == nil {
		return nil
	}
	return err
}

func (f *faultFile) Sync() error {
	if err := f.f.pathErr("fsync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

// Close always closes, as the kernel does, even where it reports an error.
func (f *faultFile) Close() error {
	err := f.f.pathErr("close", f.name)
	if e := f.File.Close(); err == nil {
		err = e
	}
	return err
}
