package serve

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/parelm/pare/model/chat"
	"github.com/parelm/pare/runtime"
	"github.com/parelm/pare/runtime/grammar"
)

type chatRequest struct {
	common
	Messages            []message                  `json:"messages"`
	MaxCompletionTokens *int                       `json:"max_completion_tokens"`
	Logprobs            bool                       `json:"logprobs"`
	TopLogprobs         *int                       `json:"top_logprobs"`
	Tools               []tool                     `json:"tools"`
	ToolChoice          toolChoice                 `json:"tool_choice"`
	ParallelToolCalls   *bool                      `json:"parallel_tool_calls"`
	Variables           map[string]json.RawMessage `json:"chat_template_kwargs"`
	ReasoningEffort     string                     `json:"reasoning_effort"`
	ReasoningFormat     string                     `json:"reasoning_format"`
}

type message struct {
	Role       string     `json:"role"`
	Content    content    `json:"content"`
	Name       string     `json:"name"`
	ToolCalls  []toolCall `json:"tool_calls"`
	ToolCallID string     `json:"tool_call_id"`
	Reasoning  string     `json:"reasoning_content"`
	Refusal    *string    `json:"refusal"`
}

// content is a string, nothing, or a list of text parts, which are joined.
type content string

func (c *content) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*c = content(s)
		return nil
	}
	var parts []struct {
		Type    string `json:"type"`
		Text    string `json:"text"`
		Refusal string `json:"refusal"`
	}
	if err := json.Unmarshal(data, &parts); err != nil {
		return bad("messages.content", "content must be a string or a list of parts")
	}
	for _, p := range parts {
		if p.Type != "text" && p.Type != "refusal" {
			return bad("messages.content", "a part of type %q: this server reads text alone", clip(p.Type))
		}
		*c += content(p.Text + p.Refusal)
	}
	return nil
}

type tool struct {
	Type     string `json:"type"`
	Function struct {
		Name        string          `json:"name"`
		Description string          `json:"description,omitempty"`
		Parameters  json.RawMessage `json:"parameters,omitempty"`
		Strict      *bool           `json:"strict,omitempty"`
	} `json:"function"`
}

// toolChoice is none, auto, required, or the name of a function.
type toolChoice struct{ mode, name string }

func (c *toolChoice) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &c.mode) == nil {
		switch c.mode {
		case "none", "auto", "required", "":
			return nil
		}
		return bad("tool_choice", "tool_choice is %q: want none, auto, required or a function", clip(c.mode))
	}
	var v struct {
		Type     string `json:"type"`
		Function struct {
			Name string `json:"name"`
		} `json:"function"`
	}
	if json.Unmarshal(data, &v) != nil || v.Type != "function" || v.Function.Name == "" {
		return bad("tool_choice", "tool_choice must be none, auto, required or a function")
	}
	c.mode, c.name = "required", v.Function.Name
	return nil
}

