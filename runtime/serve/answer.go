package serve

import (
	"encoding/json"
)

// answer is the body of a response: the whole, or a piece of a stream.
type answer struct {
	ID      string   `json:"id"`
	Object  string   `json:"object"`
	Created int64    `json:"created"`
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage,omitempty"`
}

type choice struct {
	Index    int     `json:"index"`
	Text     *string `json:"text,omitempty"`    // of completions
	Message  *said   `json:"message,omitempty"` // of chats
	Delta    *said   `json:"delta,omitempty"`   // of streamed chats
	Logprobs any     `json:"logprobs"`
	Reason   *string `json:"finish_reason"`
}

// said is an assistant's message, or a piece of one.
type said struct {
	Role      string     `json:"role,omitempty"`
	Content   *string    `json:"content,omitempty"`
	Reasoning *string    `json:"reasoning_content,omitempty"` // what it thought before
	Refusal   *string    `json:"refusal,omitempty"`
	ToolCalls []toolCall `json:"tool_calls,omitempty"`
}

type toolCall struct {
	Index    *int   `json:"index,omitempty"`
	ID       string `json:"id"`
	Type     string `json:"type"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

func (j *job) head(object string) *answer {
	return &answer{ID: j.id, Object: object, Created: j.created, Model: j.on.Name, Choices: []choice{}}
}

// answer is the whole response.
func (j *job) answer(out []collected) *answer {
	a := j.head(j.kind)
	a.Usage = j.usage()
	for i, c := range out {
		reason := c.reason
		ch := choice{Index: i, Reason: &reason, Logprobs: j.logprobs(j.tasks[i], c.tokens)}
		if j.chat == nil {
			text := j.tasks[i].echo + c.text
			ch.Text = &text
		} else {
			var thought string
			if thought, c.text = j.marks.Begin(j.prompt).Push(c.text, true); thought != "" {
				ch.Message = &said{Role: "assistant", Content: &c.text, Reasoning: &thought}
			} else {
				ch.Message = &said{Role: "assistant", Content: &c.text}
			}
			if text, calls := j.toolCalls(c.text); calls != nil {
				ch.Message.ToolCalls, ch.Message.Content = calls, &text
				if reason == "stop" {
					reason = "tool_calls"
				}
			}
		}
		a.Choices = append(a.Choices, ch)
	}
	return a
}

type chatLogprob struct {
	Token   string        `json:"token"`
	Logprob float64       `json:"logprob"`
	Bytes   []int         `json:"bytes"`
	Top     []chatLogprob `json:"top_logprobs,omitempty"`
}

// logprobs are the log probabilities of tokens in the form of the request's kind; nil where none are asked for.
func (j *job) logprobs(t *task, tokens []tokenInfo) any {
	if t.top < 0 {
		return nil
	}
	if j.chat == nil {
		var v struct {
			Tokens   []string             `json:"tokens"`
			Logprobs []*float64           `json:"token_logprobs"`
			Top      []map[string]float64 `json:"top_logprobs"`
			Offsets  []int                `json:"text_offset"`
		}
		v.Tokens, v.Logprobs, v.Top, v.Offsets = []string{}, []*float64{}, []map[string]float64{}, []int{}
		for i := range tokens {
			x := &tokens[i]
			text := string(j.on.Tokenizer.Bytes(x.id))
			p, top := &x.logprob, map[string]float64{}
			if x.none {
				p, top = nil, nil
			}
			for _, y := range x.top {
				top[string(j.on.Tokenizer.Bytes(y.ID))] = y.Logprob
			}
			v.Tokens, v.Logprobs, v.Top, v.Offsets = append(v.Tokens, text), append(v.Logprobs, p), append(v.Top, top), append(v.Offsets, t.offset)
			if !j.on.Tokenizer.IsSpecial(x.id) { // which no text shows
				t.offset += len(text)
			}
		}
		return v
	}
	one := func(id int32, p float64) chatLogprob {
		b := j.on.Tokenizer.Bytes(id)
		l := chatLogprob{Token: string(b), Logprob: p, Bytes: []int{}}
		for _, c := range b {
			l.Bytes = append(l.Bytes, int(c))
		}
		return l
	}
	content := []chatLogprob{}
	for _, t := range tokens {
		l := one(t.id, t.logprob)
		l.Top = []chatLogprob{}
		for _, x := range t.top {
			l.Top = append(l.Top, one(x.ID, x.Logprob))
		}
		content = append(content, l)
	}
	return map[string]any{"content": content, "refusal": nil}
}

// rawObject reports whether raw is a JSON object.
func rawObject(raw json.RawMessage) bool {
	var m map[string]json.RawMessage
	return json.Unmarshal(raw, &m) == nil && m != nil
}
