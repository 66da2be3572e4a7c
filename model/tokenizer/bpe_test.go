package tokenizer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// mergeNaively is BPE by its definition.
func mergeNaively(m *bpe, ids []int32) []int32 {
	ids = slices.Clone(ids)
	for {
		at, best := -1, uint64(noPair)
		for i := range len(ids) - 1 {
			if v := m.pairs.get(ids[i], ids[i+1]); v>>32 < best>>32 {
				at, best = i, v
			}
		}
		if at < 0 {
			return ids
		}
		ids = slices.Replace(ids, at, at+2, int32(uint32(best)))
	}
}

// randomBPE makes a table of merges over few letters, so that words are full of overlapping pairs. Ranks are shuffled: a merge may
// make pairs of lower ranks than its own, and several pairs may share a rank.
func randomBPE(r *rand.Rand) *bpe {
	letters, merges := 1+r.IntN(3), 1+r.IntN(40)
	m := &bpe{pairs: newPairTable(merges)}
	var list []mergeSpec
	ranks := r.Perm(merges)
	shared := r.IntN(3) == 0
	next := int32(letters)
	for i := range merges {
		rank := uint32(ranks[i])
		if r.IntN(2) == 0 {
			rank = uint32(i)
		}
		if shared {
			rank /= 3
		}
		if a, b := r.Int32N(next), r.Int32N(next); m.pairs.put(a, b, rank, next) {
			list = append(list, mergeSpec{a, b, next, rank})
			next++
		}
		m.ranks = max(m.ranks, int(rank)+1)
	}
	m.setUpward(list, int(next))
	return m
}

func TestLongMergeEqualsDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var l longMerge
	for n := range 20000 {
		m := randomBPE(r)
		l.head = nil // another table
		word := make([]int32, 1+r.IntN(60))
		for i := range word {
			word[i] = r.Int32N(3)
		}
		if n%3 == 0 { // long runs
			for i := range word {
				word[i] = word[i/20]
			}
		}
		want := mergeNaively(m, word)
		if runs := l.runs(word); runs != nil {
			got := slices.Clone(word)
			k, done := m.mergeRuns(runs, got)
			if got = got[:k]; !done {
				got = got[:l.merge(m, got)]
			}
			if !slices.Equal(got, want) {
				t.Fatalf("case %d: %v: runs: got %v, want %v", n, word, got, want)
			}
		}
		got := slices.Clone(word)
		if got = got[:l.merge(m, got)]; !slices.Equal(got, want) {
			t.Fatalf("case %d: %v: long: got %v, want %v", n, word, got, want)
		}
		if len(word) <= shortWord {
			if got = slices.Clone(word); !slices.Equal(got[:m.mergeShort(got)], want) {
				t.Fatalf("case %d: %v: short: got %v, want %v", n, word, got, want)
			}
		}
	}
}

func TestPairTable(t *testing.T) {
	p := newPairTable(3000)
	for i := range int32(3000) {
		if !p.put(i, i*7%31, uint32(i), i+1) || p.put(i, i*7%31, 0, 0) {
			t.Fatal("put", i)
		}
	}
	for i := range int32(3000) {
		if v := p.get(i, i*7%31); v != uint64(i)<<32|uint64(i+1) {
			t.Fatal(fmt.Sprint("get ", i, v))
		}
		if p.get(i, 31) != noPair {
			t.Fatal("a pair that is not there")
		}
	}
}
