package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/parelm/pare/model/tokenizer"
	"github.com/parelm/pare/runtime"
	"github.com/parelm/pare/runtime/grammar"
)

// Errors of a request that took too long.
var (
	errSlow  = errors.New("no token came in time")
	errTotal = errors.New("the request took too long")
)

// job is a request on its way: its tasks, and how its answer looks.
type job struct {
	s       *Server
	on      *served
	c       *common
	id      string
	kind    string // of the answer's object, without .chunk
	created int64
	prompts []opening
	tasks   []*task      // the choices of the first prompt, of the second, ...
	chat    *chatRequest // nil for a completion
	echo    bool         // prompts stand before their texts
	tools   bool         // look for tool calls in the text
	forced  bool         // the text is a tool call, by grammar

	marks  runtime.Marks // around what the model thinks
	prompt string        // of a chat, as the template made it
}

// opening is what a text follows.
type opening struct {
	ids  []int32
	text string
}

type completionRequest struct {
	common
	Prompt   json.RawMessage `json:"prompt"`
	Echo     bool            `json:"echo"`
	Logprobs *int            `json:"logprobs"`
	BestOf   *int            `json:"best_of"`
	Suffix   *string         `json:"suffix"`
}

func (s *Server) completions(w http.ResponseWriter, r *http.Request) {
	on, busy := s.enter()
	if busy != nil {
		s.refuse(w, apiErrorOf(busy))
		return
	}
	defer on.users.Done()
	var q completionRequest
	if err := s.decode(w, r, &q); err != nil {
		s.refuse(w, err)
		return
	}
	prompts, err := on.prompts(q.Prompt)
	top := -1
	switch {
	case err != nil:
	case q.Suffix != nil && *q.Suffix != "":
		err = bad("suffix", "suffix is not supported")
	case q.BestOf != nil && (q.N == nil && *q.BestOf != 1 || q.N != nil && *q.BestOf != *q.N):
		err = bad("best_of", "best_of is not supported beyond n")
	case q.Logprobs != nil && (*q.Logprobs < 0 || *q.Logprobs > maxTop):
		err = bad("logprobs", "logprobs is %d: want 0 to %d", *q.Logprobs, maxTop)
	case q.Logprobs != nil:
		top = *q.Logprobs
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	j := &job{s: s, on: on, c: &q.common, kind: "text_completion", id: s.newID("cmpl-"), prompts: prompts, echo: q.Echo}
	if q.MaxTokens == nil { // the default of this interface
		n := 16
		for _, p := range prompts {
			n = min(n, on.Engine.Context()-len(p.ids))
		}
		q.MaxTokens = &n
	}
	j.serve(w, r, top, nil)
}

// prompts reads the prompts of a completion: one, or a list.
func (s *served) prompts(raw json.RawMessage) ([]opening, *apiError) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || len(list) == 0 || list[0][0] != '"' && list[0][0] != '[' {
		list = []json.RawMessage{raw}
	}
	if len(list) > maxPrompts {
		return nil, bad("prompt", "there are %d prompts, the limit is %d", len(list), maxPrompts)
	}
	var out []opening
	for _, raw := range list {
		ids, text, err := s.prompt(raw)
		if err != nil {
			return nil, err
		}
		out = append(out, opening{ids, text})
	}
	return out, nil
}

// prompt reads a prompt: text, or token ids.
func (s *served) prompt(raw json.RawMessage) ([]int32, string, *apiError) {
	var text string
	var ids []int32
	switch err := json.Unmarshal(raw, &text); {
	case err == nil:
		var e error
		if ids, e = s.Tokenizer.EncodeOptions(text, tokenizer.Options{AddSpecial: true}); e != nil {
			return nil, "", bad("prompt", "%v", e)
		}
	case json.Unmarshal(raw, &ids) == nil:
		for _, id := range ids {
			if id < 0 || int(id) >= s.Engine.Vocab() {
				return nil, "", bad("prompt", "token %d: the vocabulary has %d", id, s.Engine.Vocab())
			}
		}
		text = s.Tokenizer.Decode(ids, true)
	default:
		return nil, "", bad("prompt", "prompt must be a string, a list of token ids, or a list of these")
	}
	if len(ids) == 0 {
		return nil, "", bad("prompt", "the prompt is empty")
	}
	return ids, text, nil
}

func (s *Server) newID(prefix string) string {
	return fmt.Sprintf("%s%x-%x", prefix, s.started.UnixNano(), s.ids.Add(1))
}

func noModel(name string) *apiError {
	return &apiError{http.StatusNotFound, "model_not_found", "model", "this server has the model " + strconv.Quote(name) + " alone"}
}

// serve makes the tasks of a request, queues them and answers.
func (j *job) serve(w http.ResponseWriter, r *http.Request, top int, stops []string) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if err := j.make(ctx, top, stops); err != nil {
		j.s.refuse(w, err)
		return
	}
	total := time.AfterFunc(j.s.o.Total, func() {
		for _, t := range j.tasks {
			t.cancel(errTotal)
		}
	})
	defer total.Stop()
	if err := j.on.pool.submit(j.tasks...); err != nil {
		j.s.refuse(w, apiErrorOf(err))
		return
	}
	if j.c.Stream {
		j.stream(w)
	} else {
		j.whole(w)
	}
}

