package tokenizer

import "unicode"

// vocab is the two-way map of pieces and ids. Ids without a piece (holes that some published vocabularies have) are
// empty strings.
type vocab struct {
	pieces []string
	ids    map[string]int32
}

// id returns the id of a piece, or -1.
func (v *vocab) id(piece string) int32 {
	if id, ok := v.ids[piece]; ok {
		return id
	}
	return -1
}

// byteIDs returns the id of each piece <0xHH>, or how many there are if they are not all there.
func (v *vocab) byteIDs() (table *[256]int32, n int) {
	table = new([256]int32)
	for b := range table {
		table[b] = v.id(byteName(byte(b)))
		if table[b] >= 0 {
			n++
		}
	}
	return table, n
}

func byteName(b byte) string {
	const hex = "0123456789ABCDEF"
	return "<0x" + string(hex[b>>4]) + string(hex[b&15]) + ">"
}

// pairTable maps a pair of neighbouring ids to its merge: a hash table with open addressing, at most half full.
type pairTable struct {
	slots []pairSlot
	shift uint
	n     int
}

type pairSlot struct{ key, val uint64 } // key: left<<32 | right; val: rank<<32 | merged id

const noPair = ^uint64(0)

func newPairTable(n int) *pairTable {
	bits := uint(4)
	for 1<<bits < 2*n {
		bits++
	}
	t := &pairTable{slots: make([]pairSlot, 1<<bits), shift: 64 - bits}
	for i := range t.slots {
		t.slots[i].key = noPair
	}
	return t
}

func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

// get returns rank<<32 | merged id, or noPair.
func (t *pairTable) get(left, right int32) uint64 {
	key := pairKey(left, right)
	mask := uint64(len(t.slots) - 1)
	for i := key * 0x9e3779b97f4a7c15 >> t.shift; ; i = (i + 1) & mask {
		switch s := &t.slots[i]; s.key {
		case key:
			return s.val
		case noPair:
			return noPair
		}
	}
}

// put adds a merge; it reports false if the pair is known already. The table does not grow beyond the
// number it was made for.
func (t *pairTable) put(left, right int32, rank uint32, merged int32) bool {
	key := pairKey(left, right)
	mask := uint64(len(t.slots) - 1)
	i := key * 0x9e3779b97f4a7c15 >> t.shift
	for t.slots[i].key != noPair {
		if t.slots[i].key == key {
			return false
		}
		i = (i + 1) & mask
	}
	t.slots[i] = pairSlot{key, uint64(rank)<<32 | uint64(uint32(merged))}
	t.n++
	return true
}

// runeTable maps runes to ids, in pages of 256.
type runeTable struct {
	pages [(unicode.MaxRune + 1) >> 8]*[256]int32
}

func (t *runeTable) get(r rune) int32 {
	if p := uint32(r) >> 8; p < uint32(len(t.pages)) && t.pages[p] != nil {
		return t.pages[p][r&255]
	}
	return -1
}

func (t *runeTable) put(r rune, id int32) {
	p := r >> 8
	if t.pages[p] == nil {
		t.pages[p] = new([256]int32)
		for i := range t.pages[p] {
			t.pages[p][i] = -1
		}
	}
	t.pages[p][r&255] = id
}
