package cli

import (
	"fmt"
	"os"
	"slices"

	"github.com/parelm/pare/model/chat"
	"github.com/parelm/pare/model/tokenizer"
)

// What chat and serve share.

// turnEnds are the control tokens with which published models end a turn, where a checkpoint forgets to name them.
var turnEnds = []string{"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<|return|>", "<|call|>"}

// chatEOS returns the ids that end an answer.
func chatEOS(m *loaded) []int32 {
	ids := slices.Clone(m.EOS())
	for _, name := range turnEnds {
		if id := m.tok.ID(name); id >= 0 && m.tok.IsSpecial(id) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// chatTemplate returns the template to talk with: a built-in one or a file where name says so, else the checkpoint's,
// else the plain one. stops are strings that end a turn. note says what a user should know.
func chatTemplate(tok *tokenizer.Tokenizer, name string) (t *chat.Template, stops []string, note string, err error) {
	source := tok.ChatTemplate()
	switch {
	case name == "" && source != "":
		t, err = chat.Parse("chat_template", source)
		return t, nil, "", err
	case name == "":
		name, note = "plain", "the checkpoint has no chat template: talking in a plain transcript; --template chooses another"
	}
	if slices.Contains(chat.Builtins(), name) {
		if t, err = chat.Builtin(name); name == "plain" {
			stops = []string{"\nUser:"}
		}
		return t, stops, note, err
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, nil, "", fmt.Errorf("--template %s: no such file, and the built-in ones are %v", name, chat.Builtins())
	}
	t, err = chat.Parse(name, string(data))
	return t, nil, "", err
}
