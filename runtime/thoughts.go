package runtime

import (
	"strings"

	"github.com/parelm/pare/model/tokenizer"
)

// Marks are how a model tells what it thinks from what it answers. Without any all is answered.
type Marks struct {
	open, shut string // around what it thinks, at the beginning
	channels   bool   // harmony's (gpt-oss): <|channel|>NAME<|message|>TEXT<|end|>, of which the channel "final" is the answer
	shown      bool   // they are control tokens, which a text shows for their sake
}

const white = " \t\r\n"

// MarksOf finds the marks that a vocabulary has.
func MarksOf(t *tokenizer.Tokenizer) Marks {
	control := func(piece string) bool {
		id := t.ID(piece)
		return id >= 0 && t.IsSpecial(id)
	}
	switch m := (Marks{open: "<think>", shut: "</think>"}); {
	case control(channelMark) && control(messageMark):
		return Marks{open: channelMark, channels: true, shown: true}
	case control("[THINK]") && control("[/THINK]"): // Ministral 3, Magistral
		return Marks{open: "[THINK]", shut: "[/THINK]", shown: true}
	case control(m.open) && control(m.shut):
		m.shown = true
		return m
	default:
		return m
	}
}

// NewText returns a text that shows the marks.
func (m Marks) NewText(t *tokenizer.Tokenizer, stops []string) *Text {
	return &Text{stream: t.NewStream(!m.shown), stops: stops}
}

// Begin parts the text that follows a prompt, which may end where the model begins to think.
func (m Marks) Begin(prompt string) *Thoughts {
	x := &Thoughts{Marks: m, state: answering}
	if m.open == "" {
		return x
	}
	thinks := strings.HasSuffix(strings.TrimRight(prompt, white), m.open)
	switch x.state = beginning; {
	case thinks && m.channels:
		x.state, x.held = heading, channelMark
	case thinks:
		x.state = within
	}
	return x
}

// Thoughts parts a text into what the model thinks, where it begins with that, and what it answers. The white space around either is dropped.
type Thoughts struct {
	Marks
	state thinking
	held  string // not told apart yet
	begun bool   // some of a thought was given
	final bool   // of channels: the answer is being written
}

type thinking int

const (
	beginning thinking = iota // nothing but white space yet, or the first part of a mark
	within                    // after the opening mark
	behind                    // after the closing one, before the answer's first letter
	answering
	heading  // of channels: between messages
	speaking // within one
)

// Push takes text and returns what is surely thought and what is surely answered. done says that it was the last.
func (x *Thoughts) Push(text string, done bool) (thought, answer string) {
	if x.state == answering {
		return "", text
	}
	x.held += text
	if x.channels {
		return x.channel(done)
	}
	if x.state == beginning {
		start := strings.TrimLeft(x.held, white)
		switch {
		case strings.HasPrefix(start, x.open):
			x.state, x.held = within, start[len(x.open):]
		case strings.HasPrefix(x.open, start) && !done:
			return "", ""
		default:
			return "", x.answer(x.held)
		}
	}
	if x.state == within {
		if !x.begun {
			x.held = strings.TrimLeft(x.held, white)
		}
		if i := strings.Index(x.held, x.shut); i >= 0 {
			thought, x.held, x.state = strings.TrimRight(x.held[:i], white), x.held[i+len(x.shut):], behind
		} else {
			end := len(x.held)
			if !done {
				end -= beginsAtEnd(x.held, x.shut)
			}
			thought = strings.TrimRight(x.held[:end], white)
			x.held = x.held[len(thought):]
			x.begun = x.begun || thought != ""
			return thought, ""
		}
	}
	if x.held = strings.TrimLeft(x.held, white); x.held != "" {
		answer = x.answer(x.held)
	}
	return thought, answer
}

func (x *Thoughts) answer(text string) string {
	x.state, x.held = answering, ""
	return text
}

// Harmony's marks; any of endMarks ends a message.
const channelMark, messageMark = "<|channel|>", "<|message|>"

var endMarks = []string{"<|end|>", "<|start|>", channelMark, "<|return|>", "<|call|>"}

// channel takes messages out of what is held.
func (x *Thoughts) channel(done bool) (thought, answer string) {
	give := func(text string) {
		if x.final {
			answer += text
		} else {
			thought += text
		}
	}
	for {
		if x.state == beginning {
			switch {
			case strings.HasPrefix(x.held, channelMark):
				x.state = heading
			case strings.HasPrefix(channelMark, x.held) && !done:
				return thought, answer
			default: // none of that
				x.final, x.state = true, speaking
			}
		}
		if x.state == heading {
			head, rest, ok := strings.Cut(x.held, messageMark)
			if !ok {
				if done {
					x.held = ""
				}
				return thought, answer
			}
			_, name, _ := strings.Cut(head, channelMark)
			x.final, x.held, x.state = strings.HasPrefix(strings.TrimSpace(name), "final"), rest, speaking
			if !x.final && x.begun {
				give("\n")
			}
			x.begun = x.begun || !x.final
		}
		end, keep := -1, 0
		for _, m := range endMarks {
			if i := strings.Index(x.held, m); i >= 0 && (end < 0 || i < end) {
				end = i
			}
			keep = max(keep, beginsAtEnd(x.held, m))
		}
		if end < 0 {
			if done {
				keep = 0
			}
			give(x.held[:len(x.held)-keep])
			x.held = x.held[len(x.held)-keep:]
			return thought, answer
		}
		give(x.held[:end])
		x.held, x.state = x.held[end:], heading
	}
}
