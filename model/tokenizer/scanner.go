package tokenizer

import (
	"math"
	"unicode/utf8"
)

// The split patterns of published tokenizers are alternations of short chains of character classes, such as
//
//	[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
//
// A backtracking engine finds the same matches, but takes quadratic time on long runs, and the recursive ones overflow
// their stack. Here each link of a chain is an item that is matched in one pass: when the pattern is
// compiled it is proved, class by class, where giving back runes could help at all. It can in three shapes: never
// (the next class is disjoint), an optional rune (try with, then without), and a run that must leave one rune to the next
// item (walk back to the last such rune). What such a walk finds is remembered for the run, so that any text takes
// linear time. A chain of another shape runs on Go's regexp (regexre2.go), or is refused.

// scanner finds the pieces that a pattern matches.
type scanner interface {
	// next returns the first match at or after pos; start is len(s) where there is none. An empty match is
	// a border. st carries what a scan of one string remembers.
	next(st *scanState, s string, pos int) (start, end int)
}

const maxMemo = 12

// scanState is the memory of one pass over one string.
type scanState struct {
	memo  [maxMemo]runMemo
	steps int  // runes read by the regexp engine
	over  bool // steps went over the limit: the pattern is not linear on this text
}

// runMemo remembers the last long run of an item: every position inside it ends where the run ends.
type runMemo struct {
	lo, hi int // the run
	last   int // last place in it where the next item matches, or -1
}

type itemKind uint8

const (
	itemRun  itemKind = iota // set, min to max times
	itemLits                 // one of lits, each a fixed number of runes
	itemLook                 // the next rune is in set (neg: is not, or the text ends)
)

type giveBack uint8

const (
	backNone giveBack = iota // the run keeps all it took
	backBoth                 // an optional rune: with it, else without it
	backWalk                 // back to the last place where the next item matches
)

type item struct {
	kind     itemKind
	set      *runeSet
	min, max int
	lits     [][]*runeSet
	optional bool
	neg      bool
	back     giveBack
	memo     int // index into scanState.memo, or -1
}

// alternative is one branch of a pattern.
type alternative struct {
	items []item
	re2   *re2Match // used in place of items
}

// regexScanner matches a whole pattern.
type regexScanner struct {
	alts  []alternative
	first [256]uint32 // by first byte: which alternatives may match
}

func (r *regexScanner) next(st *scanState, s string, pos int) (start, end int) {
	for pos < len(s) {
		for mask, i := r.first[s[pos]], 0; mask != 0; mask, i = mask>>1, i+1 {
			if mask&1 == 0 {
				continue
			}
			a := &r.alts[i]
			var e int
			if a.re2 != nil {
				e = a.re2.match(st, s, pos)
			} else {
				e = match(a.items, st, s, pos)
			}
			if e > pos {
				return pos, e
			}
		}
		if s[pos] < utf8.RuneSelf {
			pos++
		} else {
			_, n := utf8.DecodeRuneInString(s[pos:])
			pos += n
		}
	}
	return len(s), len(s)
}

// match returns where a match of items at pos ends, or -1.
func match(items []item, st *scanState, s string, pos int) int {
	for i := range items {
		it := &items[i]
		switch it.kind {
		case itemRun:
			switch it.back {
			case backNone:
				if pos = it.runEnd(st, s, pos); pos < 0 {
					return -1
				}
			case backBoth:
				if w := it.one(s, pos); w > 0 {
					if e := match(items[i+1:], st, s, pos+w); e >= 0 {
						return e
					}
				}
			case backWalk:
				if pos = it.walk(&items[i+1], st, s, pos); pos < 0 {
					return -1
				}
			}
		case itemLits:
			e := it.literal(s, pos)
			if e < 0 && !it.optional {
				return -1
			}
			pos = max(pos, e)
		case itemLook:
			if !it.holds(s, pos) {
				return -1
			}
		}
	}
	return pos
}

// one returns the width of the rune at pos if it is in the set, else 0.
func (it *item) one(s string, pos int) int {
	if pos >= len(s) {
		return 0
	}
	if c := s[pos]; c < utf8.RuneSelf {
		return int(it.set.ascii[c>>6] >> (c & 63) & 1)
	}
	r, n := utf8.DecodeRuneInString(s[pos:])
	if it.set.has(r) {
		return n
	}
	return 0
}

// runEnd returns the end of the longest run at pos, or -1 if it is shorter than the least.
func (it *item) runEnd(st *scanState, s string, pos int) int {
	if it.max != math.MaxInt {
		for n := 0; n < it.max; n++ {
			w := it.one(s, pos)
			if w == 0 {
				if n < it.min {
					return -1
				}
				break
			}
			pos += w
		}
		return pos
	}
	if it.memo >= 0 { // the rest may fail and the run be asked again
		if m := &st.memo[it.memo]; m.lo <= pos && pos < m.hi {
			return m.hi
		}
	}
	end, n := pos, 0
	set := it.set
	for end < len(s) {
		if c := s[end]; c < utf8.RuneSelf {
			if set.ascii[c>>6]>>(c&63)&1 == 0 {
				break
			}
			end++
		} else {
			r, w := utf8.DecodeRuneInString(s[end:])
			if !set.has(r) {
				break
			}
			end += w
		}
		n++
	}
	if n < it.min {
		return -1
	}
	if it.memo >= 0 {
		st.memo[it.memo] = runMemo{lo: pos, hi: end, last: -1}
	}
	return end
}

// walk returns the last place in the run at pos where the next item can start, or -1.
func (it *item) walk(next *item, st *scanState, s string, pos int) int {
	var hi, last, least int
	m := &runMemo{}
	if it.memo >= 0 {
		m = &st.memo[it.memo]
	}
	if m.lo <= pos && pos < m.hi {
		hi, last = m.hi, m.last
	} else {
		// The run is measured without the memo of runEnd, whose fields mean less.
		run := item{set: it.set, max: it.max, memo: -1}
		hi = run.runEnd(st, s, pos)
		last = hi
		for !next.starts(s, last) {
			if last == pos {
				last = -1
				break
			}
			_, w := utf8.DecodeLastRuneInString(s[pos:last])
			last -= w
		}
		*m = runMemo{lo: pos, hi: hi, last: last}
	}
	least = pos
	for range it.min {
		if least >= hi {
			return -1
		}
		_, w := utf8.DecodeRuneInString(s[least:])
		least += w
	}
	if last < least {
		return -1
	}
	return last
}

// starts reports whether the item, which takes at least one rune or looks at one, can start at pos.
func (it *item) starts(s string, pos int) bool {
	if it.kind == itemLook {
		return it.holds(s, pos)
	}
	return it.one(s, pos) > 0
}

func (it *item) holds(s string, pos int) bool { return (it.one(s, pos) > 0) != it.neg }

// literal returns the end of the first alternative that matches at pos, or -1.
func (it *item) literal(s string, pos int) int {
next:
	for _, lit := range it.lits {
		p := pos
		for _, set := range lit {
			w := (&item{set: set}).one(s, p)
			if w == 0 {
				continue next
			}
			p += w
		}
		return p
	}
	return -1
}
