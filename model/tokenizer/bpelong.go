package tokenizer

import (
	"math/bits"
	"slices"
)

// longMerge merges long words: symbols form a linked list, and pairs wait in a queue by rank. It is the scratch
// memory of one encoder.
type longMerge struct {
	prev, next []int32
	rank       []uint32 // of the pair that starts at a symbol, noRank if none
	val        []int32  // what that pair merges into

	// mergeOrdered: one list of positions for each rank.
	head, tail []int32 // by rank: first and last node, -1 if none
	dirty      []bool  // by rank: positions are not ascending
	busy       []uint64
	nodes      []rankNode
	sorted     []int32

	heap []uint64 // mergeHeap: rank<<32 | position
}

type rankNode struct{ pos, next int32 }

// start links n symbols.
func (l *longMerge) start(m *bpe, ids []int32) {
	n := len(ids)
	l.prev = slices.Grow(l.prev[:0], n)[:n]
	l.next = slices.Grow(l.next[:0], n)[:n]
	l.rank = slices.Grow(l.rank[:0], n)[:n]
	l.val = slices.Grow(l.val[:0], n)[:n]
	for i := range n {
		l.prev[i], l.next[i] = int32(i-1), int32(i+1)
		l.rank[i] = noRank
		if i+1 < n {
			l.look(m, ids, int32(i))
		}
	}
	l.next[n-1] = -1
}

// look finds the merge of the pair that starts at i and reports whether there is one.
func (l *longMerge) look(m *bpe, ids []int32, i int32) bool {
	l.rank[i] = noRank
	if l.next[i] < 0 {
		return false
	}
	v := m.pairs.get(ids[i], ids[l.next[i]])
	if v == noPair {
		return false
	}
	l.rank[i], l.val[i] = uint32(v>>32), int32(uint32(v))
	return true
}

// join merges the pair that starts at i.
func (l *longMerge) join(ids []int32, i int32) {
	j := l.next[i]
	ids[i] = l.val[i]
	l.next[i] = l.next[j]
	if l.next[j] >= 0 {
		l.prev[l.next[j]] = i
	}
	l.rank[i], l.rank[j] = noRank, noRank
	l.next[j] = -2 // gone
}

// collect moves the symbols that are left to the front and returns how many there are.
func (l *longMerge) collect(ids []int32) int {
	n := 0
	for i := int32(0); i >= 0; i = l.next[i] {
		ids[n] = ids[i]
		n++
	}
	return n
}

// mergeOrdered needs a table in which the parts of a pair come from lower ranks than its own. Then a merge can only make pairs of higher
// ranks: the ranks are gone through once, and when a rank is reached all its pairs are known. Pairs of one rank are merged
// from left to right, since they may overlap (three equal letters).
func (l *longMerge) mergeOrdered(m *bpe, ids []int32) int {
	if len(l.head) < m.ranks {
		l.head, l.tail = make([]int32, m.ranks), make([]int32, m.ranks)
		for i := range l.head {
			l.head[i] = -1
		}
		l.dirty = make([]bool, m.ranks)
		l.busy = make([]uint64, (m.ranks+63)/64)
	}
	l.start(m, ids)
	l.nodes = l.nodes[:0]
	for i := range ids {
		if l.rank[i] != noRank {
			l.push(l.rank[i], int32(i))
		}
	}
	for w := 0; w < len(l.busy); w++ {
		for l.busy[w] != 0 {
			rank := uint32(w<<6 + bits.TrailingZeros64(l.busy[w]))
			l.mergeRank(m, ids, rank)
		}
	}
	return l.collect(ids)
}

func (l *longMerge) push(rank uint32, pos int32) {
	node := int32(len(l.nodes))
	l.nodes = append(l.nodes, rankNode{pos, -1})
	if l.head[rank] < 0 {
		l.head[rank], l.dirty[rank] = node, false
		l.busy[rank>>6] |= 1 << (rank & 63)
	} else {
		t := &l.nodes[l.tail[rank]]
		l.dirty[rank] = l.dirty[rank] || t.pos > pos
		t.next = node
	}
	l.tail[rank] = node
}

// mergeRank merges every pair of one rank.
func (l *longMerge) mergeRank(m *bpe, ids []int32, rank uint32) {
	l.sorted = l.sorted[:0]
	for n := l.head[rank]; n >= 0; n = l.nodes[n].next {
		l.sorted = append(l.sorted, l.nodes[n].pos)
	}
	if l.dirty[rank] {
		slices.Sort(l.sorted)
	}
	l.head[rank] = -1
	l.busy[rank>>6] &^= 1 << (rank & 63)
	for _, i := range l.sorted {
		if l.rank[i] != rank {
			continue // one of the two took part in another merge
		}
		l.join(ids, i)
		if p := l.prev[i]; p >= 0 && l.look(m, ids, p) {
			l.push(l.rank[p], p)
		}
		if l.look(m, ids, i) {
			l.push(l.rank[i], i)
		}
	}
}

// mergeHeap is for tables of any order: a heap of rank and position.
func (l *longMerge) mergeHeap(m *bpe, ids []int32) int {
	l.start(m, ids)
	l.heap = l.heap[:0]
	for i := range ids {
		if l.rank[i] != noRank {
			l.heap = append(l.heap, uint64(l.rank[i])<<32|uint64(i))
		}
	}
	for i := len(l.heap)/4 + 1; i >= 0; i-- {
		l.down(i)
	}
	for len(l.heap) > 0 {
		top := l.heap[0]
		last := len(l.heap) - 1
		l.heap[0] = l.heap[last]
		l.heap = l.heap[:last]
		l.down(0)
		i := int32(uint32(top))
		if l.rank[i] != uint32(top>>32) {
			continue
		}
		l.join(ids, i)
		if p := l.prev[i]; p >= 0 && l.look(m, ids, p) {
			l.up(uint64(l.rank[p])<<32 | uint64(p))
		}
		if l.look(m, ids, i) {
			l.up(uint64(l.rank[i])<<32 | uint64(i))
		}
	}
	return l.collect(ids)
}

// down and up keep the heap, whose nodes have four children each.
func (l *longMerge) down(i int) {
	h := l.heap
	if i >= len(h) {
		return
	}
	x := h[i]
	for {
		c := 4*i + 1
		if c >= len(h) {
			break
		}
		best := c
		for k := c + 1; k < min(c+4, len(h)); k++ {
			if h[k] < h[best] {
				best = k
			}
		}
		if h[best] >= x {
			break
		}
		h[i] = h[best]
		i = best
	}
	h[i] = x
}

func (l *longMerge) up(x uint64) {
	l.heap = append(l.heap, x)
	h, i := l.heap, len(l.heap)-1
	for i > 0 {
		p := (i - 1) / 4
		if h[p] <= x {
			break
		}
		h[i] = h[p]
		i = p
	}
	h[i] = x
}
