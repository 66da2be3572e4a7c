package store

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/parelm/pare/internal/fsx/fsxtest"
)

// full asks for the counts of a release, PARE_TEST_FULL=1; the default is a subset that takes seconds.
var full = os.Getenv("PARE_TEST_FULL") != ""

// calls returns how many calls an undisturbed run makes.
func calls(t *testing.T) int {
	t.Helper()
	f := &fsxtest.Fault{FS: fsxtest.NewMem()}
	if _, err := work(f, "/out"); err != nil {
		t.Fatal(err)
	}
	return f.Calls()
}

// TestFaultAtEveryCall lets each call of a run fail in each way. Whatever happens, artifacts are absent or complete, and
// the next run ends as if nothing had happened.
func TestFaultAtEveryCall(t *testing.T) {
	n := calls(t)
	want := want(t)
	for _, fault := range []error{syscall.EIO, syscall.ENOSPC, syscall.EROFS, fs.ErrPermission, syscall.EINTR, nil} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			quiet := 0
			for k := 1; k <= n; k++ {
				for _, dead := range []bool{false, true} {
					m := fsxtest.NewMem()
					bad := &fsxtest.Fault{FS: m, At: k, Err: fault, Dead: dead}
					if _, err := work(bad, "/out"); err == nil {
						quiet++
						t.Logf("unnoticed: %s (call %d, dead %v)", bad.Failed(), k, dead)
					}
					check(t, m, "/out")
					m = m.Crash(0, 0) // the process is gone, and its locks; the disk is as it was
					got, err := work(m, "/out")
					if err != nil || got != want {
						t.Fatalf("fault at call %d, dead %v: next run: %v", k, dead, err)
					}
					if check(t, m, "/out") != 2 {
						t.Fatalf("fault at call %d: artifacts missing", k)
					}
					clean(t, m, "/out")
					if t.Failed() {
						t.Fatalf("after %s (call %d, dead %v)", bad.Failed(), k, dead)
					}
				}
			}
			if quiet > 0 {
				t.Errorf("%d of %d faults went unnoticed", quiet, 2*n)
			}
		})
	}
}

// TestPowerCut stops the machine at a random call and forgets what was not synced.
func TestPowerCut(t *testing.T) {
	n := calls(t)
	want := want(t)
	seeds := 500
	if full {
		seeds = 20_000
	}
	finished := 0
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(uint64(seed), 1))
		m := fsxtest.NewMem()
		for cut := 0; ; cut++ {
			at := 1 + rng.IntN(n)
			if cut == 3 {
				at = 0
			}
			got, err := work(&fsxtest.Fault{FS: m, At: at, Err: syscall.EIO, Dead: true}, "/out")
			if err == nil && got != want {
				t.Fatalf("seed %d: digests differ", seed)
			}
			if at == 0 && err != nil {
				t.Fatalf("seed %d: run after power cuts: %v", seed, err)
			}
			m = m.Crash([]float64{0, 0.5, 1}[seed%3], uint64(seed*10+cut))
			arts := check(t, m, "/out")
			if err == nil && arts != 2 {
				t.Fatalf("seed %d: %d artifacts after a finished run and a power cut: it promised durability", seed, arts)
			}
			if at == 0 {
				finished++
				break
			}
		}
	}
	if finished != seeds {
		t.Errorf("%d of %d finished", finished, seeds)
	}
}

