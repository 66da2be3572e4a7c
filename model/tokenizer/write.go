package tokenizer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// Files returns the files that make a checkpoint directory carry this tokenizer: tokenizer.json and
// tokenizer_config.json, as the Hugging Face libraries read them. A vocabulary that was read from a directory should be
// copied byte for byte instead; this is for one that was trained here, or that a GGUF file or a tokenizer.model held.
func (t *Tokenizer) Files() (map[string][]byte, error) {
	w, err := t.spec.lower()
	if err != nil {
		return nil, t.spec.unsupported("tokenizer", err)
	}
	data, err := w.tokenizerJSON()
	if err != nil {
		return nil, err
	}
	conf, err := t.configJSON()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"tokenizer.json": data, "tokenizer_config.json": conf}, nil
}

// lower returns the spec with the components that are ours written in terms of tokenizer.json.
func (s *spec) lower() (*spec, error) {
	out := *s
	var kind struct{ Type string }
	if !isNull(s.dec) && json.Unmarshal(s.dec, &kind) == nil && kind.Type == "RWKV" {
		return nil, fmt.Errorf("RWKV's vocabulary has no form in tokenizer.json")
	}
	var f sentencePieceJSON
	if isNull(s.norm) || json.Unmarshal(s.norm, &f) != nil || f.Type != "SentencePiece" {
		return &out, nil
	}
	if f.Suffix {
		return nil, fmt.Errorf("a space at the end in place of the start has no form in tokenizer.json")
	}
	var steps [][]byte
	add := func(format string, args ...any) { steps = append(steps, fmt.Appendf(nil, format, args...)) }
	if f.Charsmap != "" {
		add(`{"type":"Precompiled","precompiled_charsmap":%q}`, f.Charsmap)
	}
	if f.RemoveExtra {
		add(`{"type":"Strip","strip_left":true,"strip_right":true}`)
		add(`{"type":"Replace","pattern":{"Regex":" {2,}"},"content":" "}`)
	}
	decoders := `{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"}`
	if f.DummyPrefix {
		decoders += `,{"type":"Strip","content":" ","start":1,"stop":0}`
		add(`{"type":"Prepend","prepend":"▁"}`)
	}
	add(`{"type":"Replace","pattern":{"String":" "},"content":"▁"}`)
	out.norm = slices.Concat([]byte(`{"type":"Sequence","normalizers":[`), bytes.Join(steps, []byte(",")), []byte("]}"))
	out.dec = json.RawMessage(decoders + "]}")
	out.model.merges = s.model.listedMerges()
	return &out, nil
}

// listedMerges orders merges for a file whose ranks are places in a list: of pairs with the same score, the one with the lower ids
// comes first. Pairs with a rune that is no piece cannot be written.
func (m *modelSpec) listedMerges() []mergeSpec {
	merges := slices.Clone(m.merges)
	slices.SortStableFunc(merges, func(a, b mergeSpec) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.merged, b.merged), cmp.Compare(a.left, b.left), cmp.Compare(a.right, b.right))
	})
	return slices.DeleteFunc(merges, func(x mergeSpec) bool {
		n := int32(len(m.pieces))
		return x.left >= n || x.right >= n
	})
}

// jsonWriter writes JSON in the layout of the reference library, without the escapes for HTML that encoding/json adds.
type jsonWriter struct {
	bytes.Buffer
	err error
}

