package chat

import (
	"encoding/json"
	"fmt"
	"strings"
)

// attempt is one way to put a conversation to a template.
type attempt struct {
	c         *Conversation
	arguments bool // of tool calls are text, not objects
	forgiving bool
	note      string
}

// attempts lists the ways in the order in which they are tried.
func (c *Conversation) attempts() []attempt {
	const note = "the template fails in Jinja2: what it leaves undefined counts as nothing"
	calls, parallel, special := false, false, len(c.Tools) > 0
	for i := range c.Messages {
		m := &c.Messages[i]
		calls = calls || len(m.ToolCalls) > 0
		parallel = parallel || len(m.ToolCalls) > 1
		special = special || m.Role != "user" && m.Role != "assistant"
	}
	out := []attempt{{c: c}}
	if calls {
		out = append(out, attempt{c: c, arguments: true})
	}
	out = append(out, attempt{c: c, forgiving: true, note: note})
	if calls {
		out = append(out, attempt{c: c, arguments: true, forgiving: true, note: note})
	}
	if parallel {
		out = append(out, attempt{c: c.serial(), note: "tool calls that were made at once stand one after the other"})
	}
	if special {
		out = append(out, attempt{c: c.plain(), note: "the template knows no system message or no tools: they are told in plain turns"})
	}
	return out
}

// serial makes turns of one tool call each, followed by its answer.
func (c *Conversation) serial() *Conversation {
	out := *c
	out.Messages = nil
	for i := 0; i < len(c.Messages); i++ {
		m := c.Messages[i]
		if len(m.ToolCalls) < 2 {
			out.Messages = append(out.Messages, m)
			continue
		}
		answers := c.Messages[i+1:]
		n := 0
		for n < len(answers) && answers[n].Role == "tool" {
			n++
		}
		used := make([]bool, n)
		for k, call := range m.ToolCalls {
			one := m
			one.ToolCalls = []ToolCall{call}
			if k > 0 {
				one.Content, one.Reasoning = "", ""
			}
			out.Messages = append(out.Messages, one)
			for j := range used {
				if !used[j] && (answers[j].ToolCallID == call.ID || answers[j].ToolCallID == "" && j == k) {
					used[j] = true
					out.Messages = append(out.Messages, answers[j])
					break
				}
			}
		}
		for j := range used {
			if !used[j] {
				out.Messages = append(out.Messages, answers[j])
			}
		}
		i += n
	}
	return &out
}

// plain tells everything in turns of user and assistant.
func (c *Conversation) plain() *Conversation {
	out := *c
	out.Messages, out.Tools = nil, nil
	say := func(role, content string) {
		if n := len(out.Messages); n > 0 && out.Messages[n-1].Role == role {
			out.Messages[n-1].Content += "\n\n" + content
		} else {
			out.Messages = append(out.Messages, Message{Role: role, Content: content})
		}
	}
	if len(c.Tools) > 0 {
		var b strings.Builder
		b.WriteString("You can call these tools, by answering with a JSON object of name and arguments:")
		for _, t := range c.Tools {
			b.WriteString("\n" + string(t))
		}
		say("user", b.String())
	}
	for i := range c.Messages {
		m := &c.Messages[i]
		if m.Role != "assistant" {
			say("user", m.Content)
			continue
		}
		content := m.Content
		for _, call := range m.ToolCalls {
			name, _ := json.Marshal(call.Name) // a string has JSON
			content = strings.TrimPrefix(content+fmt.Sprintf("\n{\"name\": %s, \"arguments\": %s}", name, call.Arguments), "\n")
		}
		say("assistant", content)
	}
	return &out
}

// bind gives the template its variables.
func (a attempt) bind(s *scope) error {
	c := a.c
	for name, raw := range c.Variables {
		v, err := decodeJSON(string(raw))
		if err != nil {
			return fmt.Errorf("template variable %q: %w", name, err)
		}
		s.set(name, v)
	}
	l := &list{items: []any{}}
	for i := range c.Messages {
		m, err := c.Messages[i].value(!a.arguments)
		if err != nil {
			return fmt.Errorf("message %d: %w", i+1, err)
		}
		l.items = append(l.items, m)
	}
	s.set("messages", l)
	s.set("tools", nil)
	s.set("documents", nil)
	if a.forgiving {
		s.set("tools", &list{})
		s.set("datetime", lit(strftime(c.Now, "%Y-%m-%d %H:%M:%S")))
		s.set("functions", foreign("["+string(joinRaw(c.Tools))+"]"))
	}
	if len(c.Tools) > 0 {
		tools := &list{}
		for i, raw := range c.Tools {
			v, err := decodeJSON(string(raw))
			if err != nil {
				return fmt.Errorf("tool %d: %w", i+1, err)
			}
			tools.items = append(tools.items, v)
		}
		s.set("tools", tools)
	}
	s.set("add_generation_prompt", c.Generate)
	s.set("bos_token", lit(c.BOS))
	s.set("eos_token", lit(c.EOS))
	return nil
}

// value is a message as templates know it.
func (m *Message) value(objects bool) (any, error) {
	d := newDict()
	d.set(lit("role"), foreign(m.Role))
	d.set(lit("content"), foreign(m.Content))
	if m.Parts != nil {
		v, err := decodeJSON(string(m.Parts))
		if err != nil {
			return nil, err
		}
		d.set(lit("content"), v)
	}
	for _, f := range []struct{ key, value string }{{"reasoning_content", m.Reasoning}, {"tool_call_id", m.ToolCallID}, {"name", m.Name}} {
		if f.value != "" {
			d.set(lit(f.key), foreign(f.value))
		}
	}
	if len(m.ToolCalls) == 0 {
		return d, nil
	}
	calls := &list{}
	for _, c := range m.ToolCalls {
		f, call := newDict(), newDict()
		f.set(lit("name"), foreign(c.Name))
		var arguments any = foreign(c.Arguments)
		if v, err := decodeJSON(c.Arguments); err == nil && objects {
			arguments = v
		}
		f.set(lit("arguments"), arguments)
		call.set(lit("id"), foreign(c.ID))
		call.set(lit("type"), lit("function"))
		call.set(lit("function"), f)
		calls.items = append(calls.items, call)
	}
	d.set(lit("tool_calls"), calls)
	return d, nil
}

func joinRaw(list []json.RawMessage) []byte {
	var out []byte
	for i, raw := range list {
		if i > 0 {
			out = append(out, ", "...)
		}
		out = append(out, raw...)
	}
	return out
}
