package runtime

import (
	"slices"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model/tokenizer"
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
			x := Thoughts{Marks: Marks{open: "<think>", shut: "</think>"}, state: c.state}
			var thought, answer string
			for rest, done := c.text, false; !done; {
				n := min(step, len(rest))
				done = n == len(rest)
				a, b := x.Push(rest[:n], done)
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
			x := Thoughts{Marks: Marks{open: channelMark, channels: true}}
			var thought, answer string
			for rest, done := c.text, false; !done; {
				n := min(step, len(rest))
				done = n == len(rest)
				a, b := x.Push(rest[:n], done)
				thought, answer, rest = thought+a, answer+b, rest[n:]
			}
			if thought != c.thought || answer != c.answer {
				t.Errorf("%q, %d at a time: thought %q, answered %q", c.text, step, thought, answer)
			}
		}
	}
}

// TestMarks finds the marks of a vocabulary, and shows them where they are control tokens.
func TestMarks(t *testing.T) {
	for _, c := range []struct {
		special []string
		want    Marks
	}{
		{nil, Marks{open: "<think>", shut: "</think>"}},
		{[]string{"[THINK]", "[/THINK]"}, Marks{open: "[THINK]", shut: "[/THINK]", shown: true}},
		{[]string{"<think>", "</think>"}, Marks{open: "<think>", shut: "</think>", shown: true}},
		{[]string{"<|channel|>", "<|message|>", "<|end|>"}, Marks{open: "<|channel|>", channels: true, shown: true}},
	} {
		tok, err := tokenizer.Train(t.Context(), slices.Values([]string{models.Text}), tokenizer.TrainOptions{VocabSize: 300, Special: append([]string{"<unk>"}, c.special...)})
		if err != nil {
			t.Fatal(err)
		}
		if got := MarksOf(tok); got != c.want {
			t.Errorf("%v: %+v", c.special, got)
		}
		if c.special == nil {
			continue
		}
		plain, marked := NewText(tok, nil), c.want.NewText(tok, nil)
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
