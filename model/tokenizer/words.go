package tokenizer

import (
	"unicode/utf8"

	"github.com/parelm/pare/model/tensor"
)

// wordLevel maps whole words.
type wordLevel struct {
	vocab  *vocab
	unk    int32
	hidden func(id int) bool
}

func (m *wordLevel) encode(e *encoder, s string) {
	id := m.vocab.id(s)
	if id < 0 || m.hidden(int(id)) {
		id = m.unk
	}
	if id < 0 {
		e.fail(errUnknown(s))
		return
	}
	e.ids = append(e.ids, id)
}

func errUnknown(s string) error {
	return tensor.Errorf(tensor.ErrInvalid, "", "text", "%q is not in the vocabulary, which has no unknown token", clip(s, 40))
}

// wordPiece cuts a word into the longest pieces from left to right, with a prefix on all but the first (BERT). A word with a part
// that no piece matches is unknown as a whole.
type wordPiece struct {
	vocab   *vocab
	first   *trie // pieces that start a word
	rest    *trie // pieces that continue one, without their prefix
	unk     int32
	maxWord int // longer words are unknown, in runes
}

func newWordPiece(v *vocab, prefix string, unk int32, maxWord int) *wordPiece {
	size := 0
	for _, p := range v.pieces {
		size += len(p)
	}
	m := &wordPiece{vocab: v, first: newTrie(size), rest: newTrie(size), unk: unk, maxWord: maxWord}
	for id, p := range v.pieces {
		if p == "" {
			continue
		}
		m.first.add(p, int32(id))
		if len(p) > len(prefix) && p[:len(prefix)] == prefix {
			m.rest.add(p[len(prefix):], int32(id))
		}
	}
	return m
}

func (m *wordPiece) encode(e *encoder, s string) {
	from := len(e.ids)
	ok := len(s) <= m.maxWord || utf8.RuneCountInString(s) <= m.maxWord
	for t, i := m.first, 0; ok && i < len(s); t = m.rest {
		id, end := t.longest(s, i)
		if ok = id >= 0; ok {
			e.ids = append(e.ids, id)
			i = end
		}
	}
	if ok {
		return
	}
	if e.ids = e.ids[:from]; m.unk < 0 {
		e.fail(errUnknown(s))
		return
	}
	e.ids = append(e.ids, m.unk)
}

// longest returns the longest piece at i and its end, or -1. Pieces end between runes, as they are whole strings.
func (t *trie) longest(s string, i int) (id int32, end int) {
	id = -1
	node := int32(0)
	for k := i; k < len(s); k++ {
		if node = t.step(node, s[k]); node < 0 {
			break
		}
		if v := t.value[node]; v >= 0 {
			id, end = v, k+1
		}
	}
	return id, end
}

// greedy takes the longest piece at every byte (RWKV's World vocabulary).
type greedy struct {
	trie *trie
	unk  int32
}

func (m *greedy) encode(e *encoder, s string) {
	for i := 0; i < len(s); {
		id, end := m.trie.longest(s, i)
		if id < 0 {
			if id, end = m.unk, i+1; id < 0 { // no piece starts with this byte
				e.fail(errUnknown(s[i : i+1]))
				return
			}
		}
		e.ids = append(e.ids, id)
		i = end
	}
}

// unescapeRWKV turns the spelling of a Python byte string, as GGUF files keep RWKV's vocabulary, into bytes.
func unescapeRWKV(s string) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			continue
		}
		i++
		switch c := s[i]; {
		case c == 't':
			out = append(out, '\t')
		case c == 'n':
			out = append(out, '\n')
		case c == 'r':
			out = append(out, '\r')
		case c == 'x' && i+2 < len(s) && hexDigit(s[i+1]) >= 0 && hexDigit(s[i+2]) >= 0:
			out = append(out, byte(hexDigit(s[i+1])<<4|hexDigit(s[i+2])))
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out
}
