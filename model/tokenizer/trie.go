package tokenizer

// trie finds the pieces that a text starts with. Its edges are in one hash table, keyed by node and byte.
type trie struct {
	edges []trieEdge
	shift uint
	nodes int32
	value []int32 // by node: id of the piece that ends here, or -1
	root  [256]int32
}

type trieEdge struct {
	key  uint64 // node<<8 | byte, plus one; 0: empty
	node int32
}

// newTrie makes a trie for at most n bytes of pieces in all.
func newTrie(n int) *trie {
	bits := uint(4)
	for 1<<bits < 2*(n+1) {
		bits++
	}
	t := &trie{edges: make([]trieEdge, 1<<bits), shift: 64 - bits, nodes: 1, value: []int32{-1}}
	for c := range t.root {
		t.root[c] = -1
	}
	return t
}

// step returns the node behind an edge, or -1.
func (t *trie) step(node int32, c byte) int32 {
	key := (uint64(node)<<8 | uint64(c)) + 1
	mask := uint64(len(t.edges) - 1)
	for i := key * 0x9e3779b97f4a7c15 >> t.shift; ; i = (i + 1) & mask {
		switch e := &t.edges[i]; e.key {
		case key:
			return e.node
		case 0:
			return -1
		}
	}
}

// add enters a piece; the last id wins where two pieces are equal.
func (t *trie) add(piece string, id int32) {
	node := int32(0)
	for i := range len(piece) {
		next := t.step(node, piece[i])
		if next < 0 {
			next = t.nodes
			t.nodes++
			t.value = append(t.value, -1)
			key := (uint64(node)<<8 | uint64(piece[i])) + 1
			mask := uint64(len(t.edges) - 1)
			k := key * 0x9e3779b97f4a7c15 >> t.shift
			for t.edges[k].key != 0 {
				k = (k + 1) & mask
			}
			t.edges[k] = trieEdge{key, next}
			if node == 0 {
				t.root[piece[i]] = next
			}
		}
		node = next
	}
	t.value[node] = id
}
