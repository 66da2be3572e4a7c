package runtime

import (
	"strings"

	"github.com/parelm/pare/model/tokenizer"
)

// Text turns drawn tokens into the text that a client may see: never half a character, and nothing of a stop string.
type Text struct {
	stream *tokenizer.Stream
	stops  []string
	held   string // text that may be the beginning of a stop string
	ended  bool
}

// NewText returns a text that ends before the first of the stop strings.
func NewText(t *tokenizer.Tokenizer, stops []string) *Text {
	return &Text{stream: t.NewStream(true), stops: stops}
}

// Push takes the next token. It returns the text that is certain now, and whether a stop string ended it.
func (t *Text) Push(id int32) (text string, stopped bool) {
	return t.add(t.stream.Push(id))
}

// Flush returns what is left when no token follows, and whether a stop string ended it.
func (t *Text) Flush() (text string, stopped bool) {
	text, stopped = t.add(t.stream.Flush())
	if stopped || t.ended {
		return text, stopped
	}
	text += t.held
	t.held = ""
	return text, false
}

func (t *Text) add(s string) (string, bool) {
	if t.ended {
		return "", true
	}
	t.held += s
	if t.held == "" || len(t.stops) == 0 {
		out := t.held
		t.held = ""
		return out, false
	}
	// The stop string that is complete first ends the text; of several, the one that begins first. That does not depend on
	// how the text comes in pieces.
	begin, end := -1, -1
	for _, stop := range t.stops {
		i := strings.Index(t.held, stop)
		if e := i + len(stop); i >= 0 && (end < 0 || e < end || e == end && i < begin) {
			begin, end = i, e
		}
	}
	if end >= 0 {
		t.ended = true
		return t.held[:begin], true
	}
	keep := 0 // the longest end of the text that begins a stop string
	for _, stop := range t.stops {
		keep = max(keep, beginsAtEnd(t.held, stop))
	}
	out := t.held[:len(t.held)-keep]
	t.held = t.held[len(t.held)-keep:]
	return out, false
}

// beginsAtEnd returns the length of the longest beginning of a mark, less than all of it, that a text ends with.
func beginsAtEnd(text, mark string) int {
	for n := min(len(mark)-1, len(text)); n > 0; n-- {
		if strings.HasSuffix(text, mark[:n]) {
			return n
		}
	}
	return 0
}
