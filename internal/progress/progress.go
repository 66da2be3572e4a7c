// Package progress carries progress reports from slow work to whoever shows them, through the context.
//
// Work that may take over a second starts a task and adds to it; the command line draws a bar with an estimate of the
// time left, a library user who installs nothing pays nothing.
package progress

import "context"

// Sink shows tasks. Implementations are safe for concurrent use.
type Sink interface {
	// Start begins a task of total units (bytes when unit is "B", else tokens, steps, tensors...). total < 0 means unknown.
	Start(name, unit string, total int64) Task
}

// Task is one bar.
type Task interface {
	Add(n int64)
	// Describe adds a short note behind the name, such as the current loss.
	Describe(note string)
	Done()
}

type key struct{}

// With returns a context whose tasks go to s.
func With(ctx context.Context, s Sink) context.Context { return context.WithValue(ctx, key{}, s) }

// Start begins a task on the context's sink, or one that does nothing where there is none.
func Start(ctx context.Context, name, unit string, total int64) Task {
	if s, ok := ctx.Value(key{}).(Sink); ok {
		return s.Start(name, unit, total)
	}
	return silent{}
}

type silent struct{}

func (silent) Add(int64)       {}
func (silent) Describe(string) {}
func (silent) Done()           {}
