package tokenizer

import (
	"maps"
	"slices"
)

// trainer holds the words of a corpus as symbols, and the counts of all pairs in them.
type trainer struct {
	words  [][]int32
	counts []int64 // how often each word occurs
	pairs  map[uint64]*pairUse
	heap   []pairCount
}

// pairUse is how often a pair occurs, and in which words (some may not hold it any more).
type pairUse struct {
	count int64
	words []int32
}

// pairCount is an entry of the heap: the count when it was entered, which may be too high by now.
type pairCount struct {
	count int64
	pair  uint64
}

// before orders by count, then by ids.
func (a pairCount) before(b pairCount) bool {
	return a.count > b.count || a.count == b.count && a.pair < b.pair
}

func newTrainer(m *modelSpec, counts map[string]int64) *trainer {
	t := &trainer{pairs: map[uint64]*pairUse{}}
	var byteID [256]int32
	ids := m.index()
	for b, r := range runeOfByte {
		byteID[b] = ids[string(r)]
	}
	for _, w := range slices.Sorted(maps.Keys(counts)) {
		if len(w) < 2 {
			continue
		}
		word := make([]int32, len(w))
		for i := range word {
			word[i] = byteID[w[i]]
		}
		n := int32(len(t.words))
		t.words, t.counts = append(t.words, word), append(t.counts, counts[w])
		for i := range len(word) - 1 {
			t.add(pairKey(word[i], word[i+1]), n, counts[w])
		}
	}
	for pair, use := range t.pairs {
		t.heap = append(t.heap, pairCount{use.count, pair})
	}
	slices.SortFunc(t.heap, func(a, b pairCount) int { // a sorted list is a heap
		if a.before(b) {
			return -1
		}
		return 1
	})
	return t
}

// add counts n occurrences of a pair in a word.
func (t *trainer) add(pair uint64, word int32, n int64) {
	use := t.pairs[pair]
	if use == nil {
		use = &pairUse{}
		t.pairs[pair] = use
	}
	use.count += n
	if k := len(use.words); k == 0 || use.words[k-1] != word {
		use.words = append(use.words, word)
	}
}

// best takes the most frequent pair off the heap; ok is false if none occurs often enough.
func (t *trainer) best(least int64) (pair uint64, ok bool) {
	for len(t.heap) > 0 {
		top := t.heap[0]
		if top.count < least {
			return 0, false
		}
		use := t.pairs[top.pair]
		if use != nil && use.count == top.count {
			t.pop()
			return top.pair, true
		}
		t.pop()
		if use != nil && use.count >= least {
			t.push(pairCount{use.count, top.pair})
		}
	}
	return 0, false
}

// merge replaces a pair in all words that hold it and brings the counts of its neighbours up to date.
func (t *trainer) merge(pair uint64, left, right, merged int32) {
	grown := map[uint64]bool{}
	for _, w := range t.pairs[pair].words {
		t.mergeWord(w, left, right, merged, grown)
	}
	delete(t.pairs, pair)
	for _, p := range slices.Sorted(maps.Keys(grown)) {
		if use := t.pairs[p]; use != nil && use.count > 0 {
			t.push(pairCount{use.count, p})
		}
	}
}

func (t *trainer) mergeWord(w, left, right, merged int32, grown map[uint64]bool) {
	word, n := t.words[w], t.counts[w]
	drop := func(a, b int32) {
		if use := t.pairs[pairKey(a, b)]; use != nil {
			use.count -= n
		}
	}
	gain := func(a, b int32) {
		t.add(pairKey(a, b), w, n)
		grown[pairKey(a, b)] = true
	}
	out := word[:0]
	for i := 0; i < len(word); i++ {
		if i+1 == len(word) || word[i] != left || word[i+1] != right {
			out = append(out, word[i])
			continue
		}
		if k := len(out); k > 0 {
			drop(out[k-1], left)
			gain(out[k-1], merged)
		}
		if i+2 < len(word) {
			drop(right, word[i+2])
			gain(merged, word[i+2])
		}
		out = append(out, merged)
		i++
	}
	t.words[w] = out
}

func (t *trainer) push(x pairCount) {
	t.heap = append(t.heap, x)
	h := t.heap
	i := len(h) - 1
	for i > 0 && x.before(h[(i-1)/2]) {
		h[i] = h[(i-1)/2]
		i = (i - 1) / 2
	}
	h[i] = x
}

func (t *trainer) pop() {
	h := t.heap
	n := len(h) - 1
	x := h[n]
	h = h[:n]
	t.heap = h
	for i := 0; i < n; {
		c := 2*i + 1
		if c+1 < n && h[c+1].before(h[c]) {
			c++
		}
		if c >= n || !h[c].before(x) {
			h[i] = x
			break
		}
		h[i] = h[c]
		i = c
	}
}
