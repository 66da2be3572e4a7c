package model

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/parelm/pare/model/gguf"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/model/tokenizer"
)

// Tokenizer returns the checkpoint's tokenizer. It is an error when the checkpoint has none.
func (m *Model) Tokenizer() (*tokenizer.Tokenizer, error) {
	t, err := m.side.tokenizer()
	if err != nil {
		return nil, err
	}
	if err := fits(t, m.Path, m.Config); err != nil {
		return nil, err
	}
	return t, nil
}

// fits refuses a tokenizer whose ids have no row in the embedding.
func fits(t *tokenizer.Tokenizer, path string, c *Config) error {
	if n := t.VocabSize(); n > c.Vocab {
		return tensor.Errorf(ErrInvalid, path, "tokenizer", "has %d tokens, the embedding %d rows", n, c.Vocab)
	}
	return nil
}

// tokenizer opens the tokenizer, once.
func (s *side) tokenizer() (*tokenizer.Tokenizer, error) {
	if s.tok != nil {
		return s.tok, nil
	}
	var err error
	switch {
	case s.meta != nil:
		var g *tokenizer.GGUF
		if g, err = readVocab(s.meta); err == nil {
			s.tok, err = tokenizer.FromGGUF(s.dir, g)
		}
	case s.dir == "":
		return nil, fmt.Errorf("the model was made without a tokenizer")
	default:
		s.tok, err = tokenizer.Open(s.dir)
	}
	return s.tok, err
}

const vocabPrefix = "tokenizer.ggml."

// vocabIDs are the keys of special ids.
func vocabIDs(g *tokenizer.GGUF) map[string]*int32 {
	return map[string]*int32{"bos_token_id": &g.BOS, "eos_token_id": &g.EOS, "unknown_token_id": &g.UNK, "seperator_token_id": &g.SEP,
		"padding_token_id": &g.PAD, "cls_token_id": &g.CLS, "mask_token_id": &g.MASK}
}

func vocabFlags(g *tokenizer.GGUF) map[string]**bool {
	return map[string]**bool{"add_bos_token": &g.AddBOS, "add_eos_token": &g.AddEOS, "add_sep_token": &g.AddSEP,
		"add_space_prefix": &g.AddSpacePrefix, "remove_extra_whitespaces": &g.RemoveExtraWhitespaces}
}

