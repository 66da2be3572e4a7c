package corpus

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/parelm/pare/model/chat"
	"github.com/parelm/pare/model/tokenizer"
)

// Conversations in JSON lines: {"messages": [{"role": "user", "content": "..."}]}, as most data sets of instructions have
// them, or {"conversations": [{"from": "human", "value": "..."}]}. They become tokens as the model's own chat template
// writes them, so that calibration and training see what the model sees when somebody talks with it.

// document is one object of a JSON lines file.
type document struct {
	text string
	chat []chat.Message // in place of text
}

// turn is a message in either spelling.
type turn struct {
	Role        *string
	Content     json.RawMessage // text, or a list of parts
	ToolCalls   json.RawMessage `json:"tool_calls"`
	From, Value *string
}

// roles are the speakers of "conversations" by their usual names.
var roles = map[string]string{"human": "user", "gpt": "assistant", "bot": "assistant"}

// parseDocument reads a line of a JSON lines file.
func parseDocument(line []byte) (document, error) {
	var d struct {
		Text, Prompt, Completion *string
		Messages, Conversations  []turn
	}
	if err := json.Unmarshal(line, &d); err != nil {
		return document{}, fmt.Errorf("is not a JSON object with texts: %w", err)
	}
	turns := d.Messages
	if turns == nil {
		turns = d.Conversations
	}
	switch {
	case d.Text != nil:
		return document{text: *d.Text}, nil
	case d.Prompt != nil && d.Completion != nil:
		return document{text: *d.Prompt + *d.Completion}, nil
	case turns == nil:
		return document{}, fmt.Errorf(`has neither "text" nor "prompt" and "completion" nor "messages"`)
	}
	var out document
	for i, t := range turns {
		m, err := t.message()
		if err != nil {
			return document{}, fmt.Errorf("message %d %w", i+1, err)
		}
		out.chat = append(out.chat, m)
	}
	return out, nil
}

func (t *turn) message() (m chat.Message, err error) {
	switch {
	case t.From != nil && t.Value != nil:
		if m.Role = *t.From; roles[m.Role] != "" {
			m.Role = roles[m.Role]
		}
		m.Content = *t.Value
	case t.Role == nil:
		return m, fmt.Errorf(`has no "role"`)
	case len(t.ToolCalls) > 0 && string(t.ToolCalls) != "null":
		return m, fmt.Errorf("calls tools, which texts for calibration and training may not")
	case len(t.Content) > 0 && t.Content[0] == '[':
		m.Role, m.Parts = *t.Role, t.Content
	default:
		m.Role = *t.Role
		if json.Unmarshal(t.Content, &m.Content) != nil || string(t.Content) == "null" {
			return m, fmt.Errorf(`has no "content" of text`)
		}
	}
	return m, nil
}

// plain returns the text without any template: what was said, a line each.
func (d *document) plain() string {
	if d.chat == nil {
		return d.text
	}
	var said []string
	for _, m := range d.chat {
		said = append(said, m.Content)
	}
	return strings.Join(said, "\n")
}

// renderer writes conversations as a tokenizer's chat template has them, or as a plain transcript where it has none.
type renderer struct {
	tok      *tokenizer.Tokenizer
	template *chat.Template
}

// chatDate is what templates that tell the date are told: equal texts give equal tokens on any day.
var chatDate = time.Date(2025, time.January, 1, 0, 0, 0, 0, time.UTC)

// encode returns the ids of a conversation.
func (r *renderer) encode(messages []chat.Message) ([]int32, error) {
	if r.template == nil {
		var err error
		if source := r.tok.ChatTemplate(); source != "" {
			r.template, err = chat.Parse("chat_template", source)
		} else {
			r.template, err = chat.Builtin("plain")
		}
		if err != nil {
			return nil, err
		}
	}
	p, err := r.template.Render(&chat.Conversation{Messages: messages, BOS: r.tok.Piece(r.tok.BOS()), EOS: r.tok.Piece(r.tok.EOS()), Now: chatDate})
	if err != nil {
		return nil, err
	}
	return p.Encode(r.tok)
}

// ids returns the ids of a document, without marks around a text.
func (r *renderer) ids(d document) ([]int32, error) {
	if d.chat != nil {
		return r.encode(d.chat)
	}
	var out []int32
	for text := d.text; len(text) > 0; { // the tokenizer takes a limited text at once; a cut at a line end costs a token at most
		part := text
		if len(part) > chunk {
			if at := strings.LastIndexByte(part[:chunk], '\n'); at > 0 {
				part = part[:at+1]
			} else {
				part = part[:chunk]
			}
		}
		ids, err := r.tok.Encode(part, false)
		if err != nil {
			return nil, err
		}
		out = append(out, ids...)
		text = text[len(part):]
	}
	return out, nil
}
