package serve

import "strings"

// The marks between which models write what they think before they answer.
const thinkOpen, thinkShut, white = "<think>", "</think>", " \t\r\n"

// thoughts parts a text into what the model thinks, where it begins with that, and what it answers. The white space around either is dropped.
type thoughts struct {
	state thinking
	held  string // not told apart yet
	begun bool   // some of a thought was given
}

type thinking int

const (
	beginning thinking = iota // nothing but white space yet, or the first part of a mark
	within                    // after <think>
	behind                    // after </think>, before the answer's first letter
	answering
)

// push takes text and returns what is surely thought and what is surely answered. done says that it was the last.
func (x *thoughts) push(text string, done bool) (thought, answer string) {
	if x.state == answering {
		return "", text
	}
	x.held += text
	if x.state == beginning {
		start := strings.TrimLeft(x.held, white)
		switch {
		case strings.HasPrefix(start, thinkOpen):
			x.state, x.held = within, start[len(thinkOpen):]
		case strings.HasPrefix(thinkOpen, start) && !done:
			return "", ""
		default:
			return "", x.answer(x.held)
		}
	}
	if x.state == within {
		if !x.begun {
			x.held = strings.TrimLeft(x.held, white)
		}
		if i := strings.Index(x.held, thinkShut); i >= 0 {
			thought, x.held, x.state = strings.TrimRight(x.held[:i], white), x.held[i+len(thinkShut):], behind
		} else {
			end := len(x.held)
			if !done {
				end -= markPrefix(x.held, thinkShut)
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

func (x *thoughts) answer(text string) string {
	x.state, x.held = answering, ""
	return text
}

// markPrefix returns the length of the longest beginning of a mark that a text ends with.
func markPrefix(text, mark string) int {
	for n := min(len(mark)-1, len(text)); n > 0; n-- {
		if strings.HasSuffix(text, mark[:n]) {
			return n
		}
	}
	return 0
}

// thinker returns what parts the text of a chat.
func (j *job) thinker() *thoughts {
	x := &thoughts{state: answering}
	if j.chat != nil && !j.forced && j.chat.ReasoningFormat != "none" {
		if x.state = beginning; j.thinking {
			x.state = within
		}
	}
	return x
}
