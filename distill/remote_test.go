package distill

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/runtime"
	"github.com/parelm/pare/runtime/serve"
)

// saved is a tiny model with a tokenizer, opened from files.
func saved(t *testing.T) *model.Model {
	t.Helper()
	dir := t.TempDir()
	files, err := models.Files("llama", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, files)
	m, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// tell asks a teacher for the top of a batch.
func tell(t *testing.T, x Teacher, k int) (ids []int32, kept, tail []float32, err error) {
	t.Helper()
	b := newBatch(2, 9)
	fill(b, text(10, x.vocab()).IDs, -1)
	fill(b, text(40, x.vocab()).IDs[20:30], -1)
	err = x.answer(t.Context(), b, &want{needs: needTop, top: []topWant{{k, 1}}})
	if err != nil {
		return nil, nil, nil, err
	}
	a, p, rest := topNames(k, 1)
	return b.Inputs[a].([]int32), b.Inputs[p].([]float32), b.Inputs[rest].([]float32), nil
}

// TestRemoteIsLive asks pare's own server what the model beside it says.
func TestRemoteIsLive(t *testing.T) {
	m := saved(t)
	e, err := runtime.Load(t.Context(), m, runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := m.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	s, err := serve.New(serve.Options{Model: serve.Model{Name: "tiny", Engine: e, Tokenizer: tok, EOS: m.EOS()}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	h := httptest.NewServer(s.Handler())
	defer h.Close()
	far, err := NewRemote(t.Context(), m, Remote{URL: h.URL + "/v1/", TopLogprobs: 12}, nil)
	if err != nil {
		t.Fatal(err)
	}
	near, err := Live(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	const k = 12
	a, pa, _, err := tell(t, far, k)
	if err != nil {
		t.Fatal(err)
	}
	b, pb, _, err := tell(t, near, k)
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for row := 0; row < len(a); row += k {
		want := map[int32]float32{}
		for i := range k {
			want[b[row+i]] = pb[row+i]
		}
		for i := range k {
			if pa[row+i] <= floor { // a part of a character: its text names no token
				continue
			}
			named++
			if p, ok := want[a[row+i]]; !ok || math.Abs(float64(p-pa[row+i])) > 1e-4 {
				t.Errorf("position %d: the server gives token %d %g, the model %g", row/k, a[row+i], pa[row+i], p)
			}
		}
	}
	if named < len(a)/2 {
		t.Errorf("%d of %d tokens have names", named, len(a))
	}
	st := quick()
	st.Steps, st.BatchSize, st.MaxSeqLength = 2, 1, 8
	if _, r, err := Run(t.Context(), m, far, text(400, m.Config.Vocab), st, Options{}); err != nil || !(r.Points[0].Loss < 1e-3) {
		t.Errorf("a student that is the teacher has a loss: %v", err)
	}
}

// fake is a server that echoes as vLLM does, and lies as it is told.
type fake struct {
	calls atomic.Int64
	size  int
	lie   func(n int64, a map[string]any, w http.ResponseWriter) (done bool)
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/v1/models":
		fmt.Fprint(w, `{"data":[{"id":"big"}]}`)
		return
	case "/v1/completions":
	default:
		http.NotFound(w, r)
		return
	}
	var q struct {
		Prompt   []int32
		Logprobs int
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var tokens []string
	var tops []any
	for i := range len(q.Prompt) + 1 {
		if i == 0 {
			tops = append(tops, nil)
		} else {
			top := map[string]any{}
			for k := range q.Logprobs {
				top[fmt.Sprintf("token_id:%d", (int(q.Prompt[i-1])+k)%f.size)] = math.Log(0.5) * float64(k+1)
			}
			tops = append(tops, top)
		}
		if i < len(q.Prompt) {
			tokens = append(tokens, fmt.Sprintf("token_id:%d", q.Prompt[i]))
		}
	}
	a := map[string]any{"tokens": append(tokens, "token_id:0"), "top_logprobs": tops, "count": len(q.Prompt)}
	if f.lie != nil && f.lie(f.calls.Add(1), a, w) {
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"choices": []any{map[string]any{"logprobs": a}}, "usage": map[string]any{"prompt_tokens": a["count"]}})
}

// TestRemoteLies: whatever a server does wrong is an error that says what, or passes.
func TestRemoteLies(t *testing.T) {
	m := saved(t)
	top := func(a map[string]any, i int) map[string]any { return a["top_logprobs"].([]any)[i].(map[string]any) }
	for _, c := range []struct {
		name, want string
		lie        func(n int64, a map[string]any, w http.ResponseWriter) bool
	}{
		{"honest", "", nil},
		{"500 twice", "", func(n int64, _ map[string]any, w http.ResponseWriter) bool {
			if n <= 2 {
				http.Error(w, "out of memory", http.StatusInternalServerError)
			}
			return n <= 2
		}},
		{"500 always", "status 500: out of memory", func(_ int64, _ map[string]any, w http.ResponseWriter) bool {
			http.Error(w, "out of memory", http.StatusInternalServerError)
			return true
		}},
		{"refused", "status 400: no", func(_ int64, _ map[string]any, w http.ResponseWriter) bool {
			http.Error(w, "no", http.StatusBadRequest)
			return true
		}},
		{"slow", "deadline exceeded", func(_ int64, _ map[string]any, w http.ResponseWriter) bool {
			time.Sleep(300 * time.Millisecond)
			return true
		}},
		{"short list", "has 3 tokens at position 4 where 4 were asked for", func(_ int64, a map[string]any, _ http.ResponseWriter) bool {
			x := top(a, 5)
			for k := range x {
				delete(x, k)
				break
			}
			return false
		}},
		{"NaN", "no JSON", func(_ int64, _ map[string]any, w http.ResponseWriter) bool {
			fmt.Fprint(w, `{"choices":[{"logprobs":{"top_logprobs":[{"a":NaN}]}}]}`)
			return true
		}},
		{"null", "no log-probability", func(_ int64, a map[string]any, _ http.ResponseWriter) bool {
			top(a, 2)["token_id:9"] = nil
			return false
		}},
		{"above one", "log-probability 0.5", func(_ int64, a map[string]any, _ http.ResponseWriter) bool {
			for k := range top(a, 2) {
				top(a, 2)[k] = 0.5
			}
			return false
		}},
		{"sum", "sum to", func(_ int64, a map[string]any, _ http.ResponseWriter) bool {
			for k := range top(a, 2) {
				top(a, 2)[k] = -0.1
			}
			return false
		}},
		{"fewer positions", "tells about", func(n int64, a map[string]any, _ http.ResponseWriter) bool {
			if n > 1 {
				a["top_logprobs"] = a["top_logprobs"].([]any)[:5]
			}
			return false
		}},
		{"token count", "counts 11 tokens in a prompt of 9", func(_ int64, a map[string]any, _ http.ResponseWriter) bool {
			a["count"] = 11
			return false
		}},
		{"other tokenizer", "its tokenizer is not the student's", func(_ int64, a map[string]any, _ http.ResponseWriter) bool {
			a["tokens"].([]string)[3] = "token_id:77"
			return false
		}},
		{"no logprobs", "no logprobs", func(_ int64, _ map[string]any, w http.ResponseWriter) bool {
			fmt.Fprint(w, `{"choices":[{"text":"a"}]}`)
			return true
		}},
	} {
		f := &fake{size: m.Config.Vocab, lie: c.lie}
		h := httptest.NewServer(f)
		x, err := NewRemote(t.Context(), m, Remote{URL: h.URL, TopLogprobs: 4, Retries: 2, Timeout: 5 * time.Second}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.name == "slow" {
			x.(*remote).Timeout, x.(*remote).Retries = 50*time.Millisecond, 0
		}
		ids, kept, tail, err := tell(t, x, 4)
		h.Close()
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want == "":
			if math.Abs(float64(kept[1])-2*math.Log(0.5)) > 1e-6 || ids[1] != (text(10, m.Config.Vocab).IDs[0]+1)%int32(m.Config.Vocab) || math.Abs(math.Exp(float64(tail[0]))-1.0/16) > 1e-6 {
				t.Errorf("%s: ids %v, ln p %v, tail %v", c.name, ids[:4], kept[:4], tail[0])
			}
		case err == nil || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		case c.name == "NaN" && !errors.Is(err, tensor.ErrCorrupt):
			t.Errorf("%s: %v is of no class", c.name, err)
		}
	}
}

// TestRemoteCache makes a cache from a server that breaks down midway; going on makes the file of a server that did not.
func TestRemoteCache(t *testing.T) {
	m := saved(t)
	broken := false
	f := &fake{size: m.Config.Vocab, lie: func(n int64, _ map[string]any, w http.ResponseWriter) bool {
		if broken && n > 100 {
			http.Error(w, "gone", http.StatusBadGateway)
			return true
		}
		return false
	}}
	h := httptest.NewServer(f)
	defer h.Close()
	x, err := NewRemote(t.Context(), m, Remote{URL: h.URL, TopLogprobs: 5}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cs := CacheSettings{MaxSeqLength: 16}
	path, data := written(t, x, m, cs, Options{})
	c := newMemory()
	broken = true
	f.calls.Store(0)
	if _, err := WriteCache(t.Context(), &strings.Builder{}, x, m, text(4000, m.Config.Vocab), cs, Options{Checkpoints: c}); err == nil || !strings.Contains(err.Error(), "502") {
		t.Fatal(err)
	}
	before := f.calls.Load()
	broken = false
	if _, again := written(t, x, m, cs, Options{Checkpoints: c}); string(again) != string(data) {
		t.Error("the cache differs after a break")
	}
	if n := f.calls.Load() - before; n >= 249 {
		t.Errorf("%d sequences were asked for again", n)
	}
	file, err := OpenCache(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := quick()
	s.Steps = 5
	if _, r, err := Run(t.Context(), m, file.Teacher(), Text{}, s, Options{}); err != nil || r.Points[0].Losses["topk_kl"] == 0 {
		t.Errorf("%v", err)
	}
}

func writeFiles(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
