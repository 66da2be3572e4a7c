package serve

import (
	"encoding/json"
	"strconv"
	"strings"
)

// The form in which most published models write calls of tools.
const callOpen, callShut = "<tool_call>", "</tool_call>"

// toolScanner holds back the text of tool calls in a stream.
type toolScanner struct{ held string }

// push takes text and returns what is surely no part of a call. all holds everything back.
func (x *toolScanner) push(text string, done, all bool) string {
	x.held += text
	if all {
		return ""
	}
	if i := strings.Index(x.held, callOpen); i >= 0 {
		out := x.held[:i]
		x.held = x.held[i:]
		return out
	}
	keep := 0
	if !done {
		for n := min(len(callOpen)-1, len(x.held)); n > 0 && keep == 0; n-- {
			if strings.HasSuffix(x.held, callOpen[:n]) {
				keep = n
			}
		}
	}
	out := x.held[:len(x.held)-keep]
	x.held = x.held[len(x.held)-keep:]
	return out
}

// toolCalls finds the calls in a text and returns the text before them. nil means that there are none, or that what
// looks like one is broken: then all is text.
func (j *job) toolCalls(text string) (string, []toolCall) {
	if j.forced {
		if c, ok := j.call(text, 0); ok {
			return "", []toolCall{c}
		}
		return text, nil
	}
	if !j.tools {
		return text, nil
	}
	before, rest, ok := strings.Cut(text, callOpen)
	var calls []toolCall
	for ok {
		var body string
		body, rest, _ = strings.Cut(rest, callShut)
		c, good := j.call(body, len(calls))
		if !good {
			return text, nil
		}
		calls = append(calls, c)
		_, rest, ok = strings.Cut(rest, callOpen)
	}
	if calls == nil {
		return text, nil
	}
	return strings.TrimSpace(before), calls
}

// call reads {"name": ..., "arguments": {...}}.
func (j *job) call(text string, i int) (toolCall, bool) {
	var v struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	}
	c := toolCall{ID: "call_" + strings.TrimPrefix(j.id, "chatcmpl-") + "-" + strconv.Itoa(i), Type: "function"}
	if json.Unmarshal([]byte(strings.TrimSpace(text)), &v) != nil || v.Name == "" || !rawObject(v.Arguments) {
		return c, false
	}
	c.Function.Name, c.Function.Arguments = v.Name, string(v.Arguments)
	return c, true
}
