package tokenizer

import (
	"encoding/json"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// spec is a tokenizer before it is compiled, in the terms of a tokenizer.json. Every source is brought into this form, and
// writers and fingerprints read it.
type spec struct {
	file  string // for errors
	added []AddedToken
	norm  json.RawMessage // components as the file writes them; null or empty: none
	pre   json.RawMessage
	post  json.RawMessage
	dec   json.RawMessage
	model modelSpec
	named namedTokens
	chat  string
	gguf  *GGUF // what it was read from, if it was a GGUF file
}

// modelSpec describes a model of any type.
type modelSpec struct {
	Type          string   // BPE, Unigram, WordPiece, WordLevel, Greedy
	pieces        []string // by id; "" is a hole
	merges        []mergeSpec
	scores        []float64 // Unigram: by id
	rawScores     []float64 // from a SentencePiece model: as its file has them
	unk           int32     // -1: none
	byteFallback  bool
	fuseUnk       bool
	ignoreMerges  bool
	prefix        string // continuing_subword_prefix
	suffix        string // end_of_word_suffix
	maxWord       int    // WordPiece
	sentencePiece bool   // from a SentencePiece model: sums in float32
	kinds         []pieceKind
	loose         []string // runes that pieces are merged from without being pieces: ids follow the pieces
}

// part returns the piece or loose rune of an id.
func (m *modelSpec) part(id int32) string {
	if int(id) < len(m.pieces) {
		return m.pieces[id]
	}
	return m.loose[int(id)-len(m.pieces)]
}

// pieceKind is what SentencePiece and GGUF call the type of a piece.
type pieceKind int8

const (
	kindUndefined pieceKind = iota
	kindNormal
	kindUnknown
	kindControl
	kindUserDefined
	kindUnused
	kindByte
)

// mergeSpec joins two pieces. Merges of the same rank are taken from left to right.
type mergeSpec struct {
	left, right, merged int32
	rank                uint32
}

func (s *spec) corrupt(field, format string, args ...any) error {
	return tensor.Errorf(tensor.ErrCorrupt, s.file, field, format, args...)
}

func (s *spec) unsupported(field string, err error) error {
	return tensor.Errorf(tensor.ErrUnsupported, s.file, field, "%v", err)
}

// build compiles the spec.
func (s *spec) build() (*Tokenizer, error) {
	v, err := s.vocabulary()
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{spec: s, vocab: v, added: s.added, byID: map[int32]*AddedToken{}, named: s.named, chat: s.chat}
	for i := range t.added {
		t.byID[t.added[i].ID] = &t.added[i]
	}
	if t.norm, err = compileNormalizer(s.norm); err != nil {
		return nil, s.unsupported("normalizer", err)
	}
	if t.split, err = compileSplitters(s.pre, nil); err != nil {
		return nil, s.unsupported("pre_tokenizer", err)
	}
	if t.post, err = compilePost(s.post); err != nil {
		return nil, s.unsupported("post_processor", err)
	}
	for _, id := range slices.Concat(t.post.before, t.post.after) {
		if t.Piece(id) == "" {
			return nil, s.corrupt("post_processor", "adds id %d, which is not in the vocabulary", id)
		}
	}
	if t.dec, err = compileDecoder(s.dec, nil); err != nil {
		return nil, s.unsupported("decoder", err)
	}
	if t.model, err = s.compileModel(t); err != nil {
		return nil, err
	}
	return t, t.matchers()
}

// vocabulary joins the model's pieces and the added tokens.
func (s *spec) vocabulary() (*vocab, error) {
	pieces := slices.Clone(s.model.pieces)
	for _, p := range pieces {
		if int64(len(p)) > limits.Token {
			return nil, s.checkPiece("vocab", p)
		}
	}
	if int64(len(s.added)) > limits.AddedTokens {
		return nil, tensor.Errorf(tensor.ErrTooLarge, s.file, "added_tokens", "%d tokens, the limit is %d", len(s.added), limits.AddedTokens)
	}
	v := &vocab{ids: make(map[string]int32, len(pieces)+len(s.added))}
	for id, p := range pieces {
		if p == "" {
			continue
		}
		if old, twice := v.ids[p]; twice {
			return nil, s.corrupt("vocab", "piece %q has two ids, %d and %d", p, old, id)
		}
		v.ids[p] = int32(id)
	}
	for _, a := range s.added {
		if err := s.checkID(a.ID, len(pieces)+len(s.added)); err != nil {
			return nil, err
		}
		if int(a.ID) >= len(pieces) {
			pieces = append(pieces, make([]string, int(a.ID)+1-len(pieces))...)
		}
		if old := pieces[a.ID]; old != "" && old != a.Content {
			return nil, s.corrupt("added_tokens", "two tokens have id %d: %q and %q", a.ID, old, a.Content)
		}
		if old, ok := v.ids[a.Content]; ok && old != a.ID {
			return nil, s.corrupt("added_tokens", "token %q has id %d, but the vocabulary gives it %d", a.Content, a.ID, old)
		}
		pieces[a.ID] = a.Content
		v.ids[a.Content] = a.ID
	}
	v.pieces = pieces
	return v, nil
}

// checkID refuses ids that are out of all proportion to the number of pieces: an array is made as long as the
// largest id.
func (s *spec) checkID(id int32, pieces int) error {
	if id < 0 || int64(id) >= limits.Vocab {
		return tensor.Errorf(tensor.ErrTooLarge, s.file, "vocab", "id %d is not within 0 and %d", id, limits.Vocab-1)
	}
	if int64(id) >= 2*int64(pieces)+65536 {
		return s.corrupt("vocab", "id %d in a vocabulary of %d pieces", id, pieces)
	}
	return nil
}

// matchers prepares the search for added tokens.
func (t *Tokenizer) matchers() error {
	var before, after []AddedToken
	var beforeKeys, afterKeys []string
	for _, a := range t.added {
		if !a.Normalized {
			before, beforeKeys = append(before, a), append(beforeKeys, a.Content)
			continue
		}
		key := a.Content
		if t.norm != nil && !t.spec.model.sentencePiece { // those are written as they look in normalized text
			var err error
			if key, err = t.norm.normalize(key); err != nil {
				return err
			}
		}
		after, afterKeys = append(after, a), append(afterKeys, key)
	}
	t.before = newAddedMatcher(before, beforeKeys)
	t.after = newAddedMatcher(after, afterKeys)
	return nil
}

// compileModel builds the model from the spec.
func (s *spec) compileModel(t *Tokenizer) (model, error) {
	m := &s.model
	own := &vocab{pieces: m.pieces, ids: t.vocab.ids}
	hidden := func(id int) bool { // pieces that text never becomes
		if m.kinds != nil {
			switch m.kinds[id] {
			case kindNormal, kindUserDefined, kindUndefined:
			default:
				return true
			}
		}
		a, ok := t.byID[int32(id)]
		return ok && a.Special
	}
	var fallback *[256]int32
	if m.byteFallback {
		for _, p := range m.pieces {
			if len(p) == 6 && p[:3] == "<0x" && p[5] == '>' {
				if _, ok := byteToken(p); !ok {
					return nil, s.corrupt("vocab", "byte piece %q does not hold two hexadecimal digits", p)
				}
			}
		}
		table, n := t.vocab.byteIDs()
		if n != 0 && n != 256 {
			return nil, s.corrupt("vocab", "byte_fallback needs all 256 byte pieces, there are %d", n)
		}
		if n == 256 {
			fallback = table
		}
	}
	switch m.Type {
	case "BPE":
		return s.compileBPE(t, own, fallback, hidden)
	case "Unigram":
		for id, x := range m.scores {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				return nil, s.corrupt("vocab", "score of piece %d is %v", id, x)
			}
		}
		u := newUnigram(own, m.scores, m.unk, hidden)
		u.fallback = fallback
		if u.single = m.sentencePiece; u.single {
			u.unkScore = float64(float32(u.unkScore))
		}
		return u, nil
	case "WordPiece":
		return newWordPiece(own, m.prefix, m.unk, m.maxWord), nil
	case "WordLevel":
		return &wordLevel{vocab: own, unk: m.unk, hidden: hidden}, nil
	case "Greedy":
		g := &greedy{unk: m.unk}
		size := 0
		for _, p := range m.pieces {
			size += len(p)
		}
		g.trie = newTrie(size)
		for id, p := range m.pieces {
			if !hidden(id) {
				g.trie.add(string(unescapeRWKV(p)), int32(id))
			}
		}
		return g, nil
	}
	return nil, tensor.Errorf(tensor.ErrUnsupported, s.file, "model", "type %q is unknown", m.Type)
}

