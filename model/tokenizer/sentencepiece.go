package tokenizer

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sort"
	"unicode/utf8"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// FromSentencePiece reads a tokenizer.model, the file of a SentencePiece BPE or unigram model. file is its name, for errors.
func FromSentencePiece(file string, data []byte) (*Tokenizer, error) {
	s, err := parseSentencePiece(file, data)
	if err != nil {
		return nil, err
	}
	s.applyBOSPolicy(&config{Class: "LlamaTokenizer"})
	return s.build()
}

// spmFile is what matters of a ModelProto. Numbers beside the fields are those of sentencepiece_model.proto.
type spmFile struct {
	pieces        []string
	scores        []float64
	kinds         []pieceKind
	modelType     int32 // TrainerSpec 3: 1 unigram, 2 BPE, 3 word, 4 character
	byteFallback  bool  // TrainerSpec 35
	spaceSuffix   bool  // TrainerSpec 24
	bos, eos, pad int32 // TrainerSpec 41, 42, 43
	charsmap      []byte
	dummyPrefix   bool
	removeExtra   bool
	escape        bool
	denormalizer  bool
}

func parseSentencePiece(file string, data []byte) (*spec, error) {
	s := &spec{file: file, named: noNamedTokens()}
	if int64(len(data)) > limits.Tokenizer {
		return nil, tensor.Errorf(tensor.ErrTooLarge, file, "", "has %d bytes, the limit is %d", len(data), limits.Tokenizer)
	}
	f := &spmFile{modelType: 1, bos: 1, eos: 2, pad: -1, dummyPrefix: true, removeExtra: true, escape: true}
	if err := f.parse(data); err != nil {
		return nil, s.corrupt("", "is no SentencePiece model: %v", err)
	}
	for _, p := range f.pieces {
		if err := s.checkPiece("pieces", p); err != nil {
			return nil, err
		}
	}
	if len(f.pieces) == 0 {
		return nil, s.corrupt("pieces", "there are none")
	}
	if f.denormalizer {
		return nil, s.unsupported("denormalizer_spec", fmt.Errorf("rewriting decoded text is not supported"))
	}
	if !f.escape {
		return nil, s.unsupported("normalizer_spec", fmt.Errorf("escape_whitespaces = false is not supported"))
	}
	return s, s.fromSPM(f)
}

func (f *spmFile) parse(data []byte) error {
	return protoFields(data, func(x protoField) error {
		switch x.num {
		case 1:
			return f.parsePiece(x.b)
		case 2:
			return protoFields(x.b, func(t protoField) error {
				switch t.num {
				case 3:
					f.modelType = t.int32()
				case 24:
					f.spaceSuffix = t.bool()
				case 35:
					f.byteFallback = t.bool()
				case 41:
					f.bos = t.int32()
				case 42:
					f.eos = t.int32()
				case 43:
					f.pad = t.int32()
				}
				return nil
			})
		case 3:
			return protoFields(x.b, func(t protoField) error {
				switch t.num {
				case 2:
					f.charsmap = t.b
				case 3:
					f.dummyPrefix = t.bool()
				case 4:
					f.removeExtra = t.bool()
				case 5:
					f.escape = t.bool()
				}
				return nil
			})
		case 5:
			return protoFields(x.b, func(t protoField) error {
				f.denormalizer = f.denormalizer || t.num == 2 && len(t.b) > 0
				return nil
			})
		}
		return nil
	})
}

func (f *spmFile) parsePiece(data []byte) error {
	kind, score, text := kindNormal, 0.0, ""
	err := protoFields(data, func(t protoField) error {
		switch t.num {
		case 1:
			text = string(t.b)
		case 2:
			score = t.float()
		case 3:
			if t.v < uint64(kindNormal) || t.v > uint64(kindByte) {
				return fmt.Errorf("piece %d has type %d", len(f.pieces), t.v)
			}
			kind = pieceKind(t.v)
		}
		return nil
	})
	if !utf8.ValidString(text) {
		return fmt.Errorf("piece %d is not UTF-8", len(f.pieces))
	}
	if int64(len(f.pieces)) >= limits.Vocab {
		return fmt.Errorf("more than %d pieces", limits.Vocab)
	}
	f.pieces, f.scores, f.kinds = append(f.pieces, text), append(f.scores, score), append(f.kinds, kind)
	return err
}

