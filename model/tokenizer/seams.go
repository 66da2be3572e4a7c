package tokenizer

import "unicode/utf8"

// seams cuts text where no merge can bridge. A merge joins two neighbouring pieces, so to grow over the border between the runes x and y
// there must be a merge whose left part ends in x and whose right part begins with y. Where the table has no such
// merge the two sides are independent words, which keeps words short, and in the cache, for vocabularies
// without a pre-tokenizer (Llama 2: nothing joins a letter to a following space).
type seams struct {
	common [129][3]uint64 // both runes ASCII or the space symbol
	pairs  map[[2]rune]struct{}

	unkFirst, unkLast rune // ends of the unknown piece
}

// seamIndex returns the row of the table of common runes, or -1.
func seamIndex(r rune) int {
	switch {
	case r < 128:
		return int(r)
	case r == '▁':
		return 128
	}
	return -1
}

// add notes that a merge joins left to right.
func (t *seams) add(left, right string) {
	x, _ := utf8.DecodeLastRuneInString(left)
	y, _ := utf8.DecodeRuneInString(right)
	if i, j := seamIndex(x), seamIndex(y); i >= 0 && j >= 0 {
		t.common[i][j>>6] |= 1 << (j & 63)
	} else {
		t.pairs[[2]rune{x, y}] = struct{}{}
	}
}

// cut returns the length of the first word of s.
func (t *seams) cut(m *bpe, s string) int {
	mayBeUnknown := m.unk >= 0 && m.fallback == nil
	x, i := utf8.DecodeRuneInString(s)
	for i < len(s) {
		y, w := utf8.DecodeRuneInString(s[i:])
		left, right := x, y
		if mayBeUnknown { // an unknown rune merges as the unknown piece does
			a, b := m.symbol(x) < 0, m.symbol(y) < 0
			if a && b && m.fuseUnk {
				x = y
				i += w
				continue
			}
			if a {
				left = t.unkLast
			}
			if b {
				right = t.unkFirst
			}
		}
		if !t.joins(left, right) {
			return i
		}
		x = y
		i += w
	}
	return i
}

// joins reports whether some merge has its seam between the two runes.
func (t *seams) joins(x, y rune) bool {
	if a, b := seamIndex(x), seamIndex(y); a >= 0 && b >= 0 {
		return t.common[a][b>>6]>>(b&63)&1 != 0
	}
	_, ok := t.pairs[[2]rune{x, y}]
	return ok
}

// newSeams collects the seams of all merges, or returns nil where bytes of a rune take part in merges.
func newSeams(m *modelSpec) *seams {
	if len(m.loose) > 0 && !m.byteFallback {
		return nil // loose runes may turn out unknown, and unknown neighbours are one
	}
	t := &seams{pairs: map[[2]rune]struct{}{}}
	for _, x := range m.merges {
		l, r := m.part(x.left), m.part(x.right)
		_, left := byteToken(l)
		_, right := byteToken(r)
		if m.byteFallback && (left || right) {
			return nil
		}
		t.add(l, r)
	}
	if m.unk >= 0 {
		t.unkFirst, _ = utf8.DecodeRuneInString(m.pieces[m.unk])
		t.unkLast, _ = utf8.DecodeLastRuneInString(m.pieces[m.unk])
	}
	return t
}
