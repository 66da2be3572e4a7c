package store

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/parelm/pare/internal/fsx"
)

// Points are the moments at which PARE_CRASH can kill the process, in the order a run meets them. The tests of
// everything that writes go through all of them.
var Points = []string{
	"checkpoint-synced", "checkpoint-renamed",
	"temp-made", "file-created", "file-half", "file-written", "file-synced",
	"manifest-half", "manifest-synced", "dir-synced", "old-moved", "renamed", "parent-synced", "logged",
}

var (
	crashPlan = sync.OnceValues(func() (point string, nth int64) {
		point, n, ok := strings.Cut(os.Getenv("PARE_CRASH"), ":")
		nth = 1
		if ok {
			nth, _ = strconv.ParseInt(n, 10, 64)
		}
		return point, nth
	})
	crashSeen atomic.Int64
)

// CrashPoint kills this process as `kill -9` would, where the environment says PARE_CRASH=point, or PARE_CRASH=point:3
// for the third time that the point is passed. It exists for the tests of what a killed run leaves behind.
func CrashPoint(point string) {
	want, nth := crashPlan()
	if want == "" || want != point || crashSeen.Add(1) != nth {
		return
	}
	if p, err := os.FindProcess(os.Getpid()); err == nil && p.Kill() == nil {
		select {} // the signal is on its way; nothing more may happen here
	}
	os.Exit(137)
}

// crashHalf writes the first half of p and dies there, where the environment asks for it.
func crashHalf(point string, f fsx.File, p []byte, off int64) {
	if want, _ := crashPlan(); want != point {
		return
	}
	if _, err := f.WriteAt(p[:len(p)/2], off); err == nil {
		CrashPoint(point)
	}
}
