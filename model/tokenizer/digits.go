package tokenizer

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// Two published patterns group digits from the right with a lookahead over the whole number. Both are scanned by
// measuring the run of digits once.
const (
	digitGroupsAtWordEnd = `\d{1,3}(?=(?:\d{3})*\b)`
	digitGroupBorders    = `(?=(\d{3})+(?!\d))`
)

type digitGroups struct {
	wordEnd bool // match groups of one to three digits, of numbers that end a word
	borders bool // match the empty string before each group of three
}

var wordSet = sync.OnceValue(func() *runeSet { return newRuneSet(onigWordRanges()) })

func (d digitGroups) next(st *scanState, s string, pos int) (start, end int) {
	for pos < len(s) {
		r, w := utf8.DecodeRuneInString(s[pos:])
		if !unicode.Is(unicode.Nd, r) {
			pos += w
			continue
		}
		m := &st.memo[0] // last holds the number of digits from lo to hi
		m.measureDigits(s, pos)
		if d.wordEnd {
			if next, _ := utf8.DecodeRuneInString(s[m.hi:]); m.hi < len(s) && wordSet().has(next) {
				pos = m.hi
				continue
			}
			return pos, skipRunes(s, pos, (m.last-1)%3+1)
		}
		if m.last >= 3 {
			start = skipRunes(s, pos, m.last%3)
			return start, start
		}
		pos = m.hi
	}
	return len(s), len(s)
}

// measureDigits makes m describe the run of digits from pos on.
func (m *runMemo) measureDigits(s string, pos int) {
	if m.lo <= pos && pos < m.hi {
		for m.lo < pos {
			m.lo = skipRunes(s, m.lo, 1)
			m.last--
		}
		return
	}
	*m = runMemo{lo: pos, hi: pos}
	for m.hi < len(s) {
		r, w := utf8.DecodeRuneInString(s[m.hi:])
		if !unicode.Is(unicode.Nd, r) {
			break
		}
		m.hi += w
		m.last++
	}
}

// skipRunes returns the position n runes after pos.
func skipRunes(s string, pos, n int) int {
	for range n {
		_, w := utf8.DecodeRuneInString(s[pos:])
		pos += w
	}
	return pos
}
