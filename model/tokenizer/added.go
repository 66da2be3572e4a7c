package tokenizer

import (
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/parelm/pare/model/tensor"
)

// AddedToken is a token that is found in text before anything else happens, with the fields of a tokenizer.json.
type AddedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // matches only where no word character touches it
	LStrip     bool   `json:"lstrip"`      // takes the white space before it
	RStrip     bool   `json:"rstrip"`      // takes the white space behind it
	Normalized bool   `json:"normalized"`  // is looked for in normalized text
	Special    bool   `json:"special"`     // a control token: never matched in text unless Options.ParseSpecial asks
}

// addedMatcher finds tokens in text, leftmost first and the longest of those that start at one place.
type addedMatcher struct {
	tokens []AddedToken
	keys   []string // what is looked for, sorted; keys[i] finds tokens[i]
	first  [256]bool
	only   int // the first byte if all share one, else -1
}

// newAddedMatcher looks for keys, which run parallel to tokens.
func newAddedMatcher(tokens []AddedToken, keys []string) *addedMatcher {
	if len(tokens) == 0 {
		return nil
	}
	order := make([]int, len(tokens))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return keys[order[a]] < keys[order[b]] })
	m := &addedMatcher{only: -1}
	for n, i := range order {
		if keys[i] == "" || n > 0 && len(m.keys) > 0 && keys[i] == m.keys[len(m.keys)-1] {
			continue
		}
		m.tokens = append(m.tokens, tokens[i])
		m.keys = append(m.keys, keys[i])
		m.first[keys[i][0]] = true
	}
	if len(m.keys) == 0 {
		return nil
	}
	if m.keys[0][0] == m.keys[len(m.keys)-1][0] {
		m.only = int(m.keys[0][0])
	}
	return m
}

// fragment is a stretch of text, or a token found in it.
type fragment struct {
	start, end int
	id         int32 // -1: text
}

const (
	addedStepsPerByte = 64
	addedStepsFree    = 1 << 20
)

// find appends the fragments of s. allow says which matches count; a match that does not is passed over as a whole, as
// in the reference library.
func (m *addedMatcher) find(s string, out []fragment, allow func(t *AddedToken, start, end int) bool) ([]fragment, error) {
	done, steps := 0, 0
	for pos := m.candidate(s, 0); pos < len(s); pos = m.candidate(s, pos) {
		k, n := m.longest(s[pos:], &steps)
		if steps > addedStepsPerByte*len(s)+addedStepsFree {
			return nil, tensor.Errorf(tensor.ErrUnsupported, "", "added tokens", "take more than linear time on this text")
		}
		if k < 0 {
			pos++
			continue
		}
		t := &m.tokens[k]
		start, end := pos, pos+n
		pos = end
		if !allow(t, start, end) || t.SingleWord && touchesWord(s, start, end) {
			continue
		}
		if t.LStrip {
			start = max(done, len(strings.TrimRightFunc(s[:start], unicode.IsSpace)))
		}
		if t.RStrip {
			end += len(s[end:]) - len(strings.TrimLeftFunc(s[end:], unicode.IsSpace))
		}
		if done < start {
			out = append(out, fragment{done, start, -1})
		}
		out = append(out, fragment{start, end, t.ID})
		done = end
	}
	if done < len(s) {
		out = append(out, fragment{done, len(s), -1})
	}
	return out, nil
}

// candidate returns the next place at or after pos where a token may start.
func (m *addedMatcher) candidate(s string, pos int) int {
	if m.only >= 0 {
		if i := strings.IndexByte(s[pos:], byte(m.only)); i >= 0 {
			return pos + i
		}
		return len(s)
	}
	for pos < len(s) && !m.first[s[pos]] {
		pos++
	}
	return pos
}

// longest returns the index of the longest key that s starts with and its length, or -1.
func (m *addedMatcher) longest(s string, steps *int) (key, length int) {
	key = -1
	for lo, hi, n := 0, len(m.keys), 0; lo < hi; n++ {
		*steps++
		if len(m.keys[lo]) == n { // all of [lo,hi) share the first n bytes of s
			key, length = lo, n
			lo++
		}
		if n == len(s) || lo == hi {
			break
		}
		c := s[n]
		if m.keys[lo][n] == c && m.keys[hi-1][n] == c {
			continue
		}
		tail := m.keys[lo:hi]
		from := sort.Search(len(tail), func(i int) bool { return tail[i][n] >= c })
		to := sort.Search(len(tail), func(i int) bool { return tail[i][n] > c })
		lo, hi = lo+from, lo+to
	}
	return key, length
}

// touchesWord reports whether a word character stands next to s[start:end].
func touchesWord(s string, start, end int) bool {
	before, n := utf8.DecodeLastRuneInString(s[:start])
	after, w := utf8.DecodeRuneInString(s[end:])
	return n > 0 && isWord(before) || w > 0 && isWord(after)
}

func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}
