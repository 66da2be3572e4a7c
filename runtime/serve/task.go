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
	none    bool // the first token of a prompt, which has no probability
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
	draft   int // how many tokens may be drafted at a time
	echo    string
	scores  bool // tell the log probabilities of the prompt, too
	offset  int  // of the text to be told next, for log probabilities
	events  chan event
	start   time.Time
	m       *metrics

	// Of the loop:
	read     int     // how much of the prompt the session has
	cached   int     // of that, how much it had before
	ids      []int32 // prompt and text
	made     int
	began    time.Time // of what is measured now: the wait for a place, for the first token, for the next
	drafted  int
	accepted int
	next     int // how many tokens to draft next: one more than were right the last time
}

// writes reports whether the prompt is read.
func (t *task) writes() bool { return t.read == len(t.prompt) }

// full reports whether the reader is too slow for another event; the last one always has room.
func (t *task) full() bool { return len(t.events) >= maxBuffered }

// end tells the last event.
func (t *task) end(reason string, err error) {
	t.events <- event{done: true, reason: reason, err: err}
	t.cancel(context.Canceled)
}

// took goes on after the session took the work: it draws a token once the whole prompt is read, and one more for each
// drafted token that is the one that was drawn in its place. A reason ends the task.
func (t *task) took(s *runtime.Session, w *runtime.Work) (reason string, err error) {
	defer func() {
		if x := recover(); x != nil {
			err = errors.Join(errInternal, asError(x))
		}
	}()
	var drafted []int32
	if t.writes() {
		drafted = w.IDs[1:]
	} else {
		if t.read += len(w.IDs); t.scores {
			t.score(w)
		}
		if !t.writes() {
			return "", nil
		}
		t.m.prompts.Add(int64(len(t.prompt)))
		if t.max == 0 {
			return t.finish("length")
		}
		w.Logits = w.Logits[len(w.Logits)-1:]
	}
	t.drafted += len(drafted)
	t.m.drafted.Add(int64(len(drafted)))
	before := t.accepted
	for i, logits := range w.Logits {
		id := int32(0)
		if id, reason, err = t.draw(logits); err != nil {
			return "", err
		}
		right := i < len(drafted) && id == drafted[i]
		if right {
			t.accepted++
			t.m.accepted.Add(1)
		}
		if reason != "" {
			return reason, nil
		}
		if !right {
			break
		}
	}
	t.adapt(len(drafted), t.accepted-before)
	// All but the last token has been read; so has what was drafted in vain.
	return "", s.Truncate(context.Background(), len(t.ids)-1)
}

// adapt decides how many tokens to draft next, after right ones of n were right. A draft that is hardly ever right, as that of a text
// that a grammar holds often is, costs more than it brings.
func (t *task) adapt(n, right int) {
	if n == 0 {
		return
	}
	if t.next = right + 1; right == n {
		t.next = 2 * n
	}
	if t.drafted >= 24 && 8*t.accepted < t.drafted {
		t.draft = 0
	}
}

// score tells the log probabilities of the tokens of the prompt that follow those of the work.
func (t *task) score(w *runtime.Work) {
	var e event
	from := t.read - len(w.IDs)
	if from == 0 {
		e.tokens = append(e.tokens, tokenInfo{id: t.prompt[0], none: true})
	}
	for i, logits := range w.Logits {
		if at := from + i + 1; at < len(t.prompt) {
			info := tokenInfo{id: t.prompt[at]}
			info.logprob, info.top = runtime.Logprob(logits, info.id, t.top)
			e.tokens = append(e.tokens, info)
		}
	}
	t.events <- e
}

// draw draws a token and tells it.
func (t *task) draw(logits []float32) (id int32, reason string, err error) {
	if id, err = t.sampler.Next(logits); err != nil {
		return 0, "", err
	}
	if t.made++; t.made == 1 {
		t.m.first.observe(time.Since(t.start))
	} else {
		t.m.between.observe(time.Since(t.began))
	}
	t.began = time.Now()
	t.m.generated.Add(1)
	if slices.Contains(t.eos, id) {
		reason, err = t.finish("stop")
		return id, reason, err
	}
	if err := t.sampler.Accept(id); err != nil {
		return 0, "", err
	}
	t.ids = append(t.ids, id)
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
		reason = "stop"
	case t.matcher != nil && t.matcher.Done():
		reason, err = t.finish("stop")
	case t.made == t.max:
		reason, err = t.finish("length")
	}
	return id, reason, err
}

// finish gives the text that was held back.
func (t *task) finish(reason string) (string, error) {
	if text, _ := t.text.Flush(); text != "" {
		t.events <- event{text: text}
	}
	return reason, nil
}
