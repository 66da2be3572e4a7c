package chat

import "github.com/parelm/pare/model/tokenizer"

// Encode returns the ids of the prompt: control tokens where the template wrote their text, never where a message
// holds it. No token is put in front: a template that wants BOS writes it.
func (p *Prompt) Encode(t *tokenizer.Tokenizer) ([]int32, error) {
	o := tokenizer.Options{ParseSpecial: true, Literal: make([]tokenizer.Span, len(p.User))}
	for i, u := range p.User {
		o.Literal[i] = tokenizer.Span(u)
	}
	return t.EncodeOptions(p.Text, o)
}
