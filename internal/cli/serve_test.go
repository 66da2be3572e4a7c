//go:build unix

package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parelm/pare/internal/tiny/models"
)

// writeTiny writes a tiny checkpoint to dir/m.
func writeTiny(t *testing.T, dir string, seed uint64) {
	t.Helper()
	files, err := models.Files("llama", seed, nil)
	if err == nil {
		err = os.MkdirAll(filepath.Join(dir, "m"), 0o755)
	}
	for name, data := range files {
		path := filepath.Join(dir, "m", name)
		if err == nil {
			err = os.WriteFile(path+".new", data, 0o644)
		}
		if err == nil { // as whoever replaces the files of a running program does
			err = os.Rename(path+".new", path)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestServeSignals: SIGHUP reads the model again, and keeps the old one where that fails; SIGTERM ends the server with 0.
func TestServeSignals(t *testing.T) {
	dir := t.TempDir()
	writeTiny(t, dir, 1)
	cmd := pare(t, dir, "serve", "m", "--addr", "127.0.0.1:0", "--draft", "m", "--cache", "f16", "--name", "tiny")
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }() // it has ended unless the test failed
	lines := make(chan string, 100)
	go func() {
		for s := bufio.NewScanner(errs); s.Scan(); {
			lines <- s.Text()
		}
		close(lines)
	}()
	hear := func(what string) []string {
		t.Helper()
		re := regexp.MustCompile(what)
		var said []string
		for end := time.After(time.Minute); ; {
			select {
			case line, ok := <-lines:
				if !ok {
					t.Fatalf("it ended; it said %q, not %q", said, what)
				}
				if m := re.FindStringSubmatch(line); m != nil {
					return m
				}
				said = append(said, line)
			case <-end:
				t.Fatalf("it said %q, not %q", said, what)
			}
		}
	}
	url := hear(`serving tiny at (http://127.0.0.1:\d+/v1)`)[1]
	ask := func() string {
		t.Helper()
		r, err := http.Post(url+"/completions", "application/json", strings.NewReader(`{"prompt": "The river", "max_tokens": 20, "temperature": 0, "ignore_eos": true}`))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != 200 {
			t.Fatalf("%d %s %v", r.StatusCode, body, err)
		}
		_, text, _ := bytes.Cut(body, []byte(`"text":"`))
		text, _, _ = bytes.Cut(text, []byte(`","`))
		return string(text)
	}
	hup := func() {
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	first := ask()
	writeTiny(t, dir, 2)
	hup()
	hear(`serving what m holds now`)
	second := ask()
	if first == second {
		t.Errorf("the same text before and after: %q", first)
	}
	if err := os.WriteFile(filepath.Join(dir, "m", "config.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	hup()
	hear(`the old one stays`)
	if got := ask(); got != second {
		t.Errorf("%q after a reload that failed, before it %q", got, second)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range lines { // to the end
	}
	if err := cmd.Wait(); err != nil {
		t.Error(fmt.Errorf("it ends with %w", err))
	}
}
