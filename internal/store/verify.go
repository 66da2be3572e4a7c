package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/progress"
)

// Artifact is a complete directory with a valid manifest.
type Artifact struct {
	Path     string
	Manifest *Manifest
}

// Bytes returns the size of all files but the manifest.
func (a *Artifact) Bytes() int64 {
	n := int64(0)
	for _, f := range a.Manifest.Files {
		n += f.Bytes
	}
	return n
}

// Payload returns the size of the files that are the artifact: all but the volatile ones.
func (a *Artifact) Payload() int64 {
	n := int64(0)
	for _, f := range a.Manifest.Files {
		if !f.Volatile {
			n += f.Bytes
		}
	}
	return n
}

// Digest returns the digest of the artifact's files.
func (a *Artifact) Digest() string { return a.Manifest.Digest }

// FileCheck is what Verify found about one file.
type FileCheck struct {
	Name    string `json:"name"`
	Bytes   int64  `json:"bytes"` // as the manifest says
	OK      bool   `json:"ok"`
	Problem string `json:"problem,omitempty"`
}

// Verify reads every file of an artifact and compares it with the manifest. The error is ErrNoArtifact where there is no
// manifest and ErrDamaged, naming the first problem, where anything is missing, changed or too much; the checks tell of
// all files.
func Verify(ctx context.Context, fsys fsx.FS, dir string) (*Artifact, []FileCheck, error) {
	m, err := ReadManifest(fsys, dir)
	if err != nil {
		return nil, nil, err
	}
	a := &Artifact{Path: dir, Manifest: m}
	found := map[string]fs.FileInfo{}
	if err := walk(fsys, dir, "", found); err != nil {
		return nil, nil, err
	}
	task := progress.Start(ctx, "verify "+filepath.Base(dir), "B", a.Bytes())
	defer task.Done()
	var checks []FileCheck
	for _, f := range m.Files {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		c := FileCheck{Name: f.Name, Bytes: f.Bytes}
		c.Problem = checkFile(fsys, dir, f, found[f.Name], task.Add)
		c.OK = c.Problem == ""
		checks = append(checks, c)
		delete(found, f.Name)
	}
	for _, name := range sortedKeys(found) {
		checks = append(checks, FileCheck{Name: name, Bytes: found[name].Size(), Problem: "not in the manifest"})
	}
	for _, c := range checks {
		if !c.OK {
			return a, checks, fmt.Errorf("%s: %w: %s: %s", dir, ErrDamaged, c.Name, c.Problem)
		}
	}
	return a, checks, nil
}

func checkFile(fsys fsx.FS, dir string, f FileEntry, info fs.FileInfo, read func(int64)) (problem string) {
	switch {
	case info == nil:
		return "missing"
	case !info.Mode().IsRegular():
		return "not a regular file"
	case info.Size() != f.Bytes:
		return fmt.Sprintf("has %d bytes, the manifest says %d", info.Size(), f.Bytes)
	}
	sum, size, err := sumFile(fsys, filepath.Join(dir, filepath.FromSlash(f.Name)), read)
	switch {
	case err != nil:
		return err.Error()
	case size != f.Bytes || sum != f.SHA256:
		return fmt.Sprintf("content changed: SHA-256 is %s, the manifest says %s", sum, f.SHA256)
	}
	return ""
}

// walk collects everything below dir that is not a directory, by its name with slashes.
func walk(fsys fsx.FS, dir, prefix string, found map[string]fs.FileInfo) error {
	entries, err := fsys.ReadDir(filepath.Join(dir, filepath.FromSlash(prefix)))
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(prefix, e.Name())
		if e.IsDir() {
			if err := walk(fsys, dir, name, found); err != nil {
				return err
			}
			continue
		}
		if name == ManifestName {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile: the caller finds it missing
		}
		if err != nil {
			return err
		}
		found[name] = info
	}
	return nil
}
