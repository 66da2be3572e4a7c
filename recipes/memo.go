package recipes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/internal/store"
	"github.com/parelm/pare/model"
)

// memo remembers what was hashed, so that planning and then running reads nothing twice.
type memo struct {
	files     map[seen]store.FileEntry
	verified  map[string]*store.Artifact // by path
	artifacts map[string]*store.Artifact // by key
}

// seen is a file as it was when it was hashed.
type seen struct {
	path string
	size int64
	mod  time.Time
}

func newMemo() *memo {
	return &memo{map[seen]store.FileEntry{}, map[string]*store.Artifact{}, map[string]*store.Artifact{}}
}

// model returns what a model is: a file by its content; a directory by the names and contents of its files, those
// of an artifact as the manifest lists them. Subdirectories, hidden files and texts about the model do not count.
func (m *memo) model(ctx context.Context, path string) (digest string, size int64, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", 0, err
	}
	if !info.IsDir() {
		e, err := m.file(ctx, path)
		e.Name = "file" // renaming a file does not make it another model
		return store.Digest([]store.FileEntry{e}), e.Bytes, err
	}
	if man, err := store.ReadManifest(fsx.OS, path); !errors.Is(err, store.ErrNoArtifact) {
		a := m.verified[path]
		if a == nil || man == nil || a.Manifest.Check != man.Check {
			if a, _, err = store.Verify(ctx, fsx.OS, path); err != nil {
				return "", 0, err
			}
			m.verified[path] = a
		}
		return a.Digest(), a.Bytes(), nil
	}
	list, err := os.ReadDir(path)
	if err != nil {
		return "", 0, err
	}
	var entries []store.FileEntry
	for _, d := range list {
		name := d.Name()
		info, err := os.Stat(filepath.Join(path, name))
		if err != nil {
			return "", 0, err
		}
		if !info.Mode().IsRegular() || strings.HasPrefix(name, ".") || strings.EqualFold(filepath.Ext(name), ".md") {
			continue
		}
		e, err := m.file(ctx, filepath.Join(path, name))
		if err != nil {
			return "", 0, err
		}
		entries = append(entries, e)
		if model.Belongs(name) {
			size += e.Bytes // what a copy of the model would take, as for the models that stages make
		}
	}
	return store.Digest(entries), size, nil
}

// file hashes one file.
func (m *memo) file(ctx context.Context, path string) (store.FileEntry, error) {
	f, err := fsx.OpenRegular(path)
	if err != nil {
		return store.FileEntry{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return store.FileEntry{}, err
	}
	key := seen{path, info.Size(), info.ModTime()}
	if e, ok := m.files[key]; ok {
		return e, nil
	}
	task := progress.Start(ctx, "hash "+filepath.Base(path), "B", info.Size())
	defer task.Done()
	sum, size, err := fsx.SumWith(ctx, f, task.Add)
	if err != nil {
		return store.FileEntry{}, err
	}
	m.files[key] = store.FileEntry{Name: filepath.Base(path), Bytes: size, SHA256: sum}
	return m.files[key], nil
}
