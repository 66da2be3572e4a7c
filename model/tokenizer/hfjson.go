package tokenizer

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// FromJSON reads a tokenizer.json. file is its name, for errors. What tokenizer_config.json may add is missing: Open
// reads both.
func FromJSON(file string, data []byte) (*Tokenizer, error) {
	s, err := parseJSON(file, data)
	if err != nil {
		return nil, err
	}
	s.guessNamed()
	return s.build()
}

func parseJSON(file string, data []byte) (*spec, error) {
	if int64(len(data)) > limits.Tokenizer {
		return nil, tensor.Errorf(tensor.ErrTooLarge, file, "", "has %d bytes, the limit is %d", len(data), limits.Tokenizer)
	}
	if err := checkJSON(file, data); err != nil {
		return nil, err
	}
	s := &spec{file: file, named: noNamedTokens()}
	parts := map[string][]byte{}
	err := members(data, func(key string, val []byte) error {
		if _, twice := parts[key]; twice {
			return fmt.Errorf("key %q appears twice", key)
		}
		parts[key] = val
		return nil
	})
	if err != nil {
		return nil, s.corrupt("", "%v", err)
	}
	s.norm, s.pre = parts["normalizer"], parts["pre_tokenizer"]
	s.post, s.dec = parts["post_processor"], parts["decoder"]
	if isNull(parts["model"]) {
		return nil, s.corrupt("model", "is missing")
	}
	if err := s.parseModel(parts["model"]); err != nil {
		return nil, err
	}
	if raw := parts["added_tokens"]; !isNull(raw) {
		if err := json.Unmarshal(raw, &s.added); err != nil {
			return nil, s.corrupt("added_tokens", "%v", err)
		}
	}
	for _, a := range s.added {
		if err := s.checkPiece("added_tokens", a.Content); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// checkPiece refuses pieces that are empty or too long.
func (s *spec) checkPiece(field, p string) error {
	if p == "" {
		return s.corrupt(field, "a token is empty")
	}
	if int64(len(p)) > limits.Token {
		return tensor.Errorf(tensor.ErrTooLarge, s.file, field, "token %q... has %d bytes, the limit is %d", clip(p, 20), len(p), limits.Token)
	}
	return nil
}

// modelJSON holds the small fields of a model.
type modelJSON struct {
	Type         *string
	UnkToken     *string  `json:"unk_token"`
	UnkID        *int32   `json:"unk_id"`
	ByteFallback bool     `json:"byte_fallback"`
	FuseUnk      bool     `json:"fuse_unk"`
	IgnoreMerges bool     `json:"ignore_merges"`
	Dropout      *float64 `json:"dropout"`
	Prefix       *string  `json:"continuing_subword_prefix"`
	Suffix       *string  `json:"end_of_word_suffix"`
	MaxWord      *int     `json:"max_input_chars_per_word"`
}

func (s *spec) parseModel(raw []byte) error {
	var small strings.Builder // the model without its long members, for encoding/json
	small.WriteByte('{')
	var vocabRaw, mergesRaw []byte
	seen := map[string]bool{}
	err := members(raw, func(key string, val []byte) error {
		if seen[key] {
			return fmt.Errorf("key %q appears twice", key)
		}
		seen[key] = true
		switch key {
		case "vocab":
			vocabRaw = val
		case "merges":
			mergesRaw = val
		default:
			if small.Len() > 1 {
				small.WriteByte(',')
			}
			fmt.Fprintf(&small, "%q:%s", key, val)
		}
		return nil
	})
	if err != nil {
		return s.corrupt("model", "%v", err)
	}
	small.WriteByte('}')
	var f modelJSON
	if err := json.Unmarshal([]byte(small.String()), &f); err != nil {
		return s.corrupt("model", "%v", err)
	}
	if f.Dropout != nil && *f.Dropout != 0 {
		return tensor.Errorf(tensor.ErrUnsupported, s.file, "model", "dropout %v makes the same text give different ids", *f.Dropout)
	}
	if isNull(vocabRaw) {
		return s.corrupt("model", "has no vocab")
	}
	m := &s.model
	m.Type = modelType(f.Type, vocabRaw, mergesRaw, f.Prefix)
	m.unk = -1
	m.byteFallback, m.fuseUnk, m.ignoreMerges = f.ByteFallback, f.FuseUnk, f.IgnoreMerges
	if vocabRaw[0] == '[' {
		err = s.parseScores(vocabRaw)
	} else {
		err = s.parseVocab(vocabRaw)
	}
	if err != nil {
		return err
	}
	return s.finishModel(&f, mergesRaw)
}

// modelType guesses the type of old files, which leave it out, in the order of the reference library.
func modelType(name *string, vocab, merges []byte, prefix *string) string {
	switch {
	case name != nil:
		return *name
	case merges != nil:
		return "BPE"
	case len(vocab) > 0 && vocab[0] == '[':
		return "Unigram"
	case prefix != nil:
		return "WordPiece"
	}
	return "WordLevel"
}

// finishModel fills what depends on the type.
func (s *spec) finishModel(f *modelJSON, mergesRaw []byte) error {
	m := &s.model
	ids := m.index()
	find := func(token *string) error {
		if token == nil {
			return nil
		}
		id, ok := ids[*token]
		if !ok {
			return s.corrupt("model", "unk_token %q is not in the vocabulary", *token)
		}
		m.unk = id
		return nil
	}
	if f.Prefix != nil {
		m.prefix = *f.Prefix
	}
	if f.Suffix != nil {
		m.suffix = *f.Suffix
	}
	switch m.Type {
	case "BPE":
		if err := find(f.UnkToken); err != nil {
			return err
		}
		if isNull(mergesRaw) {
			return s.corrupt("model", "has no merges")
		}
		return s.parseMerges(mergesRaw, ids)
	case "Unigram":
		if m.scores == nil {
			return s.corrupt("vocab", "of a Unigram model must be a list of pieces with scores")
		}
		if f.UnkID != nil {
			if m.unk = *f.UnkID; m.unk < 0 || int(m.unk) >= len(m.pieces) {
				return s.corrupt("model", "unk_id %d is not in the vocabulary of %d pieces", m.unk, len(m.pieces))
			}
		}
		return nil
	case "WordPiece", "WordLevel":
		unk := map[string]string{"WordPiece": "[UNK]", "WordLevel": "<unk>"}[m.Type]
		if f.UnkToken != nil {
			unk = *f.UnkToken
		}
		if id, ok := ids[unk]; ok {
			m.unk = id
		}
		if f.Prefix == nil && m.Type == "WordPiece" {
			m.prefix = "##"
		}
		m.maxWord = 100
		if f.MaxWord != nil {
			m.maxWord = *f.MaxWord
		}
		return nil
	}
	return tensor.Errorf(tensor.ErrUnsupported, s.file, "model", "type %q is unknown", m.Type)
}

// parseVocab reads {"piece": id, ...}. Pieces are kept as parts of one string.
func (s *spec) parseVocab(raw []byte) error {
	type entry struct {
		start, end int
		id         int32
	}
	var entries []entry
	arena := make([]byte, 0, len(raw))
	top := int32(-1)
	err := members(raw, func(key string, val []byte) error {
		if int64(len(key)) > limits.Token {
			return s.checkPiece("vocab", key)
		}
		id, err := strconv.ParseInt(string(val), 10, 64)
		if err != nil || id < 0 || id >= limits.Vocab {
			class := tensor.ErrCorrupt
			if err == nil && id >= 0 {
				class = tensor.ErrTooLarge
			}
			return tensor.Errorf(class, s.file, "vocab", "piece %q has id %s, ids are whole numbers from 0 to %d", clip(key, 40), clip(string(val), 30), limits.Vocab-1)
		}
		entries = append(entries, entry{len(arena), len(arena) + len(key), int32(id)})
		arena = append(arena, key...)
		top = max(top, int32(id))
		return nil
	})
	if err != nil {
		return s.asFileError("vocab", err)
	}
	if top >= 0 {
		if err := s.checkID(top, len(entries)); err != nil {
			return err
		}
	}
	text := string(arena)
	pieces := make([]string, top+1)
	taken := make([]bool, top+1)
	for _, e := range entries {
		p := text[e.start:e.end]
		if taken[e.id] {
			return s.corrupt("vocab", "two pieces have id %d: %q and %q", e.id, pieces[e.id], p)
		}
		pieces[e.id], taken[e.id] = p, true
	}
	s.model.pieces = pieces
	return nil
}

// asFileError gives an error of the JSON walkers a place.
func (s *spec) asFileError(field string, err error) error {
	if _, ok := err.(*tensor.FileError); ok {
		return err
	}
	return s.corrupt(field, "%v", err)
}

// parseScores reads [["piece", score], ...].
func (s *spec) parseScores(raw []byte) error {
	m := &s.model
	m.scores = []float64{}
	err := elements(raw, func(val []byte) error {
		n := 0
		err := elements(val, func(x []byte) error {
			var err error
			switch n++; n {
			case 1:
				var p string
				if p, err = unquote(x); err == nil && int64(len(p)) > limits.Token {
					err = s.checkPiece("vocab", p)
				}
				m.pieces = append(m.pieces, p)
			case 2:
				var f float64
				if f, err = parseScore(string(x)); err != nil {
					err = fmt.Errorf("score of piece %d: %v", len(m.scores), err)
				}
				m.scores = append(m.scores, f)
			}
			return err
		})
		if err == nil && n != 2 {
			err = fmt.Errorf("entry %d is not a piece and a score", len(m.pieces))
		}
		if err == nil && int64(len(m.pieces)) > limits.Vocab {
			err = tensor.Errorf(tensor.ErrTooLarge, s.file, "vocab", "more than %d pieces", limits.Vocab)
		}
		return err
	})
	if err != nil {
		return s.asFileError("vocab", err)
	}
	return nil
}

// parseMerges reads ["left right", ...] or [["left", "right"], ...].
func (s *spec) parseMerges(raw []byte, ids map[string]int32) error {
	m := &s.model
	var joined []byte
	err := elements(raw, func(val []byte) error {
		var left, right string
		var err error
		if val[0] == '[' {
			left, right, err = mergePair(val)
		} else {
			var line string
			if line, err = unquote(val); err == nil {
				if strings.HasPrefix(line, "#version") {
					return nil
				}
				left, right, err = splitMerge(line)
			}
		}
		if err != nil {
			return fmt.Errorf("merge %d: %v", len(m.merges), err)
		}
		x, buf, err := m.merge(ids, left, right, joined)
		joined = buf
		if err != nil {
			return fmt.Errorf("merge %d: %v", len(m.merges), err)
		}
		if int64(len(m.merges)) >= limits.Merges {
			return tensor.Errorf(tensor.ErrTooLarge, s.file, "merges", "more than %d", limits.Merges)
		}
		m.merges = append(m.merges, x)
		return nil
	})
	if err != nil {
		return s.asFileError("merges", err)
	}
	return nil
}

func mergePair(val []byte) (left, right string, err error) {
	n := 0
	err = elements(val, func(x []byte) error {
		p, err := unquote(x)
		if n++; n == 1 {
			left = p
		} else {
			right = p
		}
		return err
	})
	if err == nil && n != 2 {
		err = fmt.Errorf("has %d parts, not two", n)
	}
	return left, right, err
}

// splitMerge reads a line of merges.txt.
func splitMerge(line string) (left, right string, err error) {
	left, right, ok := strings.Cut(line, " ")
	if !ok || strings.Contains(right, " ") {
		return "", "", fmt.Errorf("%q is not two pieces with a space between", clip(line, 60))
	}
	return left, right, nil
}

// merge resolves a merge; its rank is its place in the list. buf is scratch memory.
func (m *modelSpec) merge(ids map[string]int32, left, right string, buf []byte) (mergeSpec, []byte, error) {
	x := mergeSpec{rank: uint32(len(m.merges))}
	var ok [3]bool
	x.left, ok[0] = ids[left]
	x.right, ok[1] = ids[right]
	if left == "" || right == "" {
		return x, buf, fmt.Errorf("a part is empty")
	}
	buf = append(append(buf[:0], left...), strings.TrimPrefix(right, m.prefix)...)
	x.merged, ok[2] = ids[string(buf)]
	for i, p := range []string{left, right, string(buf)} {
		if !ok[i] {
			return x, buf, fmt.Errorf("%q is not in the vocabulary", clip(p, 60))
		}
	}
	return x, buf, nil
}
