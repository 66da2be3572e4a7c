package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file parses the regular expressions that tokenizer files split text with. The dialect is Oniguruma's Ruby
// syntax, which the reference library uses: classes by Unicode property, nested classes and intersections,
// possessive quantifiers, lookahead, (?i:...). What is not understood is an error that quotes the construct, never a guess.

type reOp uint8

const (
	opEmpty   reOp = iota // matches the empty string
	opSet                 // one rune of set
	opCat                 // subs one after the other
	opAlt                 // the first of subs that matches
	opRep                 // subs[0], min to max times (max < 0: any number)
	opLook                // lookahead: subs[0] matches here (neg: does not)
	opLineEnd             // end of text, or before a newline
	opTextEnd             // end of text
	opOther               // an assertion or group that only other engines handle; name in text
)

type reNode struct {
	op         reOp
	set        []runeRange
	subs       []*reNode
	min, max   int
	possessive bool
	neg        bool
	text       string
}

const (
	reMaxLength = 64 << 10 // longest published pattern: 5 KB
	reMaxDepth  = 32
	reMaxRepeat = 1024
)

type reParser struct {
	in    string
	pos   int
	fold  bool // inside (?i)
	depth int
}

// parseRegex returns the tree of pattern.
func parseRegex(pattern string) (*reNode, error) {
	if len(pattern) > reMaxLength {
		return nil, fmt.Errorf("pattern of %d bytes is longer than %d", len(pattern), reMaxLength)
	}
	if !utf8.ValidString(pattern) {
		return nil, fmt.Errorf("pattern is not valid UTF-8")
	}
	p := &reParser{in: pattern}
	n, err := p.alternation()
	if err != nil {
		return nil, err
	}
	if p.pos < len(p.in) {
		return nil, fmt.Errorf("unexpected %q at %d", p.in[p.pos:p.pos+1], p.pos)
	}
	return n, nil
}

func (p *reParser) more() bool { return p.pos < len(p.in) }

func (p *reParser) peek() rune {
	r, _ := utf8.DecodeRuneInString(p.in[p.pos:])
	return r
}

func (p *reParser) take() rune {
	r, n := utf8.DecodeRuneInString(p.in[p.pos:])
	p.pos += n
	return r
}

func (p *reParser) accept(s string) bool {
	if strings.HasPrefix(p.in[p.pos:], s) {
		p.pos += len(s)
		return true
	}
	return false
}

func (p *reParser) alternation() (*reNode, error) {
	if p.depth++; p.depth > reMaxDepth {
		return nil, fmt.Errorf("groups nested deeper than %d", reMaxDepth)
	}
	defer func() { p.depth-- }()
	fold := p.fold
	defer func() { p.fold = fold }() // (?i) inside a group ends with the group
	var alts []*reNode
	for {
		n, err := p.sequence()
		if err != nil {
			return nil, err
		}
		alts = append(alts, n)
		if !p.accept("|") {
			break
		}
	}
	if len(alts) == 1 {
		return alts[0], nil
	}
	return &reNode{op: opAlt, subs: alts}, nil
}

func (p *reParser) sequence() (*reNode, error) {
	var seq []*reNode
	for p.more() && p.peek() != '|' && p.peek() != ')' {
		n, err := p.atom()
		if err != nil {
			return nil, err
		}
		if n, err = p.quantified(n); err != nil {
			return nil, err
		}
		if n.op != opEmpty {
			seq = append(seq, n)
		}
	}
	switch len(seq) {
	case 0:
		return &reNode{op: opEmpty}, nil
	case 1:
		return seq[0], nil
	}
	return &reNode{op: opCat, subs: seq}, nil
}

// quantified wraps n in the quantifiers that follow it.
func (p *reParser) quantified(n *reNode) (*reNode, error) {
	for p.more() {
		lo, hi, start := 0, -1, p.pos
		switch {
		case p.accept("?"):
			hi = 1
		case p.accept("*"):
		case p.accept("+"):
			lo = 1
		case p.peek() == '{':
			var ok bool
			if lo, hi, ok = p.braces(); !ok {
				return n, nil // a literal brace
			}
		default:
			return n, nil
		}
		if n.op == opLook || n.op == opEmpty {
			return nil, fmt.Errorf("quantifier after nothing at %d", start)
		}
		if lo > reMaxRepeat || hi > reMaxRepeat || hi >= 0 && lo > hi {
			return nil, fmt.Errorf("quantifier %q is out of range", p.in[start:p.pos])
		}
		n = &reNode{op: opRep, subs: []*reNode{n}, min: lo, max: hi}
		if p.in[start] != '{' && p.accept("+") { // in this dialect {2}+ is one quantifier on another
			n.possessive = true
		} else if p.accept("?") {
			return nil, fmt.Errorf("lazy quantifier %q is not supported", p.in[start:p.pos])
		}
	}
	return n, nil
}

// braces reads {n}, {n,} or {n,m}; anything else is left for a literal brace.
func (p *reParser) braces() (lo, hi int, ok bool) {
	start := p.pos
	var comma bool
	p.pos++
	lo, okLo := p.number()
	hi = lo
	if comma = p.accept(","); comma {
		var okHi bool
		if hi, okHi = p.number(); !okHi {
			hi = -1
		}
	}
	if !okLo || !p.accept("}") {
		p.pos = start
		return 0, 0, false
	}
	return lo, hi, true
}

func (p *reParser) number() (int, bool) {
	n, start := 0, p.pos
	for p.more() && p.in[p.pos] >= '0' && p.in[p.pos] <= '9' {
		n = min(n*10+int(p.in[p.pos]-'0'), 1<<20)
		p.pos++
	}
	return n, p.pos > start
}

