package hub

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Ref names a model on the hub.
type Ref struct {
	Repo     string // "org/name"
	File     string // one file of it, or empty for the model
	Revision string // branch, tag or commit
}

var (
	segment  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,95}$`)
	revision = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}$`)
	commit   = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// ParseRef reads hf://org/name[/FILE][@revision].
func ParseRef(s string) (Ref, error) {
	bad := func(format string, args ...any) (Ref, error) {
		return Ref{}, fmt.Errorf("%s: %s; want hf://org/name[@revision]", clip(s), fmt.Sprintf(format, args...))
	}
	rest, ok := strings.CutPrefix(s, "hf://")
	if !ok {
		return bad("is no address on the hub")
	}
	rest, rev, pinned := strings.Cut(rest, "@")
	if !pinned {
		rev = "main"
	}
	parts := strings.SplitN(rest, "/", 3)
	if len(parts) < 2 {
		return bad("names no model")
	}
	r := Ref{Repo: parts[0] + "/" + parts[1], Revision: rev}
	for _, p := range parts[:2] {
		if !segment.MatchString(p) || strings.Contains(p, "--") || strings.Contains(p, "..") {
			return bad("%q is no name of an organization or model", clip(p))
		}
	}
	if len(parts) == 3 {
		if r.File = parts[2]; !localPath(r.File) {
			return bad("%q is no path of a file in a repository", clip(r.File))
		}
	}
	if !revision.MatchString(rev) || !localPath(rev) {
		return bad("%q is no revision", clip(rev))
	}
	return r, nil
}

// String formats the address.
func (r Ref) String() string {
	s := "hf://" + r.Repo
	if r.File != "" {
		s += "/" + r.File
	}
	if r.Revision != "main" {
		s += "@" + r.Revision
	}
	return s
}

// dir is the model's directory in the cache.
func (r Ref) dir() string { return "models--" + strings.ReplaceAll(r.Repo, "/", "--") }

// localPath reports whether a slash-separated path that somebody else wrote stays below where it is put, on every
// operating system.
func localPath(p string) bool {
	if p == "" || len(p) > 1024 || path.Clean(p) != p || path.IsAbs(p) || strings.ContainsAny(p, "\\:\x00") {
		return false
	}
	for _, part := range strings.Split(p, "/") {
		if part == ".." || part == "." || len(part) > 255 || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".") {
			return false
		}
		for i := range len(part) {
			if part[i] < 0x20 || part[i] == 0x7f {
				return false
			}
		}
	}
	return true
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}
