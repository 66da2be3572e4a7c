package fsxtest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parelm/pare/internal/fsx"
)

// Mem is a file system in memory that knows, for every file and directory, what has been made durable and what a power
// cut may still lose. It promises no more than POSIX does: syncing a file says nothing about its name, and what was
// not synced may survive in any combination of blocks and directory entries.
type Mem struct {
	mu   sync.Mutex
	root *node
}

type node struct {
	dir     bool
	modTime time.Time
	locked  bool

	data, durable []byte // a file's content now, and as of the last Sync

	entries map[string]*node // a directory's content now
	base    map[string]*node // as of the last SyncDir
	pending []change         // made since then, in order
}

// change is one directory operation: all its names change together (a rename) or none does.
type change map[string]*node // nil removes

func newDir() *node {
	return &node{dir: true, modTime: time.Unix(1, 0), entries: map[string]*node{}, base: map[string]*node{}}
}

// NewMem returns an empty file system with the root directory "/".
func NewMem() *Mem { return &Mem{root: newDir()} }

const block = 512 // bytes that reach the disk together; small so that small files tear

// Crash returns the file system as it is found after a power cut: each change that was not synced, be it a block of a
// file, its length or a directory operation, is lost with probability p.
func (m *Mem) Crash(p float64, seed uint64) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	return &Mem{root: m.root.crash(p, rng, map[*node]*node{})}
}

func (n *node) crash(p float64, rng *rand.Rand, done map[*node]*node) *node {
	if c := done[n]; c != nil {
		return c
	}
	c := &node{dir: n.dir, modTime: n.modTime}
	done[n] = c
	if !n.dir {
		c.data = tear(n.durable, n.data, p, rng)
		c.durable = slices.Clone(c.data)
		return c
	}
	left := map[string]*node{}
	for name, e := range n.base {
		left[name] = e
	}
	for _, ch := range n.pending {
		if rng.Float64() < p {
			continue
		}
		for name, e := range ch {
			if e == nil {
				delete(left, name)
			} else {
				left[name] = e
			}
		}
	}
	c.entries, c.base = map[string]*node{}, map[string]*node{}
	for _, name := range sortedNames(left) {
		e := left[name].crash(p, rng, done)
		c.entries[name], c.base[name] = e, e
	}
	return c
}

// tear mixes an old and a new content block by block.
func tear(old, new []byte, p float64, rng *rand.Rand) []byte {
	size := len(new)
	if len(old) != len(new) && rng.Float64() < p {
		size = len(old)
	}
	out := make([]byte, size)
	copy(out, old)
	for lo := 0; lo < size; lo += block {
		hi := min(lo+block, size)
		if rng.Float64() >= p {
			clear(out[lo:hi])
			if lo < len(new) {
				copy(out[lo:hi], new[lo:min(hi, len(new))])
			}
		}
	}
	return out
}

func sortedNames(m map[string]*node) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (n *node) change(c change) {
	for name, e := range c {
		if e == nil {
			delete(n.entries, name)
		} else {
			n.entries[name] = e
		}
	}
	n.pending = append(n.pending, c)
	n.modTime = n.modTime.Add(time.Second)
}

// find returns the node of a path; parent and base are set even where the node itself is missing.
func (m *Mem) find(name string) (n, parent *node, base string) {
	n = m.root
	for part := range strings.SplitSeq(filepath.ToSlash(filepath.Clean(name)), "/") {
		if part == "" || part == "." {
			continue
		}
		if n == nil || !n.dir {
			return nil, nil, ""
		}
		n, parent, base = n.entries[part], n, part
	}
	return n, parent, base
}

