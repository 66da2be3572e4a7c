package serve

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/parelm/pare/runtime"
)

// sse writes server-sent events. Each write has a deadline: a client that does not read is dropped.
type sse struct {
	w       http.ResponseWriter
	timeout time.Duration
	begun   bool
	failed  bool
}

func (x *sse) send(v any) bool {
	var b bytes.Buffer
	b.WriteString("data: ")
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // a value of ours always has JSON
		return false
	}
	b.WriteByte('\n')
	return x.raw(b.Bytes())
}

func (x *sse) raw(b []byte) bool {
	if x.failed {
		return false
	}
	c := http.NewResponseController(x.w)
	_ = c.SetWriteDeadline(time.Now().Add(x.timeout)) // not every writer has one
	if !x.begun {
		x.begun = true
		h := x.w.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no")
		x.w.WriteHeader(http.StatusOK)
	}
	_, err := x.w.Write(b)
	if err == nil {
		err = c.Flush()
	}
	x.failed = err != nil
	return err == nil
}

// tagged is an event of one of a job's tasks.
type tagged struct {
	event
	task int
}

// merged gives the events of all tasks as they come, until gone is closed.
func (j *job) merged(gone <-chan struct{}) <-chan tagged {
	out := make(chan tagged)
	for i, t := range j.tasks {
		go func() {
			for first := true; ; first = false {
				e := j.next(t, first)
				select {
				case out <- tagged{e, i}:
				case <-gone: // the handler met a panic
					return
				}
				if e.done {
					return
				}
			}
		}()
	}
	return out
}

// stream answers while it is written. An error before the first token is an answer of its own; later it is an event.
func (j *job) stream(w http.ResponseWriter) {
	x := &sse{w: w, timeout: j.s.o.WriteTimeout}
	withUsage := j.c.StreamOptions != nil && j.c.StreamOptions.IncludeUsage
	scan, think := make([]toolScanner, len(j.tasks)), make([]*runtime.Thoughts, len(j.tasks))
	for i := range think {
		think[i] = j.marks.Begin(j.prompt)
	}
	started := make([]bool, len(j.tasks))
	gone := make(chan struct{})
	defer close(gone)
	events := j.merged(gone)
	var failed error
	for left := len(j.tasks); left > 0; {
		e := <-events // every task ends, cancelled ones too: all must be heard
		if e.done {
			left--
		}
		if e.err != nil {
			failed = e.err
		}
		if failed != nil || x.failed {
			for _, t := range j.tasks {
				t.cancel(errTotal)
			}
			j.on.pool.poke()
			continue
		}
		if !started[e.task] {
			started[e.task] = true
			j.first(x, e.task)
		}
		j.piece(x, &scan[e.task], think[e.task], e)
	}
	switch {
	case failed != nil && !x.begun:
		j.s.refuse(w, apiErrorOf(failed))
		return
	case failed != nil:
		x.send(errorBody("server_error", apiErrorOf(failed)))
	case withUsage:
		a := j.head(j.chunk())
		a.Usage = j.usage()
		x.send(a)
	}
	x.raw([]byte("data: [DONE]\n\n"))
}

func (j *job) chunk() string {
	if j.chat != nil {
		return j.kind + ".chunk"
	}
	return j.kind
}

// first says who speaks.
func (j *job) first(x *sse, i int) {
	a := j.head(j.chunk())
	empty := ""
	switch {
	case j.chat != nil:
		a.Choices = append(a.Choices, choice{Index: i, Delta: &said{Role: "assistant", Content: &empty}})
	case j.echo:
		a.Choices = append(a.Choices, choice{Index: i, Text: &j.tasks[i].echo})
	default:
		return
	}
	x.send(a)
}

// piece sends what an event brings.
func (j *job) piece(x *sse, scan *toolScanner, think *runtime.Thoughts, e tagged) {
	thought, text := think.Push(e.text, e.done)
	if j.tools || j.forced {
		text = scan.push(text, e.done, j.forced)
	}
	if thought != "" {
		a := j.head(j.chunk())
		a.Choices = append(a.Choices, choice{Index: e.task, Delta: &said{Reasoning: &thought}})
		x.send(a)
	}
	if text != "" || e.tokens != nil {
		a := j.head(j.chunk())
		c := choice{Index: e.task, Logprobs: j.logprobs(j.tasks[e.task], e.tokens)}
		if j.chat != nil {
			c.Delta = &said{Content: &text}
		} else {
			c.Text = &text
		}
		a.Choices = append(a.Choices, c)
		x.send(a)
	}
	if !e.done {
		return
	}
	reason := e.reason
	if j.tools || j.forced {
		if rest, calls := j.toolCalls(scan.held); calls != nil {
			a := j.head(j.chunk())
			for i := range calls {
				calls[i].Index = &i
			}
			a.Choices = append(a.Choices, choice{Index: e.task, Delta: &said{ToolCalls: calls}})
			x.send(a)
			if reason == "stop" {
				reason = "tool_calls"
			}
		} else if rest != "" {
			a := j.head(j.chunk())
			a.Choices = append(a.Choices, choice{Index: e.task, Delta: &said{Content: &rest}})
			x.send(a)
		}
	}
	a := j.head(j.chunk())
	c := choice{Index: e.task, Reason: &reason}
	if j.chat != nil {
		c.Delta = &said{}
	} else {
		empty := ""
		c.Text = &empty
	}
	a.Choices = append(a.Choices, c)
	x.send(a)
}