var roles = map[string]string{"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}

func (s *Server) chat(w http.ResponseWriter, r *http.Request) {
	on, busy := s.enter()
	if busy != nil {
		s.refuse(w, apiErrorOf(busy))
		return
	}
	defer on.users.Done()
	var q chatRequest
	err := s.decode(w, r, &q)
	if err == nil {
		err = q.check()
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	if on.Template == nil {
		s.refuse(w, &apiError{http.StatusBadRequest, "no_chat_template", "", "the model has no chat template: use /v1/completions"})
		return
	}
	c := on.conversation(&q)
	prompt, e := on.Template.Render(c)
	if e != nil {
		var refusal *chat.Refusal
		if !errors.As(e, &refusal) {
			slog.Warn("the chat template failed", "error", e)
		}
		s.refuse(w, bad("messages", "the model's chat template does not take this conversation: %s", tellable(e)))
		return
	}
	if prompt.Adapted != "" {
		slog.Debug("chat template", "note", prompt.Adapted)
	}
	ids, e := prompt.Encode(on.Tokenizer)
	if e != nil || len(ids) == 0 {
		s.refuse(w, bad("messages", "the conversation has no tokens that the model can read"))
		return
	}
	top := -1
	if q.Logprobs {
		top = 0
		if q.TopLogprobs != nil {
			top = *q.TopLogprobs
		}
	}
	if q.MaxCompletionTokens != nil {
		q.MaxTokens = q.MaxCompletionTokens
	}
	j := &job{s: s, on: on, c: &q.common, chat: &q, prompts: []opening{{ids: ids}}, kind: "chat.completion", id: s.newID("chatcmpl-"), forced: q.ToolChoice.mode == "required",
		tools: len(q.Tools) > 0 && q.ToolChoice.mode != "none"}
	if !j.forced && q.ReasoningFormat != "none" {
		j.marks, j.prompt = runtime.MarksOf(on.Tokenizer), prompt.Text
	}
	j.serve(w, r, top, on.Stops)
}

// tellable is what a client may know of a template's error: what it raised, never where the file lies.
func tellable(err error) string {
	var r *chat.Refusal
	if errors.As(err, &r) {
		return clip(r.Message)
	}
	return "it fails"
}

// check holds the fields of a chat to their bounds.
func (q *chatRequest) check() *apiError {
	switch {
	case len(q.Messages) == 0:
		return bad("messages", "messages is empty")
	case len(q.Messages) > maxMessages:
		return bad("messages", "there are %d messages, the limit is %d", len(q.Messages), maxMessages)
	case len(q.Tools) > maxTools:
		return bad("tools", "there are %d tools, the limit is %d", len(q.Tools), maxTools)
	case q.TopLogprobs != nil && (*q.TopLogprobs < 0 || *q.TopLogprobs > maxTop):
		return bad("top_logprobs", "top_logprobs is %d: want 0 to %d", *q.TopLogprobs, maxTop)
	case q.TopLogprobs != nil && !q.Logprobs:
		return bad("top_logprobs", "top_logprobs wants logprobs")
	case q.ToolChoice.mode == "required" && len(q.Tools) == 0:
		return bad("tool_choice", "tool_choice asks for a tool, but there are none")
	case q.ToolChoice.mode == "required" && (q.Grammar != "" || q.ResponseFormat != nil && q.ResponseFormat.Type != "text"):
		return bad("tool_choice", "tool_choice and a format of the answer exclude each other")
	case q.ReasoningFormat != "" && q.ReasoningFormat != "auto" && q.ReasoningFormat != "none":
		return bad("reasoning_format", "reasoning_format is %q: want auto or none", clip(q.ReasoningFormat))
	case len(q.Variables) > maxVariables:
		return bad("chat_template_kwargs", "there are %d variables, the limit is %d", len(q.Variables), maxVariables)
	}
	for i := range q.Messages {
		if roles[q.Messages[i].Role] == "" {
			return bad("messages", "message %d has the role %q: want system, developer, user, assistant or tool", i, clip(q.Messages[i].Role))
		}
	}
	for name, v := range q.Variables {
		if len(v) > maxVariableKB<<10 || len(name) > 64 {
			return bad("chat_template_kwargs", "a variable has over %d KiB", maxVariableKB)
		}
	}
	for i := range q.Tools {
		t := &q.Tools[i]
		if t.Type != "function" || t.Function.Name == "" || len(t.Function.Parameters) > 0 && !rawObject(t.Function.Parameters) {
			return bad("tools", "tool %d must be a function with a name and an object of parameters", i)
		}
	}
	return nil
}

// conversation is what the template is given.
func (s *served) conversation(q *chatRequest) *chat.Conversation {
	c := &chat.Conversation{Generate: true, Variables: map[string]json.RawMessage{}, Now: time.Now(),
		BOS: s.Tokenizer.Piece(s.Tokenizer.BOS()), EOS: s.Tokenizer.Piece(s.Tokenizer.EOS())}
	for name, v := range q.Variables {
		c.Variables[name] = v
	}
	if q.ReasoningEffort != "" {
		if raw, err := json.Marshal(clip(q.ReasoningEffort)); err == nil {
			c.Variables["reasoning_effort"] = raw
		}
	}
	for _, m := range q.Messages {
		n := chat.Message{Role: roles[m.Role], Content: string(m.Content), Name: m.Name, ToolCallID: m.ToolCallID, Reasoning: m.Reasoning}
		for _, t := range m.ToolCalls {
			n.ToolCalls = append(n.ToolCalls, chat.ToolCall{ID: t.ID, Name: t.Function.Name, Arguments: t.Function.Arguments})
		}
		c.Messages = append(c.Messages, n)
	}
	if q.ToolChoice.mode != "none" {
		for _, t := range q.Tools {
			if raw, err := json.Marshal(t); err == nil {
				c.Tools = append(c.Tools, raw)
			}
		}
	}
	return c
}

// toolGrammar is the grammar of a call of one of the tools that may be called.
func (q *chatRequest) toolGrammar() (*grammar.Grammar, *apiError) {
	type object = map[string]any
	var calls []any
	for i := range q.Tools {
		f := &q.Tools[i].Function
		if q.ToolChoice.name != "" && f.Name != q.ToolChoice.name {
			continue
		}
		parameters := f.Parameters
		if len(parameters) == 0 {
			parameters = json.RawMessage(`{"type": "object"}`)
		}
		name, err := json.Marshal(f.Name)
		if err != nil {
			return nil, bad("tools", "%v", err)
		}
		raw := append(append([]byte(`{"type": "object", "properties": {"name": {"const": `), name...), `}, "arguments": `...)
		raw = append(append(raw, parameters...), `}, "required": ["name", "arguments"]}`...)
		calls = append(calls, json.RawMessage(raw))
	}
	if len(calls) == 0 {
		return nil, bad("tool_choice", "there is no tool called %q", clip(q.ToolChoice.name))
	}
	schema, err := json.Marshal(object{"anyOf": calls})
	if err != nil {
		return nil, bad("tools", "%v", err)
	}
	g, err := grammar.JSONSchema(schema)
	if err != nil {
		return nil, bad("tools", "parameters: %v", err)
	}
	return g, nil
}
