package serve

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/chat"
	"github.com/parelm/pare/runtime"
)

// patience is how long a test waits for what must come. It bounds a fault; a machine that is busy is slow, not wrong.
const patience = time.Minute

var full = flag.Bool("full", false, "run the load tests at their full size: minutes")

// checkpoint is opened once: tests share the files, never an engine.
var checkpoint = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pare-serve")
	if err != nil {
		return "", err
	}
	files, err := models.Files("llama", 5, map[string]any{"max_position_embeddings": 512})
	for name, data := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
	}
	return dir, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := checkpoint(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// house is a running server.
type house struct {
	*Server
	t    *testing.T
	addr string
	stop context.CancelFunc
	done chan error
	live atomic.Int64 // requests in their handlers
}

// until waits for a condition.
func (h *house) until(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}

// hold stops the model within its next step until release is called, so that a test knows what runs and what waits
// however fast the model and however busy the machine. Call it before the first request.
func (h *house) hold() (release func()) {
	gate := make(chan struct{})
	release = sync.OnceFunc(func() { close(gate) })
	h.serving().Engine.SetTap(func(*model.Node, []float32, int) { <-gate })
	h.t.Cleanup(release)
	return release
}

// gauges returns what runs and waits.
func (h *house) gauges() (g gauges) {
	h.serving().pool.count(&g)
	return g
}

// tasks returns those that run and those that wait.
func (h *house) tasks() (all []*task) {
	p := h.serving().pool
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.slots {
		if s.t != nil {
			all = append(all, s.t)
		}
	}
	return append(all, p.waiting...)
}

// cancelled reports whether there are n tasks and all are to end.
func (h *house) cancelled(n int) bool {
	all := h.tasks()
	return len(all) == n && !slices.ContainsFunc(all, func(t *task) bool { return t.ctx.Err() == nil })
}

// open starts a server on a port of its own.
func open(t *testing.T, change func(*Options)) *house {
	t.Helper()
	dir, err := checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	e, err := runtime.Load(context.Background(), m, runtime.Options{Rounding: runtime.RoundFast})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := chat.Builtin("plain")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Model: Model{Name: "tiny", Engine: e, Tokenizer: tok, Template: tmpl, EOS: []int32{tok.EOS()}}}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	h := &house{Server: s, t: t, addr: l.Addr().String(), stop: stop, done: make(chan error, 1)}
	inner := s.handler
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.live.Add(1)
		defer h.live.Add(-1)
		inner.ServeHTTP(w, r)
	})
	go func() { h.done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		select {
		case <-h.done:
		case <-time.After(patience):
			t.Error("the server does not stop")
		}
		h.until("every request leaves its handler", func() bool { return h.live.Load() == 0 })
		m.Close()
	})
	return h
}

// client has connections of its own, so that tests can count them.
func client() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: patience}
}

// post sends a body and returns status and answer.
func (h *house) post(c *http.Client, path, body string) (int, string) {
	r, err := c.Post("http://"+h.addr+path, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err.Error()
	}
	return r.StatusCode, string(data)
}

// complete returns the text of a greedy completion.
func (h *house) complete(c *http.Client, prompt string, n int) (string, error) {
	status, body := h.post(c, "/v1/completions", fmt.Sprintf(`{"prompt": %q, "max_tokens": %d, "temperature": 0, "ignore_eos": true}`, prompt, n))
	var a struct{ Choices []struct{ Text string } }
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != 200 || len(a.Choices) != 1 {
		return "", fmt.Errorf("status %d: %s", status, body)
	}
	return a.Choices[0].Text, nil
}

