package tokenizer

import (
	"math"
	"slices"
	"unicode/utf8"
)

// unigram is the unigram language model (Kudo, arXiv:1804.10959): of all ways to cut the text into pieces it takes the one whose
// pieces have the largest sum of log probabilities (Viterbi). A rune that no piece covers alone may be unknown, at the
// score of the worst piece less 10; neighbouring unknowns are one.
type unigram struct {
	vocab    *vocab
	scores   []float64
	trie     *trie
	unk      int32 // -1: none
	unkScore float64
	fallback *[256]int32
	single   bool // sums are rounded to float32, as SentencePiece does
}

const unkPenalty = 10

// newUnigram makes a model of the pieces that text may become: those for which hidden is false.
func newUnigram(v *vocab, scores []float64, unk int32, hidden func(id int) bool) *unigram {
	m := &unigram{vocab: v, scores: scores, unk: unk, unkScore: math.Inf(1)}
	size := 0
	for _, p := range v.pieces {
		size += len(p)
	}
	m.trie = newTrie(size)
	for id, p := range v.pieces {
		if p != "" && !hidden(id) {
			m.trie.add(p, int32(id))
		}
		m.unkScore = min(m.unkScore, scores[id])
	}
	m.unkScore -= unkPenalty
	return m
}

// viterbiNode is the best way to cut the text up to one byte.
type viterbiNode struct {
	score float64
	start int32 // where its last piece starts; -1: not reached
	id    int32
}

func (m *unigram) encode(e *encoder, s string) {
	if len(s) > cacheMaxWord {
		m.viterbi(e, s)
		return
	}
	ids, hash, ok := e.cache.find(s)
	if ok {
		e.ids = append(e.ids, ids...)
		return
	}
	from := len(e.ids)
	m.viterbi(e, s)
	e.cache.add(s, hash, e.ids[from:])
}

func (m *unigram) viterbi(e *encoder, s string) {
	best := slices.Grow(e.viterbi[:0], len(s)+1)[:len(s)+1]
	for i := range best {
		best[i].start = -1
	}
	best[0].score = 0
	e.viterbi = best
	for i := 0; i < len(s); {
		_, w := utf8.DecodeRuneInString(s[i:])
		single := false
		node := m.trie.root[s[i]]
		for k := i; node >= 0; node = m.trie.step(node, s[k]) {
			if id := m.trie.value[node]; id >= 0 {
				m.reach(best, i, k+1, id, m.scores[id])
				single = single || k+1-i == w
			}
			if k++; k == len(s) {
				break
			}
		}
		if !single {
			score := m.unkScore
			if m.single {
				score = float64(float32(score+best[i].score)) - best[i].score
			}
			m.reach(best, i, i+w, m.unk, score)
		}
		i += w
	}
	m.backtrack(e, s, best)
}

// reach offers a piece from i to end.
func (m *unigram) reach(best []viterbiNode, i, end int, id int32, score float64) {
	score += best[i].score
	if b := &best[end]; b.start < 0 || score > b.score {
		if m.single {
			score = float64(float32(score))
		}
		*b = viterbiNode{score, int32(i), id}
	}
}

// backtrack appends the ids of the best cut, joining unknown neighbours.
func (m *unigram) backtrack(e *encoder, s string, best []viterbiNode) {
	e.cuts = e.cuts[:0]
	for end := len(s); end > 0; end = int(best[end].start) {
		e.cuts = append(e.cuts, int32(end))
	}
	for i := len(e.cuts) - 1; i >= 0; i-- {
		end := int(e.cuts[i])
		n := best[end]
		if n.id != m.unk {
			e.ids = append(e.ids, n.id)
			continue
		}
		start := int(n.start)
		for i > 0 && best[e.cuts[i-1]].id == m.unk {
			i--
			end = int(e.cuts[i])
		}
		m.unknown(e, s[start:end])
	}
}

// unknown appends the bytes of a stretch of unknown runes, or the unknown piece.
func (m *unigram) unknown(e *encoder, s string) {
	switch {
	case m.fallback != nil:
		for i := range len(s) {
			e.ids = append(e.ids, m.fallback[s[i]])
		}
	case m.unk >= 0:
		e.ids = append(e.ids, m.unk)
	default:
		e.fail(errUnknown(s))
	}
}
