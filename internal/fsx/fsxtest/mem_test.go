package fsxtest

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"testing"

	"github.com/parelm/pare/internal/fsx"
)

func put(t *testing.T, m *Mem, name, text string, sync bool) {
	t.Helper()
	f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, text); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// get returns a file's text, or "-" where there is none.
func get(t *testing.T, m *Mem, name string) string {
	t.Helper()
	data, err := fsx.ReadFile(m, name, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestPowerCutForgets states the rules the store is tested against: content needs Sync, names need SyncDir.
func TestPowerCutForgets(t *testing.T) {
	m := NewMem()
	put(t, m, "/both", "durable", true)
	m.SyncDir("/")
	put(t, m, "/both", "newer, and longer", false)
	put(t, m, "/name", "lost", false)
	m.SyncDir("/")
	put(t, m, "/content", "nameless", true)
	m.Mkdir("/dir", 0)
	put(t, m, "/dir/x", "x", true)
	m.SyncDir("/dir")

	lost := m.Crash(1, 1)
	for name, want := range map[string]string{"/both": "durable", "/name": "", "/content": "-", "/dir/x": "-"} {
		if got := get(t, lost, name); got != want {
			t.Errorf("all lost: %s is %q, want %q", name, got, want)
		}
	}
	kept := m.Crash(0, 1)
	for name, want := range map[string]string{"/both": "newer, and longer", "/name": "lost", "/content": "nameless", "/dir/x": "x"} {
		if got := get(t, kept, name); got != want {
			t.Errorf("nothing lost: %s is %q, want %q", name, got, want)
		}
	}
	seen := map[string]bool{}
	for seed := range uint64(200) {
		seen[get(t, m.Crash(0.5, seed), "/both")] = true
	}
	for _, want := range []string{"durable", "newer, and longer", "newer, ", "durable\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"} {
		if !seen[want] {
			t.Errorf("never torn to %q: %v", want, seen)
		}
	}
}

// TestRenameIsOneStep: a power cut leaves the old name or the new one, never both and never none.
func TestRenameIsOneStep(t *testing.T) {
	m := NewMem()
	put(t, m, "/a", "x", true)
	m.SyncDir("/")
	if err := m.Rename("/a", "/b"); err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(50) {
		c := m.Crash(0.5, seed)
		if a, b := get(t, c, "/a"), get(t, c, "/b"); a+b != "x-" && a+b != "-x" {
			t.Fatalf("%q %q", a, b)
		}
	}
}

func TestFaultStrikesOnce(t *testing.T) {
	bad := errors.New("bad")
	for _, dead := range []bool{false, true} {
		f := &Fault{FS: NewMem(), At: 2, Err: bad, Dead: dead}
		errs := []error{f.Mkdir("/a", 0), f.Mkdir("/b", 0), f.Mkdir("/c", 0)}
		if errs[0] != nil || !errors.Is(errs[1], bad) || errors.Is(errs[2], bad) != dead {
			t.Error(dead, errs)
		}
		if f.Calls() != 3 || f.Failed() != "mkdir /b" {
			t.Error(f.Calls(), f.Failed())
		}
	}
	f := &Fault{FS: NewMem(), At: 2}
	file, err := f.OpenFile("/x", os.O_RDWR|os.O_CREATE, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := file.Write([]byte("abcd")); n != 2 || err != nil {
		t.Errorf("short write: %d %v", n, err)
	}
}
