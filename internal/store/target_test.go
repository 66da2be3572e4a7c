package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/fsx/fsxtest"
)

// target returns a target in a fresh directory.
func target(t *testing.T, name string) Target {
	return Target{FS: fsx.OS, Path: filepath.Join(t.TempDir(), name)}
}

func writeDir(tg Target) error {
	d, err := tg.Dir()
	if err != nil {
		return err
	}
	defer d.Abort()
	if err := fill(d, 'x'); err != nil {
		return err
	}
	_, err = d.Commit(Manifest{Name: "x", Stage: "convert"})
	return err
}

func writeFile(tg Target, text string) error {
	f, err := tg.File()
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := io.WriteString(f, text); err != nil {
		return err
	}
	return f.Commit()
}

func list(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestTargetDir(t *testing.T) {
	tg := target(t, "out")
	if err := writeDir(tg); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Verify(t.Context(), fsx.OS, tg.Path); err != nil {
		t.Fatal(err)
	}
	if err := writeDir(tg); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "--force") {
		t.Errorf("overwrote without being told: %v", err)
	}
	tg.Force = true
	if err := writeDir(tg); err != nil {
		t.Error(err)
	}
	if got := list(t, filepath.Dir(tg.Path)); got != "out" {
		t.Errorf("left: %s", got)
	}
	if err := os.Remove(filepath.Join(tg.Path, ManifestName)); err != nil {
		t.Fatal(err)
	}
	if err := writeDir(tg); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "not made by pare") {
		t.Errorf("--force removed a directory that pare did not make: %v", err)
	}
	empty := target(t, "empty")
	if err := os.Mkdir(empty.Path, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := writeDir(empty); err != nil {
		t.Errorf("into an empty directory: %v", err)
	}
	if err := writeFile(empty, "x"); !errors.Is(err, ErrExists) {
		t.Errorf("a file over a directory: %v", err)
	}
}

func TestTargetFile(t *testing.T) {
	tg := target(t, "model.gguf")
	if err := writeFile(tg, "one"); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(tg, "two"); !errors.Is(err, ErrExists) {
		t.Errorf("overwrote without being told: %v", err)
	}
	tg.Force = true
	if err := writeFile(tg, "three"); err != nil {
		t.Error(err)
	}
	if data, _ := os.ReadFile(tg.Path); string(data) != "three" {
		t.Errorf("content %q", data)
	}
	f, err := tg.File()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tg.File(); !errors.Is(err, fsx.ErrBusy) {
		t.Errorf("two writers of one file: %v", err)
	}
	io.WriteString(f, "half")
	f.Abort()
	if data, _ := os.ReadFile(tg.Path); string(data) != "three" {
		t.Errorf("an aborted write changed the file: %q", data)
	}
	if got := list(t, filepath.Dir(tg.Path)); got != "model.gguf" {
		t.Errorf("left: %s", got)
	}
	if err := writeDir(tg); !errors.Is(err, ErrExists) {
		t.Errorf("a directory over a file: %v", err)
	}
	long := target(t, strings.Repeat("ä", 120)+".gguf")
	if err := writeFile(long, "x"); err != nil {
		t.Errorf("a name of 245 bytes: %v", err)
	}
}

