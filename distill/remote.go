package distill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/parelm/pare/internal/train"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/model/tokenizer"
)

// A remote teacher is a model behind an OpenAI-compatible server that tells log-probabilities: vLLM, llama.cpp, pare serve. It names
// the K most probable tokens of every position; the rest of the probability is one class, the tail (see topk_kl.go).
//
// Prompts are sent as token ids to /v1/completions. A server that repeats the prompt with log-probabilities (echo, as vLLM does) is
// asked once for a sequence; one that only tells about what it writes is asked once for every position, which its prefix cache makes
// bearable. Which of the two it is, its first answer says. Everything in an answer is checked: a teacher that is wrong is worse than none.

// Remote says how to reach a teacher's server.
type Remote struct {
	// URL is the server, up to and including /v1 or not: http://host:8000.
	URL string `yaml:"url"`
	// Model is the name under which the server knows the teacher; without one the first that it lists.
	Model string `yaml:"model"`
	// TopLogprobs is how many tokens are asked for at every position; 0 means 20. Servers have limits: vLLM --max-logprobs, 20.
	TopLogprobs int `yaml:"top_logprobs" min:"0" max:"255"`
	// Timeout bounds one request; 0 means 2m.
	Timeout time.Duration `yaml:"timeout" min:"0"`
	// Retries is how often a request is sent again that failed for a reason that may pass: 429, 5xx, no connection, no answer in
	// time. Pauses double from half a second, or are what the server asks for.
	Retries int `yaml:"retries" min:"0" max:"100"`
	// Parallel is how many requests are under way at once; 0 means 8.
	Parallel int `yaml:"parallel" min:"0" max:"1024"`
	// APIKeyEnv is the environment variable that holds the key, for servers that want one.
	APIKeyEnv string `yaml:"api_key_env"`
}

// remote is a teacher behind a server.
type remote struct {
	Remote
	base   string
	size   int // of the vocabulary
	names  map[string]int32
	tok    *tokenizer.Tokenizer
	client *http.Client
	note   func(string)
	echo   bool // the server tells about prompts
	plain  bool // it takes no keys beyond OpenAI's
	asked  bool // echo and plain are known
}

// maxAnswer bounds an answer: 255 tokens of 100 bytes for each of 32768 positions.
const maxAnswer = 1 << 30

// NewRemote returns the teacher behind a server. Its tokenizer must be that of m: that is tried on the server where it offers to cut
// text, and held against the pieces it names in every answer. note, unless nil, is told what it found.
func NewRemote(ctx context.Context, m *model.Model, r Remote, note func(string)) (Teacher, error) {
	tok, err := m.Tokenizer()
	if err != nil {
		return nil, fmt.Errorf("remote teacher: its answers name pieces of text, and the model has no tokenizer: %w", err)
	}
	u, err := url.Parse(strings.TrimRight(r.URL, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("remote teacher: url is %q, must be like http://host:8000", r.URL)
	}
	u.Path = strings.TrimSuffix(u.Path, "/v1")
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&r.TopLogprobs, 20)
	set(&r.Parallel, 8)
	if r.Timeout == 0 {
		r.Timeout = 2 * time.Minute
	}
	t := &remote{Remote: r, base: u.String(), size: m.Graph.Logits.Out.Size(), tok: tok, client: &http.Client{}, note: note, names: map[string]int32{}}
	if t.TopLogprobs >= t.size {
		return nil, fmt.Errorf("remote teacher: top_logprobs is %d, the vocabulary has %d tokens", t.TopLogprobs, t.size)
	}
	if note == nil {
		t.note = func(string) {}
	}
	for id := range int32(min(t.size, tok.VocabSize())) {
		text := string(tok.Bytes(id))
		if _, twice := t.names[text]; twice {
			t.names[text] = -1 // it could be either: such probability goes to the tail
			continue
		}
		t.names[text] = id
	}
	return t, errors.Join(t.choose(ctx), t.sameTokens(ctx))
}

func (t *remote) vocab() int                 { return t.size }
func (t *remote) shape() (layers, width int) { return 0, 0 }
func (t *remote) can() need                  { return needTop }
func (t *remote) most() int                  { return t.TopLogprobs }

// choose finds the model's name on the server.
func (t *remote) choose(ctx context.Context) error {
	if t.Model != "" {
		return nil
	}
	var list struct{ Data []struct{ ID string } }
	if err := t.call(ctx, "/v1/models", nil, &list); err != nil {
		return err
	}
	if len(list.Data) == 0 {
		return fmt.Errorf("remote teacher: %s/v1/models lists no model: give its name", t.base)
	}
	t.Model = list.Data[0].ID
	return nil
}

// cutProbe is a text that tokenizers cut in different ways.
const cutProbe = "Don't split 1234567 naïve words — über\tcode()\n  x+=1; 漢字 🙂"

// sameTokens has the server cut a text, where it can, and compares.
func (t *remote) sameTokens(ctx context.Context) error {
	var got struct{ Tokens []int32 }
	body := map[string]any{"model": t.Model, "prompt": cutProbe, "content": cutProbe, "add_special_tokens": false, "add_special": false}
	err := t.call(ctx, "/tokenize", body, &got)
	var refused *refusal
	if errors.As(err, &refused) && refused.code < 500 {
		t.note("the server does not cut text on request: its tokenizer is checked by the pieces that its answers name")
		return nil
	}
	if err != nil {
		return err
	}
	want, err := t.tok.Encode(cutProbe, false)
	if err != nil {
		return err
	}
	if !slices.Equal(got.Tokens, want) {
		return fmt.Errorf("remote teacher: %s has another tokenizer than the student: it cuts %q into %v, the student's into %v", t.base, cutProbe, got.Tokens, want)
	}
	return nil
}

