package tokenizer

import (
	"math/bits"
	"slices"
)

// longMerge merges long words in the order that BPE asks for: the lowest rank first, and of one rank from left to
// right. Symbols form a linked list. Pairs wait in one list for each rank, and a tree of bitmaps finds the lowest rank that has any, so that
// a merge costs a few steps whatever the length of the word.
//
// A merge nearly always makes pairs of higher ranks than its own; then a rank's list is complete when its turn comes,
// is sorted if need be, and is gone through once: all pairs are joined, then the new neighbours are looked up. Where a
// merge can make a pair of a lower rank, this is done one by one, and the list is laid aside until that pair is done.
type longMerge struct {
	prev, next []int32
	rank       []uint32 // of the pair that starts at a symbol, noRank if none
	val        []int32  // what that pair merges into

	head, tail []int32 // by rank: first and last node of its list
	dirty      []bool  // by rank: positions are not ascending
	busy       [3][]uint64
	nodes      []rankNode

	coded  []symbolRun
	frames []rankFrame
	lists  []int32 // the sorted lists of all frames, one after the other
}

type rankNode struct{ pos, next int32 }

// rankFrame is a rank whose pairs are being merged.
type rankFrame struct {
	rank      uint32
	next, end int     // what is left of its list: lists[next:end]
	start     int     // where its list began
	late      []int32 // positions that came later: a heap
}

// merge merges ids in place and returns how many are left.
func (l *longMerge) merge(m *bpe, ids []int32) int {
	l.start(m, ids)
	for {
		rank, ok := l.lowest()
		if n := len(l.frames); n > 0 && (!ok || l.frames[n-1].rank <= rank) {
			f := &l.frames[n-1]
			if ok && f.rank == rank {
				l.drain(rank, func(pos int32) { f.late = heapPush(f.late, pos) })
			}
			if l.work(m, ids, f) {
				l.lists = l.lists[:f.start]
				l.frames = l.frames[:n-1]
			}
			continue
		}
		if !ok {
			break
		}
		f := rankFrame{rank: rank, start: len(l.lists), next: len(l.lists)}
		dirty := l.dirty[rank]
		l.drain(rank, func(pos int32) { l.lists = append(l.lists, pos) })
		if f.end = len(l.lists); dirty {
			slices.Sort(l.lists[f.start:])
		}
		l.frames = append(l.frames, f)
	}
	n := 0
	for i := int32(0); i >= 0; i = l.next[i] {
		ids[n] = ids[i]
		n++
	}
	return n
}

