package prune

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/parelm/pare/internal/corpus"
	"github.com/parelm/pare/model"
)

// Vocabulary trimming keeps the tokens that a text needs. Embeddings are a large share of a small model, and most of a
// multilingual vocabulary never occurs in one domain. The remaining tokens keep their rows untouched and their text is cut
// as before (see tokenizer.Trim), so on text of that domain the model differs only by what the missing tokens' logits took
// from the softmax. Other text is still read and written, in smaller pieces.

// wanted returns the ids that the files of Vocab hold: those of a .json file as they are, those of texts by encoding them.
func (s *Settings) wanted(ctx context.Context, m *model.Model) ([]int32, error) {
	tok, err := m.Tokenizer()
	if err != nil {
		return nil, err
	}
	files, err := corpus.Files(s.Vocab)
	if err != nil {
		return nil, err
	}
	var ids []int32
	for _, f := range files {
		var more []int32
		if strings.EqualFold(filepath.Ext(f), ".json") {
			more, err = corpus.ReadIDs(f, tok.VocabSize())
		} else {
			more, err = corpus.Stream(ctx, tok, []string{f}, corpus.Plain)
		}
		if err != nil {
			return nil, err
		}
		ids = append(ids, more...)
	}
	return ids, nil
}

// trim shrinks the vocabulary.
func (s *Settings) trim(ctx context.Context, m *model.Model, r *Report) (*model.Model, error) {
	want, err := s.wanted(ctx, m)
	if err != nil {
		return nil, err
	}
	small, old, err := m.KeepTokens(want)
	if err != nil {
		return nil, err
	}
	r.Widths[string(model.AxisVocab)] = [2]int{m.Config.Vocab, len(old)}
	r.Tokens = old
	return small, nil
}

// Outline returns a model of the sizes that pruning will give, without any work on weights; its values are zero.
func (s *Settings) Outline(ctx context.Context, m *model.Model) (*model.Model, error) {
	if err := s.Check(m.Config); err != nil {
		return nil, err
	}
	if len(s.Vocab) > 0 {
		var err error
		if m, err = s.trim(ctx, m, &Report{Widths: map[string][2]int{}}); err != nil {
			return nil, err
		}
	}
	return m.Outline(s.Sizes(m.Config)), nil
}

// NeedsSamples reports whether anything is asked for that is chosen on calibration text.
func (s *Settings) NeedsSamples() bool {
	return !(s.keep(s.Depth) && s.keep(s.FFN) && s.keep(s.Heads) && s.keep(s.Hidden))
}