// streamed reads a streamed greedy completion: its text, the times between events, and whether it ended as it should.
func (h *house) streamed(ctx context.Context, c *http.Client, prompt string, n int, pause time.Duration) (text string, gaps []time.Duration, status int, err error) {
	body := fmt.Sprintf(`{"prompt": %q, "max_tokens": %d, "temperature": 0, "ignore_eos": true, "stream": true}`, prompt, n)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+h.addr+"/v1/completions", strings.NewReader(body))
	if err != nil {
		return "", nil, 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	a, err := c.Do(r)
	if err != nil {
		return "", nil, 0, err
	}
	defer a.Body.Close()
	if a.StatusCode != 200 {
		_, err := io.Copy(io.Discard, a.Body)
		return "", nil, a.StatusCode, err
	}
	last, done := time.Now(), false
	for s := bufio.NewScanner(a.Body); s.Scan(); {
		data, ok := strings.CutPrefix(s.Text(), "data: ")
		if !ok {
			continue
		}
		if done = data == "[DONE]"; done {
			break
		}
		var e struct {
			Choices []struct{ Text string }
			Error   any
		}
		if err := json.Unmarshal([]byte(data), &e); err != nil || e.Error != nil {
			return text, gaps, 200, fmt.Errorf("event %s", data)
		}
		for _, x := range e.Choices {
			text += x.Text
		}
		gaps = append(gaps, time.Since(last))
		last = time.Now()
		time.Sleep(pause)
	}
	if !done {
		return text, gaps, 200, fmt.Errorf("the stream breaks off")
	}
	return text, gaps, 200, nil
}

var prompts = []string{"The morning was", "She went to the river", "A small", "Once there was a house on the hill and", "They", "In the evening the rain", "He took", "Nobody knew"}

// TestSameText: greedy text is the same alone, in a batch of 8, streamed, with prompts read in pieces of any size, and
// from a session that knows a part of the prompt.
func TestSameText(t *testing.T) {
	alone := open(t, func(o *Options) { o.Parallel = 1 })
	var want []string
	for _, p := range prompts {
		text, err := alone.complete(client(), p, 40)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, text)
	}
	slices.Sort(slices.Clone(want))
	if len(slices.Compact(slices.Sorted(slices.Values(want)))) < 4 {
		t.Fatalf("the texts hardly differ: %q", want)
	}
	for _, chunk := range []int{1, 3, 32} {
		h := open(t, func(o *Options) { o.Parallel, o.Chunk = 8, chunk })
		c := client()
		var group sync.WaitGroup
		for round := range 3 {
			for i, p := range prompts {
				group.Go(func() {
					var got string
					var err error
					if (i+round)%2 == 0 {
						got, err = h.complete(c, p, 40)
					} else {
						got, _, _, err = h.streamed(context.Background(), c, p, 40, 0)
					}
					if err != nil || got != want[i] {
						t.Errorf("chunk %d, round %d: %q becomes %q, alone it is %q (%v)", chunk, round, p, got, want[i], err)
					}
				})
			}
			if round != 1 { // the second round stands beside the third
				group.Wait()
			}
		}
		if h.m.cached.Load() == 0 {
			t.Error("no prompt was found in a session")
		}
	}
}

// TestChat goes through a conversation whole and streamed, with usage, stops, choices and log probabilities.
func TestChat(t *testing.T) {
	h := open(t, nil)
	c := client()
	status, body := h.post(c, "/v1/chat/completions", `{"model": "tiny", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
		"max_completion_tokens": 12, "temperature": 0, "logprobs": true, "top_logprobs": 2, "n": 2, "seed": 3}`)
	var a struct {
		Object  string
		Choices []struct {
			Message  struct{ Role, Content string }
			Reason   string `json:"finish_reason"`
			Logprobs struct {
				Content []struct {
					Token   string
					Logprob float64
					Top     []struct{ Logprob float64 } `json:"top_logprobs"`
				}
			}
		}
		Usage struct {
			Completion int `json:"completion_tokens"`
			Prompt     int `json:"prompt_tokens"`
		}
	}
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	if a.Object != "chat.completion" || len(a.Choices) != 2 || a.Choices[0].Message.Role != "assistant" || a.Choices[0].Message.Content != a.Choices[1].Message.Content ||
		a.Usage.Completion != 24 || a.Usage.Prompt == 0 || a.Choices[0].Reason != "length" {
		t.Errorf("%s", body)
	}
	if l := a.Choices[0].Logprobs.Content; len(l) != 12 || len(l[0].Top) != 2 || l[0].Logprob != l[0].Top[0].Logprob || l[0].Logprob >= 0 {
		t.Errorf("log probabilities %+v", l)
	}
	status, body = h.post(c, "/v1/chat/completions", `{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12, "temperature": 0, "stream": true, "stream_options": {"include_usage": true}}`)
	if status != 200 || !strings.Contains(body, `"role":"assistant"`) || !strings.Contains(body, `"completion_tokens":12`) || !strings.HasSuffix(body, "data: [DONE]\n\n") || !strings.Contains(body, `"object":"chat.completion.chunk"`) {
		t.Errorf("%d %s", status, body)
	}
}

