package cli

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// screen collects what bars draw.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.b.Reset()
	return s.b.String()
}

// older makes a task look as if it had begun earlier.
func older(b *bars, d time.Duration) {
	for _, t := range b.tasks {
		t.began = t.began.Add(-d)
	}
}

func TestBars(t *testing.T) {
	var s screen
	b := newBars(&s)
	outer := b.Start("quantize", "tensors", 200)
	outer.Add(1)
	if got := s.take(); got != "" {
		t.Errorf("a young task drew %q", got)
	}
	older(b, 2*time.Second)
	time.Sleep(110 * time.Millisecond)
	outer.Describe("layer 3")
	time.Sleep(110 * time.Millisecond)
	outer.Add(99)
	got := s.take()
	for _, want := range []string{"quantize (layer 3)", "50%", "100/200", "tensors/s"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q: %q", want, got)
		}
	}
	inner := b.Start("verify", "B", 1000) // young: the outer one stays
	inner.Add(10)
	if got := s.take(); strings.Contains(got, "verify") {
		t.Errorf("a young task came in front: %q", got)
	}
	older(b, 2*time.Second)
	time.Sleep(110 * time.Millisecond)
	inner.Add(490)
	if got := s.take(); !strings.Contains(got, "verify") || !strings.Contains(got, "50%") {
		t.Errorf("the inner task is not in front: %q", got)
	}
	outer.Add(1)
	if got := s.take(); strings.Contains(got, "quantize") {
		t.Errorf("the outer task drew over the inner one: %q", got)
	}
	inner.Done()
	time.Sleep(110 * time.Millisecond)
	outer.Add(1)
	if got := s.take(); !strings.Contains(got, "quantize") {
		t.Errorf("the outer task did not come back: %q", got)
	}
	b.clear()
	if got := s.take(); strings.Contains(strings.TrimRight(got, " \r\x1b[K2"), "quantize") {
		t.Errorf("clear left %q", got)
	}
	time.Sleep(110 * time.Millisecond)
	outer.Add(98) // up to the total, and beyond
	outer.Add(10)
	if got := s.take(); !strings.Contains(got, "99%") && !strings.Contains(got, "100%") {
		t.Errorf("%q", got)
	}
	outer.Done()
	outer.Add(1)
	if len(b.tasks) != 0 || b.shown != nil {
		t.Error("a task is left")
	}
}

func TestBarsOfUnknownLength(t *testing.T) {
	var s screen
	b := newBars(&s)
	task := b.Start("download", "B", -1)
	task.Add(1)
	older(b, 2*time.Second)
	time.Sleep(110 * time.Millisecond)
	task.Add(5000)
	if got := s.take(); !strings.Contains(got, "download") || !strings.Contains(got, "kB") {
		t.Errorf("%q", got)
	}
	task.Done()
}

// TestBarsTogether: many goroutines at once, for the race detector.
func TestBarsTogether(t *testing.T) {
	var s screen
	b := newBars(&s)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			task := b.Start("x", "steps", 100)
			for range 100 {
				task.Add(1)
				task.Describe("y")
				b.clear()
			}
			task.Done()
		})
	}
	wg.Wait()
	if len(b.tasks) != 0 {
		t.Error(len(b.tasks))
	}
}
