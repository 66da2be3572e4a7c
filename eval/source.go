package eval

import (
	"context"

	"github.com/parelm/pare/internal/corpus"
	"github.com/parelm/pare/model/tokenizer"
	"github.com/parelm/pare/runtime"
)

// Source says what perplexity and divergence are measured on.
type Source struct {
	Text      []string // files, directories or globs; or
	IDs       string   // a file of token ids: a JSON array, or an object that holds one as token_ids
	MaxTokens int      // bounds the ids; 0 means all
	Window    int      // ids a sequence; 0 fills the context, up to 2048
	Stride    int      // ids from one window to the next; 0 means the window
}

// Stream returns the ids and the protocol for a model. tok may be nil where ids are given: then there is no BOS.
func (s Source) Stream(ctx context.Context, e *runtime.Engine, tok *tokenizer.Tokenizer) ([]int32, Protocol, error) {
	bos, prepends := int32(-1), false
	if tok != nil {
		bos, prepends = tok.BOS(), tok.PrependsBOS()
	}
	p, err := NewProtocol(e.Context(), bos, prepends, s.Window, s.Stride)
	if err != nil {
		return nil, p, err
	}
	var ids []int32
	if s.IDs != "" {
		ids, err = corpus.ReadIDs(s.IDs, e.Vocab())
	} else {
		var files []string
		if files, err = corpus.Files(s.Text); err == nil {
			ids, err = corpus.Stream(ctx, tok, files, corpus.Plain)
		}
	}
	if s.MaxTokens > 0 && len(ids) > s.MaxTokens {
		ids = ids[:s.MaxTokens]
	}
	return ids, p, err
}
