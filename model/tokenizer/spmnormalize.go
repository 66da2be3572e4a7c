package tokenizer

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"
)

const spaceSymbol = "▁" // U+2581, what SentencePiece writes for a space

// sentencePiece is the normalizer of SentencePiece itself, with the flags of its NormalizerSpec. No component of
// tokenizer.json does exactly the same; the type is ours, used for tokenizer.model and GGUF vocabularies.
type sentencePiece struct {
	table       *charsmap // may be nil
	dummyPrefix bool      // text starts with a space
	removeExtra bool      // no leading, trailing or doubled spaces
	escape      bool      // spaces become U+2581
	suffix      bool      // the dummy space goes to the end
	keep        []string  // user-defined pieces, sorted: they pass unchanged
	ggml        bool      // llama.cpp's reading of the same flags, for unigram vocabularies
}

type sentencePieceJSON struct {
	Type        string   `json:"type"`
	Charsmap    string   `json:"precompiled_charsmap"`
	DummyPrefix bool     `json:"add_dummy_prefix"`
	RemoveExtra bool     `json:"remove_extra_whitespaces"`
	Escape      bool     `json:"escape_whitespaces"`
	Suffix      bool     `json:"treat_whitespace_as_suffix"`
	Keep        []string `json:"user_defined_symbols"`
	GGML        bool     `json:"ggml"`
}

func compileSentencePiece(raw []byte) (normalizer, error) {
	var f sentencePieceJSON
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	n := &sentencePiece{dummyPrefix: f.DummyPrefix, removeExtra: f.RemoveExtra, escape: f.Escape, suffix: f.Suffix, keep: f.Keep, ggml: f.GGML}
	sort.Strings(n.keep)
	if f.Charsmap != "" {
		blob, err := base64.StdEncoding.DecodeString(f.Charsmap)
		if err != nil {
			return nil, fmt.Errorf("precompiled_charsmap: %v", err)
		}
		if n.table, err = newCharsmap(blob); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *sentencePiece) normalize(s string) (string, error) {
	if n.ggml {
		return n.normalizeGGML(s)
	}
	if n.removeExtra {
		for s != "" {
			p, w := n.prefix(s)
			if p != " " {
				break
			}
			s = s[w:]
		}
	}
	if s == "" {
		return "", nil
	}
	space := " "
	if n.escape {
		space = spaceSymbol
	}
	var b strings.Builder
	b.Grow(len(s) + len(s)/4 + 3)
	if n.dummyPrefix && !n.suffix {
		b.WriteString(space)
	}
	afterSpace := n.removeExtra
	for s != "" {
		p, w := n.prefix(s)
		if afterSpace {
			p = strings.TrimLeft(p, " ")
		}
		if p != "" {
			afterSpace = n.removeExtra && p[len(p)-1] == ' '
			if n.escape && strings.IndexByte(p, ' ') >= 0 {
				p = strings.ReplaceAll(p, " ", spaceSymbol)
			}
			b.WriteString(p)
			if err := checkGrowth(b.Len()); err != nil {
				return "", err
			}
		}
		s = s[w:]
	}
	out := b.String()
	if n.removeExtra {
		for strings.HasSuffix(out, space) {
			out = out[:len(out)-len(space)]
		}
	}
	if n.dummyPrefix && n.suffix {
		out += space
	}
	return out, nil
}

// normalizeGGML differs in corners: a space goes in front of the first word rather than of the text, and U+2581 in the text
// itself is no space.
func (n *sentencePiece) normalizeGGML(s string) (string, error) {
	var b strings.Builder
	prefixed, inWord := false, false
	for s != "" {
		p, w := n.prefix(s)
		s = s[w:]
		for i := range len(p) {
			switch {
			case p[i] != ' ':
				if !inWord && (n.removeExtra || n.dummyPrefix && !prefixed) {
					b.WriteString(spaceSymbol)
					prefixed = true
				}
				inWord = true
				b.WriteByte(p[i])
			default:
				if inWord = false; !n.removeExtra {
					b.WriteString(spaceSymbol)
				}
			}
		}
		if err := checkGrowth(b.Len()); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// prefix returns what the start of s becomes, and how much of s that is.
func (n *sentencePiece) prefix(s string) (string, int) {
	if w := longestPrefix(n.keep, s); w > 0 {
		return s[:w], w
	}
	if n.table != nil {
		if repl, w, ok := n.table.lookup(s, true); ok {
			return string(repl), w
		}
	} else if s[0] != ' ' { // nothing but spaces changes: take all up to the next one
		if i := strings.IndexByte(s, ' '); len(n.keep) == 0 {
			if i < 0 {
				i = len(s)
			}
			return s[:i], i
		}
	}
	_, w := utf8.DecodeRuneInString(s)
	return s[:w], w
}

// longestPrefix returns the length of the longest member of the sorted list that s starts with, or 0.
func longestPrefix(sorted []string, s string) int {
	best := 0
	for lo, hi, n := 0, len(sorted), 0; lo < hi; n++ {
		for lo < hi && len(sorted[lo]) == n { // all of [lo,hi) share the first n bytes of s
			best = n
			lo++
		}
		if n == len(s) {
			break
		}
		c := s[n]
		tail := sorted[lo:hi]
		from := sort.Search(len(tail), func(i int) bool { return tail[i][n] >= c })
		to := sort.Search(len(tail), func(i int) bool { return tail[i][n] > c })
		lo, hi = lo+from, lo+to
	}
	return best
}
