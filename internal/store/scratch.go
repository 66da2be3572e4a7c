package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parelm/pare/internal/fsx"
)

// Scratch holds the checkpoints of unfinished work in a directory of its own. It survives a killed process and is
// found again by the next one that does the same work, which the key says; it goes when the work is published.
type Scratch struct {
	fsys fsx.FS
	dir  string
}

// trailer ends every saved file: a mark and the SHA-256 of what is before it.
const (
	trailerMark = "pare-checkpoint\n"
	trailerLen  = int64(len(trailerMark) + sha256.Size)
)

// Scratch returns the scratch directory of a key and removes half-written files in it.
func (s *Store) Scratch(label, key string) (*Scratch, error) {
	return openScratch(s.fsys, filepath.Join(s.Dir, workPrefix+DirName(label, key)))
}

// Leftovers returns the scratch directories that are there, by name, with their sizes in bytes.
func Leftovers(fsys fsx.FS, dir string) (map[string]int64, error) {
	entries, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), workPrefix) {
			continue
		}
		sizes[e.Name()] = 0
		found := map[string]fs.FileInfo{}
		if err := walk(fsys, filepath.Join(dir, e.Name()), "", found); err != nil {
			return nil, err
		}
		for _, info := range found {
			sizes[e.Name()] += info.Size()
		}
	}
	return sizes, nil
}

// ScratchName returns the name that Leftovers gives to the scratch directory of a key.
func ScratchName(label, key string) string { return workPrefix + DirName(label, key) }

func openScratch(fsys fsx.FS, dir string) (*Scratch, error) {
	if err := fsx.MkdirAll(fsys, dir); err != nil {
		return nil, err
	}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if tempPattern.MatchString(e.Name()) {
			if err := fsx.RemoveAll(fsys, filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	return &Scratch{fsys: fsys, dir: dir}, nil
}

// Path returns the directory, to show to a user.
func (s *Scratch) Path() string { return s.dir }

// Save writes a file in one step: after a crash there is the old one, or the new one, or none where there was none.
// A name is one path element.
func (s *Scratch) Save(name string, write func(w io.Writer) error) error {
	if !filepath.IsLocal(name) || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return fmt.Errorf("checkpoint name %q is not a plain file name", name)
	}
	return replaceFile(s.fsys, filepath.Join(s.dir, name), "checkpoint", func(f *File) error {
		if err := write(f); err != nil {
			return err
		}
		if !f.order {
			return errors.New("a checkpoint is written in order")
		}
		_, err := f.Write(append([]byte(trailerMark), f.hash.Sum(nil)...))
		return err
	})
}

// Saved is an open checkpoint, without its trailer.
type Saved struct {
	*io.SectionReader
	f fsx.File
}

// Close closes the file.
func (s *Saved) Close() error { return s.f.Close() }

// Open opens a saved file after checking it from end to end. The error is fs.ErrNotExist where there is none and
// ErrDamaged where it is not what was saved.
func (s *Scratch) Open(name string) (*Saved, error) {
	path := filepath.Join(s.dir, name)
	info, err := s.fsys.Lstat(path)
	if err != nil {
		return nil, err
	}
	f, err := s.fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	size := info.Size() - trailerLen
	if err := checkTrailer(f, size); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return &Saved{io.NewSectionReader(f, 0, size), f}, nil
}

func checkTrailer(f fsx.File, size int64) error {
	if size < 0 {
		return fmt.Errorf("%w: too short for a checkpoint", ErrDamaged)
	}
	trailer := make([]byte, trailerLen)
	if _, err := f.ReadAt(trailer, size); err != nil && err != io.EOF {
		return err
	}
	sum, n, err := fsx.Sum(io.NewSectionReader(f, 0, size), nil)
	if err != nil {
		return err
	}
	if n != size || string(trailer) != trailerMark+unhex(sum) {
		return fmt.Errorf("%w: checkpoint does not match its checksum", ErrDamaged)
	}
	return nil
}

// List returns the names of the saved files, sorted.
func (s *Scratch) List() ([]string, error) {
	entries, err := s.fsys.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Delete removes one saved file. A missing one is no error.
func (s *Scratch) Delete(name string) error {
	if err := s.fsys.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Remove removes the whole directory.
func (s *Scratch) Remove() error { return fsx.RemoveAll(s.fsys, s.dir) }

// unhex returns the bytes of a digest that fsx.Sum wrote.
func unhex(sum string) string {
	b, err := hex.DecodeString(sum)
	if err != nil {
		panic(err) // fsx.Sum writes hex
	}
	return string(b)
}

// ScratchFor returns the scratch directory of an output that is not an artifact of a run: it lies beside the output, and the
// key, 64 hex digits, says which work it belongs to.
func ScratchFor(fsys fsx.FS, out, key string) (*Scratch, error) {
	return openScratch(fsys, filepath.Join(filepath.Dir(filepath.Clean(out)), workPrefix+DirName(filepath.Base(out), key)))
}

// Kept opens a saved file as Open does, and returns nil where there is none or only a damaged one.
func (s *Scratch) Kept(name string) (io.ReadCloser, error) {
	f, err := s.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrDamaged):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return f, nil
}
