// Package fsx is the file system as pare's store sees it: the few calls that make, fill, sync and rename, behind one
// interface, and careful opening of files that somebody else made.
//
// The interface exists for the tests: fsxtest has one implementation that fails at the k-th call and one in memory
// that forgets what was not synced, as a power cut does.
package fsx

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS is a file system. Names are paths as package os understands them.
type FS interface {
	// OpenFile opens with the flags of package os. Directories cannot be opened.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Mkdir(name string, perm fs.FileMode) error
	// Rename replaces a file or an empty directory of the new name in one step.
	Rename(oldName, newName string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// Lstat does not follow a symbolic link.
	Lstat(name string) (fs.FileInfo, error)
	// ReadDir lists a directory sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// SyncDir makes the entries of a directory durable: creations, renames and removals in it.
	SyncDir(name string) error
	// Lock takes the exclusive lock of an existing file or directory without waiting. It returns ErrBusy while
	// somebody else holds it. The lock ends with Close or with the process, however that dies.
	Lock(name string) (io.Closer, error)
}

// File is an open file. Write and WriteAt either write everything or return an error.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Closer
	// Sync makes the content durable. After a failed Sync the content is lost for good: never call it again.
	Sync() error
}

// Errors of this package. Test with errors.Is.
var (
	ErrBusy       = errors.New("locked by another process")
	ErrNotRegular = errors.New("not a regular file")
	ErrTooLarge   = errors.New("file too large")
)

// MkdirAll makes a directory and its missing parents, each made durable in its own parent.
func MkdirAll(fsys FS, name string) error {
	info, err := fsys.Lstat(name)
	if err == nil {
		if info.IsDir() || info.Mode()&fs.ModeSymlink != 0 {
			return nil
		}
		return &fs.PathError{Op: "mkdir", Path: name, Err: errors.New("a file of that name is in the way")}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(name)
	if parent != name {
		if err := MkdirAll(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.Mkdir(name, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return fsys.SyncDir(parent)
}

// RemoveAll removes name and everything in it. Symbolic links are removed, never followed. A missing name is no error.
func RemoveAll(fsys FS, name string) error {
	info, err := fsys.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		entries, err := fsys.ReadDir(name)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := RemoveAll(fsys, filepath.Join(name, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ReadFile reads a whole file of at most limit bytes.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, name, limit)
}
