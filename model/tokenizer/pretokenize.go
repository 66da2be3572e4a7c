package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// piece is a stretch of normalized text on its way to the model.
type piece struct {
	s     string
	first bool // it starts where the text starts: Metaspace's "first" asks
}

// splitter is one step that cuts pieces into smaller ones, or rewrites them.
type splitter interface {
	split(p piece, st *scanState, emit func(piece))
}

// splitPattern is a pattern as a tokenizer.json writes it.
type splitPattern struct {
	String *string
	Regex  *string
}

func (p *splitPattern) compile() (scanner, error) {
	switch {
	case p == nil:
		return nil, fmt.Errorf("has no pattern")
	case p.Regex != nil:
		sc, err := compileRegex(*p.Regex)
		if err != nil {
			return nil, fmt.Errorf("split pattern %q: %w", clip(*p.Regex, 200), err)
		}
		return sc, nil
	case p.String != nil && *p.String != "":
		return stringScanner(*p.String), nil
	}
	return nil, fmt.Errorf("has an empty pattern")
}

// stringScanner matches one string.
type stringScanner string

func (t stringScanner) next(_ *scanState, s string, pos int) (start, end int) {
	i := strings.Index(s[pos:], string(t))
	if i < 0 {
		return len(s), len(s)
	}
	return pos + i, pos + i + len(t)
}

// setScanner matches single runes of a class.
type setScanner struct{ set *runeSet }

func (t setScanner) next(_ *scanState, s string, pos int) (start, end int) {
	for pos < len(s) {
		if c := s[pos]; c < utf8.RuneSelf {
			if t.set.ascii[c>>6]>>(c&63)&1 != 0 {
				return pos, pos + 1
			}
			pos++
			continue
		}
		r, w := utf8.DecodeRuneInString(s[pos:])
		if t.set.has(r) {
			return pos, pos + w
		}
		pos += w
	}
	return pos, pos
}

