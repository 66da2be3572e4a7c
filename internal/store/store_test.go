package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/fsx/fsxtest"
)

// keyOf returns a key for tests.
func keyOf(s string) string { return Digest([]FileEntry{{Name: s}}) }

func content(n int, salt byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*i>>3) ^ salt
	}
	return b
}

// fill writes what an artifact of the tests holds: one file in order, one out of order in a subdirectory, one empty,
// one that differs from run to run.
func fill(d *Dir, salt byte) error {
	a, err := d.Create("model.safetensors")
	if err != nil {
		return err
	}
	data := content(1500, salt)
	for lo := 0; lo < len(data); lo += 500 {
		if _, err := a.Write(data[lo : lo+500]); err != nil {
			return err
		}
	}
	b, err := d.Create("sub/dir/weights.bin")
	if err != nil {
		return err
	}
	for _, lo := range []int{500, 0} {
		if _, err := b.WriteAt(data[lo:lo+500], int64(lo)); err != nil {
			return err
		}
	}
	c, err := d.Create("empty.txt")
	if err != nil {
		return err
	}
	v, err := d.CreateVolatile("timings.json")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(v, "%d", time.Now().UnixNano()); err != nil {
		return err
	}
	return errors.Join(a.Close(), b.Close(), c.Close(), v.Close())
}