func TestTargetSweepsItsOwnDead(t *testing.T) {
	tg := target(t, "model.gguf")
	dir := filepath.Dir(tg.Path)
	for _, name := range []string{".tmp-model.gguf-999999", ".tmp-model.gguf-x", ".tmp-other.gguf-999999"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeFile(tg, "x"); err != nil {
		t.Fatal(err)
	}
	if got := list(t, dir); got != ".tmp-model.gguf-x .tmp-other.gguf-999999 model.gguf" {
		t.Errorf("left: %s", got)
	}
}

func TestOverlap(t *testing.T) {
	root := t.TempDir()
	in := filepath.Join(root, "in")
	if err := os.MkdirAll(filepath.Join(in, "sub"), 0o777); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(root, "link")
	if err := os.Symlink(in, link); err != nil {
		if runtime.GOOS != "windows" {
			t.Fatal(err)
		}
		link = in
	}
	for _, out := range []string{in, in + "/", root, filepath.Join(in, "x"), filepath.Join(in, "sub", "y", "z"), link, filepath.Join(link, "new"), filepath.Join(in, "..", "in", "q")} {
		err := Target{FS: fsx.OS, Path: out, Force: true, Inputs: []string{in}}.Check()
		if !errors.Is(err, ErrOverlap) {
			t.Errorf("%s: %v", out, err)
		}
	}
	for _, out := range []string{in + "2", filepath.Join(root, "other", "in")} {
		if err := (Target{FS: fsx.OS, Path: out, Inputs: []string{in}}).Check(); err != nil {
			t.Errorf("%s: %v", out, err)
		}
	}
}

func TestTargetFaults(t *testing.T) {
	for _, single := range []bool{false, true} {
		run := func(fsys fsx.FS) error {
			tg := Target{FS: fsys, Path: "/data/out", Force: true}
			if single {
				return writeFile(tg, "text")
			}
			return writeDir(tg)
		}
		count := &fsxtest.Fault{FS: fsxtest.NewMem()}
		if err := run(count); err != nil {
			t.Fatal(err)
		}
		for k := 1; k <= count.Calls(); k++ {
			m := fsxtest.NewMem()
			f := &fsxtest.Fault{FS: m, At: k, Err: fmt.Errorf("injected"), Dead: k%2 == 0}
			if err := run(f); err == nil {
				t.Errorf("unnoticed: %s", f.Failed())
			}
			m = m.Crash(0, 0)
			if err := run(m); err != nil {
				t.Errorf("after %s: %v", f.Failed(), err)
			}
			entries, err := m.ReadDir("/data")
			if err != nil || len(entries) != 1 || entries[0].Name() != "out" {
				t.Errorf("after %s: %v %v", f.Failed(), entries, err)
			}
		}
	}
}

func TestScratch(t *testing.T) {
	tg := target(t, "student")
	s, err := tg.Scratch(keyOf("a"))
	if err != nil {
		t.Fatal(err)
	}
	save := func(text string) error {
		return s.Save("step-0001", func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		})
	}
	if err := save("first"); err != nil {
		t.Fatal(err)
	}
	if err := save("second"); err != nil {
		t.Fatal(err)
	}
	fails := s.Save("step-0001", func(w io.Writer) error {
		io.WriteString(w, "third, which fai")
		return errors.New("no")
	})
	if fails == nil {
		t.Error("a failed save passed")
	}
	s, err = tg.Scratch(keyOf("a"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Open("step-0001")
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(f); string(data) != "second" || err != nil || f.Size() != 6 {
		t.Errorf("%q %v", data, err)
	}
	f.Close()
	if names, err := s.List(); err != nil || len(names) != 1 || names[0] != "step-0001" {
		t.Error(names, err)
	}
	other, err := tg.Scratch(keyOf("b"))
	if err != nil {
		t.Fatal(err)
	}
	if names, err := other.List(); err != nil || len(names) != 0 {
		t.Error("other work sees this one's checkpoints:", names, err)
	}
	path := filepath.Join(s.Path(), "step-0001")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		data[i] ^= 4
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Open("step-0001"); !errors.Is(err, ErrDamaged) {
			t.Errorf("flip at %d: %v", i, err)
		}
		data[i] ^= 4
	}
	if err := os.WriteFile(path, data[:20], 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open("step-0001"); !errors.Is(err, ErrDamaged) {
		t.Errorf("cut: %v", err)
	}
	for _, bad := range []string{"", "a/b", "..", ".x"} {
		if err := s.Save(bad, func(io.Writer) error { return nil }); err == nil {
			t.Errorf("name %q was taken", bad)
		}
	}
	left, err := Leftovers(fsx.OS, filepath.Dir(tg.Path))
	if err != nil || len(left) != 2 || left[ScratchName("student", keyOf("a"))] != 20 {
		t.Errorf("%v %v", left, err)
	}
	if err := s.Remove(); err != nil {
		t.Error(err)
	}
	if err := s.Delete("step-0001"); err != nil {
		t.Error(err)
	}
}
