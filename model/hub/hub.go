package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/internal/store"
)

// session is one Fetch.
type session struct {
	client   *Client
	ref      Ref
	endpoint string
	home     *url.URL
	http     *http.Client
	store    *store.Cache
	slots    chan struct{} // one for each request that may be under way
	commit   string
	task     progress.Task
}

// Fetch brings the model of an address into the cache and returns where it lies: a directory, or the GGUF file where the
// model is one. What is there already is not fetched again. The error is ErrNotFound, ErrAccess, ErrOffline, ErrCorrupt or
// one of the network.
func (c *Client) Fetch(ctx context.Context, address string) (string, error) {
	ref, err := ParseRef(address)
	if err != nil {
		return "", err
	}
	s, err := c.session(ref)
	if err != nil {
		return "", err
	}
	defer s.http.CloseIdleConnections()
	dir, err := s.fetch(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", ref, err)
	}
	return dir, nil
}

func (c *Client) session(ref Ref) (*session, error) {
	s := &session{client: c, ref: ref, endpoint: strings.TrimRight(c.Endpoint, "/"), store: store.OpenCache(c.Cache)}
	if s.endpoint == "" {
		s.endpoint = defaultEndpoint
	}
	var err error
	if s.home, err = url.Parse(s.endpoint); err != nil || s.home.Host == "" || s.home.Scheme != "https" && s.home.Scheme != "http" {
		return nil, fmt.Errorf("HF_ENDPOINT %q is no http(s) address", clip(s.endpoint))
	}
	n := c.Connections
	if n < 1 {
		n = 8
	}
	s.slots = make(chan struct{}, n)
	base := c.HTTP
	if base == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout, t.MaxIdleConnsPerHost = 30*time.Second, n
		base = &http.Client{Transport: t}
	}
	own := *base
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.http = &own
	return s, nil
}

func (s *session) fetch(ctx context.Context) (string, error) {
	if s.client.Offline {
		return s.cached()
	}
	l, err := s.list(ctx)
	var t temporary
	if errors.As(err, &t) && ctx.Err() == nil {
		if dir, cacheErr := s.cached(); cacheErr == nil {
			slog.Warn("the hub cannot be reached: using the copy in the cache", "model", s.ref.String(), "error", err)
			return dir, nil
		}
	}
	if err != nil {
		return "", err
	}
	s.commit = l.SHA
	names := l.names()
	var first []string
	for _, n := range names {
		if s.ref.File == "" && small(n) {
			first = append(first, n)
		}
	}
	if err := s.download(ctx, l, first); err != nil {
		return "", err
	}
	model, err := s.weights(names)
	if err != nil {
		return "", err
	}
	if err := s.download(ctx, l, model); err != nil {
		return "", err
	}
	if s.ref.Revision != s.commit {
		if err := s.store.WriteFile(s.ref.dir()+"/refs/"+s.ref.Revision, []byte(s.commit)); err != nil {
			return "", err
		}
	}
	return s.place(model), nil
}

// weights chooses the files with weights among the names that a revision has.
func (s *session) weights(names []string) ([]string, error) {
	if f := s.ref.File; f != "" {
		if !slices.Contains(names, f) {
			return nil, fmt.Errorf("%w: the repository has no file %s", ErrNotFound, f)
		}
		return parts(names, f), nil
	}
	index := map[string][]string{}
	for _, n := range []string{safetensorsIndex, torchIndex} {
		if !slices.Contains(names, n) {
			continue
		}
		shards, err := readIndex(s.store.Path(s.snapshot(n)))
		if err != nil {
			return nil, err
		}
		index[n] = shards
	}
	return weights(names, index)
}

func (s *session) snapshot(name string) string {
	return s.ref.dir() + "/snapshots/" + s.commit + "/" + name
}

// place returns where a model of these files lies.
func (s *session) place(model []string) string {
	if strings.EqualFold(path.Ext(model[0]), ".gguf") {
		return s.store.Path(s.snapshot(model[0]))
	}
	return s.store.Path(s.snapshot("."))
}

// cached finds a complete model in the cache.
func (s *session) cached() (string, error) {
	s.commit = s.ref.Revision
	if !commit.MatchString(s.commit) {
		data, err := fsx.ReadLimited(s.store.Path(s.ref.dir()+"/refs/"+s.ref.Revision), 256)
		s.commit = strings.TrimSpace(string(data))
		if err != nil || !commit.MatchString(s.commit) {
			return "", fmt.Errorf("%w: %s", ErrOffline, s.client.Cache)
		}
	}
	var names []string
	root := s.store.Path(s.snapshot("."))
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() { // a link to a blob that is gone is no file
			if rel, err := filepath.Rel(root, p); err == nil {
				names = append(names, filepath.ToSlash(rel))
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("%w: %s", ErrOffline, root)
	}
	model, err := s.weights(names)
	if err != nil {
		return "", fmt.Errorf("%w completely: %v", ErrOffline, err)
	}
	if m := splitFile.FindStringSubmatch(model[0]); m != nil && fmt.Sprintf("%05d", len(model)) != m[2] {
		return "", fmt.Errorf("%w completely: %d of %s parts", ErrOffline, len(model), m[2])
	}
	return s.place(model), nil
}

// download brings files into the cache, several at a time, and links them into the snapshot.
func (s *session) download(ctx context.Context, l *listing, names []string) error {
	var todo []content
	var total int64
	for _, n := range names {
		c, err := s.content(ctx, l.find(n))
		if err != nil {
			return err
		}
		if small(n) && c.size > limits.Tokenizer {
			return fmt.Errorf("%w: %s has %d bytes, the limit is %d", ErrCorrupt, n, c.size, limits.Tokenizer)
		}
		todo = append(todo, c)
		total += c.size
	}
	if err := s.room(todo); err != nil {
		return err
	}
	s.task = progress.Start(ctx, "download "+s.ref.Repo, "B", total)
	defer s.task.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan content)
	var wg sync.WaitGroup
	for range min(4, len(todo)) {
		wg.Go(func() {
			for c := range work {
				if err := s.one(ctx, c); err != nil {
					cancel(fmt.Errorf("%s: %w", c.name, err))
				}
			}
		})
	}
	for _, c := range todo {
		work <- c
	}
	close(work)
	wg.Wait()
	return context.Cause(ctx)
}

// one brings one file into the cache and links it.
func (s *session) one(ctx context.Context, c content) error {
	if ctx.Err() != nil {
		return nil // another file failed already
	}
	blob := s.ref.dir() + "/blobs/" + c.hash
	if !s.have(blob, c.size) {
		if err := s.blob(ctx, c, blob); err != nil {
			return err
		}
	} else {
		s.task.Add(c.size)
	}
	return s.store.Link(s.snapshot(c.name), blob)
}

// have reports whether a blob is there.
func (s *session) have(blob string, size int64) bool {
	info, err := os.Stat(s.store.Path(blob))
	return err == nil && info.Mode().IsRegular() && info.Size() == size
}

// room checks the space on the disk before anything large is fetched.
func (s *session) room(todo []content) error {
	var need int64
	for _, c := range todo {
		if !s.have(s.ref.dir()+"/blobs/"+c.hash, c.size) {
			need += c.size
		}
	}
	dir := s.client.Cache
	for {
		if free, err := fsx.FreeBytes(dir); err == nil {
			if need > free {
				return fmt.Errorf("needs %d bytes in %s, the disk has %d left", need, s.client.Cache, free)
			}
			return nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return nil // the system does not tell
		}
		dir = up
	}
}
