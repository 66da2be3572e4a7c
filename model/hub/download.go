package hub

import (
	"context"
	"crypto/sha1" //nolint:gosec // git's name of a blob, which the hub gives for small files
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/parelm/pare/internal/fsx"
	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/internal/store"
)

// pieceBytes is how much of a file one request asks for. As many pieces as there are connections are in memory.
var pieceBytes int64 = 8 << 20

// hasher returns the hash that a content is checked by.
func (c content) hasher() hash.Hash {
	if len(c.hash) == 64 {
		return sha256.New()
	}
	h := sha1.New() //nolint:gosec // see above
	fmt.Fprintf(h, "blob %d\x00", c.size)
	return h
}

// blob fetches a file: the rest of it, where a part is there already. A file that turns out wrong is thrown away; if it was
// begun by somebody else, or the disk lost some of it, a second try starts over.
func (s *session) blob(ctx context.Context, c content, blob string) (err error) {
	l, err := s.store.Lock(ctx, ".locks/"+s.ref.dir()+"/"+c.hash+".lock", func() {
		slog.Info("another process fetches the file: waiting", "file", c.name)
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if s.have(blob, c.size) {
		s.task.Add(c.size)
		return nil
	}
	for {
		p, err := s.store.Partial(blob)
		if err != nil {
			return err
		}
		before := p.Size()
		if before > c.size {
			if err := p.Discard(); err != nil {
				return err
			}
			continue
		}
		got, err := s.fill(ctx, c, p)
		switch {
		case err != nil:
			return errors.Join(err, p.Close())
		case got == c.hash:
			return p.Publish()
		}
		s.task.Add(-c.size)
		if err := p.Discard(); err != nil {
			return err
		}
		if before == 0 {
			return fmt.Errorf("%w: its hash is %s, the hub says %s", ErrCorrupt, got, c.hash)
		}
	}
}

// fill completes a partial file and returns the hash of the whole.
func (s *session) fill(ctx context.Context, c content, p *store.Partial) (string, error) {
	h := c.hasher()
	if _, err := io.Copy(h, p.Reader()); err != nil {
		return "", err
	}
	s.task.Add(p.Size())
	t := &transfer{s: s, c: c}
	err := t.ranges(ctx, p, h)
	if errors.Is(err, errNoRanges) {
		err = t.stream(ctx, p, h)
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// errNoRanges says that the server sends whole files only.
var errNoRanges = errors.New("the server sends no ranges")

// transfer is one file on its way.
type transfer struct {
	s *session
	c content

	mu     sync.Mutex
	direct string // where the hub redirects to, so that not every range asks it
}

// piece is a run of bytes that came, or why it did not.
type piece struct {
	data []byte
	err  error
}

// ranges fetches the rest of the file over several connections and writes it in order.
func (t *transfer) ranges(ctx context.Context, p *store.Partial, h hash.Hash) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	pieces := make(chan chan piece, cap(t.s.slots))
	from := p.Size()
	wg.Go(func() {
		defer close(pieces)
		for off := from; off < t.c.size; off += pieceBytes {
			select {
			case t.s.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			ch := make(chan piece, 1)
			pieces <- ch // never full: there are no more pieces than slots
			wg.Go(func() {
				data, err := t.piece(ctx, off, min(pieceBytes, t.c.size-off))
				ch <- piece{data, err}
			})
		}
	})
	var first error
	for ch := range pieces {
		x := <-ch
		if first == nil && x.err != nil {
			first = x.err
			cancel()
		}
		if first == nil {
			if _, first = p.Write(x.data); first != nil {
				cancel()
			}
			h.Write(x.data)
			t.s.task.Add(int64(len(x.data)))
		}
		<-t.s.slots
	}
	if first == nil && p.Size() < t.c.size {
		first = ctx.Err()
	}
	return first
}

// piece fetches n bytes at off. A connection that breaks off goes on where it stopped.
func (t *transfer) piece(ctx context.Context, off, n int64) ([]byte, error) {
	buf := make([]byte, n)
	got := int64(0)
	for fails := 0; ; fails++ {
		before := got
		err := t.s.retry(ctx, func() error {
			k, err := t.request(ctx, off+got, buf[got:])
			got += k
			if err != nil && k > 0 { // it gets on: not the same failure again
				return nil
			}
			return err
		})
		if err != nil || got == n {
			return buf, err
		}
		if got == before || fails > 1000 {
			return nil, fmt.Errorf("%w: the connection breaks off again and again at byte %d of %d", ErrCorrupt, off+got, t.c.size)
		}
	}
}

// request fills buf with the bytes of the file at off, or as many as come.
func (t *transfer) request(ctx context.Context, off int64, buf []byte) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := t.open(ctx, fmt.Sprintf("bytes=%d-%d", off, off+int64(len(buf))-1))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK && off > 0 {
		return 0, errNoRanges
	}
	if err := t.check(resp, off); err != nil {
		return 0, err
	}
	return read(resp.Body, buf, cancel)
}

// open asks for a range, or for the whole file, where it was found last.
func (t *transfer) open(ctx context.Context, byteRange string) (*http.Response, error) {
	t.mu.Lock()
	u := t.direct
	t.mu.Unlock()
	if u != "" {
		resp, err := t.s.get(ctx, u, byteRange)
		if err == nil {
			return resp, nil
		}
		t.mu.Lock()
		t.direct = "" // its signature may have run out
		t.mu.Unlock()
		var again temporary
		if errors.As(err, &again) {
			return nil, err
		}
	}
	resp, err := t.s.get(ctx, t.s.address(t.c.name), byteRange)
	if err == nil {
		t.mu.Lock()
		t.direct = resp.Request.URL.String()
		t.mu.Unlock()
	}
	return resp, err
}

// check compares what a server says of its answer with what the file is.
func (t *transfer) check(resp *http.Response, off int64) error {
	if resp.StatusCode == http.StatusOK {
		if n := resp.ContentLength; n >= 0 && n != t.c.size {
			return fmt.Errorf("%w: the server has %d bytes, the hub says %d", ErrCorrupt, n, t.c.size)
		}
		return nil
	}
	var first, last, total int64
	v := resp.Header.Get("Content-Range")
	if resp.StatusCode != http.StatusPartialContent {
		return fmt.Errorf("%w: %s answers %q to a range", ErrCorrupt, resp.Request.URL.Host, resp.Status)
	}
	if n, err := fmt.Sscanf(strings.TrimSuffix(v, "/*"), "bytes %d-%d/%d", &first, &last, &total); n < 2 {
		return fmt.Errorf("%w: %s answers with Content-Range %q: %v", ErrCorrupt, resp.Request.URL.Host, clip(v), err)
	} else if n == 3 && total != t.c.size {
		return fmt.Errorf("%w: the server has %d bytes, the hub says %d", ErrCorrupt, total, t.c.size)
	}
	if first != off {
		return fmt.Errorf("%w: asked for bytes from %d, %s sends them from %d", ErrCorrupt, off, resp.Request.URL.Host, first)
	}
	return nil
}

// read fills buf from a body; what comes after it is left. cancel ends the request when nothing comes for long.
func read(body io.Reader, buf []byte, cancel func()) (int64, error) {
	timer := time.AfterFunc(stall, cancel)
	defer timer.Stop()
	got := 0
	for got < len(buf) {
		n, err := body.Read(buf[got:])
		got += n
		timer.Reset(stall)
		if err != nil && got < len(buf) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return int64(got), temporary{err: fmt.Errorf("the connection broke off: %w", err)}
		}
	}
	return int64(got), nil
}

// stream fetches the file from a server without ranges over one connection, skipping what is there.
func (t *transfer) stream(ctx context.Context, p *store.Partial, h hash.Hash) error {
	buf := make([]byte, 1<<20)
	return t.s.retry(ctx, func() error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		resp, err := t.open(ctx, "")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if err := t.check(resp, 0); err != nil {
			return err
		}
		for at, skip := int64(0), p.Size(); at < t.c.size; {
			n, err := read(resp.Body, buf[:min(int64(len(buf)), t.c.size-at)], cancel)
			fresh := buf[min(n, max(0, skip-at)):n]
			at += n
			if _, werr := p.Write(fresh); werr != nil {
				return werr
			}
			h.Write(fresh)
			t.s.task.Add(int64(len(fresh)))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// readIndex returns the files that a table of shards names, in order of first use.
func readIndex(file string) ([]string, error) {
	data, err := fsx.ReadLimited(file, limits.ShardIndex)
	if err != nil {
		return nil, err
	}
	var ix struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &ix); err != nil {
		return nil, fmt.Errorf("%s: weight_map: %v", file, err)
	}
	seen := map[string]bool{}
	for _, f := range ix.Map {
		if !localPath(f) || strings.Contains(f, "/") {
			return nil, fmt.Errorf("%s: weight_map names %q, which is no plain file name", file, clip(f))
		}
		seen[f] = true
	}
	if len(seen) == 0 || int64(len(seen)) > limits.Shards {
		return nil, fmt.Errorf("%s: weight_map names %d files, must be 1 to %d", file, len(seen), limits.Shards)
	}
	return sorted(seen), nil
}
