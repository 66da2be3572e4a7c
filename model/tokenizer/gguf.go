package tokenizer

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// GGUF holds the tokenizer.ggml.* metadata of a GGUF file as plain values. Ids are -1, and the pointers nil, where a
// file has no such key.
type GGUF struct {
	Model  string    // "llama", "gpt2", "t5", "bert", "rwkv"
	Pre    string    // how "gpt2" splits text: "llama-bpe", "qwen2" ...; "" counts as "default"
	Tokens []string  // by id
	Scores []float32 // by id, or nil
	Types  []int32   // by id, or nil: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
	Merges []string  // "left right", or nil

	BOS, EOS, UNK, SEP, PAD, CLS, MASK int32

	AddBOS, AddEOS, AddSEP *bool
	AddSpacePrefix         *bool
	RemoveExtraWhitespaces *bool
	PrecompiledCharsmap    []byte
	ChatTemplate           string
}

// NewGGUF returns metadata without any key.
func NewGGUF() *GGUF {
	return &GGUF{BOS: -1, EOS: -1, UNK: -1, SEP: -1, PAD: -1, CLS: -1, MASK: -1}
}

// FromGGUF makes a tokenizer of the metadata of a GGUF file, which splits and merges as llama.cpp does. file is the
// file's name, for errors.
func FromGGUF(file string, g *GGUF) (*Tokenizer, error) {
	s := &spec{file: file, named: noNamedTokens(), chat: g.ChatTemplate, gguf: g}
	if err := s.checkGGUF(g); err != nil {
		return nil, err
	}
	m := &s.model
	m.pieces = g.Tokens
	m.unk = -1
	m.kinds = make([]pieceKind, len(g.Tokens))
	for id := range m.kinds {
		m.kinds[id] = kindNormal
		if id < len(g.Types) {
			m.kinds[id] = pieceKind(g.Types[id])
		}
		if m.kinds[id] == kindUnused && g.Model == "gpt2" && g.Tokens[id] != fillerName(id) {
			m.kinds[id] = kindNormal // llama.cpp finds it like any other
		}
		if m.kinds[id] == kindUserDefined && slices.Contains(endTexts, g.Tokens[id]) {
			m.kinds[id] = kindControl
		}
		if _, ok := byteToken(g.Tokens[id]); m.kinds[id] == kindByte && !ok && g.Model != "gpt2" {
			return nil, s.corrupt("tokenizer.ggml.tokens", "byte token %q does not hold two hexadecimal digits", g.Tokens[id])
		}
	}
	if err := s.addGGUFTokens(g); err != nil {
		return nil, err
	}
	var err error
	switch g.Model {
	case "llama":
		err = s.ggufLlama(g)
	case "gpt2":
		err = s.ggufGPT2(g)
	case "t5":
		err = s.ggufT5(g)
	case "bert":
		err = s.ggufBert(g)
	case "rwkv":
		m.Type = "Greedy"
		s.dec = json.RawMessage(`{"type":"RWKV"}`)
	default:
		err = s.unsupported("tokenizer.ggml.model", fmt.Errorf("vocabulary of type %q", g.Model))
	}
	if err != nil {
		return nil, err
	}
	if s.named.unk < 0 {
		s.named.unk = m.unk
	}
	return s.build()
}

