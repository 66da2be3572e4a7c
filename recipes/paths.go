package recipes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parelm/pare/internal/corpus"
	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model/tensor"
)

// workspace says which files a recipe may name. A recipe may come from somebody else, so what it reads lies in its own
// directory, in the working directory, or where the user said on the command line.
type workspace struct {
	dir     string   // what relative paths start from
	roots   []string // absolute, symbolic links resolved
	resolve func(ctx context.Context, ref string) (string, error)
	memo    *memo
}

func newWorkspace(dir string, o *Options, m *memo) (*workspace, error) {
	w := &workspace{dir: dir, resolve: o.Resolve, memo: m}
	cwd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for _, root := range append([]string{dir, cwd}, o.Workspace...) {
		real, err := filepath.EvalSymlinks(root)
		if err == nil {
			real, err = filepath.Abs(real)
		}
		if err != nil {
			return nil, fmt.Errorf("workspace %s: %w", root, err)
		}
		w.roots = append(w.roots, real)
	}
	return w, nil
}

// abs returns the absolute path of what the recipe wrote at n. What the user wrote on the command line is relative to
// where he is, and may be anywhere.
func (w *workspace) abs(n strict.Node, path string) (string, error) {
	if strings.TrimSpace(path) == "" || strings.ContainsRune(path, 0) {
		return "", n.Errorf(tensor.ErrInvalid, "%q is no path", path)
	}
	if n.Overridden() {
		return filepath.Abs(path)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(w.dir, path)
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, w.inside(n, path, resolveParent(path)) // a pattern, or the caller says that it is missing
	}
	if err != nil {
		return "", n.Errorf(tensor.ErrInvalid, "%v", err)
	}
	return filepath.Clean(path), w.inside(n, path, real)
}

func (w *workspace) inside(n strict.Node, path, real string) error {
	for _, root := range w.roots {
		if rel, err := filepath.Rel(root, real); err == nil && filepath.IsLocal(rel) {
			return nil
		}
	}
	if real != filepath.Clean(path) {
		path += " (really " + real + ")"
	}
	return n.Errorf(tensor.ErrInvalid, "%s is outside the workspace, the directories of the recipe and of the command: allow it with --workspace DIR", path)
}

// resolveParent resolves the symbolic links of the part of a path that exists.
func resolveParent(path string) string {
	for dir, rest := filepath.Dir(path), filepath.Base(path); ; dir, rest = filepath.Dir(dir), filepath.Join(filepath.Base(dir), rest) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if dir == filepath.Dir(dir) {
			return path
		}
	}
}

// file returns the absolute path of a regular file.
func (w *workspace) file(n strict.Node, path string) (string, error) {
	abs, err := w.abs(n, path)
	if err != nil {
		return "", err
	}
	f, err := fsx.OpenRegular(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", n.Errorf(tensor.ErrInvalid, "there is no file %s%s", abs, w.near(abs))
	case errors.Is(err, fsx.ErrNotRegular):
		return "", n.Errorf(tensor.ErrInvalid, "%v", err)
	case err != nil:
		return "", err
	}
	return abs, f.Close()
}

// near returns a hint at a file of a similar name.
func (w *workspace) near(path string) string {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if c := strict.Nearest(filepath.Base(path), names); c != "" {
		return fmt.Sprintf(" (did you mean %q?)", c)
	}
	return ""
}

// files returns the files that a name, a directory or a pattern means, sorted, at least one.
func (w *workspace) files(n strict.Node, pattern string) ([]string, error) {
	abs, err := w.abs(n, pattern)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(abs)
	if err == nil && !info.IsDir() || err != nil && !strings.ContainsAny(pattern, "*?[") {
		f, err := w.file(n, pattern)
		return []string{f}, err
	}
	found, err := expand(abs)
	if err != nil {
		return nil, n.Errorf(tensor.ErrInvalid, "%s: %v", pattern, err)
	}
	var files []string
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			continue
		}
		if !n.Overridden() {
			if _, err := w.abs(n, path); err != nil {
				return nil, err // a link out of the workspace
			}
		}
		if _, err := w.file(n, path); err != nil {
			return nil, err
		}
		files = append(files, path)
	}
	if len(files) == 0 {
		return nil, n.Errorf(tensor.ErrInvalid, "no file matches %s", abs)
	}
	slices.Sort(files)
	return files, nil
}

// expand lists what a directory or a pattern with * or ** stands for.
func expand(abs string) ([]string, error) {
	if info, err := os.Stat(abs); err == nil && info.IsDir() || strings.Contains(abs, "**") {
		return corpus.Files([]string{abs})
	}
	dir, glob := abs, ""
	for strings.ContainsAny(dir, "*?[") {
		if _, err := os.Lstat(dir); err == nil {
			break // such characters in the name of a directory mean themselves
		}
		dir, glob = filepath.Dir(dir), filepath.ToSlash(filepath.Join(filepath.Base(dir), glob))
	}
	found, err := fs.Glob(os.DirFS(dir), glob)
	for i := range found {
		found[i] = filepath.Join(dir, filepath.FromSlash(found[i]))
	}
	return found, err
}

// model opens a reference that is a path or an address, and digests it.
func (w *workspace) model(ctx context.Context, n strict.Node, name, ref string) (*Model, error) {
	path := ref
	if isAddress(ref) {
		if w.resolve == nil || !strings.HasPrefix(ref, "hf://") {
			return nil, n.Errorf(tensor.ErrUnsupported, "cannot fetch %s: only hf://org/name addresses are known", ref)
		}
		var err error
		if path, err = w.resolve(ctx, ref); err != nil {
			return nil, n.Errorf(tensor.ErrInvalid, "%v", err)
		}
	} else {
		var err error
		if path, err = w.abs(n, ref); err != nil {
			return nil, err
		}
	}
	digest, size, err := w.memo.model(ctx, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, n.Errorf(tensor.ErrInvalid, "there is no model at %s%s", path, w.near(path))
	case errors.Is(err, fsx.ErrNotRegular), errors.Is(err, store.ErrDamaged):
		return nil, n.Errorf(tensor.ErrInvalid, "%v", err)
	case err != nil:
		return nil, err
	}
	return &Model{Name: name, Path: path, Digest: digest, Bytes: size}, nil
}
