package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/parelm/pare/internal/fsx"
)

// Target is what a user named with `-o`: one file or one directory that nobody else writes, published in one step.
type Target struct {
	FS     fsx.FS
	Path   string
	Force  bool     // replace what is there
	Inputs []string // files and directories that the output must not be, hold or lie in
}

// Check refuses a target that cannot be published, before any work: ErrExists for one that is there already and may
// not be replaced, ErrOverlap for one that touches an input, fsx.ErrBusy for one that a living process is making.
func (t Target) Check() error { return t.check(anyKind) }

// kind is what an output is going to be.
type kind int

const (
	anyKind kind = iota
	aFile
	aDir
)

func (t Target) check(k kind) error {
	if t.Path == "" {
		return errors.New("the output has no name")
	}
	if err := Overlap(t.Path, t.Inputs...); err != nil {
		return err
	}
	if err := t.sweep(filepath.Dir(t.Path), filepath.Base(t.Path)); err != nil {
		return err
	}
	return t.replaceable(k)
}

// replaceable looks at what is at the target now. Force replaces files, and directories that pare made; anything else
// is a mistake that would cost somebody's data.
func (t Target) replaceable(k kind) error {
	info, err := t.FS.Lstat(t.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case k == aDir && !info.IsDir():
		return fmt.Errorf("%s: %w as a file, the output is a directory", t.Path, ErrExists)
	case k == aFile && info.IsDir():
		return fmt.Errorf("%s: %w as a directory, the output is a file", t.Path, ErrExists)
	}
	if !info.IsDir() {
		if t.Force {
			return nil
		}
		return fmt.Errorf("%s: %w (--force replaces it)", t.Path, ErrExists)
	}
	entries, err := t.FS.ReadDir(t.Path)
	if err != nil || len(entries) == 0 {
		return err
	}
	if _, err := ReadManifest(t.FS, t.Path); err != nil {
		return fmt.Errorf("%s: %w, is not empty and was not made by pare: remove it yourself or choose another name", t.Path, ErrExists)
	}
	if !t.Force {
		return fmt.Errorf("%s: %w (--force replaces it)", t.Path, ErrExists)
	}
	return nil
}

// sweep removes what dead processes left of this very target.
func (t Target) sweep(parent, name string) error {
	entries, err := t.FS.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := recoverOld(t.FS, parent, name); err != nil {
		return err
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), tempPrefix+short(name)+"-")
		if !ok || strings.Trim(rest, "0123456789") != "" || rest == "" {
			continue
		}
		pid, err := sweepOne(t.FS, filepath.Join(parent, e.Name()))
		if err != nil {
			return err
		}
		if pid != "" {
			return fmt.Errorf("%s is being written by process %s: %w", t.Path, pid, fsx.ErrBusy)
		}
	}
	return nil
}

// Dir begins a directory. Commit publishes it with its manifest.
func (t Target) Dir() (*Dir, error) {
	if err := t.check(aDir); err != nil {
		return nil, err
	}
	d, err := newDir(t.FS, filepath.Clean(t.Path))
	if err == nil {
		d.publish = func() error { return t.replaceable(aDir) }
	}
	return d, err
}

// Single is one output file being made.
type Single struct {
	*File
	t    Target
	lock io.Closer
	done bool
}

// File begins a single file.
func (t Target) File() (*Single, error) {
	if err := t.check(aFile); err != nil {
		return nil, err
	}
	parent, name := filepath.Dir(t.Path), filepath.Base(t.Path)
	if err := fsx.MkdirAll(t.FS, parent); err != nil {
		return nil, err
	}
	f, err := createFile(t.FS, filepath.Join(parent, tempName(name)), false)
	if err != nil {
		return nil, err
	}
	lock, err := t.FS.Lock(f.path)
	if err != nil {
		f.abandon()
		return nil, errors.Join(err, t.FS.Remove(f.path))
	}
	return &Single{File: f, t: t, lock: lock}, nil
}

// Commit makes the file durable and publishes it under its name.
func (s *Single) Commit() error {
	if err := s.Close(); err != nil {
		return err
	}
	if err := s.t.replaceable(aFile); err != nil {
		return err
	}
	if err := s.t.FS.Rename(s.path, s.t.Path); err != nil {
		return err
	}
	s.done = true
	CrashPoint("renamed")
	return errors.Join(s.t.FS.SyncDir(filepath.Dir(s.t.Path)), s.lock.Close())
}

// Abort removes the unfinished file. It does nothing after Commit, so that it can be deferred.
func (s *Single) Abort() error {
	if s.done {
		return nil
	}
	s.done = true
	s.abandon()
	return errors.Join(fsx.RemoveAll(s.t.FS, s.path), s.lock.Close())
}

// Scratch returns the checkpoints of unfinished work on this target, kept beside it. key says what is being done;
// checkpoints of other work on the same target are not found.
func (t Target) Scratch(key string) (*Scratch, error) {
	name := workPrefix + DirName(filepath.Base(t.Path), key)
	return openScratch(t.FS, filepath.Join(filepath.Dir(t.Path), name))
}

// Overlap returns ErrOverlap where output is one of the inputs, lies in one or holds one, symbolic links resolved.
func Overlap(output string, inputs ...string) error {
	out, err := resolve(output)
	if err != nil {
		return err
	}
	for _, input := range inputs {
		in, err := resolve(input)
		if err != nil {
			return err
		}
		switch {
		case in == out:
			return fmt.Errorf("%s is the input: %w", output, ErrOverlap)
		case within(out, in):
			return fmt.Errorf("%s lies inside the input %s: %w", output, input, ErrOverlap)
		case within(in, out):
			return fmt.Errorf("%s holds the input %s: %w", output, input, ErrOverlap)
		}
	}
	return nil
}

// within reports whether path is strictly below dir. Both are absolute and clean.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != "." && filepath.IsLocal(rel)
}

// resolve returns the absolute path without symbolic links, of a name whose last elements need not exist.
func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(abs)
	if err == nil {
		return real, nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) || filepath.Dir(abs) == abs {
		return "", err
	}
	parent, err := resolve(filepath.Dir(abs))
	return filepath.Join(parent, filepath.Base(abs)), err
}
