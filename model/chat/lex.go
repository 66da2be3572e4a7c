package chat

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind byte

const (
	kEOF kind = iota
	kData
	kVarBegin
	kVarEnd
	kBlockBegin
	kBlockEnd
	kName
	kString
	kInt
	kFloat
	kOp
)

type token struct {
	kind kind
	s    string // text of data, name, operator; value of a string; digits of a number
	line int
}

func (t token) String() string {
	switch t.kind {
	case kEOF:
		return "the end of the template"
	case kData:
		return "text"
	case kVarBegin:
		return `"{{"`
	case kVarEnd:
		return `"}}"`
	case kBlockBegin:
		return `"{%"`
	case kBlockEnd:
		return `"%}"`
	case kString:
		return "a string"
	}
	return fmt.Sprintf("%q", t.s)
}

// lexer cuts a source into tokens, with the white-space rules of trim_blocks and lstrip_blocks: the newline after a
// block or comment goes, and so does the indentation before it; - at a border strips all white space there, + keeps it.
type lexer struct {
	src     string
	pos     int
	line    int
	out     []token
	newline bool // the last tag ended with its newline, or nothing came yet
}

type syntaxError struct {
	line int
	msg  string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.msg) }

func (l *lexer) fail(format string, args ...any) error {
	return &syntaxError{l.line, fmt.Sprintf(format, args...)}
}

func (l *lexer) emit(k kind, s string) { l.out = append(l.out, token{k, s, l.line}) }

// lex returns the tokens of a source.
func lex(src string) ([]token, error) {
	src = strings.ReplaceAll(strings.ReplaceAll(src, "\r\n", "\n"), "\r", "\n")
	l := &lexer{src: strings.TrimSuffix(src, "\n"), line: 1, newline: true}
	for l.pos < len(l.src) {
		if err := l.step(); err != nil {
			return nil, err
		}
	}
	l.emit(kEOF, "")
	return l.out, nil
}

func (l *lexer) advance(n int) {
	l.line += strings.Count(l.src[l.pos:l.pos+n], "\n")
	l.pos += n
}

// step reads text up to the next tag, and the tag.
func (l *lexer) step() error {
	rest := l.src[l.pos:]
	at := 0
	for {
		i := strings.IndexByte(rest[at:], '{')
		if i < 0 || at+i+1 == len(rest) {
			l.data(rest)
			l.advance(len(rest))
			return nil
		}
		at += i
		if c := rest[at+1]; c == '{' || c == '%' || c == '#' {
			break
		}
		at++
	}
	open, sign := rest[at+1], byte(0)
	if at+2 < len(rest) && (rest[at+2] == '-' || rest[at+2] == '+') {
		sign = rest[at+2]
	}
	l.data(l.before(rest[:at], open, sign))
	l.advance(at)
	skip := 2
	if sign != 0 {
		skip = 3
	}
	switch open {
	case '#':
		return l.comment(skip)
	case '%':
		if ok, err := l.raw(skip); ok || err != nil {
			return err
		}
		l.emit(kBlockBegin, "")
		l.advance(skip)
		return l.tag('%', kBlockEnd)
	}
	l.emit(kVarBegin, "")
	l.advance(skip)
	return l.tag('}', kVarEnd)
}

// before applies the rules for the text in front of a tag.
func (l *lexer) before(text string, open, sign byte) string {
	if sign == '-' {
		return strings.TrimRightFunc(text, pySpace)
	}
	if sign == '+' || open == '{' {
		return text
	}
	start := strings.LastIndexByte(text, '\n') + 1
	if (start > 0 || l.newline) && strings.TrimLeftFunc(text[start:], pySpace) == "" {
		return text[:start]
	}
	return text
}

func (l *lexer) data(text string) {
	if text != "" {
		l.emit(kData, text)
	}
}

