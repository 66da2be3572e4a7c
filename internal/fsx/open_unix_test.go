//go:build unix

package fsx

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Nothing that is not a file may be read, and above all nothing may wait for a peer that never comes.
func TestOpenRegularRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo, sock, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "s"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(fifo, link); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for path, what := range map[string]string{fifo: "a FIFO", link: "a FIFO", sock: "a socket", "/dev/null": "a device", dir: "a directory"} {
		done := make(chan error, 1)
		go func() {
			f, err := OpenRegular(path)
			if err == nil {
				f.Close()
			}
			done <- err
		}()
		select {
		case err := <-done:
			if !errors.Is(err, ErrNotRegular) || !strings.Contains(err.Error(), what) {
				t.Errorf("%s: %v", path, err)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: blocked", path)
		}
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, file} {
		l, err := OS.Lock(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := OS.Lock(path); !errors.Is(err, ErrBusy) {
			t.Errorf("%s: locked twice: %v", path, err)
		}
		l.Close()
		if l, err = OS.Lock(path); err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
	if _, err := OS.Lock(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
