package grammar

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxSource bounds the text of a grammar.
const maxSource = 256 << 10

// Parse compiles a grammar in GBNF: rules "name ::= ...", strings in double quotes, character classes in brackets, the
// dot for any character, | ( ) * + ? {m,n}, and comments after #. The rule root is what a text must match. Errors name
// the line.
func Parse(source string) (*Grammar, error) {
	if len(source) > maxSource {
		return nil, fmt.Errorf("the grammar has %d bytes, the limit is %d", len(source), maxSource)
	}
	if !utf8.ValidString(source) {
		return nil, fmt.Errorf("the grammar is not valid UTF-8")
	}
	p := &gbnf{src: source, rules: map[string]node{}}
	for p.space(true); p.pos < len(p.src) && p.err == nil; p.space(true) {
		p.rule()
	}
	if p.err != nil {
		return nil, p.err
	}
	return compile(p.rules, p.order, "root")
}

type gbnf struct {
	src   string
	pos   int
	depth int
	rules map[string]node
	order []string
	err   error
}

func (p *gbnf) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("line %d: %s", 1+strings.Count(p.src[:min(p.pos, len(p.src))], "\n"), fmt.Sprintf(format, args...))
	}
	p.pos = len(p.src)
}

// space skips white space and comments; lines says whether it goes over line ends.
func (p *gbnf) space(lines bool) {
	for p.pos < len(p.src) {
		switch c := p.src[p.pos]; {
		case c == ' ' || c == '\t' || lines && (c == '\n' || c == '\r'):
			p.pos++
		case c == '#':
			for p.pos < len(p.src) && p.src[p.pos] != '\n' {
				p.pos++
			}
		default:
			return
		}
	}
}

func (p *gbnf) name() string {
	start := p.pos
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			break
		}
		p.pos++
	}
	return p.src[start:p.pos]
}

func (p *gbnf) rule() {
	name := p.name()
	if name == "" {
		p.fail("expected the name of a rule")
		return
	}
	p.space(false)
	if !strings.HasPrefix(p.src[p.pos:], "::=") {
		p.fail("expected ::= after %q", name)
		return
	}
	p.pos += 3
	if p.rules[name] != nil {
		p.fail("rule %q is defined twice", name)
		return
	}
	p.space(true)
	p.rules[name] = p.choice(false)
	p.order = append(p.order, name)
}

// choice parses alternatives; nested says that they stand in brackets and may go over lines.
func (p *gbnf) choice(nested bool) node {
	if p.depth++; p.depth > maxDepth {
		p.fail("nested deeper than %d", maxDepth)
	}
	defer func() { p.depth-- }()
	out := alt{p.sequence(nested)}
	for p.err == nil {
		at := p.pos
		if p.space(true); p.pos >= len(p.src) || p.src[p.pos] != '|' {
			p.pos = at // a line end may close the rule
			break
		}
		p.pos++
		p.space(true)
		out = append(out, p.sequence(nested))
	}
	p.space(nested)
	return out
}

func (p *gbnf) sequence(nested bool) node {
	out := seq{}
	for p.err == nil && p.pos < len(p.src) {
		var n node
		switch c := p.src[p.pos]; {
		case c == '"':
			n = p.quoted()
		case c == '[':
			n = p.class()
		case c == '.':
			p.pos++
			n = class{[]runeRange{{0, utf8.MaxRune}}}
		case c == '(':
			p.pos++
			p.space(true)
			n = p.choice(true)
			if p.pos >= len(p.src) || p.src[p.pos] != ')' {
				p.fail("expected )")
				return out
			}
			p.pos++
		default:
			name := p.name()
			if name == "" {
				return out
			}
			n = ref(name)
		}
		p.space(nested)
		out = append(out, p.times(n, nested))
	}
	return out
}

// times parses what may stand behind an element.
func (p *gbnf) times(n node, nested bool) node {
	for k := 0; p.err == nil && p.pos < len(p.src); k++ {
		lo, hi := 0, -1
		switch p.src[p.pos] {
		case '*':
		case '+':
			lo = 1
		case '?':
			hi = 1
		case '{':
			end := strings.IndexByte(p.src[p.pos:], '}')
			if end < 0 {
				p.fail("expected }")
				return n
			}
			from, to, comma := strings.Cut(p.src[p.pos+1:p.pos+end], ",")
			if _, err := fmt.Sscan(from, &lo); err != nil || lo < 0 {
				p.fail("%q is no count", from)
			}
			if hi = lo; comma {
				hi = -1
				if to = strings.TrimSpace(to); to != "" {
					if _, err := fmt.Sscan(to, &hi); err != nil || hi < lo {
						p.fail("%q is no count from %d up", to, lo)
					}
				}
			}
			p.pos += end
		default:
			return n
		}
		if k == 8 {
			p.fail("too many repetitions of one element")
			return n
		}
		p.pos++
		p.space(nested)
		n = rep{n, lo, hi}
	}
	return n
}

// char reads one character of a string or class, with escapes.
func (p *gbnf) char() rune {
	r, w := utf8.DecodeRuneInString(p.src[p.pos:])
	p.pos += w
	if r != '\\' || p.pos >= len(p.src) {
		return r
	}
	c := p.src[p.pos]
	p.pos++
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'x', 'u', 'U':
		n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
		var v rune
		if p.pos+n > len(p.src) {
			p.fail("an escape is cut off")
			return 0
		}
		if _, err := fmt.Sscanf(p.src[p.pos:p.pos+n], "%x", &v); err != nil || v > utf8.MaxRune || v < 0 {
			p.fail("\\%c%s is no character", c, p.src[p.pos:p.pos+n])
			return 0
		}
		p.pos += n
		return v
	case '\\', '"', '[', ']', '-', '^', '/', '\'':
		return rune(c)
	}
	p.fail("unknown escape \\%c", c)
	return 0
}

func (p *gbnf) quoted() node {
	p.pos++
	var b strings.Builder
	for p.err == nil {
		if p.pos >= len(p.src) || p.src[p.pos] == '\n' {
			p.fail("a string does not end")
			break
		}
		if p.src[p.pos] == '"' {
			p.pos++
			break
		}
		b.WriteRune(p.char())
	}
	return b.String()
}

func (p *gbnf) class() node {
	p.pos++
	negate := p.pos < len(p.src) && p.src[p.pos] == '^'
	if negate {
		p.pos++
	}
	var ranges []runeRange
	for p.err == nil {
		if p.pos >= len(p.src) || p.src[p.pos] == '\n' {
			p.fail("a character class does not end")
			break
		}
		if p.src[p.pos] == ']' {
			p.pos++
			break
		}
		lo := p.char()
		hi := lo
		if p.pos+1 < len(p.src) && p.src[p.pos] == '-' && p.src[p.pos+1] != ']' {
			p.pos++
			hi = p.char()
		}
		if hi < lo {
			p.fail("the range %q-%q runs backward", lo, hi)
		}
		ranges = append(ranges, runeRange{lo, hi})
	}
	if negate {
		ranges = complement(ranges)
	}
	return class{ranges}
}

// complement returns the characters in none of the ranges.
func complement(ranges []runeRange) (out []runeRange) {
	next := rune(0)
	for next <= utf8.MaxRune {
		end := rune(utf8.MaxRune) + 1
		inside := false
		for _, r := range ranges {
			if r.lo <= next && next <= r.hi {
				next, inside = r.hi+1, true
				break
			}
			if r.lo > next {
				end = min(end, r.lo)
			}
		}
		if !inside {
			out = append(out, runeRange{next, end - 1})
			next = end
		}
	}
	return out
}
