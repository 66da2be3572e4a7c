package container

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Scanner reads the JSON of headers and indexes: strictly, in one pass, without recursion over the nesting that a file
// chooses, and reporting every key, so that the caller can refuse duplicates (encoding/json takes the last one).
type Scanner struct {
	data []byte
	pos  int
}

// NewScanner returns a scanner over data, which must be UTF-8.
func NewScanner(data []byte) (*Scanner, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("is not UTF-8")
	}
	return &Scanner{data: data}, nil
}

// Pos returns the number of bytes read so far.
func (s *Scanner) Pos() int { return s.pos }

func (s *Scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *Scanner) errorf(format string, args ...any) error {
	return fmt.Errorf("at byte %d: "+format, append([]any{s.pos}, args...)...)
}

// Peek returns the next byte that is not white space, or 0 at the end.
func (s *Scanner) Peek() byte {
	s.space()
	if s.pos == len(s.data) {
		return 0
	}
	return s.data[s.pos]
}

// Expect reads one punctuation byte.
func (s *Scanner) Expect(c byte) error {
	if got := s.Peek(); got != c {
		if got == 0 && s.pos == len(s.data) {
			return s.errorf("ends where %q should be", c)
		}
		return s.errorf("found %q, want %q", got, c)
	}
	s.pos++
	return nil
}

// End returns an error unless only white space is left.
func (s *Scanner) End() error {
	if s.Peek(); s.pos != len(s.data) {
		return s.errorf("found %q after the end of the object", s.data[s.pos])
	}
	return nil
}

// Object reads an object and calls f for each key, with the scanner before the value. f must read the value.
func (s *Scanner) Object(f func(key string) error) error {
	if err := s.Expect('{'); err != nil {
		return err
	}
	if s.Peek() == '}' {
		s.pos++
		return nil
	}
	for {
		key, err := s.String()
		if err != nil {
			return err
		}
		if err := s.Expect(':'); err != nil {
			return err
		}
		if err := f(key); err != nil {
			return err
		}
		if s.Peek() == '}' {
			s.pos++
			return nil
		}
		if err := s.Expect(','); err != nil {
			return err
		}
	}
}

// Array reads an array and calls f with the scanner before each element. f must read the element.
func (s *Scanner) Array(f func() error) error {
	if err := s.Expect('['); err != nil {
		return err
	}
	if s.Peek() == ']' {
		s.pos++
		return nil
	}
	for {
		if err := f(); err != nil {
			return err
		}
		if s.Peek() == ']' {
			s.pos++
			return nil
		}
		if err := s.Expect(','); err != nil {
			return err
		}
	}
}

// Uint reads a number that is a plain non-negative integer of at most 63 bits: no sign, fraction or exponent.
func (s *Scanner) Uint() (int64, error) {
	c := s.Peek()
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	digits := s.data[start:s.pos]
	switch {
	case len(digits) == 0:
		return 0, s.errorf("found %q, want a non-negative integer", c)
	case len(digits) > 1 && digits[0] == '0':
		return 0, s.errorf("integer with a leading zero")
	case s.pos < len(s.data) && (s.data[s.pos] == '.' || s.data[s.pos] == 'e' || s.data[s.pos] == 'E'):
		return 0, s.errorf("number with a fraction or an exponent, want an integer")
	}
	v, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		return 0, s.errorf("integer over 63 bits")
	}
	return v, nil
}

// String reads a string.
func (s *Scanner) String() (string, error) {
	if err := s.Expect('"'); err != nil {
		return "", err
	}
	start := s.pos
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			v := string(s.data[start:s.pos])
			s.pos++
			return v, nil
		case c == '\\':
			return s.escaped(start)
		case c < 0x20:
			return "", s.errorf("control character in a string")
		}
		s.pos++
	}
	return "", s.errorf("ends inside a string")
}