// make builds the tasks.
func (j *job) make(ctx context.Context, top int, stops []string) *apiError {
	on, c := j.on, j.c
	if c.Model != "" && c.Model != on.Name {
		return noModel(on.Name)
	}
	n, err := c.choices()
	if err != nil {
		return err
	}
	how, err := c.sampling(on.Engine.Vocab())
	if err != nil {
		return err
	}
	g, err := c.grammarOf()
	if err != nil {
		return err
	}
	if j.forced {
		g, err = j.chat.toolGrammar()
		if err != nil {
			return err
		}
	}
	if all := n * len(j.prompts); all > j.s.o.Queue+j.s.o.Parallel {
		return bad("n", "%d texts are asked for, this server holds %d", all, j.s.o.Queue+j.s.o.Parallel)
	}
	j.created = time.Now().Unix()
	how.Seed = uint64(time.Now().UnixNano())
	if c.Seed != nil {
		how.Seed = uint64(*c.Seed)
	}
	for _, p := range j.prompts {
		if err := j.add(ctx, p, n, how, g, top, stops); err != nil {
			return err
		}
	}
	return nil
}

// room returns how many tokens may follow a prompt.
func (j *job) room(ids []int32) (int, *apiError) {
	context := j.on.Engine.Context()
	room := context - len(ids)
	left := room
	if j.c.MaxTokens != nil {
		left = *j.c.MaxTokens
	}
	switch {
	case room < 1:
		return 0, &apiError{http.StatusBadRequest, "context_length_exceeded", "", fmt.Sprintf("the prompt has %d tokens, the model's context is %d; nothing is cut off silently",
			len(ids), context)}
	case left < 1 && !(left == 0 && j.echo):
		return 0, bad("max_tokens", "max_tokens is %d: want at least 1", left)
	case left > room:
		return 0, &apiError{http.StatusBadRequest, "context_length_exceeded", "max_tokens", fmt.Sprintf("the prompt has %d tokens and %d more are asked for, the model's context is %d",
			len(ids), left, context)}
	}
	return left, nil
}

// add adds the tasks of a prompt.
func (j *job) add(ctx context.Context, p opening, n int, how runtime.Sampling, g *grammar.Grammar, top int, stops []string) *apiError {
	on, c := j.on, j.c
	left, err := j.room(p.ids)
	if err != nil {
		return err
	}
	eos := on.EOS
	if c.IgnoreEOS && g == nil {
		eos = nil
	}
	seed := how.Seed
	for i := range n {
		how.Seed = seed + uint64(i)<<32
		t := &task{prompt: p.ids, max: left, eos: eos, text: j.marks.NewText(on.Tokenizer, append(append([]string{}, c.Stop...), stops...)), top: top,
			events: make(chan event, maxBuffered+8+j.s.o.Drafted), start: time.Now(), began: time.Now(), draft: c.drafts(j.s.o.Drafted), next: j.s.o.Drafted, m: j.s.m}
		if j.echo {
			t.echo, t.scores = p.text, top >= 0
		}
		if !t.scores {
			t.offset = len(t.echo)
		}
		t.ctx, t.cancel = context.WithCancelCause(ctx)
		var constraint runtime.Constraint
		if g != nil {
			t.matcher = g.NewMatcher(on.vocab)
			constraint = t.matcher
		}
		t.sampler = runtime.NewSampler(how, constraint, p.ids)
		j.tasks = append(j.tasks, t)
	}
	return nil
}

// next returns the next event of a task; a task that gives no first one in time is cancelled.
func (j *job) next(t *task, first bool) event {
	if !first {
		return <-t.events
	}
	timer := time.NewTimer(j.s.o.FirstToken)
	defer timer.Stop()
	select {
	case e := <-t.events:
		return e
	case <-timer.C:
		t.cancel(errSlow)
		j.on.pool.poke()
		return <-t.events
	}
}

// collected is the text of one choice.
type collected struct {
	text   string
	tokens []tokenInfo
	reason string
}

// whole answers when all is written.
func (j *job) whole(w http.ResponseWriter) {
	var out []collected
	for _, t := range j.tasks {
		var c collected
		for first := true; ; first = false {
			e := j.next(t, first)
			c.text += e.text
			c.tokens = append(c.tokens, e.tokens...)
			if e.done {
				if e.err != nil {
					j.s.refuse(w, apiErrorOf(e.err))
					return
				}
				c.reason = e.reason
				break
			}
		}
		out = append(out, c)
	}
	j.s.write(w, http.StatusOK, j.answer(out))
}

type usage struct {
	Prompt     int            `json:"prompt_tokens"`
	Completion int            `json:"completion_tokens"`
	Total      int            `json:"total_tokens"`
	Details    map[string]int `json:"prompt_tokens_details"`
	Predicted  map[string]int `json:"completion_tokens_details,omitempty"` // of what a draft model predicted
}

// usage counts tokens; all tasks have ended.
func (j *job) usage() *usage {
	u := &usage{Details: map[string]int{}}
	for i, p := range j.prompts {
		u.Prompt += len(p.ids)
		u.Details["cached_tokens"] += j.tasks[i*len(j.tasks)/len(j.prompts)].cached
	}
	drafted, accepted := 0, 0
	for _, t := range j.tasks {
		u.Completion += t.made
		drafted, accepted = drafted+t.drafted, accepted+t.accepted
	}
	if drafted > 0 {
		u.Predicted = map[string]int{"accepted_prediction_tokens": accepted, "rejected_prediction_tokens": drafted - accepted}
	}
	u.Total = u.Prompt + u.Completion
	return u
}
