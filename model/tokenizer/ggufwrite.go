package tokenizer

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// GGUF returns the tokenizer.ggml.* values from which llama.cpp makes the same ids. Vocabularies that it cannot express are
// refused with an error of class tensor.ErrUnsupported that names the reason. What llama.cpp's own converter leaves out is left
// out here too: Unicode composition (NFC, NFKC), and the rules for white space of SentencePiece BPE vocabularies.
func (t *Tokenizer) GGUF() (*GGUF, error) {
	s := t.spec
	if s.gguf != nil {
		g := *s.gguf
		return &g, nil
	}
	g := NewGGUF()
	g.BOS, g.EOS, g.UNK, g.SEP = s.named.bos, s.named.eos, s.named.unk, s.named.sep
	g.PAD, g.CLS, g.MASK, g.ChatTemplate = s.named.pad, s.named.cls, s.named.mask, s.chat
	bos, eos := t.PrependsBOS(), t.AppendsEOS()
	g.AddBOS, g.AddEOS = &bos, &eos
	g.Tokens, g.Types = t.ggufTokens()
	var err error
	switch {
	case s.model.Type == "BPE" && s.model.sentencePiece:
		err = t.writeSentencePiece(g)
	case s.model.Type == "BPE" && s.usesBytes():
		err = t.writeGPT2(g)
	case s.model.Type == "BPE":
		err = t.writeLlama(g)
	case s.model.Type == "Unigram":
		err = t.writeT5(g)
	case s.model.Type == "WordPiece":
		err = t.writeBert(g)
	default:
		err = fmt.Errorf("a %s vocabulary has no form in GGUF", s.model.Type)
	}
	if err != nil {
		return nil, s.unsupported("tokenizer", err)
	}
	return g, nil
}

// usesBytes reports whether the pre-tokenizer maps bytes to visible runes.
func (s *spec) usesBytes() bool { return strings.Contains(string(s.pre), `"ByteLevel"`) }

// ggufTokens lists pieces and types. Holes become unused tokens, and the spaces of user-defined tokens are written as such: llama.cpp looks
// for them in the text as given.
func (t *Tokenizer) ggufTokens() ([]string, []int32) {
	n := t.VocabSize()
	tokens, types := make([]string, n), make([]int32, n)
	for id := range n {
		p, kind := t.vocab.pieces[id], kindNormal
		if id < len(t.spec.model.kinds) {
			kind = t.spec.model.kinds[id]
		}
		if a, ok := t.byID[int32(id)]; ok && kind != kindUnknown {
			if kind = kindUserDefined; a.Special || looksSpecial(p) {
				kind = kindControl
			} else {
				p = strings.ReplaceAll(p, spaceSymbol, " ")
			}
		}
		if p == "" {
			p, kind = fillerName(id), kindUnused
		}
		tokens[id], types[id] = p, int32(kind)
	}
	return tokens, types
}

// fillerName is what converters call an id that has no piece.
func fillerName(id int) string { return "[PAD" + strconv.Itoa(id) + "]" }

// looksSpecial reports whether a token that its file does not mark as special is one by its looks; llama.cpp's converter
// makes the same judgement.
func looksSpecial(p string) bool {
	return slices.Contains([]string{"<pad>", "<mask>", "<2mass>", "[@BOS@]"}, p) ||
		strings.HasPrefix(p, "<|") && strings.HasSuffix(p, "|>") || strings.HasPrefix(p, "<｜") && strings.HasSuffix(p, "｜>") ||
		strings.HasPrefix(p, "<unused") && strings.HasSuffix(p, ">")
}

func (t *Tokenizer) writeSentencePiece(g *GGUF) error {
	var f sentencePieceJSON
	if err := json.Unmarshal(t.spec.norm, &f); err != nil {
		return err
	}
	if f.Suffix {
		return errors.New("a space at the end in place of the start")
	}
	if !t.spec.model.byteFallback {
		return errors.New("a SentencePiece BPE vocabulary without byte fallback")
	}
	g.Model, g.Pre, g.AddSpacePrefix = "llama", "default", &f.DummyPrefix
	g.Scores = make([]float32, len(g.Tokens))
	for id := range g.Scores {
		if id < len(t.spec.model.rawScores) {
			g.Scores[id] = float32(t.spec.model.rawScores[id])
		} else {
			g.Scores[id] = -1000
		}
	}
	return nil
}

