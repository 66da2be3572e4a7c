package serve

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestReasoning has a model think and answer by grammar, whole and streamed.
func TestReasoning(t *testing.T) {
	h := open(t, nil)
	c := client()
	const body = `{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 64, "temperature": 0, "grammar": "root ::= \"<think>\\nIs it?\\n</think>\\n\\nIt is.\""`
	type said struct {
		Content   string
		Reasoning string `json:"reasoning_content"`
	}
	var a struct{ Choices []struct{ Message said } }
	status, text := h.post(c, "/v1/chat/completions", body+"}")
	if err := json.Unmarshal([]byte(text), &a); err != nil || status != 200 || len(a.Choices) != 1 {
		t.Fatalf("%d %s", status, text)
	}
	if m := a.Choices[0].Message; m.Content != "It is." || m.Reasoning != "Is it?" {
		t.Errorf("%+v", m)
	}
	status, text = h.post(c, "/v1/chat/completions", body+`, "reasoning_format": "none"}`)
	if status != 200 || strings.Contains(text, "reasoning_content") || !strings.Contains(text, `think`) {
		t.Errorf("%d %s", status, text)
	}
	_, text = h.post(c, "/v1/chat/completions", body+`, "stream": true}`)
	var whole said
	for line := range strings.Lines(text) {
		data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var p struct{ Choices []struct{ Delta said } }
		if err := json.Unmarshal([]byte(data), &p); err != nil {
			t.Fatal(err)
		}
		for _, c := range p.Choices {
			whole.Content += c.Delta.Content
			whole.Reasoning += c.Delta.Reasoning
		}
	}
	if whole.Content != "It is." || whole.Reasoning != "Is it?" {
		t.Errorf("streamed: %+v", whole)
	}
	if status, text := h.post(c, "/v1/chat/completions", body+`, "reasoning_format": "loud"}`); status != 400 || !strings.Contains(text, "auto or none") {
		t.Errorf("%d %s", status, text)
	}
}
