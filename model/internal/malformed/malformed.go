// Package malformed is the judge of tests that open broken files: whatever the file, the answer is a typed error that
// names file and field, soon, at bounded cost, and nothing stays open.
package malformed

import (
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/parelm/pare/model/tensor"
)

// Want is what must be said about a broken file.
type Want struct {
	Class error    // one of tensor's classes
	Texts []string // parts of the message: the file's name, the field, what was found
	Bytes int64    // size of all files involved
}

// The limits of reliability: what opening may cost.
const (
	maxTime  = time.Second
	perByte  = 8
	headroom = 64 << 20
)

// Check calls open and fails the test unless the answer is as wanted.
func Check(t *testing.T, w Want, open func() (io.Closer, error)) {
	t.Helper()
	c, err := Measure(t, w.Bytes, open)
	if err == nil {
		c.Close()
		t.Fatal("accepted")
	}
	var fe *tensor.FileError
	if !errors.As(err, &fe) {
		t.Fatalf("not a FileError: %v", err)
	}
	if fe.File == "" {
		t.Errorf("names no file: %v", err)
	}
	if !errors.Is(err, w.Class) {
		t.Errorf("class %v, want %v: %v", fe.Class, w.Class, err)
	}
	for _, text := range w.Texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the message does not say %q: %v", text, err)
		}
	}
	if n := len(err.Error()); n > 600 {
		t.Errorf("the message has %d bytes", n)
	}
}

// Measure calls open and fails the test when it costs too much time or memory or leaves a file open after an error.
func Measure(t *testing.T, bytes int64, open func() (io.Closer, error)) (io.Closer, error) {
	t.Helper()
	before, goroutines := descriptors(), runtime.NumGoroutine()
	var m0, m1 runtime.MemStats
	runtime.ReadMemStats(&m0)
	start, cpu0 := time.Now(), cpuTime()
	c, err := open()
	took := time.Since(start)
	runtime.ReadMemStats(&m1)
	// On a busy machine the wall clock runs faster than the work; a hang shows in both.
	if cpu := cpuTime() - cpu0; took > maxTime && (cpu > maxTime || cpu <= 0 || took > 10*maxTime) {
		t.Errorf("took %v, %v of them computing", took, cpu)
	}
	if got, limit := int64(m1.TotalAlloc-m0.TotalAlloc), perByte*bytes+headroom; got > limit {
		t.Errorf("allocated %d bytes for a file of %d, the limit is %d", got, bytes, limit)
	}
	if err != nil {
		if after := descriptors(); after != before {
			t.Errorf("%d open files before, %d after", before, after)
		}
		if n := runtime.NumGoroutine(); n > goroutines {
			t.Errorf("%d goroutines before, %d after", goroutines, n)
		}
	}
	return c, err
}

// descriptors returns the number of open files, 0 where the system does not tell.
func descriptors() int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(d)
}
