package tokenizer

import (
	"math"
	"slices"
	"unicode/utf8"
)

// bpe is byte-pair encoding (Sennrich et al., arXiv:1508.07909): a word starts as single runes, or bytes, and the pair with
// the lowest rank is merged, leftmost first, until no pair is in the table.
//
// Words are short, so the usual word takes a scan over its ranks for every merge. Long ones (a megabyte of text where nothing is split
// off before, 100000 equal letters) would take quadratic time that way: see bpelong.go. Where a
// vocabulary has no pre-tokenizer, text is first cut at places no merge can bridge: see seams.go.
type bpe struct {
	vocab    *vocab
	pairs    *pairTable
	ranks    int         // ranks are below this
	upward   []bool      // by rank: what it merges into is part of pairs of higher ranks only
	byteID   *[256]int32 // set where the words are raw bytes
	runes    runeTable   // the pieces of one rune
	fallback *[256]int32 // pieces <0xHH> for runes outside the vocabulary
	unk      int32
	fuseUnk  bool
	prefix   string           // of pieces that continue a word
	suffix   string           // of pieces that end one
	whole    map[string]int32 // ignore_merges: words that are pieces
	seams    *seams
	expand   map[int32][]int32 // pieces that only help merging, and what stands for them
}

const shortWord = 40 // symbols up to which quadratic merging is faster

// encode appends the ids of one pre-token.
func (m *bpe) encode(e *encoder, s string) {
	if m.whole != nil { // ignore_merges: a pre-token that is a piece is that piece
		if id, ok := m.whole[s]; ok {
			e.ids = append(e.ids, id)
			return
		}
	}
	if m.seams == nil {
		m.word(e, s)
		return
	}
	for s != "" {
		n := m.seams.cut(m, s)
		if r, w := utf8.DecodeRuneInString(s); n == w && m.expand == nil && m.symbol(r) >= 0 {
			e.ids = append(e.ids, m.symbol(r))
		} else if n == 1 && m.expand == nil {
			m.fresh(e, s[:1])
		} else {
			m.word(e, s[:n])
		}
		s = s[n:]
	}
}

func (m *bpe) word(e *encoder, s string) {
	if len(s) == 1 && m.byteID != nil && m.byteID[s[0]] >= 0 {
		e.ids = append(e.ids, m.byteID[s[0]])
		return
	}
	if len(s) > cacheMaxWord {
		m.fresh(e, s)
		return
	}
	ids, hash, ok := e.cache.find(s)
	if ok {
		e.ids = append(e.ids, ids...)
		return
	}
	from := len(e.ids)
	m.fresh(e, s)
	e.cache.add(s, hash, e.ids[from:])
}

// fresh appends the ids of a word that is not in the cache.
func (m *bpe) fresh(e *encoder, s string) {
	from := len(e.ids)
	e.ids = m.merge(e, m.symbols(e.ids, s), from)
	if m.expand == nil {
		return
	}
	for i := from; i < len(e.ids); i++ {
		if x, ok := m.expand[e.ids[i]]; ok {
			e.ids = slices.Replace(e.ids, i, i+1, x...)
			i += len(x) - 1
		}
	}
	if m.fuseUnk && m.unk >= 0 && m.fallback == nil {
		tail := slices.CompactFunc(e.ids[from:], func(a, b int32) bool { return a == m.unk && b == m.unk })
		e.ids = e.ids[:from+len(tail)]
	}
}

// symbols appends the ids that the word starts from.
func (m *bpe) symbols(ids []int32, s string) []int32 {
	unk := false // the last symbol is an unknown one that may take the next in
	add := func(id int32) {
		if id >= 0 {
			ids = append(ids, id)
			unk = false
		} else if m.unk >= 0 && !(unk && m.fuseUnk) {
			ids = append(ids, m.unk)
			unk = true
		}
	}
	if m.byteID != nil {
		for i := range len(s) {
			add(m.byteID[s[i]])
		}
		return ids
	}
	for i := 0; i < len(s); {
		r, w := utf8.DecodeRuneInString(s[i:])
		sym := s[i : i+w]
		id := int32(-1)
		if m.prefix == "" && m.suffix == "" {
			id = m.symbol(r)
		} else {
			if i > 0 {
				sym = m.prefix + sym
			}
			if i+w == len(s) {
				sym += m.suffix
			}
			id = m.vocab.id(sym)
		}
		if id < 0 && m.fallback != nil {
			for k := range len(sym) {
				add(m.fallback[sym[k]])
			}
		} else {
			add(id)
		}
		i += w
	}
	return ids
}

