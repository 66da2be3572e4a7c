package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/parelm/pare/internal/fsx"
)

const (
	lockName = ".pare-lock"
	logName  = "run.jsonl"
	keyChars = 16 // of the key's 64 that a directory's name carries
)

// Store is the output directory of a run: artifacts in directories named by what made them, a log, and reports. One
// process at a time holds it.
type Store struct {
	Dir  string
	fsys fsx.FS
	lock io.Closer
	log  fsx.File
}

// holder is what the lock file says about the process that holds it.
type holder struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	What  string    `json:"what"`
	Since time.Time `json:"since"`
}

// Open takes an output directory for this process, makes it where it is missing, and removes what dead processes left
// half made. what says who holds it (`run quickstart`). It returns fsx.ErrBusy, naming the holder, while another
// process has it, and ErrExists for a directory with something in it that is no output of pare.
func Open(fsys fsx.FS, dir, what string) (*Store, error) {
	if err := fsx.MkdirAll(fsys, dir); err != nil {
		return nil, err
	}
	lockPath := filepath.Join(dir, lockName)
	if err := claim(fsys, dir, lockPath); err != nil {
		return nil, err
	}
	lock, err := fsys.Lock(lockPath)
	if errors.Is(err, fsx.ErrBusy) {
		return nil, busy(fsys, dir)
	}
	if err != nil {
		return nil, err
	}
	s := &Store{Dir: dir, fsys: fsys, lock: lock}
	if err := errors.Join(s.note(lockPath, what), s.sweep(), s.openLog()); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// claim makes the lock file of a new output directory, and refuses a directory that holds somebody's files.
func claim(fsys fsx.FS, dir, lockPath string) error {
	if _, err := fsys.Lstat(lockPath); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s: %w and holds files that are not pare's (%s): choose an empty or new directory", dir, ErrExists, entries[0].Name())
	}
	f, err := fsys.OpenFile(lockPath, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), fsys.SyncDir(dir))
}

