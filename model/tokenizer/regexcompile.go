package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode"
	"unicode/utf8"
)

var errShape = errors.New("no linear shape") // internal: the chain goes to the regexp engine

// compileRegex compiles a split pattern. The error says which construct cannot be matched exactly.
func compileRegex(pattern string) (scanner, error) {
	switch pattern {
	case digitGroupsAtWordEnd:
		return digitGroups{wordEnd: true}, nil
	case digitGroupBorders:
		return digitGroups{borders: true}, nil
	}
	root, err := parseRegex(pattern)
	if err != nil {
		return nil, err
	}
	return compileTree(root)
}

func compileTree(root *reNode) (scanner, error) {
	r := &regexScanner{}
	c := &compiler{sets: map[string]*runeSet{}}
	var branches []*reNode
	flattenAlternation(root, &branches)
	if len(branches) > 32 {
		return nil, fmt.Errorf("pattern has %d alternatives, more than 32", len(branches))
	}
	for i, b := range branches {
		a, err := c.alternative(b)
		if err != nil {
			return nil, err
		}
		r.alts = append(r.alts, a)
		r.mark(i, firstRunes(b))
	}
	return r, nil
}

func flattenAlternation(n *reNode, out *[]*reNode) {
	if n.op != opAlt {
		*out = append(*out, n)
		return
	}
	for _, s := range n.subs {
		flattenAlternation(s, out)
	}
}

// mark notes by which bytes alternative i may start.
func (r *regexScanner) mark(i int, first []runeRange) {
	for _, x := range first {
		for b := x.lo; b <= min(x.hi, 0x7f); b++ {
			r.first[b] |= 1 << i
		}
		if x.hi >= utf8.RuneSelf {
			for b := 0x80; b <= 0xff; b++ {
				r.first[b] |= 1 << i
			}
		}
	}
}

type compiler struct {
	sets  map[string]*runeSet // the same class twice is built once
	memos int
}

func (c *compiler) set(ranges []runeRange) *runeSet {
	key := fmt.Sprint(ranges)
	s, ok := c.sets[key]
	if !ok {
		s = newRuneSet(ranges)
		c.sets[key] = s
	}
	return s
}

// alternative compiles one branch into items, or for the regexp engine where the items would need to backtrack.
func (c *compiler) alternative(n *reNode) (alternative, error) {
	if nullable(n) {
		return alternative{}, fmt.Errorf("pattern has an alternative that matches the empty string")
	}
	items, err := c.items(n, nil)
	if err == nil {
		err = c.prove(items)
	}
	if errors.Is(err, errShape) {
		m, err := compileRE2(n)
		return alternative{re2: m}, err
	}
	return alternative{items: items}, err
}

// items appends the chain that n stands for.
func (c *compiler) items(n *reNode, out []item) ([]item, error) {
	switch n.op {
	case opEmpty:
		return out, nil
	case opSet:
		return append(out, item{set: c.set(n.set), min: 1, max: 1, memo: -1}), nil
	case opCat:
		var err error
		for _, s := range n.subs {
			if out, err = c.items(s, out); err != nil {
				return nil, err
			}
		}
		return out, nil
	case opRep:
		return c.repeat(n, out)
	case opAlt:
		lits, err := c.literals(n)
		return append(out, item{kind: itemLits, lits: lits, memo: -1}), err
	case opLook:
		if n.subs[0].op != opSet {
			return nil, fmt.Errorf("lookahead for more than one character class is not supported")
		}
		return append(out, item{kind: itemLook, set: c.set(n.subs[0].set), neg: n.neg, memo: -1}), nil
	case opLineEnd: // no next rune, or a newline: not a rune that is no newline
		return append(out, item{kind: itemLook, set: c.set(complement([]runeRange{{'\n', '\n'}})), neg: true, memo: -1}), nil
	case opTextEnd:
		return append(out, item{kind: itemLook, set: c.set([]runeRange{{0, unicode.MaxRune}}), neg: true, memo: -1}), nil
	}
	return nil, fmt.Errorf("%s is not supported", n.text)
}