// The classes of the pre-tokenizers without a pattern. Punctuation takes all of ASCII's in, symbols or not.
var (
	spaceSet       = sync.OnceValue(func() *runeSet { return newRuneSet(spaceRanges()) })
	numberSet      = sync.OnceValue(func() *runeSet { return newRuneSet(tableRanges(unicode.N)) })
	punctuationSet = sync.OnceValue(func() *runeSet {
		return newRuneSet(union(tableRanges(unicode.P), []runeRange{{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}))
	})
)

// behavior says what becomes of the matches of a pattern.
type behavior uint8

const (
	isolated   behavior = iota // each match is a piece
	removed                    // matches vanish
	merged                     // a match joins the piece before it
	mergedNext                 // a match joins the piece after it
	contiguous                 // neighbouring matches form one piece
)

var behaviors = map[string]behavior{"Isolated": isolated, "Removed": removed, "MergedWithPrevious": merged,
	"MergedWithNext": mergedNext, "Contiguous": contiguous}

// patternSplit cuts at the matches of a pattern.
type patternSplit struct {
	scanner  scanner
	behavior behavior
	invert   bool // what the pattern does not match counts as the match
}

type span struct {
	start, end int
	match      bool
}

func (p *patternSplit) split(in piece, st *scanState, emit func(piece)) {
	clear(st.memo[:])
	if p.behavior == isolated {
		p.isolate(in, st, emit)
		return
	}
	var last span // waits until it is known what joins it
	waiting, previous := false, false
	flush := func() {
		if waiting && last.start < last.end && (p.behavior != removed || !last.match) {
			emit(piece{in.s[last.start:last.end], in.first && last.start == 0})
		}
	}
	p.spans(in.s, st, func(start, end int, match bool) {
		if match = match != p.invert; start == end && !match {
			return
		}
		switch {
		case waiting && p.behavior == contiguous && match == previous,
			waiting && p.behavior == merged && match && !previous:
			last.end = end
		case waiting && p.behavior == mergedNext && !match && last.match:
			last.end, last.match = end, false
		default:
			flush()
			last, waiting = span{start, end, match}, true
		}
		previous = match
	})
	flush()
}

// isolate is the common behavior, without a list: gaps and matches are emitted as they come.
func (p *patternSplit) isolate(in piece, st *scanState, emit func(piece)) {
	s, done := in.s, 0
	for pos := 0; pos < len(s); {
		start, end := p.scanner.next(st, s, pos)
		if done < start {
			emit(piece{s[done:start], in.first && done == 0})
		}
		if start < end {
			emit(piece{s[start:end], in.first && start == 0})
			pos = end
		} else {
			pos = nextRune(s, end)
		}
		done = end
	}
	if done < len(s) { // the last match was an empty one
		emit(piece{s[done:], in.first && done == 0})
	}
}

func (p *patternSplit) spans(s string, st *scanState, add func(start, end int, match bool)) {
	done := 0
	for pos := 0; pos < len(s); {
		start, end := p.scanner.next(st, s, pos)
		if done < start {
			add(done, start, false)
		}
		if start == len(s) {
			return
		}
		add(start, end, true)
		done, pos = end, end
		if start == end {
			pos = nextRune(s, end)
		}
	}
	if done < len(s) {
		add(done, len(s), false)
	}
}

func nextRune(s string, pos int) int {
	_, w := utf8.DecodeRuneInString(s[pos:])
	return pos + max(w, 1)
}

// metaspace writes spaces as a visible symbol and cuts before it.
type metaspace struct {
	symbol string
	scheme string // "always", "first", "never": where a leading space is added
	split_ bool
}

func (m *metaspace) split(in piece, st *scanState, emit func(piece)) {
	s := strings.ReplaceAll(in.s, " ", m.symbol)
	if (m.scheme == "always" || m.scheme == "first" && in.first) && !strings.HasPrefix(s, m.symbol) {
		s = m.symbol + s
	}
	if !m.split_ {
		emit(piece{s, in.first})
		return
	}
	for start := 0; start < len(s); {
		from := start
		if strings.HasPrefix(s[start:], m.symbol) {
			from += len(m.symbol)
		}
		end := len(s)
		if i := strings.Index(s[from:], m.symbol); i >= 0 {
			end = from + i
		}
		emit(piece{s[start:end], in.first && start == 0})
		start = end
	}
}

// byteLevel adds a leading space if asked, and writes bytes as visible runes unless the model takes bytes. The split
// by GPT-2's pattern, where the component asks for it, is a step of its own.
type byteLevel struct{ prefix, raw bool }

func (b *byteLevel) split(in piece, _ *scanState, emit func(piece)) {
	if b.prefix && !strings.HasPrefix(in.s, " ") {
		in.s = " " + in.s
	}
	if !b.raw {
		in.s = mapBytes(in.s)
	}
	emit(in)
}

// fixedLength cuts after every n runes.
type fixedLength int

func (n fixedLength) split(in piece, _ *scanState, emit func(piece)) {
	for start, s := 0, in.s; start < len(s); {
		end := start
		for i := 0; i < int(n) && end < len(s); i++ {
			end = nextRune(s, end)
		}
		emit(piece{s[start:end], in.first && start == 0})
		start = end
	}
}

// scriptSplit cuts where the script changes; kana counts as Han, and spaces as any script. Spaces before the first
// other rune are lost, as they are in the reference library.
type scriptSplit struct{}

func (scriptSplit) split(in piece, _ *scanState, emit func(piece)) {
	last, done := "", -1
	for i, r := range in.s {
		script := scriptOf(r)
		if script == "" {
			continue
		}
		if last != script {
			if done >= 0 {
				emit(piece{in.s[done:i], in.first && done == 0})
			}
			done = i
		}
		last = script
	}
	if done >= 0 {
		emit(piece{in.s[done:], in.first && done == 0})
	}
}

type scriptRange struct {
	runeRange
	name string
}

var scriptRanges = sync.OnceValue(func() []scriptRange {
	var out []scriptRange
	for name, t := range unicode.Scripts {
		for _, r := range tableRanges(t) {
			out = append(out, scriptRange{r, name})
		}
	}
	slices.SortFunc(out, func(a, b scriptRange) int { return int(a.lo - b.lo) }) // scripts are disjoint
	return out
})

// scriptOf returns the name of r's script, or "" for a space and what belongs to no script.
func scriptOf(r rune) string {
	if r == ' ' {
		return ""
	}
	t := scriptRanges()
	i, ok := slices.BinarySearchFunc(t, r, func(s scriptRange, r rune) int {
		switch {
		case s.hi < r:
			return -1
		case s.lo > r:
			return 1
		}
		return 0
	})
	switch {
	case !ok:
		return ""
	case r == 'ー' || t[i].name == "Hiragana" || t[i].name == "Katakana":
		return "Han"
	}
	return t[i].name
}
