package tokenizer

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"slices"
)

// Fingerprint is a digest of what decides which ids a text becomes and which text an id stands for: the pieces and their ids, the
// merges or scores, and the way text is normalized and split. Two vocabularies with the same fingerprint can share logits. It does not
// depend on the kind of file, on the order or spelling of fields, on the template, on padding and truncation, on which ids are called special,
// or on whether BOS is added.
func (t *Tokenizer) Fingerprint() string {
	h := sha256.New()
	m := &t.spec.model
	fmt.Fprintf(h, "tokenizer 1 %s %q %q %d\n", m.Type, m.prefix, m.suffix, m.unk)
	fingerprintPieces(h, t)
	if m.Type == "BPE" {
		fingerprintMerges(h, m)
		fmt.Fprintf(h, "%v", m.ignoreMerges && !t.mergesReachAll())
	} else {
		for _, x := range m.scores {
			writeUint64(h, math.Float64bits(x))
		}
	}
	norm, split := t.spec.textRules()
	fmt.Fprintf(h, "\n%s\n%s\n", norm, split)
	return hex.EncodeToString(h.Sum(nil))
}

func writeUint64(h hash.Hash, v uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	h.Write(b[:])
}

// fingerprintPieces hashes ids and pieces, without the rows that only fill up an embedding.
func fingerprintPieces(h hash.Hash, t *Tokenizer) {
	for id, p := range t.vocab.pieces {
		if p == "" || p == fillerName(id) || id < len(t.spec.model.kinds) && t.spec.model.kinds[id] == kindUnused {
			continue
		}
		writeUint64(h, uint64(id))
		fmt.Fprintf(h, "%q", p)
	}
}

// fingerprintMerges hashes the pairs in the order in which they are taken.
func fingerprintMerges(h hash.Hash, m *modelSpec) {
	order := slices.Clone(m.merges)
	slices.SortFunc(order, func(a, b mergeSpec) int {
		switch {
		case a.rank != b.rank:
			return int(a.rank) - int(b.rank)
		case a.merged != b.merged:
			return int(a.merged - b.merged)
		case a.left != b.left:
			return int(a.left - b.left)
		}
		return int(a.right - b.right)
	})
	for _, x := range order {
		writeUint64(h, uint64(uint32(x.left))<<32|uint64(uint32(x.right)))
	}
}

// textRules describes normalizer and pre-tokenizer so that different spellings of the same rules are equal.
func (s *spec) textRules() (norm, split string) {
	if prefix, err := s.spaceScheme(); err == nil {
		return fmt.Sprintf("spaces as U+2581, prefix %v", prefix), ""
	}
	split, _ = splitKey(s.pre)
	if n, plain := s.plainSentencePiece(); plain {
		return fmt.Sprintf("spaces as U+2581, prefix %v", n.DummyPrefix), split
	}
	return string(canonicalJSON(s.norm)), split
}
