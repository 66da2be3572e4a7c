package serve

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/parelm/pare/runtime"
	"github.com/parelm/pare/runtime/grammar"
)

// event is what a task tells its request.
type event struct {
	text   string
	tokens []tokenInfo
	done   bool   // the last event
	reason string // stop or length
	err    error
}

// tokenInfo is a token with its log probabilities.
type tokenInfo struct {
	id      int32
	logprob float64
	top     []runtime.TokenProb
}

// maxBuffered is how many events wait for a slow reader before its task pauses.
const maxBuffered = 256

// task is one text to be written.
type task struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	prompt  []int32
	max     int
	eos     []int32
	sampler *runtime.Sampler
	matcher *grammar.Matcher // nil without a grammar
	text    *runtime.Text
	top     int // how many likeliest tokens to tell; -1 tells no log probabilities
	events  chan event

	// Of the loop:
	read   int // how much of the prompt the session has
	cached int // of that, how much it had before
	last   int32
	made   int
	began  time.Time
	m      *metrics
}

// full reports whether the reader is too slow for another event; the last one always has room.
func (t *task) full() bool { return len(t.events) >= maxBuffered }

// end tells the last event.
func (t *task) end(reason string, err error) {
	t.events <- event{done: true, reason: reason, err: err}
	t.cancel(context.Canceled)
}

// took goes on after the session took the work: it draws a token once the whole prompt is read. A reason ends the task.
func (t *task) took(s *runtime.Session, w *runtime.Work) (reason string, err error) {
	defer func() {
		if x := recover(); x != nil {
			err = errors.Join(errInternal, asError(x))
		}
	}()
	if t.read < len(t.prompt) {
		if t.read += len(w.IDs); t.read < len(t.prompt) {
			return "", nil
		}
		t.m.prompts.Add(int64(len(t.prompt)))
	}
	logits := w.Logits[len(w.Logits)-1]
	id, err := t.sampler.Next(logits)
	if err != nil {
		return "", err
	}
	if t.made++; t.made == 1 {
		t.m.first.observe(time.Since(t.began))
	} else {
		t.m.between.observe(time.Since(t.began))
	}
	t.began = time.Now()
	t.m.generated.Add(1)
	if slices.Contains(t.eos, id) {
		return t.finish("stop")
	}
	if err := t.sampler.Accept(id); err != nil {
		return "", err
	}
	t.last = id
	e := event{}
	if t.top >= 0 {
		info := tokenInfo{id: id}
		info.logprob, info.top = runtime.Logprob(logits, id, t.top)
		e.tokens = []tokenInfo{info}
	}
	stopped := false
	if e.text, stopped = t.text.Push(id); e.text != "" || e.tokens != nil {
		t.events <- e
	}
	switch {
	case stopped:
		return "stop", nil
	case t.matcher != nil && t.matcher.Done():
		return t.finish("stop")
	case t.made == t.max, s.Len() == s.Context():
		return t.finish("length")
	}
	return "", nil
}

// finish gives the text that was held back.
func (t *task) finish(reason string) (string, error) {
	if text, _ := t.text.Flush(); text != "" {
		t.events <- event{text: text}
	}
	return reason, nil
}