func (p *reParser) atom() (*reNode, error) {
	switch r := p.take(); r {
	case '(':
		return p.group()
	case '[':
		set, err := p.class()
		if err != nil {
			return nil, err
		}
		return &reNode{op: opSet, set: set}, nil
	case '.':
		return &reNode{op: opSet, set: complement([]runeRange{{'\n', '\n'}})}, nil
	case '$':
		return &reNode{op: opLineEnd}, nil
	case '^':
		return &reNode{op: opOther, text: "^"}, nil
	case '\\':
		return p.escape()
	case '?', '*', '+':
		return nil, fmt.Errorf("quantifier %q after nothing at %d", r, p.pos-1)
	default:
		return p.literal(r), nil
	}
}

func (p *reParser) literal(r rune) *reNode {
	set := []runeRange{{r, r}}
	if p.fold {
		set = foldRanges(set)
	}
	return &reNode{op: opSet, set: set}
}

// group parses what follows an opening parenthesis.
func (p *reParser) group() (*reNode, error) {
	look, neg, atomic := false, false, false
	fold := p.fold
	switch {
	case !p.accept("?"): // a capture is a group: nothing refers back to it
	case p.accept(":"):
	case p.accept("="):
		look = true
	case p.accept("!"):
		look, neg = true, true
	case p.accept(">"):
		atomic = true
	case p.accept("i:"):
		p.fold = true
	case p.accept("-i:"):
		p.fold = false
	case p.accept("i)"):
		p.fold = true // until the enclosing group ends
		return &reNode{op: opEmpty}, nil
	case p.accept("<=") || p.accept("<!"):
		return nil, fmt.Errorf("lookbehind at %d is not supported", p.pos-4)
	default:
		return nil, fmt.Errorf("group (?%s at %d is not supported", clip(p.in[p.pos:], 4), p.pos-2)
	}
	n, err := p.alternation()
	if err != nil {
		return nil, err
	}
	p.fold = fold
	if !p.accept(")") {
		return nil, fmt.Errorf("missing ) at %d", p.pos)
	}
	switch {
	case look:
		return &reNode{op: opLook, subs: []*reNode{n}, neg: neg}, nil
	case atomic:
		return &reNode{op: opOther, subs: []*reNode{n}, text: "(?>"}, nil
	}
	return n, nil
}

// escape parses what follows a backslash outside a class.
func (p *reParser) escape() (*reNode, error) {
	if !p.more() {
		return nil, fmt.Errorf("pattern ends in a backslash")
	}
	switch p.peek() {
	case 'b', 'B', 'A', 'G', 'K', 'R', 'X':
		return &reNode{op: opOther, text: `\` + string(p.take())}, nil
	case 'z':
		p.take()
		return &reNode{op: opTextEnd}, nil
	case '1', '2', '3', '4', '5', '6', '7', '8', '9', 'k', 'g':
		return nil, fmt.Errorf("back reference at %d is not supported", p.pos-1)
	}
	set, single, err := p.classEscape()
	if err != nil {
		return nil, err
	}
	if single >= 0 {
		return p.literal(single), nil
	}
	return &reNode{op: opSet, set: set}, nil
}

// classEscape parses an escape that stands for one rune (single >= 0) or a class.
func (p *reParser) classEscape() (set []runeRange, single rune, err error) {
	if !p.more() {
		return nil, -1, fmt.Errorf("pattern ends in a backslash")
	}
	switch r := p.take(); r {
	case 's':
		return spaceRanges(), -1, nil
	case 'S':
		return complement(spaceRanges()), -1, nil
	case 'd':
		return digitRanges(), -1, nil
	case 'D':
		return complement(digitRanges()), -1, nil
	case 'w':
		return onigWordRanges(), -1, nil
	case 'W':
		return complement(onigWordRanges()), -1, nil
	case 'h', 'H':
		hex := []runeRange{{'0', '9'}, {'A', 'F'}, {'a', 'f'}}
		if r == 'H' {
			hex = complement(hex)
		}
		return hex, -1, nil
	case 'p', 'P':
		set, err = p.property(r == 'P')
		return set, -1, err
	case 'n':
		return nil, '\n', nil
	case 'r':
		return nil, '\r', nil
	case 't':
		return nil, '\t', nil
	case 'f':
		return nil, '\f', nil
	case 'v':
		return nil, '\v', nil
	case 'a':
		return nil, '\a', nil
	case 'e':
		return nil, 0x1b, nil
	case '0':
		return nil, 0, nil
	case 'x', 'u':
		single, err = p.hex(r)
		return nil, single, err
	default:
		if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return nil, -1, fmt.Errorf("escape \\%c at %d is not supported", r, p.pos-2)
		}
		return nil, r, nil
	}
}

// hex parses what follows \x or \u: two or four digits, or any number of them in braces.
func (p *reParser) hex(kind rune) (rune, error) {
	start, digits := p.pos, 2
	if kind == 'u' {
		digits = 4
	}
	braces := kind == 'x' && p.accept("{")
	if braces {
		digits = 8
	}
	v := rune(0)
	n := 0
	for ; n < digits && p.more(); n++ {
		d := strings.IndexByte("0123456789abcdef", p.in[p.pos]|0x20)
		if d < 0 || p.in[p.pos] < '0' {
			break
		}
		if v = v<<4 | rune(d); v > unicode.MaxRune {
			return -1, fmt.Errorf("character code at %d is outside Unicode", start)
		}
		p.pos++
	}
	if n == 0 || braces && !p.accept("}") || !braces && n < digits {
		return -1, fmt.Errorf("bad character code at %d", start)
	}
	return v, nil
}

func clip(s string, n int) string {
	for i := range s {
		if n--; n < 0 {
			return s[:i]
		}
	}
	return s
}
