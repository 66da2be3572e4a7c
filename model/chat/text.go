package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Span is the byte range [Start, End) of a text.
type Span struct{ Start, End int }

// text is a string of the template language that remembers which of its bytes came from the conversation rather than
// from the template. Every operation carries the marks along, so that the rendered prompt knows what a user wrote.
type text struct {
	s      string
	user   []Span // ascending, none empty, none touching the next
	markup bool   // the |safe filter was here: + escapes what it is added to, as in the reference implementation
}

func lit(s string) text { return text{s: s} }

// foreign is a string of the conversation.
func foreign(s string) text {
	if s == "" {
		return text{}
	}
	return text{s: s, user: []Span{{0, len(s)}}}
}

// cut returns the bytes [i, j).
func (t text) cut(i, j int) text {
	out := text{s: t.s[i:j], markup: t.markup}
	for _, u := range t.user {
		if lo, hi := max(u.Start, i), min(u.End, j); lo < hi {
			out.user = append(out.user, Span{lo - i, hi - i})
		}
	}
	return out
}

// joiner adds texts up.
type joiner struct {
	b    strings.Builder
	user []Span
}

func (j *joiner) add(t text) {
	at := j.b.Len()
	j.b.WriteString(t.s)
	for _, u := range t.user {
		j.mark(at+u.Start, at+u.End)
	}
}

// addFrom adds s, marked whole if it stands for marked text.
func (j *joiner) addFrom(s string, user bool) {
	at := j.b.Len()
	j.b.WriteString(s)
	if user && s != "" {
		j.mark(at, at+len(s))
	}
}

func (j *joiner) mark(lo, hi int) {
	if n := len(j.user); n > 0 && j.user[n-1].End == lo {
		j.user[n-1].End = hi
		return
	}
	j.user = append(j.user, Span{lo, hi})
}

func (j *joiner) text() text { return text{s: j.b.String(), user: j.user} }

// each calls f with the stretches of t that are wholly marked or wholly not.
func (t text) each(f func(s string, user bool)) {
	at := 0
	for _, u := range t.user {
		if at < u.Start {
			f(t.s[at:u.Start], false)
		}
		f(t.s[u.Start:u.End], true)
		at = u.End
	}
	if at < len(t.s) {
		f(t.s[at:], false)
	}
}

// mapped applies f to each stretch.
func (t text) mapped(f func(string) string) text {
	var j joiner
	t.each(func(s string, user bool) { j.addFrom(f(s), user) })
	out := j.text()
	out.markup = t.markup
	return out
}

func concat(parts ...text) text {
	var j joiner
	for _, p := range parts {
		j.add(p)
	}
	return j.text()
}

// pySpace reports what str.isspace of Python calls white space.
func pySpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// strip removes white space, or the characters of chars, from the ends.
func (t text) strip(chars string, any, left, right bool) text {
	in := pySpace
	if !any {
		in = func(r rune) bool { return strings.ContainsRune(chars, r) }
	}
	i, j := 0, len(t.s)
	if left {
		i = len(t.s) - len(strings.TrimLeftFunc(t.s, in))
	}
	if right {
		j = i + len(strings.TrimRightFunc(t.s[i:], in))
	}
	return t.cut(i, j)
}

// replace replaces the first n (all if negative) of old.
func (t text) replace(old string, new text, n int) text {
	times := strings.Count(t.s, old)
	if n >= 0 {
		times = min(times, n)
	}
	if size := int64(len(t.s)) + int64(times)*int64(len(new.s)-len(old)); size > maxText() { // before it is made
		budget("a string has %d bytes, the limit is %d", size, maxText())
	}
	var j joiner
	at := 0
	if old == "" {
		for k, r := range t.s {
			if n == 0 {
				break
			}
			j.add(new)
			j.add(t.cut(k, k+utf8.RuneLen(r)))
			at = k + utf8.RuneLen(r)
			n--
		}
		if n != 0 && at == len(t.s) {
			j.add(new)
		}
	} else {
		for n != 0 {
			i := strings.Index(t.s[at:], old)
			if i < 0 {
				break
			}
			j.add(t.cut(at, at+i))
			j.add(new)
			at += i + len(old)
			n--
		}
	}
	j.add(t.cut(at, len(t.s)))
	out := j.text()
	out.markup = t.markup
	return out
}

// split cuts t at sep, at most n times (negative: everywhere), from the left or from the right.
func (t text) split(sep string, n int, right bool) []any {
	var out []any
	if !right {
		at := 0
		for n != 0 {
			i := strings.Index(t.s[at:], sep)
			if i < 0 {
				break
			}
			out = append(out, t.cut(at, at+i))
			at += i + len(sep)
			n--
		}
		return append(out, t.cut(at, len(t.s)))
	}
	end := len(t.s)
	for n != 0 {
		i := strings.LastIndex(t.s[:end], sep)
		if i < 0 {
			break
		}
		out = append(out, t.cut(i+len(sep), end))
		end = i
		n--
	}
	return reversed(append(out, t.cut(0, end)))
}

// fields cuts t at runs of white space, at most n times.
func (t text) fields(n int) []any {
	out := []any{}
	at := 0
	for {
		at += len(t.s[at:]) - len(strings.TrimLeftFunc(t.s[at:], pySpace))
		if at == len(t.s) {
			return out
		}
		if n == 0 {
			return append(out, t.cut(at, len(strings.TrimRightFunc(t.s, pySpace))))
		}
		end := strings.IndexFunc(t.s[at:], pySpace)
		if end < 0 {
			return append(out, t.cut(at, len(t.s)))
		}
		out = append(out, t.cut(at, at+end))
		at += end
		n--
	}
}

// lines cuts t at line ends.
func (t text) lines(keep bool) []any {
	out := []any{}
	for at := 0; at < len(t.s); {
		end, next := len(t.s), len(t.s)
		if i := strings.IndexFunc(t.s[at:], isLineEnd); i >= 0 {
			end = at + i
			_, w := utf8.DecodeRuneInString(t.s[end:])
			next = end + w
			if strings.HasPrefix(t.s[end:], "\r\n") {
				next = end + 2
			}
		}
		if keep {
			end = next
		}
		out = append(out, t.cut(at, end))
		at = next
	}
	return out
}

func isLineEnd(r rune) bool {
	return r >= '\n' && r <= '\r' || r >= 0x1c && r <= 0x1e || r == 0x85 || r == 0x2028 || r == 0x2029
}

// runes returns the byte offsets at which characters begin, and the length as the last.
func (t text) runes() []int {
	out := make([]int, 0, len(t.s)+1)
	for i := range t.s {
		out = append(out, i)
	}
	return append(out, len(t.s))
}

// title makes the first letter of each word a capital and the others small.
func (t text) title(word bool) text {
	var j joiner
	start := true
	t.each(func(s string, user bool) {
		var b strings.Builder
		for _, r := range s {
			if start {
				b.WriteRune(unicode.ToTitle(r))
			} else {
				b.WriteRune(unicode.ToLower(r))
			}
			start = word && !unicode.IsLetter(r)
		}
		j.addFrom(b.String(), user)
	})
	return j.text()
}

func reversed(list []any) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[len(list)-1-i] = v
	}
	return out
}

// upper is str.upper of Python, which has one more letter for the German sharp s.
func upper(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "ß", "SS")) }
