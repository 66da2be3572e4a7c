package hub

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/internal/store"
)

const (
	testPiece = 1 << 16
	large     = 3*testPiece + 12345
)

func init() { pieceBytes = testPiece }

// model is a repository with a sharded model and much that nobody needs.
func modelFiles() (map[string][]byte, []string) {
	files := map[string][]byte{
		"config.json": []byte(`{"model_type":"llama"}`), "tokenizer.json": noise(3000), "README.md": noise(100),
		"model.safetensors.index.json":     []byte(`{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`),
		"model-00001-of-00002.safetensors": noise(large), "model-00002-of-00002.safetensors": noise(5000), "stray.safetensors": noise(10),
		"pytorch_model.bin": noise(999), "modeling.py": noise(10), "onnx/model.onnx": noise(10), "tokenization_x.py": noise(5),
	}
	return files, []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "pytorch_model.bin", "stray.safetensors"}
}

var wanted = []string{"config.json", "tokenizer.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}

func fetch(t *testing.T, c *Client, address string) string {
	t.Helper()
	dir, err := c.Fetch(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// same checks that a snapshot holds the wanted files and nothing else.
func same(t *testing.T, h *fakeHub, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(names) {
		t.Errorf("the snapshot holds %v, want %v", entries, names)
	}
	for _, n := range names {
		got, err := os.ReadFile(filepath.Join(dir, n))
		if err != nil || !bytes.Equal(got, h.files[n]) {
			t.Errorf("%s: %d bytes (%v), want %d", n, len(got), err, len(h.files[n]))
		}
		link, err := os.Readlink(filepath.Join(dir, n))
		if err != nil || !strings.HasPrefix(filepath.ToSlash(link), "../../blobs/") {
			t.Errorf("%s links to %q (%v), not to a blob", n, link, err)
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "..", "..", "blobs", "*.incomplete"))
	if err != nil || len(found) > 0 {
		t.Errorf("unfinished files are left: %v", found)
	}
}

func TestFetch(t *testing.T) {
	files, lfs := modelFiles()
	h := newFakeHub(t, files, lfs...)
	h.token = "hf_secret"
	cache := t.TempDir()
	bar := &bar{}
	dir, err := h.client(cache).Fetch(progress.With(context.Background(), bar), "hf://org/name")
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(cache, "models--org--name", "snapshots", testCommit); filepath.Clean(dir) != want {
		t.Errorf("fetched to %s, want %s", dir, want)
	}
	same(t, h, dir, wanted...)
	if ref, err := os.ReadFile(filepath.Join(cache, "models--org--name", "refs", "main")); string(ref) != testCommit {
		t.Errorf("refs/main is %q (%v)", ref, err)
	}
	for _, a := range h.auth {
		if a != "" {
			t.Errorf("the store was given %q", a)
		}
	}
	if n := h.count("GET /blob/model-00001"); n != 4 {
		t.Errorf("%d requests for four ranges", n)
	}
	if n := h.count("GET /org/name/resolve/" + testCommit + "/model-00001"); n > 4 {
		t.Errorf("the hub was asked %d times where the file is", n)
	}
	if bar.total == 0 || bar.total != bar.done {
		t.Errorf("progress told %d of %d bytes", bar.done, bar.total)
	}
	// Again: one question, no file.
	h.requests = nil
	fetch(t, h.client(cache), "hf://org/name")
	if len(h.requests) != 1 {
		t.Errorf("fetched again with %v", h.requests)
	}
	// Offline, and without a network.
	c := h.client(cache)
	c.Offline = true
	same(t, h, fetch(t, c, "hf://org/name"), wanted...)
	fetch(t, c, "hf://org/name@"+testCommit)
	if _, err := c.Fetch(context.Background(), "hf://org/name@v1"); !errors.Is(err, ErrOffline) {
		t.Errorf("offline, an unknown revision gives %v", err)
	}
	h.hub.Close()
	fetch(t, h.client(cache), "hf://org/name")
}

var barMutex sync.Mutex

type bar struct{ total, done int64 }

func (b *bar) Start(_, _ string, total int64) progress.Task {
	b.total += total
	return &barTask{b: b}
}

type barTask struct{ b *bar }

func (t *barTask) Add(n int64)     { t.b.add(n) }
func (t *barTask) Describe(string) {}
func (t *barTask) Done()           {}

func (b *bar) add(n int64) {
	barMutex.Lock()
	defer barMutex.Unlock()
	b.done += n
}

// TestFaults lets the servers misbehave in ways that a patient client survives.
func TestFaults(t *testing.T) {
	const blob, small, api = "/blob/model-00001-of-00002.safetensors", "/org/name/resolve/" + testCommit + "/config.json", "/api/models/org/name/revision/main"
	for _, c := range []struct {
		name  string
		spoil func(h *fakeHub)
		check func(t *testing.T, h *fakeHub)
	}{
		{"connections break off", func(h *fakeHub) {
			h.faults[blob] = []fault{{cut: 100}, {cut: 5000}, {cut: testPiece - 1}, {cut: 1}, {}, {cut: 70000}}
			h.faults[small] = []fault{{cut: 1}}
		}, func(t *testing.T, h *fakeHub) {
			if got := h.sent("model-00001-of-00002.safetensors"); got != large {
				t.Errorf("%d bytes were sent for a file of %d", got, large)
			}
		}},
		{"too many requests", func(h *fakeHub) {
			h.faults[api] = []fault{{status: 429, after: "7"}}
			h.faults[blob] = []fault{{status: 429, after: "3"}}
		},
			func(t *testing.T, h *fakeHub) {
				if len(h.waits) != 2 || h.waits[0] != 7*time.Second || h.waits[1] != 3*time.Second {
					t.Errorf("waited %v", h.waits)
				}
			}},
		{"server errors", func(h *fakeHub) {
			for _, p := range []string{api, blob, small} {
				h.faults[p] = []fault{{status: 500}, {status: 503}, {status: 502}}
			}
		}, nil},
		{"a date to come back at", func(h *fakeHub) {
			h.faults[api] = []fault{{status: 503, after: time.Now().Add(40 * time.Second).UTC().Format(http.TimeFormat)}}
		}, func(t *testing.T, h *fakeHub) {
			if len(h.waits) != 1 || h.waits[0] < 30*time.Second || h.waits[0] > 41*time.Second {
				t.Errorf("waited %v", h.waits)
			}
		}},
		{"signatures run out", func(h *fakeHub) { h.faults[blob] = []fault{{}, {status: 403}, {}, {status: 403}} }, nil},
		{"no ranges", func(h *fakeHub) { h.noRanges = true }, nil},
		{"no ranges, and it breaks off", func(h *fakeHub) {
			h.noRanges = true
			h.faults[blob] = []fault{{}, {}, {}, {}, {cut: 100_000}, {cut: 30}}
		}, nil},
		{"a list without hashes", func(h *fakeHub) {
			h.list = func(l *listing) {
				for i := range l.Siblings {
					l.Siblings[i].LFS, l.Siblings[i].Blob, l.Siblings[i].Size = nil, "", nil
				}
			}
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			files, lfs := modelFiles()
			h := newFakeHub(t, files, lfs...)
			c.spoil(h)
			same(t, h, fetch(t, h.client(t.TempDir()), "hf://org/name"), wanted...)
			if c.check != nil {
				c.check(t, h)
			}
		})
	}
}

// TestLies lets the servers say or send what is wrong: an error that says so, and nothing under the model's name.
func TestLies(t *testing.T) {
	first := func(l *listing) *file { return l.find("model-00001-of-00002.safetensors") }
	for _, c := range []struct {
		name  string
		spoil func(h *fakeHub)
		class error
		says  string
	}{
		{"wrong content", func(h *fakeHub) { h.content = func(b []byte) []byte { return bytes.Repeat([]byte{1}, len(b)) } }, ErrCorrupt, "its hash is"},
		{"longer than said", func(h *fakeHub) { h.content = func(b []byte) []byte { return append(bytes.Clone(b), 1) } }, ErrCorrupt, "the hub says"},
		{"shorter than said", func(h *fakeHub) { h.content = func(b []byte) []byte { return b[:len(b)-1] } }, ErrCorrupt, "the hub says"},
		{"other range than asked", func(h *fakeHub) {
			h.answer = func(x http.Header) {
				if x.Get("Content-Range") != "" {
					_, total, _ := strings.Cut(x.Get("Content-Range"), "/")
					x.Set("Content-Range", "bytes 1-2/"+total)
				}
			}
		}, ErrCorrupt, "asked for bytes"},
		{"list says a wrong hash", func(h *fakeHub) { h.list = func(l *listing) { first(l).LFS.SHA256 = strings.Repeat("0", 64) } }, ErrCorrupt, "its hash is"},
		{"list says a hash that is a path", func(h *fakeHub) { h.list = func(l *listing) { first(l).LFS.SHA256 = "../../../../etc/passwd" } }, ErrCorrupt, "no hash"},
		{"list says a length beyond sense", func(h *fakeHub) { h.list = func(l *listing) { first(l).LFS.Size = 1 << 60 } }, ErrCorrupt, "length"},
		{"list says an enormous length", func(h *fakeHub) { h.list = func(l *listing) { first(l).LFS.Size = 1 << 44 } }, nil, "the disk has"},
		{"no commit", func(h *fakeHub) { h.list = func(l *listing) { l.SHA = "../../x" } }, ErrCorrupt, "no commit"},
		{"a file that leads out", func(h *fakeHub) {
			h.files["model.safetensors.index.json"] = []byte(`{"weight_map":{"a":"../../../x.safetensors"}}`)
		}, nil, "no plain file name"},
		{"a shard that is not there", func(h *fakeHub) {
			h.files["model.safetensors.index.json"] = []byte(`{"weight_map":{"a":"gone.safetensors"}}`)
		}, nil, "gone.safetensors"},
		{"a denied model", func(h *fakeHub) { h.token = "hf_right" }, ErrAccess, "HF_TOKEN"},
		{"down for good", func(h *fakeHub) { h.faults["/api/models/org/name/revision/main"] = make([]fault, 0); h.hub.Close() }, nil, "refused"},
		{"redirected in circles", func(h *fakeHub) {
			h.store.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) })
		}, nil, "redirects"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files, lfs := modelFiles()
			h := newFakeHub(t, files, lfs...)
			c.spoil(h)
			cl := h.client(t.TempDir())
			cl.Token = ""
			_, err := cl.Fetch(context.Background(), "hf://org/name")
			if err == nil || c.class != nil && !errors.Is(err, c.class) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error is %v, want %v saying %q", err, c.class, c.says)
			}
			if n := strings.Count(err.Error(), "\n"); n > 0 {
				t.Errorf("the error has %d lines: %v", n+1, err)
			}
			if strings.Contains(err.Error(), "Signature") {
				t.Errorf("the error shows a signature: %v", err)
			}
			if _, err := os.Stat(filepath.Join(cl.Cache, "models--org--name", "refs", "main")); err == nil {
				t.Error("the revision counts as fetched")
			}
		})
	}
}