func fail(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

// OpenFile implements fsx.FS.
func (m *Mem) OpenFile(name string, flag int, _ fs.FileMode) (fsx.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, parent, base := m.find(name)
	switch {
	case n == nil && (parent == nil || flag&os.O_CREATE == 0):
		return nil, fail("open", name, fs.ErrNotExist)
	case n == nil:
		n = &node{modTime: time.Unix(1, 0)}
		parent.change(change{base: n})
	case flag&os.O_EXCL != 0:
		return nil, fail("open", name, fs.ErrExist)
	case n.dir:
		return nil, fail("open", name, errors.New("is a directory"))
	}
	if flag&os.O_TRUNC != 0 {
		n.data = nil
	}
	return &memFile{m: m, n: n, name: name, appends: flag&os.O_APPEND != 0}, nil
}

// Mkdir implements fsx.FS.
func (m *Mem) Mkdir(name string, _ fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, parent, base := m.find(name)
	if n != nil {
		return fail("mkdir", name, fs.ErrExist)
	}
	if parent == nil {
		return fail("mkdir", name, fs.ErrNotExist)
	}
	parent.change(change{base: newDir()})
	return nil
}

// Rename implements fsx.FS.
func (m *Mem) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, from, fromBase := m.find(oldName)
	target, to, toBase := m.find(newName)
	if n == nil || to == nil {
		return fail("rename", oldName, fs.ErrNotExist)
	}
	if target != nil && (target.dir != n.dir || target.dir && len(target.entries) > 0) {
		return fail("rename", newName, fs.ErrExist)
	}
	if from == to {
		from.change(change{fromBase: nil, toBase: n})
		return nil
	}
	from.change(change{fromBase: nil})
	to.change(change{toBase: n})
	return nil
}

// Remove implements fsx.FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, parent, base := m.find(name)
	if n == nil {
		return fail("remove", name, fs.ErrNotExist)
	}
	if n.dir && len(n.entries) > 0 {
		return fail("remove", name, errors.New("directory not empty"))
	}
	parent.change(change{base: nil})
	return nil
}

// Lstat implements fsx.FS.
func (m *Mem) Lstat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, _, base := m.find(name)
	if n == nil {
		return nil, fail("lstat", name, fs.ErrNotExist)
	}
	return info{base, n.dir, int64(len(n.data)), n.modTime}, nil
}

// ReadDir implements fsx.FS.
func (m *Mem) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, _, _ := m.find(name)
	if n == nil || !n.dir {
		return nil, fail("readdir", name, fs.ErrNotExist)
	}
	var out []fs.DirEntry
	for _, base := range sortedNames(n.entries) {
		e := n.entries[base]
		out = append(out, fs.FileInfoToDirEntry(info{base, e.dir, int64(len(e.data)), e.modTime}))
	}
	return out, nil
}

// SyncDir implements fsx.FS.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, _, _ := m.find(name)
	if n == nil || !n.dir {
		return fail("fsync", name, fs.ErrNotExist)
	}
	n.pending = nil
	n.base = map[string]*node{}
	for name, e := range n.entries {
		n.base[name] = e
	}
	return nil
}

// Lock implements fsx.FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, _, _ := m.find(name)
	if n == nil {
		return nil, fail("lock", name, fs.ErrNotExist)
	}
	if n.locked {
		return nil, fail("lock", name, fsx.ErrBusy)
	}
	n.locked = true
	return &memLock{m: m, n: n}, nil
}

type memLock struct {
	m *Mem
	n *node
}

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.n.locked = false
	return nil
}

type info struct {
	name string
	dir  bool
	size int64
	mod  time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.mod }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o777
	}
	return 0o666
}

type memFile struct {
	m       *Mem
	n       *node
	name    string
	off     int64
	appends bool
	closed  bool
}

func (f *memFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.off)
	f.off += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return 0, fail("read", f.name, fs.ErrClosed)
	}
	if off > int64(len(f.n.data)) {
		return 0, io.EOF
	}
	return bytes.NewReader(f.n.data).ReadAt(p, off)
}

func (f *memFile) Write(p []byte) (int, error) {
	if f.appends {
		f.m.mu.Lock()
		f.off = int64(len(f.n.data))
		f.m.mu.Unlock()
	}
	n, err := f.WriteAt(p, f.off)
	f.off += int64(n)
	return n, err
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return 0, fail("write", f.name, fs.ErrClosed)
	}
	data := slices.Clone(f.n.data) // durable may share the old array
	if grow := off + int64(len(p)) - int64(len(data)); grow > 0 {
		data = append(data, make([]byte, grow)...)
	}
	copy(data[off:], p)
	f.n.data = data
	return len(p), nil
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return fail("fsync", f.name, fs.ErrClosed)
	}
	f.n.durable = f.n.data
	return nil
}

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return fail("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}