// refusal is an answer that is none.
type refusal struct {
	code int
	text string
}

// Error names the status and the beginning of what the server answered.
func (r *refusal) Error() string { return fmt.Sprintf("status %d: %s", r.code, r.text) }

// call sends a request, again where that may help, and reads the answer into v.
func (t *remote) call(ctx context.Context, path string, body, v any) error {
	pause := 500 * time.Millisecond
	for try := 0; ; try++ {
		after, err := t.once(ctx, path, body, v)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err = fmt.Errorf("remote teacher: %s%s: %w", t.base, path, err)
		var r *refusal
		lasting := errors.As(err, &r) && r.code < 500 && r.code != http.StatusTooManyRequests && r.code != http.StatusRequestTimeout
		if lasting || errors.Is(err, tensor.ErrCorrupt) || try >= t.Retries {
			return err
		}
		timer := time.NewTimer(min(max(pause, after), time.Minute))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		pause *= 2
	}
}

// once sends a request once. after is how long the server asks to wait.
func (t *remote) once(ctx context.Context, path string, body, v any) (after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	method, data := http.MethodGet, []byte(nil)
	if body != nil {
		method = http.MethodPost
		if data, err = json.Marshal(body); err != nil {
			return 0, err
		}
	}
	q, err := http.NewRequestWithContext(ctx, method, t.base+path, bytes.NewReader(data))
	if err != nil {
		return 0, err
	}
	q.Header.Set("Content-Type", "application/json")
	if t.APIKeyEnv != "" {
		q.Header.Set("Authorization", "Bearer "+os.Getenv(t.APIKeyEnv))
	}
	a, err := t.client.Do(q)
	if err != nil {
		return 0, err
	}
	defer a.Body.Close()
	data, err = io.ReadAll(io.LimitReader(a.Body, maxAnswer))
	if err != nil {
		return 0, err
	}
	if a.StatusCode != http.StatusOK {
		seconds, _ := strconv.Atoi(a.Header.Get("Retry-After")) // a date counts as none
		return time.Duration(seconds) * time.Second, &refusal{a.StatusCode, strings.TrimSpace(string(data[:min(len(data), 200)]))}
	}
	if err := json.Unmarshal(data, v); err != nil {
		return 0, fmt.Errorf("answers with what is no JSON of the kind asked for (%v): %w", err, tensor.ErrCorrupt)
	}
	return 0, nil
}

func (t *remote) answer(ctx context.Context, b *train.Batch, w *want) error {
	if b.Inputs == nil {
		b.Inputs = map[string]any{}
	}
	tops := newTops(b, w, b.Rows*b.Length)
	if len(tops) == 0 {
		return nil
	}
	k := t.TopLogprobs
	for r := range b.Rows {
		ids, p, err := t.sequence(ctx, b.IDs[r*b.Length:(r+1)*b.Length])
		if err != nil {
			return err
		}
		for i := range b.Length {
			for _, x := range tops {
				x.set(r*b.Length+i, ids[i*k:], p[i*k:])
			}
		}
	}
	return nil
}

// sequence asks about all positions of a sequence: ids and probabilities [length, k], largest first, filled up with -1 and 0.
func (t *remote) sequence(ctx context.Context, seq []int32) (ids []int32, p []float32, err error) {
	k := t.TopLogprobs
	ids, p = make([]int32, len(seq)*k), make([]float32, len(seq)*k)
	if !t.asked {
		lists, err := t.complete(ctx, seq, true)
		if err != nil {
			return nil, nil, err
		}
		if t.echo, t.asked = len(lists) == len(seq)+1, true; !t.echo {
			t.note("the server tells no log-probabilities of prompts: it is asked about every position")
		}
	}
	if t.echo {
		lists, err := t.complete(ctx, seq, true)
		if err == nil && len(lists) != len(seq)+1 {
			err = t.lie("tells about %d positions of %d", len(lists), len(seq)+1)
		}
		for i := 0; err == nil && i < len(seq); i++ { // the first list is about the first token, which nothing is before
			err = t.take(lists[i+1], i, ids[i*k:(i+1)*k], p[i*k:(i+1)*k])
		}
		return ids, p, err
	}
	errs := make([]error, len(seq))
	var wait sync.WaitGroup
	slots := make(chan struct{}, t.Parallel)
	for i := range seq {
		slots <- struct{}{}
		wait.Add(1)
		go func() {
			defer func() { <-slots; wait.Done() }()
			lists, err := t.complete(ctx, seq[:i+1], false)
			if err == nil && len(lists) != 1 {
				err = t.lie("tells about %d tokens where it was asked for one", len(lists))
			}
			if err == nil {
				err = t.take(lists[0], i, ids[i*k:(i+1)*k], p[i*k:(i+1)*k])
			}
			errs[i] = err
		}()
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, nil, err
		}
	}
	return ids, p, nil
}
