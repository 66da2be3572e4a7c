package hub

import (
	"crypto/sha1" //nolint:gosec // git's blob names
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parelm/pare/internal/rng"
)

const testCommit = "0123456789abcdef0123456789abcdef01234567"

// fakeHub is a hub on this machine: the hub proper, and the store on another port to which it redirects large files. Tests
// make it misbehave.
type fakeHub struct {
	t     *testing.T
	files map[string][]byte
	lfs   map[string]bool
	hub   *httptest.Server
	store *httptest.Server
	token string // what the hub wants

	mu       sync.Mutex
	requests []string               // "GET /path" of both servers, in order
	ranges   map[string]int         // bytes sent of each file
	sending  sync.WaitGroup         // answers whose bytes are not counted yet: a client may be done before its server
	faults   map[string][]fault     // by path, one for each request
	list     func(l *listing)       // changes the list
	answer   func(h http.Header)    // changes the headers of files
	auth     []string               // Authorization headers that the store saw
	content  func([]byte) []byte    // changes what is sent
	noRanges bool                   // the store sends whole files
	waits    []time.Duration        // pauses that the client took
	headers  map[string]http.Header // of the last request for a path
}

// fault is how one request goes wrong.
type fault struct {
	status int    // instead of an answer
	after  string // Retry-After
	cut    int    // bytes after which the connection breaks
}

func newFakeHub(t *testing.T, files map[string][]byte, lfs ...string) *fakeHub {
	h := &fakeHub{t: t, files: files, lfs: map[string]bool{}, ranges: map[string]int{}, faults: map[string][]fault{}, headers: map[string]http.Header{}}
	for _, n := range lfs {
		h.lfs[n] = true
	}
	h.hub = httptest.NewServer(http.HandlerFunc(h.serveHub))
	h.store = httptest.NewServer(http.HandlerFunc(h.serveStore))
	t.Cleanup(h.hub.Close)
	t.Cleanup(h.store.Close)
	return h
}

func (h *fakeHub) client(cache string) *Client {
	return &Client{Cache: cache, Endpoint: h.hub.URL, Token: h.token, Wait: func(d time.Duration) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.waits = append(h.waits, d)
	}}
}

func sha(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

func gitSHA(b []byte) string {
	s := sha1.Sum(append([]byte(fmt.Sprintf("blob %d\x00", len(b))), b...)) //nolint:gosec // see above
	return hex.EncodeToString(s[:])
}

// note records a request and returns what goes wrong with it.
func (h *fakeHub) note(r *http.Request) fault {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, r.Method+" "+r.URL.Path)
	h.headers[r.URL.Path] = r.Header.Clone()
	if f := h.faults[r.URL.Path]; len(f) > 0 {
		h.faults[r.URL.Path] = f[1:]
		return f[0]
	}
	return fault{}
}

func (h *fakeHub) refuse(w http.ResponseWriter, f fault) bool {
	if f.status == 0 {
		return false
	}
	if f.after != "" {
		w.Header().Set("Retry-After", f.after)
	}
	w.WriteHeader(f.status)
	return true
}

func (h *fakeHub) serveHub(w http.ResponseWriter, r *http.Request) {
	f := h.note(r)
	if h.token != "" && r.Header.Get("Authorization") != "Bearer "+h.token {
		w.Header().Set("X-Error-Message", "Access to model org/name is restricted.")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if h.refuse(w, f) {
		return
	}
	if strings.HasPrefix(r.URL.Path, "/api/models/org/name/revision/") {
		h.serveList(w, strings.TrimPrefix(r.URL.Path, "/api/models/org/name/revision/"))
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/org/name/resolve/"+testCommit+"/")
	data, found := h.files[name]
	if !ok || !found {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("X-Repo-Commit", testCommit)
	if h.lfs[name] {
		w.Header().Set("X-Linked-Etag", `"`+sha(data)+`"`)
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(data)))
		http.Redirect(w, r, h.store.URL+"/blob/"+name+"?Signature=secret", http.StatusFound)
		return
	}
	w.Header().Set("Etag", `"`+gitSHA(data)+`"`)
	h.send(w, r, name, data, f)
}

func (h *fakeHub) serveList(w http.ResponseWriter, rev string) {
	if rev != "main" && rev != "v1" && rev != testCommit {
		w.Header().Set("X-Error-Message", "Invalid rev id: "+rev)
		w.WriteHeader(http.StatusNotFound)
		return
	}
	l := &listing{SHA: testCommit}
	for n, data := range h.files {
		size := int64(len(data))
		f := file{Name: n, Size: &size, Blob: gitSHA(data)}
		if h.lfs[n] {
			f.LFS = &struct {
				SHA256 string `json:"sha256"`
				Size   int64  `json:"size"`
			}{sha(data), size}
		}
		l.Siblings = append(l.Siblings, f)
	}
	if h.list != nil {
		h.list(l)
	}
	if err := json.NewEncoder(w).Encode(l); err != nil {
		h.t.Error(err)
	}
}

func (h *fakeHub) serveStore(w http.ResponseWriter, r *http.Request) {
	f := h.note(r)
	h.mu.Lock()
	h.auth = append(h.auth, r.Header.Get("Authorization"))
	h.mu.Unlock()
	if h.refuse(w, f) {
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/blob/")
	if r.URL.Query().Get("Signature") != "secret" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	h.send(w, r, name, h.files[name], f)
}

// send answers with a file or the range of it that was asked for.
func (h *fakeHub) send(w http.ResponseWriter, r *http.Request, name string, data []byte, f fault) {
	if h.content != nil {
		data = h.content(data)
	}
	first, last := 0, len(data)-1
	status := http.StatusOK
	if v := r.Header.Get("Range"); v != "" && !h.noRanges {
		if _, err := fmt.Sscanf(v, "bytes=%d-%d", &first, &last); err != nil {
			h.t.Errorf("Range %q: %v", v, err)
		}
		last = min(last, len(data)-1)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(data)))
		status = http.StatusPartialContent
	}
	body := data[first : last+1]
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if h.answer != nil {
		h.answer(w.Header())
	}
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	if f.cut > 0 && f.cut < len(body) {
		body = body[:f.cut]
	}
	h.sending.Add(1)
	n, _ := w.Write(body) // the client may have gone
	h.mu.Lock()
	h.ranges[name] += n
	h.mu.Unlock()
	h.sending.Done()
	if f.cut > 0 {
		if rc := http.NewResponseController(w); rc.Flush() == nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// count returns how many requests began so.
func (h *fakeHub) count(prefix string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, r := range h.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

// noise returns bytes that look random.
func noise(n int) []byte {
	s, b := rng.New(uint64(n)), make([]byte, n)
	for i := 0; i < n; i += 8 {
		v := s.Uint64()
		for j := i; j < min(i+8, n); j++ {
			b[j] = byte(v >> (8 * (j - i)))
		}
	}
	return b
}

// sent returns how many bytes of a file were sent.
func (h *fakeHub) sent(name string) int {
	h.sending.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ranges[name]
}