// TestStop cuts at a stop string and shows none of it.
func TestStop(t *testing.T) {
	h := open(t, nil)
	text, err := h.complete(client(), prompts[0], 60)
	if err != nil || len(text) < 30 {
		t.Fatalf("%q %v", text, err)
	}
	stop := text[17:22]
	for _, stream := range []bool{false, true} {
		_, body := h.post(client(), "/v1/completions", fmt.Sprintf(`{"prompt": %q, "max_tokens": 60, "temperature": 0, "ignore_eos": true, "stop": [%q], "stream": %v}`, prompts[0], stop, stream))
		var got strings.Builder
		for line := range strings.Lines(body) {
			var e struct {
				Choices []struct{ Text string }
			}
			if json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &e) == nil {
				for _, c := range e.Choices {
					got.WriteString(c.Text)
				}
			}
		}
		if want := text[:strings.Index(text, stop)]; got.String() != want || !strings.Contains(body, `"finish_reason":"stop"`) {
			t.Errorf("stream %v: %q, want %q: %s", stream, got.String(), want, body)
		}
	}
}

// TestSchema: an answer held to a JSON schema is one, even from a model that knows nothing; tools called by grammar too.
func TestSchema(t *testing.T) {
	h := open(t, nil)
	const schema = `{"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 150}, "kind": {"enum": ["a", "b"]}}, "required": ["name", "age", "kind"]}`
	for seed := range 4 {
		status, body := h.post(client(), "/v1/chat/completions", fmt.Sprintf(`{"messages": [{"role": "user", "content": "Who?"}], "max_tokens": 200, "seed": %d, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": %s}}}`, seed, schema))
		var a struct {
			Choices []struct {
				Message struct{ Content string }
				Reason  string `json:"finish_reason"`
			}
		}
		var v struct {
			Name, Kind string
			Age        int
		}
		if err := json.Unmarshal([]byte(body), &a); err != nil || status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		if err := json.Unmarshal([]byte(a.Choices[0].Message.Content), &v); err != nil || v.Age > 150 || v.Kind == "" || a.Choices[0].Reason != "stop" {
			t.Errorf("%q (%v)", a.Choices[0].Message.Content, err)
		}
		for _, stream := range []bool{false, true} {
			status, body = h.post(client(), "/v1/chat/completions", fmt.Sprintf(`{"messages": [{"role": "user", "content": "Who?"}], "max_tokens": 200, "seed": %d, "stream": %v, "tool_choice": "required",
			"tools": [{"type": "function", "function": {"name": "look", "parameters": %s}}]}`, seed, stream, schema))
			if status != 200 || !strings.Contains(body, `"name":"look"`) || !strings.Contains(body, `"finish_reason":"tool_calls"`) {
				t.Errorf("%d %s", status, body)
			}
		}
	}
}

// TestToolScanner takes calls out of a text, wherever its pieces end.
func TestToolScanner(t *testing.T) {
	j := &job{id: "chatcmpl-1", tools: true}
	const text = "Let me <see>.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>\n<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>"
	for cut := range len(text) {
		var x toolScanner
		out := x.push(text[:cut], false, false) + x.push(text[cut:], true, false)
		rest, calls := j.toolCalls(x.held)
		if out != "Let me <see>.\n" || rest != "" || len(calls) != 2 || calls[0].Function.Arguments != `{"a": 1}` || calls[1].Function.Name != "g" {
			t.Fatalf("cut at %d: %q %q %+v", cut, out, rest, calls)
		}
	}
	for _, broken := range []string{"<tool_call>{", "<tool_call>{\"name\": 1}</tool_call>", "none", "<tool_cal"} {
		if rest, calls := j.toolCalls(broken); rest != broken || calls != nil {
			t.Errorf("%q becomes %q %v", broken, rest, calls)
		}
	}
}
