//go:build unix

package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parelm/pare/internal/fsx"
)

// TestMain lets the test binary play the process that is killed.
func TestMain(m *testing.M) {
	switch os.Getenv("PARE_STORE_CHILD") {
	case "work":
		if lim := os.Getenv("PARE_STORE_FSIZE"); lim != "" {
			var n uint64
			fmt.Sscan(lim, &n)
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
				fmt.Println(err)
				os.Exit(3)
			}
		}
		if _, err := work(fsx.OS, os.Getenv("PARE_STORE_DIR")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	case "hold":
		s, err := Open(fsx.OS, os.Getenv("PARE_STORE_DIR"), "run held.yaml")
		if err == nil {
			_, err = s.Begin("half", keyOf("half"))
		}
		fmt.Println("held", err)
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, what, dir string, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), "PARE_STORE_CHILD="+what, "PARE_STORE_DIR="+dir), env...)
	return cmd
}

// afterDeath demands what has to hold once a process died over dir: nothing half made, and the next run ends well.
func afterDeath(t *testing.T, dir string, want [2]string) {
	t.Helper()
	check(t, fsx.OS, dir)
	got, err := work(fsx.OS, dir)
	if err != nil || got != want {
		t.Fatalf("the next run: %v", err)
	}
	if check(t, fsx.OS, dir) != 2 {
		t.Fatal("artifacts missing")
	}
	clean(t, fsx.OS, dir)
}

// TestKillAtEveryPoint kills the process at each named point, each time it is passed.
func TestKillAtEveryPoint(t *testing.T) {
	want := want(t)
	for _, point := range Points {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			killed := 0
			for nth := 1; ; nth++ {
				dir := filepath.Join(t.TempDir(), "out")
				if point == "old-moved" { // only passed where something is in the way
					if _, err := work(fsx.OS, dir); err != nil {
						t.Fatal(err)
					}
					bad := filepath.Join(dir, DirName("q4", keyOf("q4")), "empty.txt")
					if err := os.WriteFile(bad, []byte("no"), 0o666); err != nil {
						t.Fatal(err)
					}
				}
				err := child(t, "work", dir, fmt.Sprintf("PARE_CRASH=%s:%d", point, nth)).Run()
				var exit *exec.ExitError
				if err == nil {
					break // passed fewer times than that
				}
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("child: %v", err)
				}
				killed++
				afterDeath(t, dir, want)
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

// TestKillAtRandomMoments kills by the clock instead.
func TestKillAtRandomMoments(t *testing.T) {
	want := want(t)
	n := 20
	if full {
		n = 200
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for range n {
		dir := filepath.Join(t.TempDir(), "out")
		cmd := child(t, "work", dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		afterDeath(t, dir, want)
	}
}

// TestFileSizeLimit runs into a real EFBIG at growing sizes, as a full disk would give at ENOSPC.
func TestFileSizeLimit(t *testing.T) {
	want := want(t)
	for _, limit := range []int{0, 1, 200, 300, 699, 1000, 1499} {
		dir := filepath.Join(t.TempDir(), "out")
		out, err := child(t, "work", dir, fmt.Sprintf("PARE_STORE_FSIZE=%d", limit)).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "file too large") {
			t.Fatalf("limit %d: %v: %s", limit, err, out)
		}
		afterDeath(t, dir, want)
	}
}

// TestFullDevice is the real ENOSPC, where this process may mount a small disk.
func TestFullDevice(t *testing.T) {
	dir := t.TempDir()
	if err := mountTmpfs(dir, "size=8k"); err != nil {
		t.Skipf("cannot mount a small disk here: %v", err)
	}
	t.Cleanup(func() { unmount(dir) })
	_, err := work(fsx.OS, filepath.Join(dir, "out"))
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("on a full disk: %v", err)
	}
	check(t, fsx.OS, filepath.Join(dir, "out"))
}

// TestSecondProcess has one process hold an output while others want it; then kills it.
func TestSecondProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	cmd := child(t, "hold", dir)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "held <nil>\n" {
		t.Fatal(line)
	}
	_, err = Open(fsx.OS, dir, "second")
	if !errors.Is(err, fsx.ErrBusy) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", cmd.Process.Pid)) || !strings.Contains(err.Error(), "run held.yaml") {
		t.Errorf("second run: %v", err)
	}
	temps, err := filepath.Glob(filepath.Join(dir, ".tmp-half-*"))
	if err != nil || len(temps) != 1 {
		t.Fatal(temps, err)
	}
	if pid, err := sweepOne(fsx.OS, temps[0]); pid != fmt.Sprint(cmd.Process.Pid) || err != nil {
		t.Errorf("swept a living process's work: %q %v", pid, err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if _, err := work(fsx.OS, other); err != nil {
		t.Errorf("another output: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := work(fsx.OS, dir); err != nil {
		t.Error(err)
	}
	clean(t, fsx.OS, dir)
}

// TestCancelledVerify stops between files.
func TestCancelledVerify(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	if _, err := work(fsx.OS, dir); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Find(ctx, fsx.OS, dir, keyOf("q4")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