// TestResume goes on where an interrupted download stopped, and starts over where what is left is not a beginning of the file.
func TestResume(t *testing.T) {
	files, lfs := modelFiles()
	const name = "model-00001-of-00002.safetensors"
	for _, begun := range []struct {
		name string
		data []byte
		sent int // bytes fetched
	}{
		{"half", files[name][:large/2], large - large/2}, {"all", files[name], 0}, {"too long", noise(large + 1), large},
		{"wrong", noise(large / 2), large + large - large/2},
	} {
		t.Run(begun.name, func(t *testing.T) {
			h := newFakeHub(t, files, lfs...)
			cache := t.TempDir()
			blobs := filepath.Join(cache, "models--org--name", "blobs")
			if err := os.MkdirAll(blobs, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(blobs, sha(files[name])+".incomplete"), begun.data, 0o644); err != nil {
				t.Fatal(err)
			}
			same(t, h, fetch(t, h.client(cache), "hf://org/name"), wanted...)
			if h.sent(name) != begun.sent {
				t.Errorf("%d bytes were sent, want %d", h.sent(name), begun.sent)
			}
		})
	}
}

// TestCancel interrupts a download in the middle; the next one fetches the rest.
func TestCancel(t *testing.T) {
	files, lfs := modelFiles()
	const name = "model-00001-of-00002.safetensors"
	h := newFakeHub(t, files, lfs...)
	cache := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	c := h.client(cache)
	c.Connections = 1
	_, err := c.Fetch(progress.With(ctx, &canceller{cancel: cancel}), "hf://org/name")
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v", err)
	}
	part, err := os.Stat(filepath.Join(cache, "models--org--name", "blobs", sha(files[name])+".incomplete"))
	if err != nil || part.Size() < testPiece || part.Size() >= large {
		t.Fatalf("left behind: %v, %v", part, err)
	}
	before := h.sent(name)
	same(t, h, fetch(t, h.client(cache), "hf://org/name"), wanted...)
	// A piece that was under way when we hung up may count late.
	if got := h.sent(name) - before; got < large-int(part.Size()) || got > large-int(part.Size())+testPiece {
		t.Errorf("%d bytes were sent to complete %d of %d", got, part.Size(), large)
	}
}

