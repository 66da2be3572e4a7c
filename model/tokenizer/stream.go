package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Stream turns ids into text as they come. It never gives half a rune, and what it gives adds up to what Decode
// would give for all ids at once.
type Stream struct {
	t           *Tokenizer
	skipSpecial bool
	ids         []int32 // a window: ids whose text is out, kept as context, then ids that wait
	context     int     // how many of ids are context
	prefix      string  // text of the context
}

// streamPatience is how many ids may wait for a rune to be completed: no rune has more bytes than this.
const streamPatience = 2 * utf8.UTFMax

// NewStream starts a stream.
func (t *Tokenizer) NewStream(skipSpecial bool) *Stream {
	return &Stream{t: t, skipSpecial: skipSpecial}
}

// Push takes the next id and returns the text that is complete now, often "".
func (s *Stream) Push(id int32) string {
	s.ids = append(s.ids, id)
	return s.next(len(s.ids)-s.context > streamPatience)
}

// Flush returns what is left, broken runes as U+FFFD, and starts over.
func (s *Stream) Flush() string {
	out := s.next(true)
	s.ids, s.context, s.prefix = s.ids[:0], 0, ""
	return out
}

func (s *Stream) next(force bool) string {
	text := s.t.Decode(s.ids, s.skipSpecial)
	if !strings.HasPrefix(text, s.prefix) || len(text) == len(s.prefix) && !force {
		if !force {
			return ""
		}
		s.prefix = text[:commonPrefix(text, s.prefix)]
	}
	if !force && strings.HasSuffix(text, "\ufffd") && !s.whole() {
		return "" // the last rune may be waiting for more bytes
	}
	out := text[len(s.prefix):]
	s.ids = append(s.ids[:0], s.ids[s.context:]...)
	s.context = len(s.ids)
	s.prefix = s.t.Decode(s.ids, s.skipSpecial)
	return out
}

// whole reports whether the last ids spell U+FFFD out, so that it stands for no broken rune.
func (s *Stream) whole() bool {
	var raw []byte
	for _, id := range s.ids[max(0, len(s.ids)-utf8.UTFMax):] {
		raw = append(raw, s.t.Bytes(id)...)
	}
	return strings.HasSuffix(string(raw), "\ufffd")
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n > 0 && n < len(a) && !utf8.RuneStart(a[n]) {
		n--
	}
	return n
}
