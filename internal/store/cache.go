package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/parelm/pare/internal/fsx"
)

// Cache is a directory of downloads in a layout that other programs share. Unlike an output it may hold unfinished files:
// they end in .incomplete, are always a prefix of what they become, and go on where they stopped.
type Cache struct {
	fsys fsx.FS
	Dir  string
}

// OpenCache returns the cache in a directory, which need not exist. Names below are slash-separated paths in it.
func OpenCache(dir string) *Cache { return &Cache{fsys: fsx.OS, Dir: dir} }

// Path returns the path of a name.
func (c *Cache) Path(name string) string { return filepath.Join(c.Dir, filepath.FromSlash(name)) }

func (c *Cache) parent(name string) error { return fsx.MkdirAll(c.fsys, filepath.Dir(c.Path(name))) }

// Lock waits for the exclusive lock of a name, and calls waiting once when somebody else holds it. The lock ends with
// Close or with the process.
func (c *Cache) Lock(ctx context.Context, name string, waiting func()) (io.Closer, error) {
	if err := c.parent(name); err != nil {
		return nil, err
	}
	f, err := c.fsys.OpenFile(c.Path(name), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		l, err := c.fsys.Lock(c.Path(name))
		if !errors.Is(err, fsx.ErrBusy) {
			return l, err
		}
		if first && waiting != nil {
			waiting()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Partial is a file that is being downloaded, its bytes written in order. It is for one goroutine.
type Partial struct {
	c    *Cache
	name string
	f    fsx.File
	size int64
}

const incomplete = ".incomplete"

// Partial opens the unfinished file of a name, new or as it was left. The caller holds a lock.
func (c *Cache) Partial(name string) (*Partial, error) {
	if err := c.parent(name); err != nil {
		return nil, err
	}
	path := c.Path(name) + incomplete
	if info, err := c.fsys.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", path, fsx.ErrNotRegular)
	}
	f, err := c.fsys.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	info, err := c.fsys.Lstat(path)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Partial{c, name, f, info.Size()}, nil
}

// Size returns the bytes that are there.
func (p *Partial) Size() int64 { return p.size }

// Write appends b.
func (p *Partial) Write(b []byte) (int, error) {
	n, err := p.f.WriteAt(b, p.size)
	p.size += int64(n)
	return n, err
}

// Reader returns what is there.
func (p *Partial) Reader() io.Reader { return io.NewSectionReader(p.f, 0, p.size) }

// Publish makes the file durable and gives it its name.
func (p *Partial) Publish() error {
	if err := errors.Join(p.f.Sync(), p.f.Close()); err != nil {
		return err
	}
	path := p.c.Path(p.name)
	if err := p.c.fsys.Rename(path+incomplete, path); err != nil {
		return err
	}
	return p.c.fsys.SyncDir(filepath.Dir(path))
}

// Close leaves the file for another time.
func (p *Partial) Close() error { return p.f.Close() }

// Discard removes the file.
func (p *Partial) Discard() error {
	return errors.Join(p.f.Close(), p.c.fsys.Remove(p.c.Path(p.name)+incomplete))
}

// Link makes name a symbolic link to another name of the cache, relative as other programs make it, in one step. Where the
// system has no links the file itself moves there.
func (c *Cache) Link(name, target string) error {
	if err := c.parent(name); err != nil {
		return err
	}
	path := c.Path(name)
	rel, err := filepath.Rel(filepath.Dir(path), c.Path(target))
	if err != nil {
		return err
	}
	if now, err := os.Readlink(path); err == nil && now == rel {
		return nil
	}
	temp := filepath.Join(filepath.Dir(path), tempName(filepath.Base(path)))
	if err := c.fsys.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(rel, temp); err != nil {
		return c.fsys.Rename(c.Path(target), path)
	}
	if err := c.fsys.Rename(temp, path); err != nil {
		return errors.Join(err, c.fsys.Remove(temp))
	}
	return c.fsys.SyncDir(filepath.Dir(path))
}

// WriteFile replaces a small file in one step.
func (c *Cache) WriteFile(name string, data []byte) error {
	if err := c.parent(name); err != nil {
		return err
	}
	return replaceFile(c.fsys, c.Path(name), "", func(f *File) error {
		_, err := f.Write(data)
		return err
	})
}