// canceller interrupts once a large piece has been written.
type canceller struct{ cancel func() }

func (c *canceller) Start(_, _ string, _ int64) progress.Task { return c }
func (c *canceller) Describe(string)                          {}
func (c *canceller) Done()                                    {}
func (c *canceller) Add(n int64) {
	if n >= testPiece {
		c.cancel()
	}
}

// TestLock waits for whoever fetches the same file.
func TestLock(t *testing.T) {
	files, lfs := modelFiles()
	h := newFakeHub(t, files, lfs...)
	cache := t.TempDir()
	l, err := store.OpenCache(cache).Lock(context.Background(), ".locks/models--org--name/"+gitSHA(files["config.json"])+".lock", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := h.client(cache).Fetch(ctx, "hf://org/name"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("did not wait: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	fetch(t, h.client(cache), "hf://org/name")
}

// TestGGUF fetches repositories of GGUF files.
func TestGGUF(t *testing.T) {
	files := map[string][]byte{"config.json": []byte("{}"), "m-Q4_K_M.gguf": noise(100), "m-Q8_0.gguf": noise(200),
		"big/m-00001-of-00002.gguf": noise(50), "big/m-00002-of-00002.gguf": noise(60), "README.md": noise(5)}
	h := newFakeHub(t, files, "m-Q4_K_M.gguf", "m-Q8_0.gguf", "big/m-00001-of-00002.gguf", "big/m-00002-of-00002.gguf")
	cache := t.TempDir()
	_, err := h.client(cache).Fetch(context.Background(), "hf://org/name")
	if err == nil || !strings.Contains(err.Error(), "/m-Q4_K_M.gguf") || !strings.Contains(err.Error(), "name one") {
		t.Errorf("several GGUF files give %v", err)
	}
	got := fetch(t, h.client(cache), "hf://org/name/m-Q8_0.gguf")
	if data, err := os.ReadFile(got); err != nil || !bytes.Equal(data, files["m-Q8_0.gguf"]) {
		t.Errorf("%s is wrong: %v", got, err)
	}
	got = fetch(t, h.client(cache), "hf://org/name/big/m-00001-of-00002.gguf@v1")
	for _, n := range []string{"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"} {
		if data, err := os.ReadFile(filepath.Join(filepath.Dir(got), n)); err != nil || !bytes.Equal(data, files["big/"+n]) {
			t.Errorf("%s is wrong: %v", n, err)
		}
	}
	if _, err := h.client(cache).Fetch(context.Background(), "hf://org/name/other.gguf"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a file that is not there gives %v", err)
	}
	if _, err := h.client(cache).Fetch(context.Background(), "hf://org/name@nope"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "Invalid rev id") {
		t.Errorf("an unknown revision gives %v", err)
	}
}

func TestParseRef(t *testing.T) {
	for _, good := range []string{"hf://org/name", "hf://a/b@refs/pr/1", "hf://org/na.me-1_x/dir/file.gguf@v1.0"} {
		if r, err := ParseRef(good); err != nil || r.String() != good {
			t.Errorf("%s reads as %v, %v", good, r, err)
		}
	}
	for _, bad := range []string{"hf://", "hf://org", "hf://org/", "hf:///name", "hf://../name", "hf://org/..", "hf://org/name@", "hf://org/name@../x", "hf://org/name@/x",
		"hf://org/name/../x", "hf://org/name/a\\b", "hf://org/name/a//b", "hf://a--b/name", "hf://org/name@a b", "org/name", "hf://org/name?x=1", "hf://org/name@x@y"} {
		if r, err := ParseRef(bad); err == nil {
			t.Errorf("%s reads as %v", bad, r)
		}
	}
}

func TestFromEnv(t *testing.T) {
	for _, n := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "XDG_CACHE_HOME"} {
		t.Setenv(n, "")
	}
	home := t.TempDir()
	t.Setenv("HF_HOME", home)
	if err := os.WriteFile(filepath.Join(home, "token"), []byte("hf_file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := FromEnv()
	if c.Cache != filepath.Join(home, "hub") || c.Token != "hf_file" || c.Offline || c.Endpoint != "" {
		t.Errorf("client %+v", c)
	}
	t.Setenv("HF_HUB_CACHE", "/cache")
	t.Setenv("HF_TOKEN", "hf_env")
	t.Setenv("HF_HUB_OFFLINE", "yes")
	t.Setenv("HF_ENDPOINT", "https://mirror.example")
	if c = FromEnv(); c.Cache != "/cache" || c.Token != "hf_env" || !c.Offline || c.Endpoint != "https://mirror.example" {
		t.Errorf("client %+v", c)
	}
}
