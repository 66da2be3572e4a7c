package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"

	"github.com/parelm/pare/internal/fsx"
)

const (
	tempPrefix = ".tmp-"
	oldPrefix  = ".pare-old-"
	workPrefix = ".work-"
)

// Dir is a directory being made. Its files are created one by one; Commit publishes them all at once.
type Dir struct {
	fsys    fsx.FS
	temp    string
	final   string
	lock    io.Closer
	publish func() error // last check before the name is taken; may be nil

	mu    sync.Mutex
	files map[string]*File
	dirs  []string // made inside temp, parents first
	done  bool
}

// newDir makes and locks the temporary directory that will become final.
func newDir(fsys fsx.FS, final string) (*Dir, error) {
	parent := filepath.Dir(final)
	if err := fsx.MkdirAll(fsys, parent); err != nil {
		return nil, err
	}
	temp := filepath.Join(parent, tempName(filepath.Base(final)))
	if err := fsys.Mkdir(temp, 0o777); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%s is being made by this process already: %w", final, ErrExists)
		}
		return nil, err
	}
	lock, err := fsys.Lock(temp)
	if err != nil {
		fsys.Remove(temp)
		return nil, err
	}
	CrashPoint("temp-made")
	return &Dir{fsys: fsys, temp: temp, final: final, lock: lock, files: map[string]*File{}}, nil
}

// tempName returns the name beside name under which this process works on it.
func tempName(name string) string {
	return fmt.Sprintf("%s%s-%d", tempPrefix, short(name), os.Getpid())
}

// short keeps a name that is decorated below the 255 bytes that file systems allow.
func short(name string) string {
	if len(name) <= 200 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:180] + "-" + hex.EncodeToString(sum[:8])
}

// Create begins a file. name may have slashes; no two files have one name, and manifest.json is taken.
func (d *Dir) Create(name string) (*File, error) { return d.create(name, false) }

// CreateVolatile begins a file whose content differs from run to run, such as timings: it is verified like any other
// but is no part of the artifact's digest.
func (d *Dir) CreateVolatile(name string) (*File, error) { return d.create(name, true) }

func (d *Dir) create(name string, volatile bool) (*File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done {
		return nil, fmt.Errorf("%s: created after Commit", name)
	}
	if err := d.mkdirs(path.Dir(name)); err != nil {
		return nil, err
	}
	f, err := createFile(d.fsys, filepath.Join(d.temp, filepath.FromSlash(name)), volatile)
	if err != nil {
		return nil, err
	}
	d.files[name] = f
	return f, nil
}

func (d *Dir) mkdirs(name string) error {
	if name == "." || slices.Contains(d.dirs, name) {
		return nil
	}
	if err := d.mkdirs(path.Dir(name)); err != nil {
		return err
	}
	if err := d.fsys.Mkdir(filepath.Join(d.temp, filepath.FromSlash(name)), 0o777); err != nil {
		return err
	}
	d.dirs = append(d.dirs, name)
	return nil
}

// Path returns where the files lie until Commit, for code that wants to read them back by name.
func (d *Dir) Path() string { return d.temp }

// Abort removes what was made. It does nothing after Commit, so that it can be deferred.
func (d *Dir) Abort() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done {
		return nil
	}
	d.done = true
	for _, f := range d.files {
		f.abandon()
	}
	return errors.Join(fsx.RemoveAll(d.fsys, d.temp), d.lock.Close())
}

// Commit writes the manifest m, to which it adds the files, and publishes the directory under its name. Every file must
// have been closed. After an error nothing was published; Abort removes the remains.
func (d *Dir) Commit(m Manifest) (*Artifact, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done {
		return nil, errors.New("committed twice")
	}
	for _, name := range sortedKeys(d.files) {
		e, err := d.files[name].entry(name)
		if err != nil {
			return nil, err
		}
		m.Files = append(m.Files, e)
	}
	if err := d.writeManifest(&m); err != nil {
		return nil, err
	}
	for _, sub := range slices.Backward(d.dirs) {
		if err := d.fsys.SyncDir(filepath.Join(d.temp, filepath.FromSlash(sub))); err != nil {
			return nil, err
		}
	}
	if err := d.fsys.SyncDir(d.temp); err != nil {
		return nil, err
	}
	CrashPoint("dir-synced")
	if d.publish != nil {
		if err := d.publish(); err != nil {
			return nil, err
		}
	}
	if err := replaceDir(d.fsys, d.temp, d.final); err != nil {
		return nil, err
	}
	d.done = true
	return &Artifact{Path: d.final, Manifest: &m}, d.lock.Close()
}

func (d *Dir) writeManifest(m *Manifest) error {
	data, err := m.encode()
	if err != nil {
		return err
	}
	f, err := d.fsys.OpenFile(filepath.Join(d.temp, ManifestName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	if err := writeSynced(f, data, "manifest-half"); err != nil {
		return err
	}
	CrashPoint("manifest-synced")
	return nil
}

// writeSynced writes all of data, makes it durable and closes f whatever happens.
func writeSynced(f fsx.File, data []byte, half string) error {
	crashHalf(half, f, data, 0)
	n, err := f.Write(data)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// replaceDir renames temp to final and makes that durable. A directory that is in the way is moved aside first and
// removed afterwards; recoverOld mends what a crash between the two leaves.
func replaceDir(fsys fsx.FS, temp, final string) error {
	parent := filepath.Dir(final)
	old := filepath.Join(parent, oldPrefix+short(filepath.Base(final)))
	_, err := fsys.Lstat(final)
	replaces := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if replaces {
		if err := fsx.RemoveAll(fsys, old); err != nil {
			return err
		}
		if err := fsys.Rename(final, old); err != nil {
			return err
		}
		CrashPoint("old-moved")
	}
	if err := fsys.Rename(temp, final); err != nil {
		if replaces {
			err = errors.Join(err, fsys.Rename(old, final))
		}
		return err
	}
	CrashPoint("renamed")
	if err := fsys.SyncDir(parent); err != nil {
		return err
	}
	CrashPoint("parent-synced")
	if replaces {
		return fsx.RemoveAll(fsys, old)
	}
	return nil
}

// recoverOld ends a replacement of name in parent that a crash cut short: what was moved aside goes back where nothing
// took its place, and is removed where something did.
func recoverOld(fsys fsx.FS, parent, name string) error {
	old, final := filepath.Join(parent, oldPrefix+short(name)), filepath.Join(parent, name)
	if _, err := fsys.Lstat(old); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := fsys.Lstat(final); errors.Is(err, fs.ErrNotExist) {
		if err := fsys.Rename(old, final); err != nil {
			return err
		}
		return fsys.SyncDir(parent)
	}
	if err := fsys.SyncDir(parent); err != nil { // what took its place must stay before it goes
		return err
	}
	return fsx.RemoveAll(fsys, old)
}