func (c *compiler) repeat(n *reNode, out []item) ([]item, error) {
	sub := n.subs[0]
	lo, hi := n.min, n.max
	if sub.op == opRep && sub.subs[0].op == opSet && sub.min == 1 && hi < 0 && !n.possessive && !sub.possessive {
		sub = sub.subs[0] // (x{1,3})+ is x+
	}
	if hi < 0 {
		hi = math.MaxInt
	}
	switch {
	case sub.op == opSet:
		it := item{set: c.set(sub.set), min: lo, max: hi, memo: -1}
		if n.possessive {
			it.memo = -2 // proof not needed
		}
		return append(out, it), nil
	case lo == 0 && hi == 1 && !n.possessive:
		lits, err := c.literals(sub)
		return append(out, item{kind: itemLits, lits: lits, optional: true, memo: -1}), err
	}
	return nil, errShape
}

// literals returns the alternatives of n if each is a fixed number of classes.
func (c *compiler) literals(n *reNode) ([][]*runeSet, error) {
	var branches []*reNode
	flattenAlternation(n, &branches)
	var out [][]*runeSet
	for _, b := range branches {
		subs := []*reNode{b}
		if b.op == opCat {
			subs = b.subs
		}
		var lit []*runeSet
		for i := 0; i < len(subs); i++ {
			switch {
			case subs[i].op == opSet:
				lit = append(lit, c.set(subs[i].set))
			case subs[i].op == opAlt && i == len(subs)-1: // '(?:s|ll): distribute the prefix
				tails, err := c.literals(subs[i])
				if err != nil {
					return nil, err
				}
				for _, t := range tails {
					out = append(out, slices.Concat(lit, t))
				}
				lit = nil
			default:
				return nil, errShape
			}
		}
		if lit != nil {
			out = append(out, lit)
		}
	}
	return out, nil
}

// prove decides for each item whether giving back runes can help, and how to do it in linear time.
func (c *compiler) prove(items []item) error {
	for i := range items {
		it, rest := &items[i], items[i+1:]
		possessive := it.memo == -2
		it.memo = -1
		if it.kind == itemLits && !alwaysMatches(rest) && len(it.lits)+btoi(it.optional) > 1 {
			return errShape // another literal might let the rest match
		}
		if it.kind != itemRun || it.min == it.max || possessive || alwaysMatches(rest) {
			continue
		}
		if len(intersect(it.set.ranges, firstOfItems(rest))) > 0 {
			switch next := rest[0]; {
			case it.min == 0 && it.max == 1:
				it.back = backBoth
				continue
			case next.kind == itemRun && next.min == 1 && alwaysMatches(rest[1:]),
				next.kind == itemLook && alwaysMatches(rest[1:]):
				it.back = backWalk
			default:
				return errShape
			}
		}
		if it.max == math.MaxInt {
			it.memo = c.memos
			if c.memos++; c.memos > maxMemo {
				return fmt.Errorf("pattern has more than %d unbounded runs", maxMemo)
			}
		}
	}
	return nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// alwaysMatches reports whether items match at every position, be it the empty string.
func alwaysMatches(items []item) bool {
	for _, it := range items {
		if it.kind == itemLook || it.kind == itemLits && !it.optional || it.kind == itemRun && it.min > 0 {
			return false
		}
	}
	return true
}

// firstOfItems returns the runes that may follow when items match.
func firstOfItems(items []item) []runeRange {
	var out []runeRange
	for _, it := range items {
		switch it.kind {
		case itemLook:
			if it.neg {
				return union(out, complement(it.set.ranges))
			}
			return union(out, it.set.ranges)
		case itemLits:
			for _, l := range it.lits {
				out = union(out, l[0].ranges)
			}
			if !it.optional {
				return out
			}
		case itemRun:
			out = union(out, it.set.ranges)
			if it.min > 0 {
				return out
			}
		}
	}
	return []runeRange{{0, unicode.MaxRune}}
}

// nullable reports whether n can match the empty string.
func nullable(n *reNode) bool {
	switch n.op {
	case opSet:
		return false
	case opCat:
		return !slices.ContainsFunc(n.subs, func(s *reNode) bool { return !nullable(s) })
	case opAlt:
		return slices.ContainsFunc(n.subs, nullable)
	case opRep:
		return n.min == 0 || nullable(n.subs[0])
	}
	return true
}

// firstRunes returns the runes a match of n can start with; n is not nullable.
func firstRunes(n *reNode) []runeRange {
	switch n.op {
	case opSet:
		return n.set
	case opCat:
		var out []runeRange
		for _, s := range n.subs {
			out = union(out, firstRunes(s))
			if !nullable(s) {
				break
			}
		}
		return out
	case opAlt:
		var out []runeRange
		for _, s := range n.subs {
			out = union(out, firstRunes(s))
		}
		return out
	case opRep:
		return firstRunes(n.subs[0])
	}
	return nil
}
