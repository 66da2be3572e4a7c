// Package container holds what the readers and writers of checkpoint files share: opening files that nobody vouched
// for, scanning their JSON, and writing rows of tensors in any order.
package container

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// Open opens the regular file at path, which the user named, and returns it with its size. Directories, pipes, sockets
// and devices are refused without blocking on them.
func Open(path string) (*os.File, int64, error) {
	// Without O_NONBLOCK, opening a pipe waits for a writer. It changes nothing for regular files.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	return regular(f, path, err)
}

// regular returns f with its size, or closes it and returns an error when it is no regular file.
func regular(f *os.File, path string, err error) (*os.File, int64, error) {
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = tensor.Errorf(tensor.ErrInvalid, path, "", "is %s, not a regular file", kind(info.Mode()))
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "a special file"
}

// Dir is a directory whose files are named by other files. No name leads out of it: neither `..`, nor an absolute
// path, nor a symbolic link. The one exception is the layout of the Hugging Face cache, where the files of
// models--x/snapshots/REVISION are links into models--x/blobs; links may go there.
type Dir struct {
	path string
	root *os.Root
	sub  string // path of the directory inside root
}

// OpenDir opens the directory at path, which the user named.
func OpenDir(path string) (*Dir, error) {
	top, sub := path, "."
	if abs, err := filepath.Abs(path); err == nil {
		if abs, err = filepath.EvalSymlinks(abs); err == nil {
			repo := filepath.Dir(filepath.Dir(abs))
			if filepath.Base(filepath.Dir(abs)) == "snapshots" && strings.HasPrefix(filepath.Base(repo), "models--") {
				top, sub = repo, filepath.Join("snapshots", filepath.Base(abs))
			}
		}
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return nil, err
	}
	return &Dir{path, root, sub}, nil
}

// Open opens the regular file called name in the directory and returns it with its size. An error that
// errors.Is fs.ErrNotExist means that there is no such file.
func (d *Dir) Open(name string) (*os.File, int64, error) {
	path := d.Path(name)
	if !LocalName(name) {
		return nil, 0, tensor.Errorf(tensor.ErrInvalid, d.path, fmt.Sprintf("file name %q", name), "is not the plain name of a file in the directory")
	}
	f, err := d.root.OpenFile(filepath.Join(d.sub, name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		if _, lerr := d.root.Lstat(filepath.Join(d.sub, name)); lerr == nil { // it is there, yet os.Root refuses it
			return nil, 0, tensor.Errorf(tensor.ErrInvalid, path, "", "leads out of the directory: %v", cause(err))
		}
	}
	if err != nil {
		return nil, 0, &fs.PathError{Op: "open", Path: path, Err: cause(err)}
	}
	return regular(f, path, nil)
}

// cause strips the path from an error of package os, which names it relative to the root.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Path returns the path of the file called name, for messages.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Close releases the directory. Files opened from it stay open.
func (d *Dir) Close() error { return d.root.Close() }

// LocalName reports whether name is the plain name of a file in the same directory, on every operating system.
func LocalName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 255 && utf8.ValidString(name) &&
		!strings.ContainsAny(name, "/\\:\x00") && filepath.IsLocal(name) && printable(name)
}

// TensorName returns an error unless name can serve as the name of a tensor: not empty, at most limits.TensorName
// bytes of UTF-8, no control characters, no `..` path element.
func TensorName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case int64(len(name)) > limits.TensorName:
		return fmt.Errorf("the name has %d bytes, the limit is %d", len(name), limits.TensorName)
	case !utf8.ValidString(name):
		return errors.New("the name is not UTF-8")
	case !printable(name):
		return errors.New("the name holds a control character")
	}
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == ".." {
			return errors.New("the name holds a `..` path element")
		}
	}
	return nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// ReadLimited reads the whole of a file of the given size, which may not be over limit.
func ReadLimited(f *os.File, path string, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, tensor.Errorf(tensor.ErrTooLarge, path, "", "has %d bytes, the limit is %d", size, limit)
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if int64(n) < size {
		return nil, tensor.Errorf(tensor.ErrCorrupt, path, "", "became shorter while it was read: %d of %d bytes", n, size)
	}
	return b, nil
}

// Reopened reads a file of a directory by opening it for each read, so that it holds no descriptor in between. A file
// that was replaced by one of another size is an error.
type Reopened struct {
	Dir  *Dir
	File string
	Size int64
}

// ReadAt implements io.ReaderAt.
func (r *Reopened) ReadAt(b []byte, off int64) (int, error) {
	f, size, err := r.Dir.Open(r.File)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if size != r.Size {
		return 0, tensor.Errorf(tensor.ErrCorrupt, r.Name(), "", "had %d bytes when it was opened, now %d", r.Size, size)
	}
	return f.ReadAt(b, off)
}

// Name returns the path of the file.
func (r *Reopened) Name() string { return r.Dir.Path(r.File) }