// fromSPM fills the spec from a SentencePiece model.
func (s *spec) fromSPM(f *spmFile) error {
	m := &s.model
	m.pieces, m.kinds, m.byteFallback, m.sentencePiece = f.pieces, f.kinds, f.byteFallback, true
	m.unk, m.fuseUnk, m.rawScores = -1, true, f.scores
	norm := sentencePieceJSON{Type: "SentencePiece", DummyPrefix: f.dummyPrefix, RemoveExtra: f.removeExtra, Escape: true, Suffix: f.spaceSuffix}
	if len(f.charsmap) > 0 {
		norm.Charsmap = base64.StdEncoding.EncodeToString(f.charsmap)
	}
	for id, p := range m.pieces {
		switch m.kinds[id] {
		case kindUnknown:
			if m.unk >= 0 {
				return s.corrupt("pieces", "pieces %d and %d are both the unknown piece", m.unk, id)
			}
			m.unk = int32(id)
			s.added = append(s.added, AddedToken{ID: int32(id), Content: p, Special: true})
		case kindControl:
			s.added = append(s.added, AddedToken{ID: int32(id), Content: p, Special: true})
		case kindUserDefined:
			norm.Keep = append(norm.Keep, p)
			if f.modelType == 2 {
				s.added = append(s.added, AddedToken{ID: int32(id), Content: p, Normalized: true})
			}
		case kindByte:
			if _, ok := byteToken(p); !ok {
				return s.corrupt("pieces", "byte piece %q does not hold two hexadecimal digits", p)
			}
		}
	}
	if m.unk < 0 {
		return s.corrupt("pieces", "there is no unknown piece")
	}
	raw, err := json.Marshal(norm)
	if err != nil {
		return err
	}
	s.norm = raw
	s.dec = spmDecoderJSON(f.dummyPrefix, f.removeExtra)
	for _, n := range []struct {
		id int32
		to *int32
	}{{f.bos, &s.named.bos}, {f.eos, &s.named.eos}, {f.pad, &s.named.pad}, {m.unk, &s.named.unk}} {
		if n.id >= 0 && int(n.id) < len(m.pieces) {
			*n.to = n.id
		}
	}
	switch f.modelType {
	case 1:
		m.Type = "Unigram"
		m.scores = unigramScores(f)
		return nil
	case 2:
		m.Type = "BPE"
		return s.mergesFromScores(f.scores)
	}
	return s.unsupported("trainer_spec", fmt.Errorf("model type %d is neither unigram (1) nor BPE (2)", f.modelType))
}

// unigramScores gives user-defined pieces the bonus that makes them win, as unigram_model.cc does, and leaves pieces that are not text
// out of the least score.
func unigramScores(f *spmFile) []float64 {
	top, low := 0x1p-126, math.Inf(1) // the original starts its maximum at FLT_MIN
	for id, x := range f.scores {
		if f.kinds[id] == kindNormal {
			top, low = max(top, x), min(low, x)
		}
	}
	out := slices.Clone(f.scores)
	for id, k := range f.kinds {
		switch k {
		case kindUserDefined:
			out[id] = float64(float32(len(f.pieces[id]))*float32(top)) - 0.1
		case kindNormal:
		default:
			out[id] = low // takes no part, and must not lower the score of unknowns
		}
	}
	return out
}

const (
	spmMaxMerges = 1 << 20 // largest published vocabulary (Gemma, 256000 pieces): 580604
	spmMaxWork   = 1 << 32 // sum of squared piece lengths; Gemma: 30 million
)

// mergesFromScores lists every way to put a piece together from two, in the order of the pieces' scores: SentencePiece
// merges any two neighbours whose concatenation is a piece, the best score first. Single runes that pieces are made of without being
// pieces themselves get ids behind the vocabulary.
func (s *spec) mergesFromScores(scores []float64) error {
	m := &s.model
	ids := make(map[string]int32, len(m.pieces))
	var order []int32
	for id, p := range m.pieces {
		if math.IsNaN(scores[id]) {
			return s.corrupt("scores", "score of piece %d is not a number", id)
		}
		switch m.kinds[id] {
		case kindNormal, kindUserDefined, kindUnused, kindUndefined:
			ids[p] = int32(id)
			order = append(order, int32(id))
		}
	}
	sort.SliceStable(order, func(i, j int) bool { return scores[order[i]] > scores[order[j]] })
	part := func(p string) (int32, bool) {
		id, ok := ids[p]
		if !ok && utf8.RuneCountInString(p) == 1 {
			id, ok = int32(len(m.pieces)+len(m.loose)), true
			m.loose = append(m.loose, p)
			ids[p] = id
		}
		return id, ok
	}
	rank, work := uint32(0), int64(0)
	for i, id := range order {
		if i > 0 && scores[id] < scores[order[i-1]] {
			rank++
		}
		if m.kinds[id] == kindUserDefined {
			continue // found before anything is merged
		}
		p := m.pieces[id]
		if work += int64(len(p)) * int64(len(p)); work > spmMaxWork {
			return tensor.Errorf(tensor.ErrTooLarge, s.file, "pieces", "are too long to be taken apart (piece %d has %d bytes)", id, len(p))
		}
		for k := range p {
			if k == 0 {
				continue
			}
			left, okL := ids[p[:k]]
			right, okR := ids[p[k:]]
			if !okL {
				left, okL = part(p[:k])
			}
			if !okR {
				right, okR = part(p[k:])
			}
			if okL && okR {
				m.merges = append(m.merges, mergeSpec{left, right, id, rank})
			}
		}
		if len(m.merges) > spmMaxMerges {
			return tensor.Errorf(tensor.ErrTooLarge, s.file, "pieces", "can be put together in more than %d ways", spmMaxMerges)
		}
	}
	return nil
}

// plainSentencePiece reports whether the normalizer is SentencePiece's and does no more than to write spaces.
func (s *spec) plainSentencePiece() (f sentencePieceJSON, plain bool) {
	if isNull(s.norm) || json.Unmarshal(s.norm, &f) != nil {
		return f, false
	}
	return f, f.Type == "SentencePiece" && f.Charsmap == "" && !f.RemoveExtra && !f.Suffix && f.Escape && len(f.Keep) == 0
}
