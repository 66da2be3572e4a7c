package tokenizer

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// config is what tokenizer_config.json, special_tokens_map.json and config.json tell about a tokenizer.
type config struct {
	BOS       tokenText `json:"bos_token"`
	EOS       tokenText `json:"eos_token"`
	UNK       tokenText `json:"unk_token"`
	SEP       tokenText `json:"sep_token"`
	PAD       tokenText `json:"pad_token"`
	CLS       tokenText `json:"cls_token"`
	MASK      tokenText `json:"mask_token"`
	AddBOS    *bool     `json:"add_bos_token"`
	AddEOS    *bool     `json:"add_eos_token"`
	AddPrefix *bool     `json:"add_prefix_space"`
	Class     string    `json:"tokenizer_class"`
	Legacy    *bool     `json:"legacy"`

	Added    map[string]AddedToken `json:"added_tokens_decoder"`
	Template json.RawMessage       `json:"chat_template"`
}

// tokenText is a token given as a string or as an object with its content.
type tokenText string

func (t *tokenText) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var o struct{ Content string }
		err := json.Unmarshal(b, &o)
		*t = tokenText(o.Content)
		return err
	}
	var s *string
	err := json.Unmarshal(b, &s)
	if s != nil {
		*t = tokenText(*s)
	}
	return err
}

// readLimited reads a regular file of at most limit bytes. It returns nil where there is no such file.
func readLimited(dir fs.FS, name string, limit int64) ([]byte, error) {
	info, err := fs.Stat(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, tensor.Errorf(tensor.ErrInvalid, name, "", "is not a regular file")
	}
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = tensor.Errorf(tensor.ErrTooLarge, name, "", "has more than %d bytes", limit)
	}
	return data, err
}

// readJSON decodes a small JSON file into v, if it exists. A byte order mark is tolerated.
func readJSON(dir fs.FS, name string, v any) error {
	data, err := readLimited(dir, name, 16*limits.Config)
	if err != nil || data == nil {
		return err
	}
	data = []byte(strings.TrimPrefix(string(data), "\ufeff"))
	if err := json.Unmarshal(data, v); err != nil {
		return tensor.Errorf(tensor.ErrCorrupt, name, "", "%v", err)
	}
	return nil
}

// readConfig reads what stands beside a vocabulary.
func readConfig(dir fs.FS) (*config, error) {
	c := &config{}
	if err := readJSON(dir, "special_tokens_map.json", c); err != nil {
		return nil, err
	}
	if err := readJSON(dir, "tokenizer_config.json", c); err != nil {
		return nil, err
	}
	return c, nil
}

// Open reads the tokenizer of a checkpoint directory: tokenizer.json, else tokenizer.model (SentencePiece), else vocab.json
// with merges.txt; with tokenizer_config.json and its companions, and the chat template where there is one.
func Open(dir string) (*Tokenizer, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return OpenFS(root.FS())
}

// OpenFS is Open for any file system.
func OpenFS(dir fs.FS) (*Tokenizer, error) {
	c, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	s, err := openVocabulary(dir, c)
	if err != nil {
		return nil, err
	}
	if err := s.applyConfig(c); err != nil {
		return nil, err
	}
	if err := s.modelIDs(dir); err != nil {
		return nil, err
	}
	if s.chat, err = readTemplate(dir, c); err != nil {
		return nil, err
	}
	return s.build()
}

func openVocabulary(dir fs.FS, c *config) (*spec, error) {
	if data, err := readLimited(dir, "tokenizer.json", limits.Tokenizer); err != nil || data != nil {
		if err != nil {
			return nil, err
		}
		return parseJSON("tokenizer.json", data)
	}
	if data, err := readLimited(dir, "tokenizer.model", limits.Tokenizer); err != nil || data != nil {
		if err != nil {
			return nil, err
		}
		return parseSentencePiece("tokenizer.model", data)
	}
	vocab, err := readLimited(dir, "vocab.json", limits.Tokenizer)
	if err != nil {
		return nil, err
	}
	merges, err := readLimited(dir, "merges.txt", limits.Tokenizer)
	if err != nil {
		return nil, err
	}
	if vocab != nil && merges != nil {
		return parseVocabMerges(vocab, merges, c.AddPrefix != nil && *c.AddPrefix)
	}
	return nil, tensor.Errorf(tensor.ErrUnsupported, "", "tokenizer",
		"found none: a checkpoint needs tokenizer.json, tokenizer.model, or vocab.json with merges.txt")
}

// FromVocabMerges reads the two files of a byte-level BPE vocabulary as GPT-2 published it: a JSON object from piece to
// id, and one merge a line in the order of their ranks.
func FromVocabMerges(vocab, merges []byte) (*Tokenizer, error) {
	s, err := parseVocabMerges(vocab, merges, false)
	if err != nil {
		return nil, err
	}
	s.guessNamed()
	return s.build()
}