func (w *jsonWriter) value(v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil && w.err == nil {
		w.err = err
	}
	w.Write(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// component writes raw JSON as a field of the document.
func (w *jsonWriter) component(name string, raw []byte) {
	fmt.Fprintf(w, "  %q: ", name)
	if isNull(raw) {
		w.WriteString("null,\n")
		return
	}
	if err := json.Indent(&w.Buffer, raw, "  ", "  "); err != nil && w.err == nil {
		w.err = err
	}
	w.WriteString(",\n")
}

func (s *spec) tokenizerJSON() ([]byte, error) {
	w := &jsonWriter{}
	w.WriteString("{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n")
	added := slices.Clone(s.added)
	slices.SortFunc(added, func(a, b AddedToken) int { return int(a.ID - b.ID) })
	if added == nil {
		added = []AddedToken{}
	}
	var list jsonWriter
	list.value(added)
	w.component("added_tokens", list.Bytes())
	w.component("normalizer", s.norm)
	w.component("pre_tokenizer", s.pre)
	w.component("post_processor", s.post)
	w.component("decoder", s.dec)
	w.WriteString("  \"model\": {\n")
	if err := s.writeModel(w); err != nil {
		return nil, err
	}
	w.WriteString("  }\n}\n")
	if w.err == nil {
		w.err = list.err
	}
	return w.Bytes(), w.err
}

func (s *spec) writeModel(w *jsonWriter) error {
	m := &s.model
	field := func(name string, v any) {
		fmt.Fprintf(w, "    %q: ", name)
		w.value(v)
		w.WriteString(",\n")
	}
	optional := func(p string) any {
		if p == "" {
			return nil
		}
		return p
	}
	unk := ""
	if m.unk >= 0 {
		unk = m.pieces[m.unk]
	}
	field("type", m.Type)
	switch m.Type {
	case "BPE":
		field("dropout", nil)
		field("unk_token", optional(unk))
		field("continuing_subword_prefix", optional(m.prefix))
		field("end_of_word_suffix", optional(m.suffix))
		field("fuse_unk", m.fuseUnk)
		field("byte_fallback", m.byteFallback)
		field("ignore_merges", m.ignoreMerges)
		m.writeVocab(w, ",")
		m.writeMerges(w)
	case "Unigram":
		if m.unk >= 0 { // else there is none
			field("unk_id", m.unk)
		}
		field("byte_fallback", m.byteFallback)
		m.writeScores(w)
	case "WordPiece":
		field("unk_token", unk)
		field("continuing_subword_prefix", m.prefix)
		field("max_input_chars_per_word", m.maxWord)
		m.writeVocab(w, "")
	case "WordLevel":
		field("unk_token", unk)
		m.writeVocab(w, "")
	default:
		return s.unsupported("model", fmt.Errorf("type %s has no form in tokenizer.json", m.Type))
	}
	return nil
}

// lines writes n lines with a comma after each but the last.
func (w *jsonWriter) lines(n int, line func(i int)) {
	for i := range n {
		w.WriteString("      ")
		line(i)
		if i < n-1 {
			w.WriteByte(',')
		}
		w.WriteByte('\n')
	}
}

func (m *modelSpec) writeVocab(w *jsonWriter, tail string) {
	var ids []int
	for id, p := range m.pieces {
		if p != "" {
			ids = append(ids, id)
		}
	}
	w.WriteString("    \"vocab\": {\n")
	w.lines(len(ids), func(i int) {
		w.value(m.pieces[ids[i]])
		w.WriteString(": " + strconv.Itoa(ids[i]))
	})
	w.WriteString("    }" + tail + "\n")
}

func (m *modelSpec) writeMerges(w *jsonWriter) {
	w.WriteString("    \"merges\": [\n")
	w.lines(len(m.merges), func(i int) {
		w.value([2]string{m.part(m.merges[i].left), m.part(m.merges[i].right)})
	})
	w.WriteString("    ]\n")
}

func (m *modelSpec) writeScores(w *jsonWriter) {
	w.WriteString("    \"vocab\": [\n")
	w.lines(len(m.pieces), func(i int) {
		w.value([2]any{m.pieces[i], m.scores[i]})
	})
	w.WriteString("    ]\n")
}

// configJSON is tokenizer_config.json.
func (t *Tokenizer) configJSON() ([]byte, error) {
	conf := struct {
		AddBOS   *bool                 `json:"add_bos_token,omitempty"`
		AddEOS   *bool                 `json:"add_eos_token,omitempty"`
		Added    map[string]AddedToken `json:"added_tokens_decoder"`
		BOS      *string               `json:"bos_token"`
		Template string                `json:"chat_template,omitempty"`
		CleanUp  bool                  `json:"clean_up_tokenization_spaces"`
		CLS      *string               `json:"cls_token,omitempty"`
		EOS      *string               `json:"eos_token"`
		MASK     *string               `json:"mask_token,omitempty"`
		PAD      *string               `json:"pad_token"`
		SEP      *string               `json:"sep_token,omitempty"`
		Class    string                `json:"tokenizer_class"`
		UNK      *string               `json:"unk_token"`
	}{Added: map[string]AddedToken{}, Template: t.chat, Class: "PreTrainedTokenizerFast"}
	if bos, eos := t.PrependsBOS(), t.AppendsEOS(); t.post.adds(t.named, bos, eos) { // else the post-processor says more than two flags can
		conf.AddBOS, conf.AddEOS = &bos, &eos
	}
	for _, a := range t.added {
		conf.Added[strconv.Itoa(int(a.ID))] = a
	}
	for _, n := range []struct {
		id int32
		to **string
	}{{t.named.bos, &conf.BOS}, {t.named.eos, &conf.EOS}, {t.named.unk, &conf.UNK}, {t.named.pad, &conf.PAD}, {t.named.sep, &conf.SEP},
		{t.named.cls, &conf.CLS}, {t.named.mask, &conf.MASK}} {
		if p := t.Piece(n.id); p != "" {
			*n.to = &p
		}
	}
	var w jsonWriter
	w.value(conf)
	var out bytes.Buffer
	if err := json.Indent(&out, w.Bytes(), "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), w.err
}