// after skips what goes behind the end of a tag at the current place.
func (l *lexer) after(minus, trim bool) {
	rest := l.src[l.pos:]
	switch {
	case minus:
		l.advance(len(rest) - len(strings.TrimLeftFunc(rest, pySpace)))
	case trim && strings.HasPrefix(rest, "\n"):
		l.advance(1)
	}
	l.newline = l.pos > 0 && l.src[l.pos-1] == '\n'
}

func (l *lexer) comment(skip int) error {
	end := strings.Index(l.src[l.pos+2:], "#}")
	if end < 0 {
		return l.fail("a comment does not end")
	}
	end += l.pos + 2
	sign := byte(0)
	if end > l.pos+skip-1 && end > l.pos+2 {
		sign = l.src[end-1]
	}
	l.advance(end + 2 - l.pos)
	l.after(sign == '-', sign != '+')
	return nil
}

// raw reads a raw block, if one begins here.
func (l *lexer) raw(skip int) (bool, error) {
	minus, n, ok := rawTag(l.src[l.pos+skip:], "raw")
	if !ok {
		return false, nil
	}
	l.advance(skip + n)
	if minus {
		l.after(true, false)
	}
	for at := l.pos; ; at += 2 {
		i := strings.Index(l.src[at:], "{%")
		if i < 0 {
			return true, l.fail("a raw block does not end")
		}
		at += i
		skip, sign := 2, byte(0)
		if at+2 < len(l.src) && (l.src[at+2] == '-' || l.src[at+2] == '+') {
			skip, sign = 3, l.src[at+2]
		}
		minus, n, ok := rawTag(l.src[at+skip:], "endraw")
		if !ok {
			continue
		}
		plus := strings.HasSuffix(l.src[:at+skip+n], "+%}")
		l.newline = false
		l.data(l.before(l.src[l.pos:at], '%', sign))
		l.advance(at + skip + n - l.pos)
		l.after(minus, !plus)
		return true, nil
	}
}

// rawTag reports whether s goes on with a name and the end of the tag, and how long that is.
func rawTag(s, name string) (minus bool, n int, ok bool) {
	t := strings.TrimLeftFunc(s, pySpace)
	if !strings.HasPrefix(t, name) {
		return false, 0, false
	}
	t = strings.TrimLeftFunc(t[len(name):], pySpace)
	if strings.HasPrefix(t, "-") || strings.HasPrefix(t, "+") {
		minus, t = t[0] == '-', t[1:]
	}
	if !strings.HasPrefix(t, "%}") {
		return false, 0, false
	}
	return minus, len(s) - len(t) + 2, true
}

// tag reads the tokens of an expression up to the end of its tag.
func (l *lexer) tag(end byte, ends kind) error {
	var open []byte
	for {
		rest := l.src[l.pos:]
		l.advance(len(rest) - len(strings.TrimLeftFunc(rest, pySpace)))
		rest = l.src[l.pos:]
		if rest == "" {
			return l.fail("a tag does not end")
		}
		if len(open) == 0 {
			sign, n := byte(0), 0
			if rest[0] == '-' || rest[0] == '+' && end == '%' {
				sign, n = rest[0], 1
			}
			if len(rest) >= n+2 && rest[n] == end && rest[n+1] == '}' {
				l.emit(ends, "")
				l.advance(n + 2)
				l.after(sign == '-', end == '%' && sign != '+')
				return nil
			}
		}
		if err := l.token(rest, &open); err != nil {
			return err
		}
	}
}

var longOps = []string{"==", "!=", ">=", "<=", "//", "**"}