func parseVocabMerges(vocab, merges []byte, prefixSpace bool) (*spec, error) {
	s := &spec{file: "vocab.json", named: noNamedTokens()}
	if err := checkJSON(s.file, vocab); err != nil {
		return nil, err
	}
	m := &s.model
	m.Type, m.unk = "BPE", -1
	if err := s.parseVocab(vocab); err != nil {
		return nil, err
	}
	s.file = "merges.txt"
	ids := m.index()
	var buf []byte
	for n, line := range strings.Split(string(merges), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" || n == 0 && strings.HasPrefix(line, "#version") {
			continue
		}
		left, right, err := splitMerge(line)
		var x mergeSpec
		if err == nil {
			x, buf, err = m.merge(ids, left, right, buf)
		}
		if err != nil {
			return nil, s.corrupt("line "+strconv.Itoa(n+1), "%v", err)
		}
		m.merges = append(m.merges, x)
	}
	step := byteLevelJSON(prefixSpace)
	s.pre, s.dec, s.post = step, step, step
	for _, p := range []string{"<|endoftext|>", "<s>", "</s>", "<pad>", "<unk>", "<mask>"} {
		if id, ok := ids[p]; ok {
			s.added = append(s.added, AddedToken{ID: id, Content: p, Special: true})
		}
	}
	return s, nil
}

func byteLevelJSON(prefixSpace bool) json.RawMessage {
	return json.RawMessage(`{"type":"ByteLevel","add_prefix_space":` + strconv.FormatBool(prefixSpace) + `,"trim_offsets":true,"use_regex":true}`)
}

// applyConfig adds the tokens and settings of tokenizer_config.json.
func (s *spec) applyConfig(c *config) error {
	ids := s.pieceIDs()
	if err := s.addConfigTokens(c, ids); err != nil {
		return err
	}
	for _, n := range []struct {
		text tokenText
		to   *int32
	}{{c.BOS, &s.named.bos}, {c.EOS, &s.named.eos}, {c.UNK, &s.named.unk}, {c.SEP, &s.named.sep}, {c.PAD, &s.named.pad},
		{c.CLS, &s.named.cls}, {c.MASK, &s.named.mask}} {
		if n.text == "" {
			continue
		}
		id, ok := ids[string(n.text)]
		if !ok {
			continue // a name for a token the vocabulary does not have, as some published files carry
		}
		*n.to = id
		if n.to != &s.named.unk { // an unknown token may be an ordinary piece, such as "?"
			s.markSpecial(id, string(n.text))
		}
	}
	if s.named.unk < 0 {
		s.named.unk = s.model.unk
	}
	if c.BOS == "" && c.EOS == "" {
		s.guessNamed()
	}
	s.applyBOSPolicy(c)
	return nil
}

