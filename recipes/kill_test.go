//go:build unix

package recipes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/store"
)

// full asks for the counts of a release, PARE_TEST_FULL=1; the default is a subset that takes seconds.
var full = os.Getenv("PARE_TEST_FULL") != ""

// killSets make the good recipe last long enough to be killed anywhere.
var killSets = []string{"slim.step_time=3ms", "small.step_time=3ms", "small.steps=4", "other.step_time=3ms"}

// TestMain lets the test binary play the run that is killed.
func TestMain(m *testing.M) {
	dir := os.Getenv("PARE_RECIPES_CHILD")
	if dir == "" {
		os.Exit(m.Run())
	}
	sets := killSets
	if os.Getenv("PARE_RECIPES_REAL") != "" {
		sets = nil
	}
	if n := os.Getenv("PARE_RECIPES_THREADS"); n != "" { // a recipe of real stages
		threads, err := strconv.Atoi(n)
		if err != nil {
			panic(err)
		}
		par.SetThreads(threads)
		sets, journalBytes = nil, 0
	}
	r, err := Load(filepath.Join(dir, "r.yaml"), sets...)
	if err == nil {
		_, err = Run(context.Background(), r, Options{Out: filepath.Join(dir, "out")})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func (l *lab) child(env ...string) *exec.Cmd {
	l.t.Helper()
	l.write("r.yaml", good)
	return l.command(env...)
}

// command returns the command that runs the recipe that lies there in another process.
func (l *lab) command(env ...string) *exec.Cmd {
	l.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), "PARE_RECIPES_CHILD="+l.dir), env...)
	return cmd
}

// complete demands that every artifact is whole.
func (l *lab) complete() {
	l.t.Helper()
	found, err := filepath.Glob(l.path("out/[a-z]*-*"))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, dir := range found {
		if _, _, err := store.Verify(l.t.Context(), fsx.OS, dir); err != nil {
			l.t.Fatalf("neither absent nor complete: %v", err)
		}
	}
}

// tidy demands that nothing temporary is left.
func (l *lab) tidy() {
	l.t.Helper()
	for _, pattern := range []string{".tmp-*", ".work-*", ".pare-old-*"} {
		if left, _ := filepath.Glob(l.path("out/" + pattern)); len(left) > 0 {
			l.t.Fatalf("left behind: %v", left)
		}
	}
}

// afterDeath demands that what is there is complete, that the next run ends as an undisturbed one, and that nothing
// temporary is left then. want are the digests of the undisturbed run.
func (l *lab) afterDeath(want string) {
	l.t.Helper()
	l.complete()
	o := l.mustRun(good, killSets...)
	if digests(o) != want {
		l.t.Fatal("the next run made something else")
	}
	l.complete()
	l.tidy()
}

func TestKillAtEveryPoint(t *testing.T) {
	want := reference(t, killSets...)
	for _, point := range store.Points {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			killed := 0
			for nth := 1; ; nth++ {
				l := newLab(t)
				if point == "old-moved" { // only passed where a damaged artifact gives way
					o := l.mustRun(good, killSets...)
					if err := os.WriteFile(filepath.Join(o.Artifacts[1].Path, "model.bin"), nil, 0o666); err != nil {
						t.Fatal(err)
					}
				}
				err := l.child(fmt.Sprintf("PARE_CRASH=%s:%d", point, nth)).Run()
				var exit *exec.ExitError
				if err == nil {
					break // passed fewer times than that
				}
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("child: %v", err)
				}
				killed++
				l.afterDeath(want)
				if !full && nth == 2 {
					break
				}
			}
			if killed == 0 {
				t.Error("the point was never passed")
			}
		})
	}
}

func TestKillAtRandomMoments(t *testing.T) {
	want := reference(t, killSets...)
	n := 15
	if full {
		n = 200
	}
	rng := rand.New(rand.NewPCG(3, 1))
	for range n {
		l := newLab(t)
		for range 1 + rng.IntN(2) { // some runs are killed twice
			cmd := l.child()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(rng.IntN(150)) * time.Millisecond)
			cmd.Process.Kill()
			cmd.Wait()
		}
		l.afterDeath(want)
	}
}

// TestStageOutOfSpace runs out of file size in the middle of a stage: an error, no artifact, and the
// earlier ones stand.
func TestStageOutOfSpace(t *testing.T) {
	l := newLab(t)
	l.write("r.yaml", good)
	cmd := l.child()
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", "ulimit -f 1; exec \"$0\"", cmd.Path}
	l.write("base/model.bin", strings.Repeat("0123456789", 200)) // slim has 1500 bytes, the limit is 512 or 1024
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "stage slim") || !strings.Contains(string(out), "file too large") {
		t.Fatalf("%v: %s", err, out)
	}
	if found, _ := filepath.Glob(l.path("out/slim-*")); len(found) > 0 {
		t.Error("published half an artifact")
	}
	o := l.mustRun(good, killSets...)
	if reused(o) != "xxxx" {
		t.Error(reused(o))
	}
}