// symbol returns the id of the piece that is the rune alone, or -1.
func (m *bpe) symbol(r rune) int32 { return m.runes.get(r) }

// merge merges ids[from:] in place and returns ids with what is left.
func (m *bpe) merge(e *encoder, ids []int32, from int) []int32 {
	n := len(ids) - from
	switch {
	case n < 2:
		return ids
	case n <= shortWord:
		return ids[:from+m.mergeShort(ids[from:])]
	}
	word := ids[from:]
	if runs := e.long.runs(word); runs != nil {
		n, done := m.mergeRuns(runs, word)
		if done {
			return ids[:from+n]
		}
		word = word[:n]
	}
	return ids[:from+e.long.merge(m, word)]
}

// mergeShort merges up to shortWord symbols and returns how many are left.
func (m *bpe) mergeShort(ids []int32) int {
	var vals [shortWord]uint64 // of the pair that starts here
	n := len(ids)
	for i := range n - 1 {
		vals[i] = m.pairs.get(ids[i], ids[i+1])
	}
	for n > 1 {
		best, at := uint64(noPair), -1
		for i, v := range vals[:n-1] {
			if v>>32 < best>>32 {
				best, at = v, i
			}
		}
		if at < 0 {
			break
		}
		ids[at] = int32(uint32(best))
		copy(ids[at+1:], ids[at+2:n])
		copy(vals[at:], vals[at+1:n-1])
		n--
		if at > 0 {
			vals[at-1] = m.pairs.get(ids[at-1], ids[at])
		}
		if at < n-1 {
			vals[at] = m.pairs.get(ids[at], ids[at+1])
		}
	}
	return n
}

// prepareExpand finds what stands for symbols that merging may leave but that are no result: pieces of type "unused",
// which are cut again into what they were made of, and runes that are no pieces themselves.
func (m *bpe) prepareExpand(spec *modelSpec) {
	m.expand = map[int32][]int32{}
	for i, p := range spec.loose {
		id := int32(len(spec.pieces) + i)
		if m.fallback == nil {
			m.expand[id] = []int32{m.unk}
			continue
		}
		for k := range len(p) {
			m.expand[id] = append(m.expand[id], m.fallback[p[k]])
		}
	}
	if slices.Contains(spec.kinds, kindUnused) {
		m.expandUnused(spec)
	}
	if len(m.expand) == 0 {
		m.expand = nil
	}
}

func (m *bpe) expandUnused(spec *modelSpec) {
	parts := map[int32][2]int32{} // the merge with the lowest rank
	for _, x := range spec.merges {
		if _, ok := parts[x.merged]; !ok && spec.kinds[x.merged] == kindUnused {
			parts[x.merged] = [2]int32{x.left, x.right}
		}
	}
	var leaves func(id int32) []int32
	leaves = func(id int32) []int32 { // ends, because parts are shorter than the whole
		if p, ok := parts[id]; ok {
			return slices.Concat(leaves(p[0]), leaves(p[1]))
		}
		if x, ok := m.expand[id]; ok {
			return x
		}
		return []int32{id}
	}
	for id := range parts {
		m.expand[id] = leaves(id)
	}
}

// setUpward finds the ranks whose merges cannot make a pair of the same or a lower rank. ids are below n.
func (m *bpe) setUpward(merges []mergeSpec, n int) {
	lowest := slices.Repeat([]uint32{noRank}, n) // by id: the lowest rank of the pairs it is part of
	for _, x := range merges {
		lowest[x.left] = min(lowest[x.left], x.rank)
		lowest[x.right] = min(lowest[x.right], x.rank)
	}
	m.upward = slices.Repeat([]bool{true}, m.ranks)
	for _, x := range merges {
		if lowest[x.merged] <= x.rank {
			m.upward[x.rank] = false
		}
	}
}

const noRank = math.MaxUint32