// readVocab reads the vocabulary of a GGUF file.
func readVocab(meta *gguf.Metadata) (*tokenizer.GGUF, error) {
	g := tokenizer.NewGGUF()
	var err error
	if g.Model, err = meta.String(vocabPrefix + "model"); err != nil {
		return nil, err
	}
	if meta.Has(vocabPrefix + "pre") {
		if g.Pre, err = meta.String(vocabPrefix + "pre"); err != nil {
			return nil, err
		}
	}
	if g.Tokens, err = meta.Strings(vocabPrefix + "tokens"); err != nil {
		return nil, err
	}
	if meta.Has(vocabPrefix + "scores") {
		if g.Scores, err = meta.Floats(vocabPrefix + "scores"); err != nil {
			return nil, err
		}
	}
	if meta.Has(vocabPrefix + "token_type") {
		types, err := meta.Ints(vocabPrefix + "token_type")
		if err != nil {
			return nil, err
		}
		for _, t := range types {
			g.Types = append(g.Types, int32(t))
		}
	}
	if meta.Has(vocabPrefix + "merges") {
		if g.Merges, err = meta.Strings(vocabPrefix + "merges"); err != nil {
			return nil, err
		}
	}
	for key, id := range vocabIDs(g) {
		if meta.Has(vocabPrefix + key) {
			v, err := meta.Uint(vocabPrefix + key)
			if err != nil {
				return nil, err
			}
			if v < uint64(len(g.Tokens)) {
				*id = int32(v)
			} else {
				return nil, tensor.Errorf(ErrInvalid, "", fmt.Sprintf("key %q", vocabPrefix+key), "is %d, the vocabulary has %d tokens", v, len(g.Tokens))
			}
		}
	}
	for key, flag := range vocabFlags(g) {
		if meta.Has(vocabPrefix + key) {
			v, err := meta.Bool(vocabPrefix + key)
			if err != nil {
				return nil, err
			}
			*flag = &v
		}
	}
	if v, ok := meta.Get(vocabPrefix + "precompiled_charsmap"); ok {
		switch b := v.(type) {
		case []uint8:
			g.PrecompiledCharsmap = b
		case []int8:
			for _, x := range b {
				g.PrecompiledCharsmap = append(g.PrecompiledCharsmap, byte(x))
			}
		}
	}
	if meta.Has("tokenizer.chat_template") {
		if g.ChatTemplate, err = meta.String("tokenizer.chat_template"); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// toGGUF writes tokenizer and chat template: those of the GGUF file the model came from, or of its tokenizer files. A
// model without a tokenizer is written without: it loads, but only for token ids.
func (s *side) toGGUF(meta *gguf.Metadata, c *Config) error {
	if s.meta != nil {
		for k, v := range s.meta.All() {
			if strings.HasPrefix(k, "tokenizer.") || strings.HasPrefix(k, keptFile) {
				meta.Set(k, v)
			}
		}
		return nil
	}
	if err := s.keep(meta); err != nil {
		return err
	}
	if !s.onDisk() || !s.hasTokenizer() {
		meta.Set(vocabPrefix+"model", "no_vocab")
		return nil
	}
	t, err := s.tokenizer()
	if err != nil {
		return err
	}
	if err := fits(t, s.dir, c); err != nil {
		return err
	}
	g, err := t.GGUF()
	if err != nil {
		return err
	}
	return writeVocab(meta, g, c.Vocab)
}

// keptFile is the prefix of metadata keys under which pare's own GGUF files keep small side files byte for byte.
const keptFile = "pare.file."

// keep stores the side files that the vocabulary does not bring back.
func (s *side) keep(meta *gguf.Metadata) error {
	for _, n := range s.names {
		switch n {
		case "generation_config.json", "tokenizer_config.json", "special_tokens_map.json":
			data, err := s.read(n)
			if err != nil {
				return err
			}
			if len(data) < 1<<20 && utf8.Valid(data) {
				meta.Set(keptFile+n, string(data))
			}
		}
	}
	return nil
}

// fromGGUF makes the side files of a Hugging Face directory: those that were kept, and the tokenizer's.
func (s *side) fromGGUF() (map[string][]byte, error) {
	made := map[string][]byte{}
	if m, err := s.meta.String(vocabPrefix + "model"); err == nil && m != "no_vocab" {
		t, err := s.tokenizer()
		if err != nil {
			return nil, err
		}
		files, err := t.Files()
		if err != nil {
			return nil, err
		}
		for name, data := range files {
			made[name] = data
		}
	}
	for k := range s.meta.All() {
		if name, ok := strings.CutPrefix(k, keptFile); ok && isSide(name) {
			text, err := s.meta.String(k)
			if err != nil {
				return nil, err
			}
			made[name] = []byte(text)
		}
	}
	return made, nil
}

func (s *side) hasTokenizer() bool {
	for _, n := range s.names {
		switch n {
		case "tokenizer.json", "tokenizer.model", "vocab.json":
			return true
		}
	}
	return false
}

// writeVocab writes the metadata. Embedding rows beyond the vocabulary get names of their own, as llama.cpp wants one
// token a row.
func writeVocab(meta *gguf.Metadata, g *tokenizer.GGUF, rows int) error {
	for i := len(g.Tokens); i < rows; i++ {
		g.Tokens = append(g.Tokens, fmt.Sprintf("[PAD%d]", i))
		if g.Scores != nil {
			g.Scores = append(g.Scores, -10000)
		}
		if g.Types != nil {
			g.Types = append(g.Types, 5)
		}
	}
	meta.Set(vocabPrefix+"model", g.Model)
	if g.Pre != "" {
		meta.Set(vocabPrefix+"pre", g.Pre)
	}
	meta.Set(vocabPrefix+"tokens", g.Tokens)
	if g.Scores != nil {
		meta.Set(vocabPrefix+"scores", g.Scores)
	}
	if g.Types != nil {
		meta.Set(vocabPrefix+"token_type", g.Types)
	}
	if g.Merges != nil {
		meta.Set(vocabPrefix+"merges", g.Merges)
	}
	ids, flags := vocabIDs(g), vocabFlags(g)
	for _, key := range sortedKeys(ids) {
		if id := *ids[key]; id >= 0 {
			meta.Set(vocabPrefix+key, uint32(id))
		}
	}
	for _, key := range sortedKeys(flags) {
		if f := *flags[key]; f != nil {
			meta.Set(vocabPrefix+key, *f)
		}
	}
	if g.PrecompiledCharsmap != nil {
		meta.Set(vocabPrefix+"precompiled_charsmap", g.PrecompiledCharsmap)
	}
	if g.ChatTemplate != "" {
		meta.Set("tokenizer.chat_template", g.ChatTemplate)
	}
	return nil
}
