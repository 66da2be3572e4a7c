package serve

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model/tokenizer"
	"github.com/parelm/pare/runtime"
)

// TestThoughts parts texts, whole and however they come in pieces.
func TestThoughts(t *testing.T) {
	for _, c := range []struct {
		text            string
		state           thinking
		thought, answer string
	}{
		{"Yes.", beginning, "", "Yes."},
		{"  \n Yes.\n", beginning, "", "  \n Yes.\n"},
		{"<think>\nWhy not?\n\nBecause.\n</think>\n\nYes.\n", beginning, "Why not?\n\nBecause.", "Yes.\n"},
		{"\n<think>Why?</think>Yes", beginning, "Why?", "Yes"},
		{"<think>\n\n</think>\n\nYes", beginning, "", "Yes"},
		{"<think>cut off </thi", beginning, "cut off </thi", ""},
		{"<think>a < b </ think></think> so", beginning, "a < b </ think>", "so"},
		{"<thinking>no mark</thinking>", beginning, "", "<thinking>no mark</thinking>"},
		{"<thi", beginning, "", "<thi"},
		{"I say <think>no</think>", beginning, "", "I say <think>no</think>"},
		{"\nIt began.\n</think>\n\nYes", within, "It began.", "Yes"},
		{"<think>left alone</think>", answering, "", "<think>left alone</think>"},
		{"", beginning, "", ""},
	} {
		for step := 1; step <= len(c.text)+1; step++ {
			x := thoughts{marks: marks{open: "<think>", shut: "</think>"}, state: c.state}
			var thought, answer string
			for rest, done := c.text, false; !done; {
				n := min(step, len(rest))
				done = n == len(rest)
				a, b := x.push(rest[:n], done)
				thought, answer, rest = thought+a, answer+b, rest[n:]
			}
			if thought != c.thought || answer != c.answer {
				t.Errorf("%q, %d at a time: thought %q, answered %q", c.text, step, thought, answer)
			}
		}
	}
}

// TestChannels parts texts of harmony.
func TestChannels(t *testing.T) {
	for _, c := range []struct{ text, thought, answer string }{
		{"<|channel|>analysis<|message|>Is it?<|end|><|start|>assistant<|channel|>final<|message|>It is.<|return|>", "Is it?", "It is."},
		{"<|channel|>analysis<|message|>One.<|end|><|start|>assistant<|channel|>commentary<|message|>Two.<|end|><|start|>assistant<|channel|>final<|message|>Three", "One.\nTwo.", "Three"},
		{"<|channel|>final<|message|>a <| b <|en", "", "a <| b <|en"},
		{"<|channel|>analysis<|message|>cut off", "cut off", ""},
		{"<|channel|>anal", "", ""},
		{"plain <|chan", "", "plain <|chan"},
		{"", "", ""},
	} {
		for step := 1; step <= len(c.text)+1; step++ {
			x := thoughts{marks: marks{open: channelMark, channels: true}}
			var thought, answer string
			for rest, done := c.text, false; !done; {
				n := min(step, len(rest))
				done = n == len(rest)
				a, b := x.push(rest[:n], done)
				thought, answer, rest = thought+a, answer+b, rest[n:]
			}
			if thought != c.thought || answer != c.answer {
				t.Errorf("%q, %d at a time: thought %q, answered %q", c.text, step, thought, answer)
			}
		}
	}
}

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

// TestMarks finds the marks of a vocabulary, and shows them where they are control tokens.
func TestMarks(t *testing.T) {
	for _, c := range []struct {
		special []string
		want    marks
	}{
		{nil, marks{open: "<think>", shut: "</think>"}},
		{[]string{"[THINK]", "[/THINK]"}, marks{open: "[THINK]", shut: "[/THINK]", shown: true}},
		{[]string{"<think>", "</think>"}, marks{open: "<think>", shut: "</think>", shown: true}},
		{[]string{"<|channel|>", "<|message|>", "<|end|>"}, marks{open: "<|channel|>", channels: true, shown: true}},
	} {
		tok, err := tokenizer.Train(t.Context(), slices.Values([]string{models.Text}), tokenizer.TrainOptions{VocabSize: 300, Special: append([]string{"<unk>"}, c.special...)})
		if err != nil {
			t.Fatal(err)
		}
		if got := marksOf(tok); got != c.want {
			t.Errorf("%v: %+v", c.special, got)
		}
		if c.special == nil {
			continue
		}
		plain, marked := runtime.NewText(tok, nil), runtime.NewMarkedText(tok, nil)
		var a, b string
		for _, id := range []int32{tok.ID(c.special[0]), tok.ID("a")} {
			x, _ := plain.Push(id)
			y, _ := marked.Push(id)
			a, b = a+x, b+y
		}
		if a != "a" || b != c.special[0]+"a" {
			t.Errorf("%v: %q without marks, %q with", c.special, a, b)
		}
	}
}
