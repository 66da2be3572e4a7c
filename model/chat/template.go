package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// Template is a compiled chat template. It is immutable and safe for concurrent use.
type Template struct {
	name string
	body []stmt
}

// Parse compiles the source of a template. name stands in errors: the file it came from.
//
// Errors are *tensor.FileError: of class ErrTooLarge for a source over limits.Template or nested too deep, ErrUnsupported
// for what reaches outside (import, include, extends), ErrCorrupt for bad syntax.
func Parse(name, source string) (t *Template, err error) {
	if int64(len(source)) > limits.Template {
		return nil, tensor.Errorf(tensor.ErrTooLarge, name, "", "has %d bytes, the limit is %d", len(source), limits.Template)
	}
	toks, err := lex(source)
	if err != nil {
		return nil, syntax(name, err)
	}
	defer func() {
		if x := recover(); x != nil {
			f, ok := x.(failure)
			if !ok {
				panic(x)
			}
			err = syntax(name, f.err)
		}
	}()
	p := &parser{toks: toks}
	body, _ := p.block()
	return &Template{name, body}, nil
}

func syntax(name string, err error) error {
	var s *syntaxError
	if errors.As(err, &s) {
		return tensor.Errorf(tensor.ErrCorrupt, name, fmt.Sprintf("line %d", s.line), "%s", s.msg)
	}
	return tensor.Errorf(tensor.ErrCorrupt, name, "", "%v", err)
}

// Message is one turn of a conversation.
type Message struct {
	Role       string          // system, user, assistant, tool, or what else the template knows
	Content    string          // what was said
	Parts      json.RawMessage // in place of Content: a JSON list of parts, for templates that take images and the like
	Reasoning  string          // what an assistant thought before it spoke; "" for nothing
	ToolCalls  []ToolCall      // what an assistant asks tools for
	ToolCallID string          // of a tool's answer: the call it answers
	Name       string          // of a tool's answer, or of the speaker
}

// ToolCall is a request to a tool.
type ToolCall struct {
	ID        string
	Name      string
	Arguments string // a JSON object
}

// Conversation is what a template is given.
type Conversation struct {
	Messages []Message
	Tools    []json.RawMessage // JSON schemas of functions, as in {"type": "function", "function": {...}}
	// Generate asks for the prompt of the assistant's next turn.
	Generate bool
	BOS, EOS string // text of the tokens that begin and end a sequence
	// Variables are further names for the template, each a JSON value: enable_thinking, date_string ...
	Variables map[string]json.RawMessage
	Now       time.Time // what strftime_now tells
}

// Prompt is a rendered conversation.
type Prompt struct {
	Text string
	User []Span // what came from the conversation, ascending: never to be read as control tokens
	// Adapted says how the conversation had to be put for the template to take it; "" where it took it as it is.
	Adapted string
}

// Render runs the template. It gives up with an error, never with half a prompt: *Refusal where the template raises an
// exception, else a *tensor.FileError of class ErrTooLarge for more steps, depth, range or output than internal/limits
// allow, ErrInvalid for everything else.
//
// Where a template fails on a conversation, others ways to put it are tried, each named in Prompt.Adapted: arguments of
// tool calls as text, for published templates take one or the other; names that are undefined counted as nothing;
// parallel tool calls one after the other; a system message and tools told in plain turns.
func (t *Template) Render(c *Conversation) (*Prompt, error) {
	var first error
	for _, a := range c.attempts() {
		p, err := t.render(a)
		if err == nil {
			p.Adapted = a.note
			return p, nil
		}
		if first == nil {
			first = err
		}
		if errors.Is(err, tensor.ErrTooLarge) {
			break
		}
	}
	return nil, first
}

func (t *Template) render(a attempt) (p *Prompt, err error) {
	r := &run{fuel: limits.TemplateFuel, now: a.c.Now, out: &joiner{}, forgiving: a.forgiving}
	defer func() {
		x := recover()
		if x == nil {
			return
		}
		f, ok := x.(failure)
		var refusal *Refusal
		switch {
		case !ok:
			panic(x)
		case errors.As(f.err, &refusal):
			err = refusal
		case errors.Is(f.err, errBudget):
			err = tensor.Errorf(tensor.ErrTooLarge, t.name, fmt.Sprintf("line %d", r.line), "%v", f.err)
		default:
			err = tensor.Errorf(tensor.ErrInvalid, t.name, fmt.Sprintf("line %d", r.line), "%v", f.err)
		}
	}()
	s := globals()
	if err := a.bind(s); err != nil {
		return nil, err
	}
	execAll(r, s.in(), t.body)
	return &Prompt{Text: r.out.b.String(), User: r.out.user}, nil
}
