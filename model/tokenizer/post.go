package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
)

// postProcessor puts special tokens around a text. What the published processors do beyond that concerns pairs of
// texts and offsets, which nobody here asks for.
type postProcessor struct{ before, after []int32 }

func (p *postProcessor) apply(ids []int32) []int32 {
	if p == nil {
		return ids
	}
	return append(slices.Concat(p.before, ids), p.after...)
}

// adds reports whether the processor does no more than add BOS and EOS as told.
func (p *postProcessor) adds(n namedTokens, bos, eos bool) bool {
	var before, after []int32
	if bos && n.bos >= 0 {
		before = []int32{n.bos}
	}
	if eos && n.eos >= 0 {
		after = []int32{n.eos}
	}
	return slices.Equal(p.before, before) && slices.Equal(p.after, after)
}

// compilePost reads the post_processor component of a tokenizer.json.
func compilePost(raw []byte) (*postProcessor, error) {
	p := &postProcessor{}
	if isNull(raw) {
		return p, nil
	}
	kind, err := typeOf(raw)
	if err != nil {
		return nil, err
	}
	var f struct {
		Processors    []json.RawMessage
		Single        []json.RawMessage
		SpecialTokens map[string]struct{ IDs []int32 } `json:"special_tokens"`
		Sep, Cls      []json.RawMessage
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("%s: %v", kind, err)
	}
	switch kind {
	case "Sequence":
		for _, r := range f.Processors {
			q, err := compilePost(r)
			if err != nil {
				return nil, err
			}
			p.before = append(slices.Clone(q.before), p.before...)
			p.after = append(p.after, q.after...)
		}
		return p, nil
	case "ByteLevel":
		return p, nil
	case "BertProcessing", "RobertaProcessing":
		cls, errCls := pairID(f.Cls)
		sep, errSep := pairID(f.Sep)
		if errCls != nil || errSep != nil {
			return nil, fmt.Errorf("%s: cls and sep must be [text, id]", kind)
		}
		return &postProcessor{[]int32{cls}, []int32{sep}}, nil
	case "TemplateProcessing":
		return p, p.template(f.Single, f.SpecialTokens)
	}
	return nil, fmt.Errorf("post-processor %q is unknown", kind)
}

func pairID(pair []json.RawMessage) (id int32, err error) {
	if len(pair) != 2 {
		return 0, fmt.Errorf("not a pair")
	}
	err = json.Unmarshal(pair[1], &id)
	return id, err
}

// template reads the pieces of a TemplateProcessing: special tokens before and after the one sequence.
func (p *postProcessor) template(single []json.RawMessage, special map[string]struct{ IDs []int32 }) error {
	seen := false
	for _, raw := range single {
		var x struct {
			SpecialToken *struct{ ID string }
			Sequence     *struct{ ID string }
		}
		if err := json.Unmarshal(raw, &x); err != nil {
			return fmt.Errorf("TemplateProcessing: %v", err)
		}
		switch {
		case x.Sequence != nil && x.Sequence.ID == "A" && !seen:
			seen = true
		case x.SpecialToken != nil:
			s, ok := special[x.SpecialToken.ID]
			if !ok {
				return fmt.Errorf("TemplateProcessing: special token %q has no ids", x.SpecialToken.ID)
			}
			if seen {
				p.after = append(p.after, s.IDs...)
			} else {
				p.before = append(p.before, s.IDs...)
			}
		default:
			return fmt.Errorf("TemplateProcessing: template of a single text must hold sequence A once")
		}
	}
	if !seen {
		return fmt.Errorf("TemplateProcessing: template of a single text must hold sequence A once")
	}
	return nil
}