// work is one run of the store's whole protocol: two artifacts, the second after checkpoints, a log and a report. It
// reuses what an earlier attempt finished. It returns the digests of the artifacts.
func work(fsys fsx.FS, dir string) (digests [2]string, err error) {
	s, err := Open(fsys, dir, "test")
	if err != nil {
		return digests, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for i, label := range []string{"slim", "q4"} {
		a, err := s.Find(context.Background(), keyOf(label))
		if err != nil && !errors.Is(err, ErrDamaged) {
			return digests, err
		}
		if a == nil {
			if a, err = s.make(label, i > 0); err != nil {
				return digests, err
			}
		}
		if err := s.Log(Event{Event: "done", Stage: label, Key: keyOf(label), Digest: a.Digest()}); err != nil {
			return digests, err
		}
		digests[i] = a.Digest()
	}
	return digests, s.WriteFile("report.md", content(700, 3))
}

func (s *Store) make(label string, checkpoints bool) (*Artifact, error) {
	var scratch *Scratch
	if checkpoints {
		var err error
		if scratch, err = s.steps(label); err != nil {
			return nil, err
		}
	}
	d, err := s.Begin(label, keyOf(label))
	if err != nil {
		return nil, err
	}
	defer d.Abort()
	if err := fill(d, label[0]); err != nil {
		return nil, err
	}
	a, err := d.Commit(Manifest{Name: label, Key: keyOf(label), Stage: "test", Started: time.Now()})
	if err == nil && scratch != nil {
		err = scratch.Remove()
	}
	return a, err
}

// steps saves three checkpoints, going on from the last one that is there.
func (s *Store) steps(label string) (*Scratch, error) {
	scratch, err := s.Scratch(label, keyOf(label))
	if err != nil {
		return nil, err
	}
	step := byte(0)
	old, err := scratch.Open("state")
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		data, err := io.ReadAll(old)
		old.Close()
		if err != nil {
			return nil, err
		}
		step = data[0]
		if len(data) != 600 || string(data[1:]) != string(content(600, step)[1:]) {
			return nil, fmt.Errorf("checkpoint %d came back wrong", step)
		}
	}
	for step++; step <= 3; step++ {
		err := scratch.Save("state", func(w io.Writer) error {
			data := content(600, step)
			data[0] = step
			_, err := w.Write(data)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return scratch, nil
}

// check demands that every directory that looks like an artifact is complete, and returns how many there are.
func check(t *testing.T, fsys fsx.FS, dir string) int {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if _, _, err := Verify(context.Background(), fsys, filepath.Join(dir, e.Name())); err != nil {
			t.Fatalf("neither absent nor complete: %v", err)
		}
		n++
	}
	return n
}

// clean demands that nothing temporary is left.
func clean(t *testing.T, fsys fsx.FS, dir string) {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") && e.Name() != lockName {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

// want returns the digests of an undisturbed run.
func want(t *testing.T) [2]string {
	t.Helper()
	digests, err := work(fsxtest.NewMem(), "/out")
	if err != nil {
		t.Fatal(err)
	}
	return digests
}

func TestRun(t *testing.T) {
	for _, tc := range []struct {
		name string
		fsys fsx.FS
		dir  string
	}{
		{"disk", fsx.OS, filepath.Join(t.TempDir(), "a b", "out")},
		{"memory", fsxtest.NewMem(), "/deep/er/out"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			digests, err := work(tc.fsys, tc.dir)
			if err != nil {
				t.Fatal(err)
			}
			if digests != want(t) {
				t.Error("digests depend on time or place")
			}
			if n := check(t, tc.fsys, tc.dir); n != 2 {
				t.Errorf("%d artifacts", n)
			}
			clean(t, tc.fsys, tc.dir)
			again, err := work(tc.fsys, tc.dir)
			if err != nil || again != digests {
				t.Errorf("second run: %v %v", again, err)
			}
			events, err := ReadLog(tc.fsys, tc.dir)
			if err != nil || len(events) != 4 || events[3].Digest != digests[1] {
				t.Errorf("log: %v %v", events, err)
			}
		})
	}
}

func TestDigestSeesEveryFile(t *testing.T) {
	files := []FileEntry{{Name: "a", Bytes: 1, SHA256: "x"}, {Name: "b", Bytes: 2, SHA256: "y"}}
	base := Digest(files)
	if Digest([]FileEntry{files[1], files[0]}) != base {
		t.Error("depends on the order")
	}
	if Digest(append(files, FileEntry{Name: "t", Volatile: true, SHA256: "z"})) != base {
		t.Error("depends on a volatile file")
	}
	for i, f := range []FileEntry{{Name: "c", Bytes: 1, SHA256: "x"}, {Name: "a", Bytes: 2, SHA256: "x"}, {Name: "a", Bytes: 1, SHA256: "w"}} {
		if Digest([]FileEntry{f, files[1]}) == base {
			t.Errorf("change %d is not seen", i)
		}
	}
}

func TestFileNames(t *testing.T) {
	s, err := Open(fsxtest.NewMem(), "/out", "test")
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Begin("x", keyOf("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", ".", "..", "../x", "/x", "a/../../x", "a//b", "a/./b", `a\b`, "c:x", "a\x00b", "a\nb", ManifestName} {
		if _, err := d.Create(bad); err == nil {
			t.Errorf("name %q was taken", bad)
		}
	}
	if _, err := d.Create("a/b"); err != nil {
		t.Error(err)
	}
	for _, taken := range []string{"a/b", "a", "a/b/c"} {
		if _, err := d.Create(taken); err == nil {
			t.Errorf("name %q was taken twice", taken)
		}
	}
	if _, err := d.Commit(Manifest{}); err == nil || !strings.Contains(err.Error(), "not closed") {
		t.Errorf("commit with an open file: %v", err)
	}
	if err := d.Abort(); err != nil {
		t.Error(err)
	}
	clean(t, s.fsys, "/out")
	if _, err := d.Create("late"); err == nil {
		t.Error("created after Abort")
	}
}

func TestNotEmptyNotOurs(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(fsx.OS, dir, "test"); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "thesis.tex") {
		t.Errorf("took somebody's directory: %v", err)
	}
}

func TestLockNamesTheHolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	s, err := Open(fsx.OS, dir, "run first.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(fsx.OS, dir, "run second.yaml")
	if !errors.Is(err, fsx.ErrBusy) || !strings.Contains(err.Error(), "run first.yaml") || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("second run: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Open(fsx.OS, dir, "run second.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestLogSurvivesATornLine(t *testing.T) {
	m := fsxtest.NewMem()
	if _, err := work(m, "/out"); err != nil {
		t.Fatal(err)
	}
	f, err := m.OpenFile("/out/run.jsonl", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte(`{"event":"do`))
	f.Close()
	if _, err := work(m, "/out"); err != nil {
		t.Fatal(err)
	}
	events, err := ReadLog(m, "/out")
	if err != nil || len(events) != 4 {
		t.Errorf("%d events, %v", len(events), err)
	}
}

func TestFindByKeyNotLabel(t *testing.T) {
	m := fsxtest.NewMem()
	digests, err := work(m, "/out")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Rename("/out/"+DirName("slim", keyOf("slim")), "/out/"+DirName("thin", keyOf("slim"))); err != nil {
		t.Fatal(err)
	}
	a, err := Find(t.Context(), m, "/out", keyOf("slim"))
	if err != nil || a == nil || a.Digest() != digests[0] {
		t.Errorf("%v %v", a, err)
	}
	if a, err := Find(t.Context(), m, "/out", keyOf("other")); a != nil || err != nil {
		t.Errorf("%v %v", a, err)
	}
	if a, err := Find(t.Context(), m, "/nowhere", keyOf("slim")); a != nil || err != nil {
		t.Errorf("%v %v", a, err)
	}
}