// preNames maps what a pre-tokenizer does to the name it has in GGUF files: of several, the most widely known.
var preNames = sync.OnceValue(func() map[string][]string {
	preferred := []string{"gpt-2", "llama-bpe", "qwen2", "smollm", "starcoder", "deepseek-llm", "deepseek-coder", "deepseek-v3", "falcon", "gpt-4o",
		"tekken", "smaug-bpe", "bloom", "viking", "qwen35", "bailingmoe"}
	var rest []string
	for name := range ggufPre {
		if name != "" && name != "default" && !slices.Contains(preferred, name) {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	out := map[string][]string{}
	for _, name := range append(preferred, rest...) {
		if key, ok := splitKey(ggufPre[name].json()); ok {
			out[key] = append(out[key], name)
		}
	}
	return out
})

func (t *Tokenizer) writeGPT2(g *GGUF) error {
	s := t.spec
	if err := s.onlyComposes(s.norm); err != nil {
		return err
	}
	key, ok := splitKey(s.pre)
	names := preNames()[key]
	if !ok || len(names) == 0 {
		return fmt.Errorf("llama.cpp has no name for this pre-tokenizer: %s", clip(string(canonicalJSON(s.pre)), 300))
	}
	g.Model, g.Pre = "gpt2", names[0]
	if ggufPre[g.Pre].ignoreMerges != s.model.ignoreMerges && !t.mergesReachAll() {
		same := slices.IndexFunc(names, func(n string) bool { return ggufPre[n].ignoreMerges == s.model.ignoreMerges })
		if same < 0 {
			return fmt.Errorf("ignore_merges is %v, but pre-tokenizer %q means the opposite", s.model.ignoreMerges, g.Pre)
		}
		g.Pre = names[same]
	}
	g.Merges = make([]string, len(s.model.merges))
	for i, x := range s.model.merges {
		l, r := s.model.part(x.left), s.model.part(x.right)
		if strings.ContainsRune(l[1:]+r, ' ') {
			return fmt.Errorf("merge %d, %q %q, holds a space", i, l, r)
		}
		g.Merges[i] = l + " " + r
	}
	return nil
}

// onlyComposes refuses normalizers that llama.cpp's byte-level vocabularies do not have; Unicode composition is let through.
func (s *spec) onlyComposes(raw []byte) error {
	if isNull(raw) {
		return nil
	}
	var f struct {
		Type        string
		Normalizers []json.RawMessage
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return err
	}
	switch f.Type {
	case "NFC", "NFKC":
		return nil
	case "Sequence":
		for _, r := range f.Normalizers {
			if err := s.onlyComposes(r); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("normalizer %s has no form in GGUF", f.Type)
}

// mergesReachAll reports whether every piece that merges can spell is what its own text is encoded as, so that it makes no difference
// whether whole words are looked up first.
func (t *Tokenizer) mergesReachAll() bool {
	m, ok := t.model.(*bpe)
	if !ok || m.prefix != "" || m.suffix != "" {
		return false
	}
	e := t.encoder()
	defer t.pool.Put(e)
	for id, p := range t.spec.model.pieces {
		if _, added := t.byID[int32(id)]; added || p == "" {
			continue
		}
		if m.byteID != nil {
			raw, ok := unmapBytes(nil, p)
			if !ok {
				continue
			}
			p = string(raw)
		}
		e.ids = m.merge(e, m.symbols(e.ids[:0], p), 0)
		if len(e.ids) != 1 || e.ids[0] != int32(id) {
			return false
		}
	}
	return true
}

// spaceScheme tells how a vocabulary without bytes writes spaces: as U+2581, with one put in front of the text or not.
func (s *spec) spaceScheme() (prefix bool, err error) {
	bad := fmt.Errorf("this normalizer and pre-tokenizer have no form in GGUF: %s %s",
		clip(string(canonicalJSON(s.norm)), 200), clip(string(canonicalJSON(s.pre)), 200))
	var n struct {
		Type        string
		Prepend     string
		Content     string
		Pattern     splitPattern
		Normalizers []json.RawMessage
	}
	var parts []json.RawMessage
	if !isNull(s.norm) {
		if err := json.Unmarshal(s.norm, &n); err != nil {
			return false, err
		}
		if parts = n.Normalizers; n.Type != "Sequence" {
			parts = []json.RawMessage{s.norm}
		}
	}
	escapes := false
	for _, raw := range parts {
		n.Type, n.Prepend, n.Content, n.Pattern = "", "", "", splitPattern{}
		if err := json.Unmarshal(raw, &n); err != nil {
			return false, err
		}
		switch {
		case n.Type == "Prepend" && n.Prepend == spaceSymbol && !prefix:
			prefix = true
		case n.Type == "Replace" && n.Pattern.String != nil && *n.Pattern.String == " " && n.Content == spaceSymbol:
			escapes = true
		default:
			return false, bad
		}
	}
	if !isNull(s.pre) {
		var p struct {
			Type, Replacement string
			AddPrefix         *bool   `json:"add_prefix_space"`
			Scheme            *string `json:"prepend_scheme"`
		}
		if err := json.Unmarshal(s.pre, &p); err != nil {
			return false, err
		}
		m, err := newMetaspace(p.Replacement, p.AddPrefix, p.Scheme)
		if p.Type != "Metaspace" || err != nil || p.Replacement != spaceSymbol {
			return false, bad
		}
		escapes, prefix = true, prefix || m.scheme != "never"
	}
	if !escapes {
		return false, bad
	}
	return prefix, nil
}

// writeLlama expresses merges as scores: llama.cpp joins any two neighbours that make a piece, the best score first. That is
// the same if all ways to make a piece are among the merges, and those of one piece stand together.
func (t *Tokenizer) writeLlama(g *GGUF) error {
	s, m := t.spec, &t.spec.model
	prefix, err := s.spaceScheme()
	if err != nil {
		return err
	}
	if m.ignoreMerges || m.prefix != "" || m.suffix != "" {
		return errors.New("ignore_merges, or pieces with a prefix or suffix")
	}
	if _, n := t.vocab.byteIDs(); n != 256 || !m.byteFallback {
		return errors.New("a vocabulary that is neither byte-level nor falls back to bytes")
	}
	g.Model, g.Pre, g.AddSpacePrefix = "llama", "default", &prefix
	g.Scores = make([]float32, len(g.Tokens))
	group, last := -1, int32(-1)
	ways := map[int32]int{}
	for _, x := range m.merges {
		if x.merged != last {
			if ways[x.merged] > 0 {
				return fmt.Errorf("merges of piece %q do not stand together", m.pieces[x.merged])
			}
			last = x.merged
			group++
		}
		ways[x.merged]++
		g.Scores[x.merged] = -float32(group)
	}
	for id, p := range g.Tokens {
		switch _, isByte := byteToken(p); {
		case isByte && g.Types[id] == int32(kindNormal):
			g.Types[id] = int32(kindByte)
		case int32(id) == m.unk:
			g.Types[id] = int32(kindUnknown)
		case g.Types[id] == int32(kindNormal) && ways[int32(id)] == 0:
			group++
			g.Scores[id] = -float32(group)
		case g.Types[id] != int32(kindNormal):
			g.Scores[id] = -1000
		}
	}
	return t.checkWays(g, ways)
}

// checkWays compares the merges of each piece with the ways in which its text falls into two pieces.
func (t *Tokenizer) checkWays(g *GGUF, ways map[int32]int) error {
	normal := func(p string) bool {
		id, ok := t.vocab.ids[p]
		return ok && g.Types[id] == int32(kindNormal)
	}
	for id, p := range g.Tokens {
		if g.Types[id] != int32(kindNormal) {
			continue
		}
		n := 0
		for k := range p {
			if k > 0 && normal(p[:k]) && normal(p[k:]) {
				n++
			}
		}
		if n != ways[int32(id)] {
			return fmt.Errorf("piece %q can be made in %d ways, %d of them are merges: llama.cpp would use all", p, n, ways[int32(id)])
		}
	}
	return nil
}

func (t *Tokenizer) writeT5(g *GGUF) error {
	s := t.spec
	scores := s.model.scores
	var f sentencePieceJSON
	if s.model.sentencePiece {
		scores = s.model.rawScores
		if err := json.Unmarshal(s.norm, &f); err != nil {
			return err
		}
	} else if err := s.unigramScheme(&f); err != nil {
		return err
	}
	if f.Suffix {
		return errors.New("a space at the end in place of the start")
	}
	g.Model, g.Pre = "t5", "default"
	g.AddSpacePrefix, g.RemoveExtraWhitespaces = &f.DummyPrefix, &f.RemoveExtra
	var err error
	if g.PrecompiledCharsmap, err = base64.StdEncoding.DecodeString(f.Charsmap); err != nil {
		return err
	}
	g.Scores = make([]float32, len(g.Tokens))
	for id := range scores {
		g.Scores[id] = float32(scores[id])
	}
	if s.model.unk >= 0 {
		g.Types[s.model.unk] = int32(kindUnknown)
	}
	if s.model.byteFallback {
		return errors.New("a unigram vocabulary with byte fallback: llama.cpp would give the unknown token")
	}
	return nil
}

// unigramScheme reads the components of a tokenizer.json that came from a SentencePiece unigram model.
func (s *spec) unigramScheme(f *sentencePieceJSON) error {
	var n struct {
		Type        string
		Charsmap    string `json:"precompiled_charsmap"`
		Normalizers []json.RawMessage
	}
	if !isNull(s.norm) {
		if err := json.Unmarshal(s.norm, &n); err != nil {
			return err
		}
	}
	parts := n.Normalizers
	if n.Type != "Sequence" && n.Type != "" {
		parts = []json.RawMessage{s.norm}
	}
	for _, raw := range parts {
		n.Type, n.Charsmap = "", ""
		if err := json.Unmarshal(raw, &n); err != nil {
			return err
		}
		switch n.Type {
		case "Precompiled":
			f.Charsmap = n.Charsmap
		case "Strip", "Replace": // what converters write for remove_extra_whitespaces
			f.RemoveExtra = true
		default:
			return fmt.Errorf("normalizer %s has no form in GGUF", n.Type)
		}
	}
	pre := string(s.pre)
	if !strings.Contains(pre, `"Metaspace"`) {
		return errors.New("a unigram vocabulary without Metaspace has no form in GGUF")
	}
	f.DummyPrefix = !strings.Contains(pre, `"never"`)
	f.RemoveExtra = f.RemoveExtra || strings.Contains(pre, `"WhitespaceSplit"`)
	return nil
}

func (t *Tokenizer) writeBert(g *GGUF) error {
	m := &t.spec.model
	var f struct{ Type string }
	if isNull(t.spec.norm) || json.Unmarshal(t.spec.norm, &f) != nil || f.Type != "BertNormalizer" {
		return errors.New("a WordPiece vocabulary without BERT's normalizer has no form in GGUF")
	}
	g.Model, g.Pre = "bert", "default"
	for id, p := range g.Tokens {
		if g.Types[id] == int32(kindControl) {
			continue
		}
		if rest, ok := strings.CutPrefix(p, m.prefix); ok && rest != "" {
			g.Tokens[id] = rest
		} else {
			g.Tokens[id] = spaceSymbol + p
		}
	}
	sep := t.AppendsEOS() || len(t.post.after) > 0
	g.AddSEP = &sep
	return nil
}