// checkGGUF compares the lists and ids with each other and with the limits.
func (s *spec) checkGGUF(g *GGUF) error {
	n := len(g.Tokens)
	if n == 0 {
		return s.corrupt("tokenizer.ggml.tokens", "is missing or empty")
	}
	if int64(n) > limits.Vocab {
		return tensor.Errorf(tensor.ErrTooLarge, s.file, "tokenizer.ggml.tokens", "%d tokens, the limit is %d", n, limits.Vocab)
	}
	if g.Types != nil && len(g.Types) != n {
		return s.corrupt("tokenizer.ggml.token_type", "has %d entries for %d tokens", len(g.Types), n)
	}
	if g.Scores != nil && len(g.Scores) != n {
		return s.corrupt("tokenizer.ggml.scores", "has %d entries for %d tokens", len(g.Scores), n)
	}
	for id, k := range g.Types {
		if k < 0 || k > int32(kindByte) {
			return s.corrupt("tokenizer.ggml.token_type", "token %d has type %d", id, k)
		}
	}
	for _, x := range []struct {
		key string
		id  int32
		to  *int32
	}{{"bos", g.BOS, &s.named.bos}, {"eos", g.EOS, &s.named.eos}, {"unknown", g.UNK, &s.named.unk}, {"seperator", g.SEP, &s.named.sep},
		{"padding", g.PAD, &s.named.pad}, {"cls", g.CLS, &s.named.cls}, {"mask", g.MASK, &s.named.mask}} {
		if int(x.id) >= n || x.id < -1 {
			return s.corrupt("tokenizer.ggml."+x.key+"_token_id", "id %d is not in the vocabulary of %d tokens", x.id, n)
		}
		*x.to = x.id
	}
	return nil
}

// endTexts are tokens that llama.cpp takes for ends of a turn whatever their type, so that it never finds them in text.
var endTexts = []string{"<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
	"<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>",
	"<turn|>", "<|tool_response>", "<｜end▁of▁sentence｜>", "[e~["}

// addGGUFTokens makes control, unknown and user-defined tokens findable in text.
func (s *spec) addGGUFTokens(g *GGUF) error {
	for id, k := range s.model.kinds {
		p := g.Tokens[id]
		if err := s.checkPiece("tokenizer.ggml.tokens", p); err != nil {
			if p != "" {
				return err
			}
			if k == kindNormal {
				s.model.kinds[id] = kindUnused // an empty token cannot be found in text
			}
			continue
		}
		switch k {
		case kindControl, kindUnknown:
			s.added = append(s.added, AddedToken{ID: int32(id), Content: p, Special: true})
		case kindUserDefined:
			s.added = append(s.added, AddedToken{ID: int32(id), Content: p})
		}
	}
	return nil
}

func or(p *bool, def bool) bool {
	if p != nil {
		return *p
	}
	return def
}

// ggufLlama is a SentencePiece BPE vocabulary: pieces with scores.
func (s *spec) ggufLlama(g *GGUF) error {
	if g.Scores == nil {
		return s.corrupt("tokenizer.ggml.scores", "is missing")
	}
	m := &s.model
	m.Type, m.sentencePiece, m.fuseUnk = "BPE", true, true
	m.byteFallback = true
	s.defaultID(&s.named.unk, 0)
	m.unk = s.named.unk
	norm := sentencePieceJSON{Type: "SentencePiece", DummyPrefix: or(g.AddSpacePrefix, true), Escape: true}
	raw, err := json.Marshal(norm)
	if err != nil {
		return err
	}
	s.norm, s.dec = raw, spmDecoderJSON(norm.DummyPrefix, false)
	s.defaultID(&s.named.bos, 1)
	s.defaultID(&s.named.eos, 2)
	s.post = templateJSON(s, or(g.AddBOS, true), or(g.AddEOS, false))
	return s.mergesFromScores(float64s(g.Scores))
}

// defaultID gives a token the id that llama.cpp assumes where a file does not name one.
func (s *spec) defaultID(to *int32, id int32) {
	if *to < 0 && int(id) < len(s.model.pieces) {
		*to = id
	}
}

