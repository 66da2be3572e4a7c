package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Errors of this package. Test with errors.Is.
var (
	ErrNotFound = errors.New("not found")             // no such model, revision or file
	ErrAccess   = errors.New("access denied")         // private or gated
	ErrOffline  = errors.New("not in the cache")      // and the network may not or cannot be used
	ErrCorrupt  = errors.New("not what the hub says") // wrong length or hash
)

// listing is what the hub says of one revision.
type listing struct {
	SHA      string `json:"sha"`
	Siblings []file `json:"siblings"`
}

// file is one file of a revision.
type file struct {
	Name string `json:"rfilename"`
	Size *int64 `json:"size"`
	Blob string `json:"blobId"` // git's SHA-1 of the blob
	LFS  *struct {
		SHA256 string `json:"sha256"`
		Size   int64  `json:"size"`
	} `json:"lfs"`
}

const (
	maxListing = 64 << 20
	maxFiles   = 100_000
)

// list asks for the files of a revision.
func (s *session) list(ctx context.Context) (*listing, error) {
	u := s.endpoint + "/api/models/" + s.ref.Repo + "/revision/" + url.PathEscape(s.ref.Revision) + "?blobs=true"
	var l listing
	err := s.retry(ctx, func() error {
		resp, err := s.get(ctx, u, "")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxListing+1))
		if err != nil {
			return temporary{err: err}
		}
		if len(data) > maxListing {
			return fmt.Errorf("%w: the list of files is over %d bytes", ErrCorrupt, maxListing)
		}
		l = listing{}
		if err := json.Unmarshal(data, &l); err != nil {
			return fmt.Errorf("%w: the list of files is no JSON of the hub: %v", ErrCorrupt, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &l, l.check()
}

func (l *listing) check() error {
	if !commit.MatchString(l.SHA) {
		return fmt.Errorf("%w: the revision %q is no commit", ErrCorrupt, clip(l.SHA))
	}
	if len(l.Siblings) > maxFiles {
		return fmt.Errorf("%w: %d files, the limit is %d", ErrCorrupt, len(l.Siblings), maxFiles)
	}
	return nil
}

// names returns the names of the files that could be kept under their names.
func (l *listing) names() []string {
	var out []string
	for i := range l.Siblings {
		if localPath(l.Siblings[i].Name) {
			out = append(out, l.Siblings[i].Name)
		}
	}
	return out
}

// find returns a file by name.
func (l *listing) find(name string) *file {
	for i := range l.Siblings {
		if l.Siblings[i].Name == name {
			return &l.Siblings[i]
		}
	}
	return nil
}

// content is what a file must be, and its name among the blobs.
type content struct {
	name string
	size int64
	hash string // hex: SHA-256 or git's SHA-1
}

// content returns what is known of a file: from the list, or from a request of its own where the list does not say.
func (s *session) content(ctx context.Context, f *file) (content, error) {
	c := content{name: f.Name, size: -1, hash: f.Blob}
	if f.Size != nil {
		c.size = *f.Size
	}
	if f.LFS != nil {
		c.hash, c.size = f.LFS.SHA256, f.LFS.Size
	}
	if c.hash == "" || c.size < 0 {
		err := s.retry(ctx, func() error {
			resp, err := s.head(ctx, s.address(f.Name))
			if err != nil {
				return err
			}
			resp.Body.Close()
			c.hash = etag(resp.Header)
			if n, err := strconv.ParseInt(resp.Header.Get("X-Linked-Size"), 10, 64); err == nil {
				c.size = n
			} else if resp.ContentLength >= 0 && resp.StatusCode == http.StatusOK {
				c.size = resp.ContentLength
			}
			return nil
		})
		if err != nil {
			return c, err
		}
	}
	c.hash = strings.ToLower(c.hash)
	switch {
	case c.size < 0 || c.size > 1<<45:
		return c, fmt.Errorf("%w: %s: the hub gives no sensible length", ErrCorrupt, f.Name)
	case !hexDigits(c.hash) || len(c.hash) != 40 && len(c.hash) != 64:
		return c, fmt.Errorf("%w: %s: the hub gives no hash to check it by", ErrCorrupt, f.Name)
	}
	return c, nil
}

// etag returns the hash in the headers of a file.
func etag(h http.Header) string {
	for _, k := range []string{"X-Linked-Etag", "Etag"} {
		if v := strings.Trim(strings.TrimPrefix(h.Get(k), "W/"), `"`); v != "" {
			return v
		}
	}
	return ""
}

func hexDigits(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// address returns the URL of a file at the commit.
func (s *session) address(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return s.endpoint + "/" + s.ref.Repo + "/resolve/" + s.commit + "/" + strings.Join(parts, "/")
}
