package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/runtime"
)

// engine loads a model of the shape of the one that tests serve, with the weights of a seed.
func engine(t *testing.T, family string, seed uint64, change map[string]any) *runtime.Engine {
	t.Helper()
	dir := t.TempDir()
	files, err := models.Files(family, seed, change)
	for name, data := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	e, err := runtime.Load(context.Background(), m, runtime.Options{Rounding: runtime.RoundFast})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// textOf asks for a text with more fields and returns it with the usage.
func (h *house) textOf(prompt string, n int, fields string) (text string, usage struct {
	Prompt  map[string]int `json:"prompt_tokens_details"`
	Drafted map[string]int `json:"completion_tokens_details"`
}, err error) {
	quoted, err := json.Marshal(prompt)
	if err != nil {
		return "", usage, err
	}
	status, body := h.post(client(), "/v1/completions", fmt.Sprintf(`{"prompt": %s, "max_tokens": %d%s}`, quoted, n, fields))
	var a struct {
		Choices []struct{ Text string }
		Usage   *struct {
			Prompt  map[string]int `json:"prompt_tokens_details"`
			Drafted map[string]int `json:"completion_tokens_details"`
		}
	}
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != 200 {
		return "", usage, fmt.Errorf("%d %s", status, body)
	}
	usage = *a.Usage
	for _, c := range a.Choices {
		text += c.Text + "|"
	}
	return text, usage, nil
}

var styles = []string{
	`, "temperature": 0, "ignore_eos": true`,
	`, "temperature": 1, "seed": 11, "top_p": 0.9`,
	`, "temperature": 0.7, "seed": 3, "repetition_penalty": 1.3, "presence_penalty": 0.5, "logprobs": 2, "n": 2`,
	`, "temperature": 0, "stop": ["e"]`,
	`, "temperature": 1, "seed": 5, "grammar": "root ::= [a-z ]+ \".\""`,
}

// TestDraft: with a draft model every text is what it is without, greedy or drawn, alone or in company, whether the draft is
// always right or hardly ever; what it drafts is counted; a request can do without.
func TestDraft(t *testing.T) {
	alone := open(t, nil)
	want := map[string]string{}
	for _, style := range styles {
		for _, p := range prompts {
			text, _, err := alone.textOf(p, 20, style)
			if err != nil {
				t.Fatal(err)
			}
			want[p+style] = text
		}
	}
	change := map[string]any{"max_position_embeddings": 512}
	for name, draft := range map[string]*runtime.Engine{
		"itself": engine(t, "llama", 5, change), "a stranger": engine(t, "llama", 6, change),
		"a short context": engine(t, "llama", 5, map[string]any{"max_position_embeddings": 24}),
		"a window":        engine(t, "mistral", 5, map[string]any{"max_position_embeddings": 512, "sliding_window": 16}),
	} {
		if draft.Vocab() != alone.serving().Engine.Vocab() {
			t.Fatalf("%s has another vocabulary", name)
		}
		h := open(t, func(o *Options) { o.Draft, o.Parallel, o.Chunk = draft, 4, 3 })
		var group sync.WaitGroup
		for _, style := range styles {
			for _, p := range prompts {
				group.Go(func() {
					got, _, err := h.textOf(p, 20, style)
					if err != nil || got != want[p+style] {
						t.Errorf("draft %s, %s: %q becomes %q, without it is %q (%v)", name, style, p, got, want[p+style], err)
					}
				})
			}
		}
		group.Wait()
		_, usage, err := h.textOf(prompts[0], 20, styles[0])
		drafted := usage.Drafted["accepted_prediction_tokens"] + usage.Drafted["rejected_prediction_tokens"]
		switch {
		case err != nil, drafted == 0, h.m.drafted.Load() == 0:
			t.Errorf("draft %s: %+v %v", name, usage, err)
		case name == "itself" && usage.Drafted["rejected_prediction_tokens"] != 0:
			t.Errorf("a model disagrees with itself: %+v", usage)
		}
		if _, usage, err = h.textOf(prompts[0], 20, styles[0]+`, "speculative.n_max": 0`); err != nil || usage.Drafted != nil {
			t.Errorf("draft %s, not wanted: %+v %v", name, usage, err)
		}
	}
	if _, err := New(Options{Model: Model{Engine: alone.serving().Engine, Tokenizer: alone.serving().Tokenizer,
		Draft: engine(t, "llama", 5, map[string]any{"vocab_size": 99})}}); err == nil || !strings.Contains(err.Error(), "do not share a vocabulary") {
		t.Error(err)
	}
}

// TestDraftFails: texts go on where the draft model meets a panic.
func TestDraftFails(t *testing.T) {
	quiet(t)
	want := solo(t, 40)
	draft := engine(t, "llama", 5, map[string]any{"max_position_embeddings": 512})
	h := open(t, func(o *Options) { o.Draft = draft })
	draft.SetTap(func(*model.Node, []float32, int) { panic("injected") })
	for i, p := range prompts[:3] {
		if text, err := h.complete(client(), p, 40); err != nil || text != want[i] {
			t.Errorf("%q %v, want %q", text, err, want[i])
		}
	}
}

// TestPrefix: a conversation that begins like another one takes over what that one has read, while it is written and after,
// and takes nothing from it.
func TestPrefix(t *testing.T) {
	long := strings.Repeat("The house stood on the hill. ", 3)
	alone := open(t, func(o *Options) { o.Parallel = 1 })
	text := func(h *house, end string) (string, int) {
		t.Helper()
		got, usage, err := h.textOf(long+end, 20, styles[0])
		if err != nil {
			t.Fatal(err)
		}
		return got, usage.Prompt["cached_tokens"]
	}
	wantA, _ := text(alone, "A river")
	wantB, _ := text(alone, "Old songs")
	h := open(t, func(o *Options) { o.Parallel = 4 })
	gotA, cold := text(h, "A river")
	gotB, warm := text(h, "Old songs")
	again, own := text(h, "A river")
	if gotA != wantA || gotB != wantB || again != wantA {
		t.Errorf("texts %q %q %q, alone %q %q", gotA, gotB, again, wantA, wantB)
	}
	if cold != 0 || warm < 10 || own <= warm {
		t.Errorf("%d, %d and %d tokens were known; the second begins like the first, the third is the first, which was not taken from", cold, warm, own)
	}
	// What was written becomes part of the next prompt: its text is that of a server that reads it for the first time.
	next := "A river" + strings.TrimSuffix(wantA, "|") + " and then"
	want, _ := text(open(t, func(o *Options) { o.Parallel = 1 }), next)
	if got, known := text(h, next); got != want || known < own {
		t.Errorf("the next turn: %q, read for the first time it gives %q; %d tokens were known, %d of them before", got, want, known, own)
	}
}

// TestReload: a model is put in the place of another one while streams run; every stream is that of one of the two, and the
// old model is free when Use returns. A model that makes no numbers, or none, changes nothing.
func TestReload(t *testing.T) {
	h := open(t, func(o *Options) { o.Parallel = 8 })
	first := h.serving().Model
	second := first
	second.Engine, second.Name = engine(t, "llama", 77, map[string]any{"max_position_embeddings": 512}), "second"
	text := func(p string) string {
		got, err := h.complete(client(), p, 40)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := map[string][]string{}
	for _, m := range []Model{second, first} {
		if err := h.Use(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		for _, p := range prompts {
			want[p] = append(want[p], text(p))
		}
	}
	var group sync.WaitGroup
	var stop atomic.Bool
	for i, p := range prompts {
		group.Go(func() {
			for !stop.Load() {
				got, _, status, err := h.streamed(context.Background(), client(), p, 40, 0)
				if err != nil || status != 200 || got != want[p][0] && got != want[p][1] {
					t.Errorf("stream %d: %d %q %v, want one of %q", i, status, got, err, want[p])
					return
				}
			}
		})
	}
	for i := range 20 {
		m, broken := first, first
		if i%2 == 0 {
			m = second
		}
		before := h.serving()
		broken.Engine = nil
		if err := h.Use(t.Context(), broken); err == nil || h.serving() != before {
			t.Errorf("no engine: %v", err)
		}
		if err := h.Use(t.Context(), m); err != nil || h.serving() == before {
			t.Error(err)
		}
		select {
		case <-before.pool.done:
		default:
			t.Error("the old model still runs")
		}
	}
	stop.Store(true)
	group.Wait()
	if len(h.all) != 1 {
		t.Errorf("%d models are in service", len(h.all))
	}
}

// TestLoading: a server without a model says so, and answers as soon as it has one.
func TestLoading(t *testing.T) {
	ready := open(t, nil)
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	h := &house{Server: s, t: t, addr: l.Addr().String()}
	get := func(path string) (int, string, string) {
		r, err := client().Get("http://" + h.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		data, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, strings.TrimSpace(string(data)), r.Header.Get("Retry-After")
	}
	if status, body, after := get("/health"); status != 503 || body != `{"status":"loading"}` || after == "" {
		t.Errorf("%d %s %q", status, body, after)
	}
	if status, body, _ := get("/v1/models"); status != 200 || !strings.Contains(body, `"data":[]`) {
		t.Errorf("%d %s", status, body)
	}
	for _, path := range []string{"/v1/models/tiny", "/metrics"} {
		if status, body, _ := get(path); status != map[bool]int{true: 200, false: 503}[path == "/metrics"] {
			t.Errorf("%d %s", status, body)
		}
	}
	if status, body := h.post(client(), "/v1/completions", `{"prompt": "x"}`); status != 503 || !strings.Contains(body, "loading") {
		t.Errorf("%d %s", status, body)
	}
	if err := s.Use(t.Context(), ready.serving().Model); err != nil {
		t.Fatal(err)
	}
	if status, body, _ := get("/health"); status != 200 || body != `{"status":"ok"}` {
		t.Errorf("%d %s", status, body)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Use(context.Background(), ready.serving().Model); !errors.Is(err, errDraining) {
		t.Error(err)
	}
}

// broken panics at the n-th write of a response.
type broken struct {
	http.ResponseWriter
	left int
}

func (w *broken) Write(b []byte) (int, error) {
	if w.left--; w.left < 0 {
		panic("injected")
	}
	return w.ResponseWriter.Write(b)
}

func (w *broken) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// TestPanicInStream: a panic in the middle of a stream ends that stream alone; its places are free and nothing waits for it.
func TestPanicInStream(t *testing.T) {
	quiet(t)
	h := open(t, nil)
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Panic") != "" {
			w = &broken{w, 3}
		}
		h.handler.ServeHTTP(w, r)
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = web.Serve(l) }() // it ends with Close
	defer web.Close()
	start := goruntime.NumGoroutine()
	c := client()
	for range 20 {
		r, err := http.NewRequest(http.MethodPost, "http://"+l.Addr().String()+"/v1/completions", strings.NewReader(`{"prompt": "A", "max_tokens": 400, "ignore_eos": true, "stream": true, "n": 3}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Panic", "1")
		if a, err := c.Do(r); err == nil {
			_, _ = io.Copy(io.Discard, a.Body) // it breaks off
			a.Body.Close()
		}
	}
	c.CloseIdleConnections()
	h.until("every place is free", func() bool { return len(h.tasks()) == 0 })
	h.until("no goroutine is left", func() bool { return goruntime.NumGoroutine() <= start+1 })
	if n := h.m.panics.Load(); n != 20 {
		t.Errorf("%d panics counted", n)
	}
	if _, err := h.complete(client(), "x", 2); err != nil {
		t.Error(err)
	}
}

// TestPrompts: several prompts get what each gets alone, in order.
func TestPrompts(t *testing.T) {
	h := open(t, nil)
	all, _, err := h.textOf(prompts[0], 12, styles[0]+fmt.Sprintf(`, "n": 2, "prompt": [%q, %q]`, prompts[0], prompts[1])) // the last prompt counts
	if err != nil {
		t.Fatal(err)
	}
	one, _, err := h.textOf(prompts[0], 12, styles[0])
	if err != nil {
		t.Fatal(err)
	}
	two, _, err := h.textOf(prompts[1], 12, styles[0])
	if want := one + one + two + two; err != nil || all != want {
		t.Errorf("%q %v, want %q", all, err, want)
	}
}

// TestEcho: echo with log probabilities tells those of the prompt, whole and streamed, and they are the ones that the engine
// computes.
func TestEcho(t *testing.T) {
	h := open(t, nil)
	ids, err := h.serving().Tokenizer.Encode(prompts[3], true)
	if err != nil {
		t.Fatal(err)
	}
	var want []float64
	if err := h.serving().Engine.NewSession().Each(t.Context(), ids, func(i int, logits []float32) error {
		if i+1 < len(ids) {
			p, _ := runtime.Logprob(logits, ids[i+1], 0)
			want = append(want, p)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, stream := range []bool{false, true} {
		for _, max := range []int{0, 3} {
			_, body := h.post(client(), "/v1/completions", fmt.Sprintf(`{"prompt": %q, "max_tokens": %d, "temperature": 0, "echo": true, "logprobs": 1, "stream": %v}`, prompts[3], max, stream))
			var text string
			var got []*float64
			for line := range strings.Lines(body) {
				var a struct {
					Choices []struct {
						Text     string
						Logprobs *struct {
							Token []*float64 `json:"token_logprobs"`
						}
					}
				}
				if json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &a) != nil {
					continue
				}
				for _, c := range a.Choices {
					text += c.Text
					if c.Logprobs != nil {
						got = append(got, c.Logprobs.Token...)
					}
				}
			}
			if !strings.HasPrefix(text, prompts[3]) || max == 0 && text != prompts[3] || len(got) != len(ids)+max || got[0] != nil {
				t.Fatalf("stream %v, %d tokens: %q, %d log probabilities for %d tokens: %s", stream, max, text, len(got), len(ids), body)
			}
			for i, w := range want {
				if *got[i+1] != w {
					t.Errorf("stream %v: token %d has %v, want %v", stream, i+1, *got[i+1], w)
				}
			}
		}
	}
}

// TestPrefixTime tells what a known beginning is worth: the time to the first token of a long prompt, read and copied.
func TestPrefixTime(t *testing.T) {
	if !*full {
		t.Skip("a measurement: needs -full")
	}
	h := open(t, func(o *Options) {
		o.Engine = engine(t, "llama", 5, map[string]any{"max_position_embeddings": 2048, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8,
			"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64})
	})
	long := strings.Repeat("The house stood on the hill and nobody knew. ", 30)
	first := func(end string) time.Duration {
		t.Helper()
		began := time.Now()
		_, usage, err := h.textOf(long+end, 1, styles[0])
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d tokens were known", usage.Prompt["cached_tokens"])
		return time.Since(began)
	}
	cold := first("A river")
	warm := min(first("Old songs"), first("Some birds"))
	t.Logf("first token after %v, and after %v where another session knows the beginning", cold, warm)
}