// TestPowerCutDuringReplacement cuts while a damaged artifact gives way to a new one.
func TestPowerCutDuringReplacement(t *testing.T) {
	want := want(t)
	for seed := range 300 {
		m := fsxtest.NewMem()
		if _, err := work(m, "/out"); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("/out", DirName("q4", keyOf("q4")))
		f, err := m.OpenFile(filepath.Join(path, "model.safetensors"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt([]byte{0xff}, 3)
		f.Sync()
		f.Close()
		fault := &fsxtest.Fault{FS: m, At: 20 + seed, Err: syscall.EIO, Dead: true}
		work(fault, "/out")
		m = m.Crash(0.5, uint64(seed))
		got, err := work(m, "/out")
		if err != nil || got != want {
			t.Fatalf("seed %d: %v", seed, err)
		}
		check(t, m, "/out")
		clean(t, m, "/out")
	}
}

// TestDamage changes a finished artifact in 200 places and in all the ways a file can be wrong; each is found.
func TestDamage(t *testing.T) {
	base := fsxtest.NewMem()
	digests, err := work(base, "/out")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("/out", DirName("q4", keyOf("q4")))
	_, checks, err := Verify(t.Context(), base, dir)
	if err != nil || len(checks) != 4 {
		t.Fatal(checks, err)
	}
	rebuilt := func(what string, m *fsxtest.Mem) {
		t.Helper()
		if _, _, err := Verify(t.Context(), m, dir); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNoArtifact) {
			t.Fatalf("%s: %v", what, err)
		}
		if _, err := Find(t.Context(), m, "/out", keyOf("q4")); !errors.Is(err, ErrDamaged) {
			t.Fatalf("%s: Find says %v", what, err)
		}
		got, err := work(m, "/out")
		if err != nil || got != digests {
			t.Fatalf("%s: not rebuilt: %v", what, err)
		}
		if check(t, m, "/out") != 2 {
			t.Fatalf("%s: not replaced", what)
		}
	}
	names := []string{"model.safetensors", "sub/dir/weights.bin", "timings.json", ManifestName}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		name := names[i%len(names)]
		m := base.Crash(0, 0)
		path := filepath.Join(dir, name)
		info, err := m.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := m.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		at := rng.Int64N(info.Size())
		f.ReadAt(b[:], at)
		b[0] ^= 1 << rng.IntN(8)
		f.WriteAt(b[:], at)
		f.Close()
		rebuilt(fmt.Sprintf("bit flipped at %d of %s", at, name), m)
	}
	for _, name := range append(names, "empty.txt") {
		m := base.Crash(0, 0)
		if err := m.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		rebuilt("removed "+name, m)
		m = base.Crash(0, 0)
		f, err := m.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if name == "empty.txt" {
			f.Write([]byte{'x'})
		}
		f.Close()
		rebuilt("emptied "+name, m)
	}
	m := base.Crash(0, 0)
	f, err := m.OpenFile(filepath.Join(dir, "sub/extra"), os.O_WRONLY|os.O_CREATE, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	rebuilt("a file too much", m)
}

// TestDurableOnReturn cuts the power right behind each promise: what returned without an error must be there.
func TestDurableOnReturn(t *testing.T) {
	m := fsxtest.NewMem()
	s, err := Open(m, "/out", "test")
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name string
		do   func() error
		kept func(*fsxtest.Mem) bool
	}{
		{"artifact", func() error { _, err := s.make("slim", false); return err }, func(m *fsxtest.Mem) bool {
			a, err := Find(t.Context(), m, "/out", keyOf("slim"))
			return a != nil && err == nil
		}},
		{"event", func() error { return s.Log(Event{Event: "done"}) }, func(m *fsxtest.Mem) bool {
			events, err := ReadLog(m, "/out")
			return err == nil && len(events) == 1
		}},
		{"checkpoints", func() error { _, err := s.steps("q4"); return err }, func(m *fsxtest.Mem) bool {
			s, err := openScratch(m, "/out/"+ScratchName("q4", keyOf("q4")))
			if err != nil {
				return false
			}
			_, err = s.Open("state")
			return err == nil
		}},
		{"report", func() error { return s.WriteFile("report.md", []byte("x")) }, func(m *fsxtest.Mem) bool {
			info, err := m.Lstat("/out/report.md")
			return err == nil && info.Size() == 1
		}},
		{"file", func() error { return writeFile(Target{FS: m, Path: "/a/b/x.gguf"}, "x") }, func(m *fsxtest.Mem) bool {
			info, err := m.Lstat("/a/b/x.gguf")
			return err == nil && info.Size() == 1
		}},
		{"directory", func() error { return writeDir(Target{FS: m, Path: "/a/b/dir"}) }, func(m *fsxtest.Mem) bool {
			_, _, err := Verify(t.Context(), m, "/a/b/dir")
			return err == nil
		}},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatal(step.name, err)
		}
		if !step.kept(m.Crash(1, 0)) {
			t.Errorf("%s: gone after a power cut", step.name)
		}
	}
}

// TestRecoverOld: a replacement cut short between its two renames is undone, and one cut short after them is ended, not
// losing the new directory to a power cut that follows.
func TestRecoverOld(t *testing.T) {
	build := func() *fsxtest.Mem {
		m := fsxtest.NewMem()
		if err := writeDir(Target{FS: m, Path: "/a/x"}); err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := build()
	if err := m.Rename("/a/x", "/a/"+oldPrefix+"x"); err != nil {
		t.Fatal(err)
	}
	if err := recoverOld(m, "/a", "x"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Verify(t.Context(), m.Crash(1, 0), "/a/x"); err != nil {
		t.Errorf("not put back for good: %v", err)
	}
	for seed := range uint64(50) {
		m := build()
		if err := writeDir(Target{FS: m, Path: "/a/new"}); err != nil {
			t.Fatal(err)
		}
		for _, r := range [][2]string{{"/a/x", "/a/" + oldPrefix + "x"}, {"/a/new", "/a/x"}} {
			if err := m.Rename(r[0], r[1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := recoverOld(m, "/a", "x"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Verify(t.Context(), m.Crash(0.5, seed), "/a/x"); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}