// compileBPE builds a BPE model, on bytes where the last step before it maps bytes to visible runes.
func (s *spec) compileBPE(t *Tokenizer, own *vocab, fallback *[256]int32, hidden func(int) bool) (model, error) {
	m := &s.model
	b := &bpe{vocab: own, unk: m.unk, fuseUnk: m.fuseUnk, prefix: m.prefix, suffix: m.suffix, fallback: fallback}
	for id, p := range slices.Concat(m.pieces, m.loose) {
		r, w := utf8.DecodeRuneInString(p)
		if w == len(p) && w > 0 && (id >= len(m.pieces) || !hidden(id)) {
			b.runes.put(r, int32(id))
		}
	}
	if m.prefix == "" && m.suffix == "" && t.takeRawBytes() {
		b.byteID = new([256]int32)
		for i, r := range runeOfByte {
			b.byteID[i] = b.symbol(r)
		}
	}
	if m.ignoreMerges {
		b.whole = make(map[string]int32, len(m.pieces))
		for id, p := range m.pieces {
			if p == "" || hidden(id) {
				continue
			}
			if b.byteID != nil {
				raw, ok := unmapBytes(nil, p)
				if !ok {
					continue
				}
				p = string(raw)
			}
			b.whole[p] = int32(id)
		}
	}
	return b, b.setMerges(s, t)
}

// takeRawBytes lets the words that reach the model be bytes in place of the visible runes they are written as, if the
// mapping is the last step or only plain splits follow it.
func (t *Tokenizer) takeRawBytes() bool {
	for i, step := range t.split {
		b, ok := step.(*byteLevel)
		if !ok || b.raw {
			continue
		}
		tail := newMappedTail(t.split[i+1:])
		if tail == nil {
			return false
		}
		t.split = t.split[:i]
		if b.prefix {
			t.split = append(t.split, &byteLevel{prefix: true, raw: true})
		}
		if len(tail.steps) > 0 {
			t.split = append(t.split, tail)
		}
		return true
	}
	return false
}

// setMerges fills the table of pairs and finds out what it allows.
func (m *bpe) setMerges(s *spec, t *Tokenizer) error {
	model := &s.model
	m.pairs = newPairTable(len(model.merges))
	for i, x := range model.merges {
		if !m.pairs.put(x.left, x.right, x.rank, x.merged) {
			return s.corrupt("merges", "merge %d repeats the pair %q %q", i, model.part(x.left), model.part(x.right))
		}
		m.ranks = max(m.ranks, int(x.rank)+1)
	}
	m.setUpward(model.merges, len(model.pieces)+len(model.loose))
	m.prepareExpand(model)
	if len(t.split) == 0 && m.byteID == nil && model.prefix == "" && model.suffix == "" {
		m.seams = newSeams(model)
	}
	return nil
}
