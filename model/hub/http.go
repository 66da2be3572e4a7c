package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/parelm/pare/internal/version"
)

// temporary is an error that another attempt may not meet. after is what the server asked for.
type temporary struct {
	err   error
	after time.Duration
}

func (t temporary) Error() string { return t.err.Error() }
func (t temporary) Unwrap() error { return t.err }

const (
	attempts    = 6
	firstPause  = 500 * time.Millisecond
	longestWait = 2 * time.Minute
	redirects   = 8
	stall       = time.Minute // without a byte: the connection is dead
)

// retry calls f until it succeeds, fails for good, or has failed for a while: pauses double from half a second, or are what
// the server asks for.
func (s *session) retry(ctx context.Context, f func() error) error {
	pause := firstPause
	for try := 1; ; try++ {
		err := f()
		var t temporary
		if err == nil || ctx.Err() != nil || !errors.As(err, &t) || try == attempts {
			return errors.Join(ctx.Err(), err)
		}
		if err := s.sleep(ctx, min(max(pause, t.after), longestWait)); err != nil {
			return err
		}
		pause *= 2
	}
}

func (s *session) sleep(ctx context.Context, d time.Duration) error {
	if s.client.Wait != nil {
		s.client.Wait(d)
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (s *session) head(ctx context.Context, u string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u, nil)
	if err != nil {
		return nil, err
	}
	// Not followed: the answer of the hub itself has the hash, that of the store behind it has not.
	return s.do(req, false)
}

// get asks for a URL, or for a range of it, and follows redirects.
func (s *session) get(ctx context.Context, u, byteRange string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	if byteRange != "" {
		req.Header.Set("Range", byteRange)
	}
	return s.do(req, true)
}

// do sends a request and its redirects. The token goes to the endpoint alone, whatever host a redirect names.
func (s *session) do(req *http.Request, follow bool) (*http.Response, error) {
	for range redirects {
		req.Header.Set("User-Agent", "pare/"+version.String())
		req.Header.Set("Accept-Encoding", "identity") // lengths and ranges are those of the file
		req.Header.Del("Authorization")
		if s.client.Token != "" && sameHost(req.URL, s.home) {
			req.Header.Set("Authorization", "Bearer "+s.client.Token)
		}
		resp, err := s.http.Do(req)
		if err != nil {
			return nil, temporary{err: noQuery(err)}
		}
		location := resp.Header.Get("Location")
		if resp.StatusCode < 300 || resp.StatusCode >= 400 || location == "" || !follow && resp.Header.Get("X-Linked-Etag") != "" {
			return resp, s.status(resp)
		}
		resp.Body.Close()
		next, err := req.URL.Parse(location)
		if err != nil {
			return nil, fmt.Errorf("%s redirects to no address", req.URL.Host)
		}
		if next.Scheme != "https" && (next.Scheme != "http" || req.URL.Scheme == "https") {
			return nil, fmt.Errorf("%s redirects to %s: refused, it is not encrypted", req.URL.Host, clip(next.Scheme+"://"+next.Host))
		}
		req = req.Clone(req.Context())
		req.URL, req.Host = next, ""
	}
	return nil, fmt.Errorf("%s: more than %d redirects", req.URL.Host, redirects)
}

// sameHost reports whether a URL leads to the endpoint, encrypted where the endpoint is.
func sameHost(u, home *url.URL) bool { return u.Host == home.Host && u.Scheme == home.Scheme }

// noQuery takes the signature of an address out of an error.
func noQuery(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		at, _, _ := strings.Cut(u.URL, "?")
		return fmt.Errorf("%s %s: %w", u.Op, at, u.Err)
	}
	return err
}

// status turns an answer that is none into an error, and closes it.
func (s *session) status(resp *http.Response) error {
	code := resp.StatusCode
	if code < 400 {
		return nil
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16)) // so that the connection serves again; the answer is an error anyway
	said := clip(resp.Header.Get("X-Error-Message"))
	if said == "" {
		said = resp.Status
	}
	switch {
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500:
		return temporary{fmt.Errorf("%s says %q", resp.Request.URL.Host, said), retryAfter(resp.Header, time.Now())}
	case (code == http.StatusUnauthorized || code == http.StatusForbidden) && !sameHost(resp.Request.URL, s.home):
		return temporary{err: fmt.Errorf("%s says %q", resp.Request.URL.Host, said)} // a signature that ran out: the hub gives another
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		advice := "set HF_TOKEN to a token that may read it"
		if s.client.Token != "" {
			advice = "the token may not read it; gated models want their terms accepted on the model's page first"
		}
		return fmt.Errorf("%w: %s (%s, or there is no such model)", ErrAccess, said, advice)
	case code == http.StatusNotFound:
		return fmt.Errorf("%w: %s", ErrNotFound, said)
	}
	return fmt.Errorf("%s says %q", resp.Request.URL.Host, said)
}

// retryAfter reads how long a server wants us to wait: seconds or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n >= 0 {
		return time.Duration(min(n, int(longestWait/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