func float64s(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// ggufGPT2 is a byte-level BPE vocabulary; Pre names the way text is split.
func (s *spec) ggufGPT2(g *GGUF) error {
	m := &s.model
	m.Type = "BPE"
	pre, ok := ggufPre[g.Pre]
	if !ok {
		return s.unsupported("tokenizer.ggml.pre", fmt.Errorf("pre-tokenizer %q", g.Pre))
	}
	m.ignoreMerges = pre.ignoreMerges
	s.pre = pre.json()
	s.dec = byteLevelJSON(false)
	s.post = templateJSON(s, or(g.AddBOS, pre.addBOS), or(g.AddEOS, false))
	ids := m.index()
	var buf []byte
	for i, line := range g.Merges {
		// A part may begin with a space, but holds no other.
		at := strings.IndexByte(line[min(1, len(line)):], ' ') + 1
		if at == 0 || at+1 >= len(line) {
			return s.corrupt("tokenizer.ggml.merges", "merge %d, %q, is not two pieces with a space between", i, clip(line, 60))
		}
		x, b, err := m.merge(ids, line[:at], line[at+1:], buf)
		if buf = b; err != nil {
			return s.corrupt("tokenizer.ggml.merges", "merge %d: %v", i, err)
		}
		m.merges = append(m.merges, x)
	}
	if g.Merges == nil {
		return s.corrupt("tokenizer.ggml.merges", "is missing")
	}
	return nil
}

// ggufT5 is a SentencePiece unigram vocabulary.
func (s *spec) ggufT5(g *GGUF) error {
	if g.Scores == nil {
		return s.corrupt("tokenizer.ggml.scores", "is missing")
	}
	m := &s.model
	m.Type = "Unigram"
	s.defaultID(&s.named.eos, 1)
	s.defaultID(&s.named.unk, 2)
	m.unk = s.named.unk
	norm := sentencePieceJSON{Type: "SentencePiece", DummyPrefix: or(g.AddSpacePrefix, true),
		RemoveExtra: or(g.RemoveExtraWhitespaces, false), Escape: true, GGML: true}
	if len(g.PrecompiledCharsmap) > 0 {
		norm.Charsmap = base64.StdEncoding.EncodeToString(g.PrecompiledCharsmap)
	}
	f := &spmFile{pieces: g.Tokens, scores: float64s(g.Scores), kinds: m.kinds}
	m.scores = unigramScores(f)
	for id, k := range m.kinds {
		if k == kindUserDefined {
			norm.Keep = append(norm.Keep, g.Tokens[id])
			m.scores[id] = 0
		}
	}
	raw, err := json.Marshal(norm)
	if err != nil {
		return err
	}
	s.norm, s.dec = raw, spmDecoderJSON(norm.DummyPrefix, norm.RemoveExtra)
	s.post = templateJSON(s, or(g.AddBOS, false), or(g.AddEOS, true))
	return nil
}

// ggufBert is a WordPiece vocabulary in llama.cpp's spelling: pieces that start a word carry the space symbol.
func (s *spec) ggufBert(g *GGUF) error {
	m := &s.model
	m.Type, m.maxWord = "WordPiece", 100
	pieces := make([]string, len(g.Tokens))
	for id, p := range g.Tokens {
		rest, starts := strings.CutPrefix(p, spaceSymbol)
		switch {
		case m.kinds[id] != kindNormal:
			pieces[id] = p
		case starts:
			pieces[id] = rest
		default:
			pieces[id] = "##" + p
		}
	}
	m.pieces, m.prefix = pieces, "##"
	s.defaultID(&s.named.bos, 101)
	s.defaultID(&s.named.unk, 100)
	s.defaultID(&s.named.sep, 102)
	if s.named.cls >= 0 {
		s.named.bos = s.named.cls
	}
	m.unk = s.named.unk
	lower := true
	for id, p := range pieces { // the converter stores no flag: cased vocabularies hold capitals
		if m.kinds[id] == kindNormal && p != strings.ToLower(p) {
			lower = false
			break
		}
	}
	s.norm = json.RawMessage(fmt.Sprintf(`{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":%v}`, lower))
	s.pre = json.RawMessage(`{"type":"BertPreTokenizer"}`)
	s.dec = json.RawMessage(`{"type":"WordPiece","prefix":"##","cleanup":true}`)
	eos := s.named.eos
	s.named.eos = s.named.sep
	s.post = templateJSON(s, or(g.AddBOS, true), or(g.AddSEP, true))
	if eos >= 0 {
		s.named.eos = eos
	}
	return nil
}
