package cli

import (
	"io"
	"slices"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/parelm/pare/internal/progress"
)

// patience is how long a task must last before its bar is worth looking at.
const patience = time.Second

// bars shows one progress bar on a terminal: that of the task that began last and lasts longer than a second. It is a
// progress.Sink.
type bars struct {
	w io.Writer

	mu    sync.Mutex
	tasks []*task
	shown *task
}

func newBars(w io.Writer) *bars { return &bars{w: w} }

// task is one bar. It writes through itself, so that only the task in front reaches the terminal.
type task struct {
	b     *bars
	bar   *progressbar.ProgressBar
	name  string
	began time.Time
	ended bool
}

// Write passes on what the bar draws while it may be seen. The caller holds the lock.
func (t *task) Write(p []byte) (int, error) {
	if t.b.shown == t {
		return t.b.w.Write(p)
	}
	return len(p), nil
}

// Start implements progress.Sink.
func (b *bars) Start(name, unit string, total int64) progress.Task {
	t := &task{b: b, name: name, began: time.Now()}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(t), progressbar.OptionSetDescription(name), progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(unit), progressbar.OptionSetPredictTime(true),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(24), progressbar.OptionSetSpinnerChangeInterval(0),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "━", SaucerHead: "━", SaucerPadding: " ", BarStart: "▕", BarEnd: "▏"}),
	}
	if unit == "B" {
		options = append(options, progressbar.OptionShowBytes(true))
	}
	if total < 0 {
		total = -1
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t.bar = progressbar.NewOptions64(total, options...)
	b.tasks = append(b.tasks, t)
	return t
}

// Add implements progress.Task.
func (t *task) Add(n int64) {
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	if t.ended {
		return
	}
	t.b.choose()
	if s := t.bar.State(); s.Max > 0 && s.CurrentNum+n >= s.Max {
		n = s.Max - s.CurrentNum - 1 // full only when it is done: a finished bar of the library draws no more
		if n <= 0 {
			return
		}
	}
	t.bar.Add64(n) // fails only where the terminal does
}

// Describe implements progress.Task.
func (t *task) Describe(note string) {
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	if note != "" {
		note = " (" + note + ")"
	}
	t.b.choose()
	t.bar.Describe(t.name + note)
}

// Done implements progress.Task.
func (t *task) Done() {
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	t.ended = true
	if t.b.shown == t {
		t.bar.Clear()
		t.b.shown = nil
	}
	t.b.tasks = slices.DeleteFunc(t.b.tasks, func(o *task) bool { return o == t })
}

// choose puts the last task in front that has lasted long enough.
func (b *bars) choose() {
	for _, t := range slices.Backward(b.tasks) {
		if time.Since(t.began) < patience {
			continue
		}
		if b.shown != t {
			b.wipe()
			b.shown = t
		}
		return
	}
}

func (b *bars) wipe() {
	if b.shown != nil {
		b.shown.bar.Clear()
		b.shown = nil
	}
}

// clear takes the bar off the screen, for lines of text; it comes back by itself.
func (b *bars) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wipe()
}

func (b *bars) close() { b.clear() }