// addConfigTokens brings in added_tokens_decoder: its flags overrule those of tokenizer.json.
func (s *spec) addConfigTokens(c *config, ids map[string]int32) error {
	keys := make([]string, 0, len(c.Added))
	for k := range c.Added {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	known := map[int32]int{}
	for i, a := range s.added {
		known[a.ID] = i
	}
	for _, k := range keys {
		a := c.Added[k]
		id, err := strconv.ParseInt(k, 10, 32)
		if err != nil || id < 0 {
			return tensor.Errorf(tensor.ErrCorrupt, "tokenizer_config.json", "added_tokens_decoder", "key %q is not a token id", clip(k, 40))
		}
		a.ID = int32(id)
		if err := s.checkPiece("added_tokens_decoder", a.Content); err != nil {
			return err
		}
		if i, ok := known[a.ID]; ok {
			if s.added[i].Content == a.Content {
				s.added[i] = a
			}
			continue
		}
		if old, ok := ids[a.Content]; ok && old != a.ID || int(id) < len(s.model.pieces) && s.model.pieces[id] != "" && s.model.pieces[id] != a.Content {
			continue // the vocabulary itself is the authority
		}
		ids[a.Content] = a.ID
		s.added = append(s.added, a)
	}
	return nil
}

// pieceIDs returns the ids of all pieces and added tokens.
func (s *spec) pieceIDs() map[string]int32 {
	ids := s.model.index()
	for _, a := range s.added {
		ids[a.Content] = a.ID
	}
	return ids
}

// index returns the ids of the model's pieces.
func (m *modelSpec) index() map[string]int32 {
	ids := make(map[string]int32, len(m.pieces))
	for id, p := range m.pieces {
		if p != "" {
			ids[p] = int32(id)
		}
	}
	return ids
}

// markSpecial makes a piece a control token.
func (s *spec) markSpecial(id int32, content string) {
	for i := range s.added {
		if s.added[i].ID == id {
			s.added[i].Special = true
			return
		}
	}
	s.added = append(s.added, AddedToken{ID: id, Content: content, Special: true})
}

// applyBOSPolicy follows add_bos_token and add_eos_token: where tokenizer_config.json has them they replace the
// post-processor; the classes derived from Llama begin with BOS where neither file says otherwise.
func (s *spec) applyBOSPolicy(c *config) {
	llama := slices.Contains([]string{"LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast",
		"GemmaTokenizer", "GemmaTokenizerFast", "CohereTokenizerFast"}, c.Class)
	if c.AddBOS == nil && c.AddEOS == nil && (!llama || !isNull(s.post)) {
		return
	}
	bos, eos := llama, false
	if c.AddBOS != nil {
		bos = *c.AddBOS
	}
	if c.AddEOS != nil {
		eos = *c.AddEOS
	}
	if p, err := compilePost(s.post); err == nil && p.adds(s.named, bos, eos) {
		return
	}
	s.post = templateJSON(s, bos, eos)
}

// templateJSON makes a TemplateProcessing that adds BOS and EOS.
func templateJSON(s *spec, bos, eos bool) json.RawMessage {
	content := map[int32]string{}
	for id, p := range s.model.pieces {
		content[int32(id)] = p
	}
	for _, a := range s.added {
		content[a.ID] = a.Content
	}
	special := map[string]any{}
	piece := func(id int32, seq int) map[string]any {
		special[content[id]] = map[string]any{"id": content[id], "ids": []int32{id}, "tokens": []string{content[id]}}
		return map[string]any{"SpecialToken": map[string]any{"id": content[id], "type_id": seq}}
	}
	template := func(names ...string) (out []any) {
		for seq, name := range names {
			if bos && s.named.bos >= 0 {
				out = append(out, piece(s.named.bos, seq))
			}
			out = append(out, map[string]any{"Sequence": map[string]any{"id": name, "type_id": seq}})
			if eos && s.named.eos >= 0 {
				out = append(out, piece(s.named.eos, seq))
			}
		}
		return out
	}
	raw, err := json.Marshal(map[string]any{"type": "TemplateProcessing", "single": template("A"), "pair": template("A", "B"),
		"special_tokens": special})
	if err != nil {
		panic(err) // strings and numbers only
	}
	return raw
}

// modelIDs takes BOS and EOS from config.json where no tokenizer file names them.
func (s *spec) modelIDs(dir fs.FS) error {
	if s.named.bos >= 0 && s.named.eos >= 0 {
		return nil
	}
	var c struct {
		BOS, EOS json.RawMessage
	}
	var raw map[string]json.RawMessage
	if err := readJSON(dir, "config.json", &raw); err != nil {
		return err
	}
	c.BOS, c.EOS = raw["bos_token_id"], raw["eos_token_id"]
	set := func(to *int32, raw json.RawMessage) {
		var id int32
		if *to < 0 && json.Unmarshal(raw, &id) == nil && id >= 0 && int(id) < len(s.model.pieces)+len(s.added) && s.content(id) != "" {
			*to = id
		}
	}
	set(&s.named.bos, c.BOS)
	set(&s.named.eos, c.EOS)
	return nil
}

// content returns the piece or added token of an id.
func (s *spec) content(id int32) string {
	for _, a := range s.added {
		if a.ID == id {
			return a.Content
		}
	}
	if id >= 0 && int(id) < len(s.model.pieces) {
		return s.model.pieces[id]
	}
	return ""
}

// Usual texts of the tokens that a file may fail to name.
var (
	usualBOS = []string{"<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "[BOS]", "<｜begin▁of▁sentence｜>", "<|endoftext|>"}
	usualEOS = []string{"</s>", "<eos>", "<|end_of_text|>", "<|im_end|>", "[EOS]", "<｜end▁of▁sentence｜>", "<|endoftext|>"}
	usualPAD = []string{"<pad>", "[PAD]", "<|pad|>", "<|padding|>"}
)

// guessNamed fills in named tokens that no file has named, from special tokens with the usual texts.
func (s *spec) guessNamed() {
	find := func(to *int32, texts []string) {
		for _, text := range texts {
			for _, a := range s.added {
				if *to < 0 && a.Special && a.Content == text {
					*to = a.ID
				}
			}
		}
	}
	find(&s.named.bos, usualBOS)
	find(&s.named.eos, usualEOS)
	find(&s.named.pad, usualPAD)
	if s.named.unk < 0 {
		s.named.unk = s.model.unk
	}
}

// readTemplate finds the chat template: a file of its own, else a field of tokenizer_config.json, else
// chat_template.json. Of several named templates it takes "default".
func readTemplate(dir fs.FS, c *config) (string, error) {
	data, err := readLimited(dir, "chat_template.jinja", limits.Template)
	if err != nil || data != nil {
		return string(data), err
	}
	raw := c.Template
	if isNull(raw) {
		var f struct {
			Template json.RawMessage `json:"chat_template"`
		}
		if err := readJSON(dir, "chat_template.json", &f); err != nil {
			return "", err
		}
		raw = f.Template
	}
	if isNull(raw) {
		return "", nil
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		var list []struct{ Name, Template string }
		if err := json.Unmarshal(raw, &list); err != nil {
			return "", tensor.Errorf(tensor.ErrCorrupt, "tokenizer_config.json", "chat_template", "%v", err)
		}
		for i, t := range list {
			if t.Name == "default" || i == 0 {
				text = t.Template
			}
		}
	}
	if int64(len(text)) > limits.Template {
		return "", tensor.Errorf(tensor.ErrTooLarge, "tokenizer_config.json", "chat_template", "has %d bytes, the limit is %d", len(text), limits.Template)
	}
	return text, nil
}