// start links the symbols and lists their pairs.
func (l *longMerge) start(m *bpe, ids []int32) {
	if len(l.head) < m.ranks {
		l.head, l.tail, l.dirty = make([]int32, m.ranks), make([]int32, m.ranks), make([]bool, m.ranks)
		for i := range l.head {
			l.head[i] = -1
		}
		for i, n := 0, m.ranks; i < len(l.busy); i++ {
			n = (n + 63) / 64
			l.busy[i] = make([]uint64, n)
		}
	}
	n := len(ids)
	l.prev = slices.Grow(l.prev[:0], n)[:n]
	l.next = slices.Grow(l.next[:0], n)[:n]
	l.rank = slices.Grow(l.rank[:0], n)[:n]
	l.val = slices.Grow(l.val[:0], n)[:n]
	l.nodes, l.lists, l.frames = l.nodes[:0], l.lists[:0], l.frames[:0]
	for i := range n {
		l.prev[i], l.next[i] = int32(i-1), int32(i+1)
	}
	l.next[n-1] = -1
	for i := range n {
		if l.look(m, ids, int32(i)) {
			l.push(int32(i))
		}
	}
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

// work merges the pairs of a frame and reports whether it is done; else a pair of a lower rank has come up.
func (l *longMerge) work(m *bpe, ids []int32, f *rankFrame) bool {
	if m.upward[f.rank] {
		l.workAll(m, ids, f)
		return true
	}
	for {
		var i int32
		switch {
		case len(f.late) > 0 && (f.next == f.end || f.late[0] < l.lists[f.next]):
			i = f.late[0]
			f.late = heapPop(f.late)
		case f.next < f.end:
			i = l.lists[f.next]
			f.next++
		default:
			return true
		}
		if l.rank[i] != f.rank {
			continue // one of the two took part in another merge
		}
		l.join(ids, i)
		lower := false
		if p := l.prev[i]; p >= 0 && l.look(m, ids, p) {
			lower = l.offer(f, p)
		}
		if l.look(m, ids, i) {
			lower = l.offer(f, i) || lower
		}
		if lower {
			return false
		}
	}
}

// workAll merges the pairs of a frame whose merges make pairs of higher ranks only.
func (l *longMerge) workAll(m *bpe, ids []int32, f *rankFrame) {
	list := l.lists[f.next:f.end]
	merged := list[:0]
	for _, i := range list {
		if l.rank[i] == f.rank {
			l.join(ids, i)
			l.rank[i] = noRank
			merged = append(merged, i)
		}
	}
	last := int32(-1)
	for _, i := range merged {
		if p := l.prev[i]; p >= 0 && p != last && l.look(m, ids, p) {
			l.push(p)
		}
		if l.look(m, ids, i) {
			l.push(i)
		}
		last = i
	}
}

// offer lists a new pair and reports whether it comes before the rest of the frame.
func (l *longMerge) offer(f *rankFrame, i int32) bool {
	if l.rank[i] == f.rank {
		f.late = heapPush(f.late, i)
		return false
	}
	l.push(i)
	return l.rank[i] < f.rank
}

// join merges the pair that starts at i.
func (l *longMerge) join(ids []int32, i int32) {
	j := l.next[i]
	ids[i] = l.val[i]
	l.next[i] = l.next[j]
	if l.next[j] >= 0 {
		l.prev[l.next[j]] = i
	}
	l.rank[j] = noRank
}

// push appends the pair that starts at i to the list of its rank.
func (l *longMerge) push(i int32) {
	rank, node := l.rank[i], int32(len(l.nodes))
	l.nodes = append(l.nodes, rankNode{i, -1})
	if l.head[rank] < 0 {
		l.head[rank], l.dirty[rank] = node, false
		at := rank
		for k := range l.busy {
			l.busy[k][at>>6] |= 1 << (at & 63)
			at >>= 6
		}
	} else {
		t := &l.nodes[l.tail[rank]]
		l.dirty[rank] = l.dirty[rank] || t.pos > i
		t.next = node
	}
	l.tail[rank] = node
}

// drain empties the list of a rank.
func (l *longMerge) drain(rank uint32, f func(pos int32)) {
	for n := l.head[rank]; n >= 0; n = l.nodes[n].next {
		f(l.nodes[n].pos)
	}
	l.head[rank] = -1
	at := rank
	for k := range l.busy {
		if l.busy[k][at>>6] &^= 1 << (at & 63); l.busy[k][at>>6] != 0 {
			break
		}
		at >>= 6
	}
}

// lowest returns the lowest rank that has pairs.
func (l *longMerge) lowest() (uint32, bool) {
	for at, w := range l.busy[2] {
		if w == 0 {
			continue
		}
		at = at<<6 | bits.TrailingZeros64(w)
		at = at<<6 | bits.TrailingZeros64(l.busy[1][at])
		return uint32(at<<6 | bits.TrailingZeros64(l.busy[0][at])), true
	}
	return 0, false
}

func heapPush(h []int32, x int32) []int32 {
	h = append(h, x)
	for i := len(h) - 1; i > 0 && h[(i-1)/2] > x; i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], x
	}
	return h
}

func heapPop(h []int32) []int32 {
	n := len(h) - 1
	x := h[n]
	h = h[:n]
	for i := 0; i < n; {
		c := 2*i + 1
		if c+1 < n && h[c+1] < h[c] {
			c++
		}
		if c >= n || h[c] >= x {
			h[i] = x
			break
		}
		h[i] = h[c]
		i = c
	}
	return h
}