// escaped reads the rest of a string that began at start and has its first escape at the current place.
func (s *Scanner) escaped(start int) (string, error) {
	out := append([]byte(nil), s.data[start:s.pos]...)
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		s.pos++
		switch {
		case c == '"':
			return string(out), nil
		case c < 0x20:
			return "", s.errorf("control character in a string")
		case c != '\\':
			out = append(out, c)
		default:
			r, err := s.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
		}
	}
	return "", s.errorf("ends inside a string")
}

// escape reads what follows a backslash. Half of a surrogate pair without the other half is an error.
func (s *Scanner) escape() (rune, error) {
	if s.pos == len(s.data) {
		return 0, s.errorf("ends inside a string")
	}
	c := s.data[s.pos]
	s.pos++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		r, err := s.hex4()
		if err != nil || !utf16.IsSurrogate(r) {
			return r, err
		}
		if s.pos+1 < len(s.data) && s.data[s.pos] == '\\' && s.data[s.pos+1] == 'u' {
			s.pos += 2
			low, err := s.hex4()
			if err != nil {
				return 0, err
			}
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, nil
			}
		}
		return 0, s.errorf("half of a surrogate pair in a string")
	}
	return 0, s.errorf("unknown escape \\%c", c)
}

func (s *Scanner) hex4() (rune, error) {
	if len(s.data)-s.pos < 4 {
		return 0, s.errorf("ends inside a string")
	}
	v, err := strconv.ParseUint(string(s.data[s.pos:s.pos+4]), 16, 16)
	if err != nil {
		return 0, s.errorf("\\u without four hexadecimal digits")
	}
	s.pos += 4
	return rune(v), nil
}

// Skip reads one value of any kind and throws it away. Nesting deeper than depth is an error; the nesting costs no
// stack.
func (s *Scanner) Skip(depth int) error {
	var open []byte // closing brackets that are due
	for {
		var err error
		switch c := s.Peek(); {
		case c == '{' || c == '[':
			if len(open) == depth {
				return s.errorf("nested deeper than %d", depth)
			}
			s.pos++
			open = append(open, c+2) // '{'+2 is '}', '['+2 is ']'
			if s.Peek() != c+2 {
				if c == '{' {
					err = s.key()
				}
				if err != nil {
					return err
				}
				continue
			}
		case c == '"':
			_, err = s.String()
		default:
			err = s.literal()
		}
		if err != nil {
			return err
		}
		// A value ended: close what ends with it, then go to the next.
		for len(open) > 0 && s.Peek() == open[len(open)-1] {
			s.pos++
			open = open[:len(open)-1]
		}
		if len(open) == 0 {
			return nil
		}
		if err := s.Expect(','); err != nil {
			return err
		}
		if open[len(open)-1] == '}' {
			if err := s.key(); err != nil {
				return err
			}
		}
	}
}

func (s *Scanner) key() error {
	if _, err := s.String(); err != nil {
		return err
	}
	return s.Expect(':')
}

// literal reads a number, true, false or null.
func (s *Scanner) literal() error {
	s.space()
	start := s.pos
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == '.' || c == '+' || c == '-' || c == 'E' {
			s.pos++
			continue
		}
		break
	}
	word := string(s.data[start:s.pos])
	switch word {
	case "true", "false", "null":
		return nil
	}
	if !number(word) {
		return s.errorf("found %q, want a value", clip(word))
	}
	return nil
}

// number reports whether s is a JSON number.
func number(s string) bool {
	digits := func() bool {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		s = s[n:]
		return n > 0
	}
	if s != "" && s[0] == '-' {
		s = s[1:]
	}
	zero := s != "" && s[0] == '0'
	before := len(s)
	if !digits() || zero && before-len(s) > 1 {
		return false
	}
	if s != "" && s[0] == '.' {
		s = s[1:]
		if !digits() {
			return false
		}
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		s = s[1:]
		if s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if !digits() {
			return false
		}
	}
	return s == ""
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "..."
	}
	return s
}

// AppendString appends v as a JSON string the way the reference writer does: only quotes, backslashes and control
// characters are escaped.
func AppendString(b []byte, v string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(v) {
		switch c := v[i]; c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			if c < 0x20 {
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			} else {
				b = append(b, c)
			}
		}
	}
	return append(b, '"')
}
