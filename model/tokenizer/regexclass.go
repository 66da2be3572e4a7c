package tokenizer

import (
	"fmt"
	"strings"
	"sync"
	"unicode"
)

// onigWordRanges is \w of Oniguruma: alphabetic, marks, decimal digits and connector punctuation.
var onigWordRanges = sync.OnceValue(func() []runeRange {
	return tableRanges(unicode.L, unicode.Nl, unicode.Other_Alphabetic, unicode.M, unicode.Nd, unicode.Pc)
})

// class parses a bracket expression after its opening bracket: members, ranges, nested brackets and
// intersections with &&, which bind weakest.
func (p *reParser) class() ([]runeRange, error) {
	if p.depth++; p.depth > reMaxDepth {
		return nil, fmt.Errorf("classes nested deeper than %d", reMaxDepth)
	}
	defer func() { p.depth-- }()
	neg := p.accept("^")
	var set []runeRange
	var operands [][]runeRange
	for first := true; ; first = false {
		if !p.more() {
			return nil, fmt.Errorf("missing ] of a class")
		}
		if !first && p.accept("]") || first && p.emptyClass() {
			break
		}
		if p.accept("&&") {
			operands = append(operands, normalizeRanges(set))
			set = nil
			continue
		}
		member, err := p.member()
		if err != nil {
			return nil, err
		}
		set = append(set, member...)
	}
	set = normalizeRanges(set)
	if p.fold {
		set = foldRanges(set)
	}
	for _, o := range operands {
		if p.fold {
			o = foldRanges(o)
		}
		set = intersect(o, set)
	}
	if neg {
		set = complement(set)
	}
	return set, nil
}

// emptyClass reports whether the class closes at once; a bracket in first place is refused where it is ambiguous.
func (p *reParser) emptyClass() bool {
	if p.peek() != ']' {
		return false
	}
	rest := p.in[p.pos+1:]
	if strings.Contains(rest, "]") {
		return false // a literal bracket, as in []a]
	}
	p.pos++
	return true
}

// member parses one member of a class: a rune, a range, an escape or a nested class.
func (p *reParser) member() ([]runeRange, error) {
	if strings.HasPrefix(p.in[p.pos:], "[:") {
		return p.posix()
	}
	lo := p.take()
	switch lo {
	case '[':
		return p.class()
	case '\\':
		set, single, err := p.classEscape()
		if err != nil || single < 0 {
			return set, err
		}
		lo = single
	}
	if !p.more() || p.peek() != '-' || strings.HasPrefix(p.in[p.pos:], "-]") || strings.HasPrefix(p.in[p.pos:], "-[") {
		return []runeRange{{lo, lo}}, nil
	}
	p.take()
	if !p.more() {
		return nil, fmt.Errorf("missing ] of a class")
	}
	hi := p.take()
	if hi == '\\' {
		set, single, err := p.classEscape()
		if err != nil {
			return nil, err
		}
		if single < 0 { // [a-\s]: the hyphen is a member
			return append([]runeRange{{lo, lo}, {'-', '-'}}, set...), nil
		}
		hi = single
	}
	if lo > hi {
		return nil, fmt.Errorf("class range %q-%q is empty", lo, hi)
	}
	return []runeRange{{lo, hi}}, nil
}

// posix parses [:name:] inside a class.
func (p *reParser) posix() ([]runeRange, error) {
	end := strings.Index(p.in[p.pos:], ":]")
	if end < 0 {
		p.pos++ // an ordinary bracket
		return []runeRange{{'[', '['}}, nil
	}
	name := p.in[p.pos+2 : p.pos+end]
	p.pos += end + 2
	neg := strings.HasPrefix(name, "^")
	set, err := propertyRanges(strings.TrimPrefix(name, "^"))
	if neg && err == nil {
		set = complement(set)
	}
	return set, err
}

// property parses {Name} or a single letter after \p.
func (p *reParser) property(neg bool) ([]runeRange, error) {
	var name string
	if p.accept("{") {
		end := strings.IndexByte(p.in[p.pos:], '}')
		if end < 0 {
			return nil, fmt.Errorf("missing } of a property")
		}
		name = p.in[p.pos : p.pos+end]
		p.pos += end + 1
		if rest, ok := strings.CutPrefix(name, "^"); ok {
			name, neg = rest, !neg
		}
	} else if p.more() {
		name = string(p.take())
	}
	set, err := propertyRanges(name)
	if err == nil && neg {
		set = complement(set)
	}
	return set, err
}

// propertyRanges finds a general category, a script or one of the common derived properties by name.
func propertyRanges(name string) ([]runeRange, error) {
	switch strings.ToLower(strings.ReplaceAll(name, "_", "")) {
	case "letter":
		name = "L"
	case "mark":
		name = "M"
	case "number":
		name = "N"
	case "punctuation":
		name = "P"
	case "symbol":
		name = "S"
	case "separator":
		name = "Z"
	case "other":
		name = "C"
	case "alpha", "alphabetic":
		return tableRanges(unicode.L, unicode.Nl, unicode.Other_Alphabetic), nil
	case "digit":
		return digitRanges(), nil
	case "alnum":
		return union(tableRanges(unicode.L, unicode.Nl, unicode.Other_Alphabetic), digitRanges()), nil
	case "space", "whitespace":
		return spaceRanges(), nil
	case "upper", "uppercase":
		return tableRanges(unicode.Lu, unicode.Other_Uppercase), nil
	case "lower", "lowercase":
		return tableRanges(unicode.Ll, unicode.Other_Lowercase), nil
	case "word":
		return onigWordRanges(), nil
	case "any":
		return []runeRange{{0, unicode.MaxRune}}, nil
	case "ascii":
		return []runeRange{{0, 0x7f}}, nil
	case "l&", "lc":
		return tableRanges(unicode.Lu, unicode.Ll, unicode.Lt), nil
	}
	switch name {
	case "C": // the tables of package unicode leave unassigned runes out
		return union(tableRanges(unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs), unassigned()), nil
	case "Cn":
		return unassigned(), nil
	}
	if t, ok := unicode.Categories[name]; ok {
		return tableRanges(t), nil
	}
	if t, ok := unicode.Scripts[name]; ok {
		return tableRanges(t), nil
	}
	return nil, fmt.Errorf("property %q is unknown", name)
}

var unassigned = sync.OnceValue(func() []runeRange {
	return complement(tableRanges(unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z,
		unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs))
})