func (s *Store) note(lockPath, what string) error {
	host, _ := os.Hostname()
	data, err := json.Marshal(holder{os.Getpid(), host, what, time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	f, err := s.fsys.OpenFile(lockPath, os.O_WRONLY|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	n, err := f.Write(data)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	return errors.Join(err, f.Close())
}

var tempPattern = regexp.MustCompile(`^` + regexp.QuoteMeta(tempPrefix) + `.*-([0-9]+)$`)

// sweep removes temporary directories and files that no living process holds, and ends interrupted replacements.
func (s *Store) sweep() error {
	entries, err := s.fsys.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		var err error
		if name, ok := strings.CutPrefix(e.Name(), oldPrefix); ok {
			err = recoverOld(s.fsys, s.Dir, name)
		} else if tempPattern.MatchString(e.Name()) {
			_, err = sweepOne(s.fsys, filepath.Join(s.Dir, e.Name()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepOne removes a temporary file or directory, unless its process lives; then it returns that process's id.
func sweepOne(fsys fsx.FS, path string) (pid string, err error) {
	pid = tempPattern.FindStringSubmatch(filepath.Base(path))[1]
	lock, err := fsys.Lock(path)
	switch {
	case errors.Is(err, fsx.ErrBusy):
		return pid, nil
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	}
	defer lock.Close()
	if runtime.GOOS == "windows" && alive(pid) { // directories cannot be locked there
		return pid, nil
	}
	return "", fsx.RemoveAll(fsys, path)
}

// alive reports whether a process of that id exists.
func alive(pid string) bool {
	var n int
	if _, err := fmt.Sscan(pid, &n); err != nil || n == os.Getpid() {
		return false
	}
	_, err := os.FindProcess(n) // on Windows this opens the process, and fails where there is none
	return err == nil
}

// Close gives the directory back.
func (s *Store) Close() error {
	var err error
	if s.log != nil {
		err = s.log.Close()
	}
	return errors.Join(err, s.lock.Close())
}

// DirName returns the name of an artifact's directory: a readable label and the beginning of the key.
func DirName(label, key string) string { return short(label) + "-" + key[:keyChars] }

// Find returns the verified artifact of a key, nil where there is none, and an error wrapping ErrDamaged where there is
// one that cannot be trusted. The label it was made under does not matter. key is 64 hex digits. Checkpoints of work
// that led to a verified artifact are removed.
func (s *Store) Find(ctx context.Context, key string) (*Artifact, error) {
	a, err := Find(ctx, s.fsys, s.Dir, key)
	if err == nil && a != nil {
		err = s.dropScratch(key)
	}
	return a, err
}

// Recheck reports whether an artifact that was verified before this process held the directory is still the same one.
// Whoever replaced it would have written another manifest.
func (s *Store) Recheck(a *Artifact) (bool, error) {
	m, err := ReadManifest(s.fsys, a.Path)
	if err != nil || m.Check != a.Manifest.Check {
		return false, nil
	}
	return true, s.dropScratch(m.Key)
}

// Busy returns fsx.ErrBusy, naming the holder, while another process holds an output directory. It makes nothing.
func Busy(fsys fsx.FS, dir string) error {
	lockPath := filepath.Join(dir, lockName)
	lock, err := fsys.Lock(lockPath)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fsx.ErrBusy):
		return busy(fsys, dir)
	case err != nil:
		return err
	}
	return lock.Close()
}

// busy is the error about a directory that somebody else holds.
func busy(fsys fsx.FS, dir string) error {
	data, err := fsx.ReadFile(fsys, filepath.Join(dir, lockName), 1<<16)
	by := ""
	var h holder
	if err == nil && json.Unmarshal(data, &h) == nil && h.PID != 0 {
		by = fmt.Sprintf(" by process %d on %s (pare %s, since %s)", h.PID, h.Host, h.What, h.Since.Local().Format("2 Jan 15:04:05"))
	}
	return fmt.Errorf("%s is in use%s: %w", dir, by, fsx.ErrBusy)
}

// dropScratch removes the scratch directories of a key.
func (s *Store) dropScratch(key string) error {
	entries, err := s.fsys.ReadDir(s.Dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), workPrefix) && strings.HasSuffix(e.Name(), "-"+key[:keyChars]) {
			err = errors.Join(err, fsx.RemoveAll(s.fsys, filepath.Join(s.Dir, e.Name())))
		}
	}
	return err
}

// Find looks in an output directory that this process may not hold, as Store.Find does. A missing directory holds nothing.
func Find(ctx context.Context, fsys fsx.FS, dir, key string) (*Artifact, error) {
	entries, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var damaged error
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() || !strings.HasSuffix(name, "-"+key[:keyChars]) || strings.HasPrefix(name, ".") {
			continue
		}
		path := filepath.Join(dir, name)
		m, err := ReadManifest(fsys, path)
		if err == nil && m.Key != key {
			continue // shares 64 bits of the key, or was put there by hand
		}
		if err == nil {
			var a *Artifact
			if a, _, err = Verify(ctx, fsys, path); err == nil {
				return a, nil
			}
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		damaged = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil, damaged
}

// List returns the names of all artifacts in an output directory, sorted, whatever state they are in. A directory that
// is no output of a run, or none at all, has none.
func List(fsys fsx.FS, dir string) ([]string, error) {
	if _, err := fsys.Lstat(filepath.Join(dir, lockName)); err != nil {
		return nil, nil
	}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Begin starts the artifact of a key. A damaged or outdated artifact of the same name is replaced by Commit.
func (s *Store) Begin(label, key string) (*Dir, error) {
	return newDir(s.fsys, filepath.Join(s.Dir, DirName(label, key)))
}

// WriteFile replaces a plain file of the output directory, such as the report, in one step.
func (s *Store) WriteFile(name string, data []byte) error {
	return replaceFile(s.fsys, filepath.Join(s.Dir, name), "", func(f *File) error {
		_, err := f.Write(data)
		return err
	})
}

// replaceFile writes a file beside path, makes it durable and renames it to path.
func replaceFile(fsys fsx.FS, path, point string, write func(*File) error) error {
	temp := filepath.Join(filepath.Dir(path), tempName(filepath.Base(path)))
	if err := fsys.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := createFile(fsys, temp, false)
	if err != nil {
		return err
	}
	err = write(f)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil && point != "" {
		CrashPoint(point + "-synced")
	}
	if err == nil {
		err = fsys.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, fsx.RemoveAll(fsys, temp))
	}
	if point != "" {
		CrashPoint(point + "-renamed")
	}
	return fsys.SyncDir(filepath.Dir(path))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