// token reads one token of an expression. open holds the brackets that are open.
func (l *lexer) token(rest string, open *[]byte) error {
	c := rest[0]
	switch r, _ := utf8.DecodeRuneInString(rest); {
	case c == '\'' || c == '"':
		return l.quoted(rest)
	case c >= '0' && c <= '9':
		return l.number(rest)
	case r == '_' || unicode.IsLetter(r):
		n := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsNumber(r) })
		if n < 0 {
			n = len(rest)
		}
		l.emit(kName, rest[:n])
		l.advance(n)
		return nil
	}
	for _, op := range longOps {
		if strings.HasPrefix(rest, op) {
			l.emit(kOp, op)
			l.advance(2)
			return nil
		}
	}
	switch {
	case strings.IndexByte("([{", c) >= 0:
		*open = append(*open, c+1+c>>6) // the bracket that closes it: ( is followed by ), [ and { by the one after the next
	case strings.IndexByte(")]}", c) >= 0:
		if n := len(*open); n == 0 || (*open)[n-1] != c {
			return l.fail("unexpected %q", c)
		}
		*open = (*open)[:len(*open)-1]
	case strings.IndexByte("+-*/%~<>=.:|,;", c) < 0:
		return l.fail("unexpected character %q", rest[:min(len(rest), utf8.UTFMax)])
	}
	l.emit(kOp, string(c))
	l.advance(1)
	return nil
}

func (l *lexer) number(rest string) error {
	digits := func(s string) int {
		n := 0
		for n < len(s) && (s[n] >= '0' && s[n] <= '9' || s[n] == '_' && n > 0) {
			n++
		}
		return n
	}
	if len(rest) > 2 && rest[0] == '0' && strings.IndexByte("xXoObB", rest[1]) >= 0 {
		n := 2
		for n < len(rest) && strings.IndexByte("0123456789abcdefABCDEF_", rest[n]) >= 0 {
			n++
		}
		l.emit(kInt, strings.ReplaceAll(rest[:n], "_", ""))
		l.advance(n)
		return nil
	}
	n, k := digits(rest), kInt
	if n+1 < len(rest) && rest[n] == '.' && rest[n+1] >= '0' && rest[n+1] <= '9' {
		n, k = n+1+digits(rest[n+1:]), kFloat
	}
	if n < len(rest) && (rest[n] == 'e' || rest[n] == 'E') {
		m := n + 1
		if m < len(rest) && (rest[m] == '+' || rest[m] == '-') {
			m++
		}
		if d := digits(rest[m:]); d > 0 {
			n, k = m+d, kFloat
		}
	}
	l.emit(k, strings.ReplaceAll(rest[:n], "_", ""))
	l.advance(n)
	return nil
}

// quoted reads a string with the escapes of Python.
func (l *lexer) quoted(rest string) error {
	var b strings.Builder
	for i := 1; i < len(rest); {
		c := rest[i]
		if c == rest[0] {
			l.emit(kString, b.String())
			l.advance(i + 1)
			return nil
		}
		if c != '\\' || i+1 == len(rest) {
			b.WriteByte(c)
			i++
			continue
		}
		n, err := unescape(rest[i+1:], &b)
		if err != nil {
			return l.fail("%v", err)
		}
		i += 1 + n
	}
	return l.fail("a string does not end")
}

// unescape writes what a backslash and s stand for and returns how much of s that took.
func unescape(s string, b *strings.Builder) (int, error) {
	const from, to = "abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\""
	if i := strings.IndexByte(from, s[0]); i >= 0 {
		b.WriteByte(to[i])
		return 1, nil
	}
	width := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[0]]
	switch {
	case s[0] == '\n':
		return 1, nil
	case width > 0:
		if len(s) < 1+width {
			return 0, fmt.Errorf("escape \\%s is cut off", s)
		}
		var r rune
		if _, err := fmt.Sscanf(s[1:1+width], "%x", &r); err != nil || r > unicode.MaxRune {
			return 0, fmt.Errorf("escape \\%s is no character", s[:1+width])
		}
		b.WriteRune(r)
		return 1 + width, nil
	case s[0] >= '0' && s[0] <= '7':
		n, r := 0, rune(0)
		for n < 3 && n < len(s) && s[n] >= '0' && s[n] <= '7' {
			r = r*8 + rune(s[n]-'0')
			n++
		}
		b.WriteRune(r)
		return n, nil
	}
	b.WriteByte('\\')
	return 0, nil
}
