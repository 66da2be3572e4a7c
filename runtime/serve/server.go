package serve

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options say what to serve and within which bounds. Zero values take the defaults.
type Options struct {
	Model // may be left out: then /health says that it is loading, until Use

	Key     string   // what clients must send as bearer token; "" asks for none
	Hosts   []string // names under which the server is reached, besides localhost and IP addresses
	Origins []string // origins of web pages that may use it, besides those on allowed hosts

	Parallel int // texts written at once; 4
	Queue    int // texts that wait; 64
	Chunk    int // tokens of prompts read in a turn while others write; 32
	Drafted  int // tokens that the draft model drafts at a time, at most; 4

	HeaderTimeout, BodyTimeout, WriteTimeout, IdleTimeout, FirstToken, Total, Drain time.Duration // 5s, 30s, 10s, 60s, 2m, 10m, 10s
}

func (o *Options) defaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.HeaderTimeout, 5*time.Second)
	def(&o.BodyTimeout, 30*time.Second)
	def(&o.WriteTimeout, 10*time.Second)
	def(&o.IdleTimeout, time.Minute)
	def(&o.FirstToken, 2*time.Minute)
	def(&o.Total, 10*time.Minute)
	def(&o.Drain, 10*time.Second)
	for _, n := range []struct {
		v   *int
		def int
	}{{&o.Parallel, 4}, {&o.Queue, 64}, {&o.Chunk, 32}, {&o.Drafted, 4}} {
		if *n.v <= 0 {
			*n.v = n.def
		}
	}
}

// Server serves one model at a time. Make one with New.
type Server struct {
	o       Options
	m       *metrics
	started time.Time

	mu      sync.Mutex
	now     *served   // nil while the first model is loading
	all     []*served // with those that are being replaced
	closing bool

	ids     atomic.Uint64 // of requests
	handler http.Handler
	tap     func(*http.Request) // tests see requests, and may panic
}

// New starts a server. Close ends it.
func New(o Options) (*Server, error) {
	o.defaults()
	s := &Server{o: o, m: newMetrics(), started: time.Now()}
	s.handler = s.routes()
	if o.Engine == nil && o.Tokenizer == nil {
		return s, nil
	}
	return s, s.Use(context.Background(), o.Model)
}

// Close stops: new requests are refused, the others may end until ctx does, which ends them.
func (s *Server) Close(ctx context.Context) {
	s.mu.Lock()
	s.closing = true
	all := slices.Clone(s.all)
	s.mu.Unlock()
	var group sync.WaitGroup
	for _, x := range all {
		group.Go(func() { x.pool.drain(ctx) })
	}
	group.Wait()
}

// Handler answers requests. Serve adds the bounds of connections.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve answers on l until ctx ends, then drains for at most Options.Drain. An address beyond this machine needs a key.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() && s.o.Key == "" {
		return fmt.Errorf("%s can be reached from other machines: that needs a key", l.Addr())
	}
	h := &http.Server{Handler: s.handler, ReadHeaderTimeout: s.o.HeaderTimeout, IdleTimeout: s.o.IdleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug)}
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(l) }()
	select {
	case err := <-failed:
		s.Close(canceled())
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), s.o.Drain)
	defer cancel()
	s.Close(drain)
	late, stop := context.WithTimeout(context.Background(), time.Second) // for last words on their way
	defer stop()
	if err := h.Shutdown(late); err != nil {
		return h.Close()
	}
	return nil
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// routes builds the handler: guards first, then what they let through.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", s.only(http.MethodGet, s.health))
	mux.HandleFunc("/metrics", s.keyed(s.only(http.MethodGet, s.metrics)))
	mux.HandleFunc("/v1/models", s.keyed(s.only(http.MethodGet, s.models)))
	mux.HandleFunc("/v1/models/{id...}", s.keyed(s.only(http.MethodGet, s.model)))
	mux.HandleFunc("/v1/completions", s.keyed(s.only(http.MethodPost, s.completions)))
	mux.HandleFunc("/v1/chat/completions", s.keyed(s.only(http.MethodPost, s.chat)))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, &apiError{http.StatusNotFound, "not_found", "", "there is nothing at this address"})
	})
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w := &recorder{ResponseWriter: rw}
		defer func() {
			if x := recover(); x != nil && x != http.ErrAbortHandler {
				s.m.panics.Add(1)
				slog.Error("panic in a request", "panic", x, "stack", string(debug.Stack()))
				s.refuse(w, &apiError{http.StatusInternalServerError, "internal", "", "internal error"})
			}
			s.m.code(w.code)
		}()
		_ = http.NewResponseController(rw).SetReadDeadline(time.Now().Add(s.o.BodyTimeout)) // not every writer has one
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if s.tap != nil {
			s.tap(r)
		}
		if err := s.guard(w, r); err != nil {
			s.refuse(w, err)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	code int
}

func (w *recorder) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	loading, closing := s.now == nil, s.closing
	s.mu.Unlock()
	status, state := http.StatusOK, "ok"
	switch {
	case closing:
		status, state = http.StatusServiceUnavailable, "stopping"
	case loading:
		status, state = http.StatusServiceUnavailable, "loading"
	}
	if status != http.StatusOK {
		w.Header().Set("Retry-After", "1")
	}
	s.write(w, status, map[string]string{"status": state})
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	all, now := slices.Clone(s.all), s.now
	s.mu.Unlock()
	var g gauges
	for _, x := range all {
		x.pool.count(&g)
	}
	if now != nil {
		g.model = now.Name
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	s.m.write(w, g)
}

type modelInfo struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	Context int    `json:"context_length"`
}

func (s *Server) info() []modelInfo {
	x := s.serving()
	if x == nil {
		return []modelInfo{}
	}
	return []modelInfo{{x.Name, "model", s.started.Unix(), "pare", x.Engine.Context()}}
}

func (s *Server) models(w http.ResponseWriter, _ *http.Request) {
	s.write(w, http.StatusOK, struct {
		Object string      `json:"object"`
		Data   []modelInfo `json:"data"`
	}{"list", s.info()})
}

func (s *Server) model(w http.ResponseWriter, r *http.Request) {
	list := s.info()
	switch {
	case len(list) == 0:
		s.refuse(w, apiErrorOf(errLoading))
	case r.PathValue("id") != list[0].ID:
		s.refuse(w, noModel(list[0].ID))
	default:
		s.write(w, http.StatusOK, list[0])
	}
}

// discard reads what is left of a small body, so that a connection can go on after an early answer.
func discard(r *http.Request) { _, _ = io.CopyN(io.Discard, r.Body, maxBody) }
