package tokenizer

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/model/tensor"
)

// TrainOptions says what vocabulary Train makes.
type TrainOptions struct {
	VocabSize int      // pieces in all: special tokens, 256 bytes, merges. Text with little variety may give fewer
	Split     Split    // how text is cut before bytes are merged; "" is SplitGPT2
	Special   []string // special tokens; they get the first ids
	BOS, EOS  string   // the special tokens that begin and end a sequence, "" for none; added to Special if not in it
	AddBOS    bool     // Encode with addSpecial begins with BOS
	MinCount  int64    // pairs seen less often are not merged; 0 counts as 2
}

// Train makes a byte-level BPE vocabulary (Sennrich et al., arXiv:1508.07909; bytes as in GPT-2): starting from single bytes, the most
// frequent pair of neighbours inside words becomes a piece, again and again. Of equally frequent pairs the one with the lower
// ids wins, so that the result depends on the text alone.
//
// Words are counted once. A merge then touches only the words that hold its pair: counts are kept per pair with the words
// it occurs in, and a heap gives the most frequent pair, whose count is checked against the table when it comes up.
func Train(ctx context.Context, texts iter.Seq[string], o TrainOptions) (*Tokenizer, error) {
	s, err := trainSpec(&o)
	if err != nil {
		return nil, err
	}
	words, err := countWords(ctx, texts, o.Split)
	if err != nil {
		return nil, err
	}
	if err := s.learn(ctx, words, &o); err != nil {
		return nil, err
	}
	return s.build()
}

// trainSpec makes the spec of a vocabulary of single bytes.
func trainSpec(o *TrainOptions) (*spec, error) {
	if o.Split == "" {
		o.Split = SplitGPT2
	}
	if o.MinCount <= 0 {
		o.MinCount = 2
	}
	special := slices.Clone(o.Special)
	for _, p := range []string{o.BOS, o.EOS} {
		if p != "" && !slices.Contains(special, p) {
			special = append(special, p)
		}
	}
	invalid := func(format string, args ...any) error {
		return tensor.Errorf(tensor.ErrInvalid, "", "vocabulary", format, args...)
	}
	if least := len(special) + 256; o.VocabSize < least || int64(o.VocabSize) > limits.Vocab {
		return nil, invalid("size %d is not within %d (256 bytes and %d special tokens) and %d", o.VocabSize, least, len(special), limits.Vocab)
	}
	if o.AddBOS && o.BOS == "" {
		return nil, invalid("AddBOS needs a BOS token")
	}
	s := &spec{file: "tokenizer.json", named: noNamedTokens()}
	m := &s.model
	m.Type, m.unk = "BPE", -1
	for i, p := range special {
		if p == "" || slices.Contains(special[:i], p) {
			return nil, invalid("special token %q is empty or there twice", p)
		}
		m.pieces = append(m.pieces, p)
		s.added = append(s.added, AddedToken{ID: int32(i), Content: p, Special: true})
	}
	runes := slices.Clone(runeOfByte[:])
	slices.Sort(runes)
	for _, r := range runes {
		m.pieces = append(m.pieces, string(r))
	}
	for _, p := range special {
		if _, ok := unmapBytes(nil, p); ok && len([]rune(p)) == 1 {
			return nil, invalid("special token %q is the name of a byte", p)
		}
	}
	find := func(p string) int32 { return int32(slices.Index(m.pieces, p)) }
	if o.BOS != "" {
		s.named.bos = find(o.BOS)
	}
	if o.EOS != "" {
		s.named.eos = find(o.EOS)
	}
	s.dec = byteLevelJSON(false)
	if s.pre = s.dec; o.Split != SplitGPT2 {
		pattern, err := json.Marshal(string(o.Split))
		if err != nil {
			return nil, err
		}
		s.pre = fmt.Appendf(nil, `{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":%s},"behavior":"Isolated","invert":false},`+
			`{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]}`, pattern)
	}
	if s.post = s.dec; o.AddBOS {
		s.post = templateJSON(s, true, false)
	}
	return s, nil
}

// countWords cuts the texts and counts each word.
func countWords(ctx context.Context, texts iter.Seq[string], split Split) (map[string]int64, error) {
	sc, err := compileRegex(string(split))
	if err != nil {
		return nil, tensor.Errorf(tensor.ErrUnsupported, "", "split", "%v", err)
	}
	task := progress.Start(ctx, "counting words", "B", -1)
	defer task.Done()
	counts := map[string]int64{}
	step := &patternSplit{scanner: sc}
	var st scanState
	for text := range texts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		step.split(piece{s: validUTF8(text)}, &st, func(p piece) { counts[p.s]++ })
		if st.over {
			return nil, errNotLinear("split")
		}
		task.Add(int64(len(text)))
	}
	return counts, nil
}

// learn finds the merges.
func (s *spec) learn(ctx context.Context, counts map[string]int64, o *TrainOptions) error {
	m := &s.model
	t := newTrainer(m, counts)
	task := progress.Start(ctx, "learning merges", "merges", int64(o.VocabSize-len(m.pieces)))
	defer task.Done()
	known := m.index()
	for len(m.pieces) < o.VocabSize {
		if err := ctx.Err(); err != nil {
			return err
		}
		pair, ok := t.best(o.MinCount)
		if !ok {
			break
		}
		left, right := int32(pair>>32), int32(uint32(pair))
		text := m.pieces[left] + m.pieces[right]
		merged, ok := known[text]
		if !ok { // two pairs may spell the same piece; it is one piece with two merges
			merged = int32(len(m.pieces))
			m.pieces = append(m.pieces, text)
			known[text] = merged
		}
		m.merges = append(m.merges, mergeSpec{left, right, merged, uint32(len(m.merges))})
		t.merge(pair, left, right, merged)
		task.Add(1)
	}
	return nil
}
