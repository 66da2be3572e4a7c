//go:build unix

package cli

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// started waits until a run has finished its first stage.
func started(t *testing.T, dir string) {
	t.Helper()
	for range 100 {
		if found, _ := filepath.Glob(filepath.Join(dir, "out", "quick-*")); len(found) > 0 {
			time.Sleep(100 * time.Millisecond)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the run did not begin")
}

// TestSignals: the first one stops at the next safe point and says so, the second at once; both end with 130, keep
// what was made, and leave a run that goes on.
func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		dir := slowRecipe(t)
		cmd := pare(t, dir, "run", "r.yaml", "--out", "out")
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		started(t, dir)
		began := time.Now()
		cmd.Process.Signal(sig)
		err := cmd.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 130 || time.Since(began) > 2*time.Second {
			t.Errorf("%v: %v after %v", sig, err, time.Since(began))
		}
		if text := errs.String(); !strings.Contains(text, "stopping at the next safe point") || !strings.Contains(text, "pare: interrupted: run it again to go on from here") {
			t.Errorf("%v: said\n%s", sig, text)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "out", ".tmp-*")); len(left) > 0 {
			t.Errorf("%v: left %v", sig, left)
		}
		out, err := pare(t, dir, "run", "r.yaml", "--out", "out", "--set", "slow.steps=1").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "quick: reused") {
			t.Errorf("%v: the next run: %v\n%s", sig, err, out)
		}
	}
}

// TestSecondSignal ends a run that does not listen.
func TestSecondSignal(t *testing.T) {
	dir := slowRecipe(t)
	cmd := pare(t, dir, "run", "r.yaml", "--out", "out", "--set", "slow.step_time=20s")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started(t, dir)
	cmd.Process.Signal(os.Interrupt)
	cmd.Process.Signal(os.Interrupt)
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Error(err)
	}
}

// TestPipeGone: a reader that leaves early ends pare quietly.
func TestPipeGone(t *testing.T) {
	var out, errs bytes.Buffer
	cmd := exec.Command("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do pare recipes schema; done | head -c 10")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || out.Len() != 10 || errs.Len() > 0 {
		t.Errorf("%v: %q %q", err, &out, &errs)
	}
}

// TestFullDisk: a result that does not arrive is a failure.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	for _, args := range [][]string{{"recipes", "schema"}, {"recipes", "help", "craft"}, {"--version"}, {"--version", "--json"}} {
		var errs bytes.Buffer
		cmd := pare(t, ".", args...)
		cmd.Stdout, cmd.Stderr = full, &errs
		err := cmd.Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(errs.String(), "could not be printed: ") {
			t.Errorf("%v: %v %s", args, err, &errs)
		}
	}
}
