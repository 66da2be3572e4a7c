package grammar

import (
	"fmt"
	"unicode/utf8"
)

// A node is a piece of a grammar while it is built.
type node interface{}

type (
	class struct{ ranges []runeRange } // one character
	seq   []node
	alt   []node
	ref   string
	rep   struct {
		of       node
		min, max int // max < 0: no bound
	}
)

type runeRange struct{ lo, hi rune }

// Limits of a compiled grammar. Repetitions are written out, so a bound multiplies the size.
const (
	maxSymbols = 1 << 18
	maxRules   = 1 << 15
	maxRepeat  = 1 << 13
	maxDepth   = 256
)

// Grammar is a compiled grammar. It is immutable and safe for concurrent use.
type Grammar struct {
	sets    [][4]uint64 // byte sets
	symbols []symbol    // alternatives one after the other, each closed by symEnd
	rules   [][]int32   // rule: where its alternatives begin
	root    int32
}

type symbolKind byte

const (
	symEnd symbolKind = iota
	symSet            // arg: index of a byte set
	symRule
)

type symbol struct {
	kind symbolKind
	arg  int32
}

// builder compiles named rules.
type builder struct {
	g     *Grammar
	names map[string]int32
	setOf map[[4]uint64]int32
	depth int
	err   error
}

func (b *builder) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf(format, args...)
	}
}

// compile makes a grammar of rules; order is that in which they are compiled, so that equal input gives equal grammars.
func compile(rules map[string]node, order []string, root string) (*Grammar, error) {
	b := &builder{g: &Grammar{}, names: map[string]int32{}, setOf: map[[4]uint64]int32{}}
	for _, name := range order {
		b.names[name] = b.rule()
	}
	for _, name := range order {
		alts := b.alternatives(rules[name])
		b.g.rules[b.names[name]] = alts
	}
	id, ok := b.names[root]
	if !ok {
		b.fail("there is no rule %q", root)
	}
	b.g.root = id
	if b.err == nil {
		b.checkLeft(order)
	}
	return b.g, b.err
}

func (b *builder) rule() int32 {
	b.g.rules = append(b.g.rules, nil)
	return int32(len(b.g.rules) - 1)
}

// alternatives compiles the choices of a rule and returns where each begins.
func (b *builder) alternatives(n node) []int32 {
	choices, ok := n.(alt)
	if !ok {
		choices = alt{n}
	}
	bodies := make([][]symbol, len(choices))
	for i, c := range choices {
		bodies[i] = b.body(c, nil)
	}
	starts := make([]int32, len(choices))
	for i, body := range bodies {
		if len(b.g.symbols)+len(body) > maxSymbols {
			b.fail("the grammar is too large: over %d symbols", maxSymbols)
			return starts
		}
		starts[i] = int32(len(b.g.symbols))
		b.g.symbols = append(append(b.g.symbols, body...), symbol{})
	}
	return starts
}

// body compiles one alternative.
func (b *builder) body(n node, out []symbol) []symbol {
	if b.depth++; b.depth > maxDepth {
		b.fail("the grammar is nested deeper than %d", maxDepth)
	}
	defer func() { b.depth-- }()
	if b.err != nil || len(out) > maxSymbols {
		b.fail("the grammar is too large: over %d symbols", maxSymbols)
		return out
	}
	switch x := n.(type) {
	case nil:
	case seq:
		for _, y := range x {
			out = b.body(y, out)
		}
	case alt:
		return append(out, b.sub(x))
	case ref:
		id, ok := b.names[string(x)]
		if !ok {
			b.fail("rule %q is not defined", string(x))
		}
		return append(out, symbol{symRule, id})
	case class:
		return b.class(x, out)
	case rep:
		return b.repeat(x, out)
	case string:
		for i := range len(x) {
			out = append(out, b.set(x[i], x[i]))
		}
	}
	return out
}

// sub makes a rule of its own for a choice.
func (b *builder) sub(n node) symbol {
	id := b.rule()
	alts := b.alternatives(n)
	b.g.rules[id] = alts
	return symbol{symRule, id}
}

func (b *builder) set(lo, hi byte) symbol {
	var s [4]uint64
	for c := int(lo); c <= int(hi); c++ {
		s[c>>6] |= 1 << (c & 63)
	}
	return b.intern(s)
}

func (b *builder) intern(s [4]uint64) symbol {
	id, ok := b.setOf[s]
	if !ok {
		id = int32(len(b.g.sets))
		b.g.sets = append(b.g.sets, s)
		b.setOf[s] = id
	}
	return symbol{symSet, id}
}

// repeat writes a repetition out: what must come, then a chain of what may, or a loop.
func (b *builder) repeat(x rep, out []symbol) []symbol {
	if x.min > maxRepeat || x.max > maxRepeat {
		b.fail("a repetition of %d is over %d", max(x.min, x.max), maxRepeat)
		return out
	}
	one := b.sub(x.of)
	for range x.min {
		out = append(out, one)
	}
	if x.max < 0 { // loop ::= one loop | nothing
		id := b.rule()
		at := int32(len(b.g.symbols))
		b.g.symbols = append(b.g.symbols, one, symbol{symRule, id}, symbol{}, symbol{})
		b.g.rules[id] = []int32{at, at + 3}
		return append(out, symbol{symRule, id})
	}
	next := symbol{}
	for range x.max - x.min { // from the last: may ::= one may' | nothing
		id := b.rule()
		at := int32(len(b.g.symbols))
		b.g.symbols = append(b.g.symbols, one)
		if next.kind == symRule {
			b.g.symbols = append(b.g.symbols, next)
		}
		b.g.symbols = append(b.g.symbols, symbol{}, symbol{})
		b.g.rules[id] = []int32{at, int32(len(b.g.symbols) - 1)}
		next = symbol{symRule, id}
	}
	if next.kind == symRule {
		out = append(out, next)
	}
	return out
}

// class compiles a character: one byte set for ASCII, alternatives of byte sequences for the rest.
func (b *builder) class(c class, out []symbol) []symbol {
	var ascii [4]uint64
	var rest alt
	for _, r := range c.ranges {
		for x := r.lo; x <= min(r.hi, 0x7f); x++ {
			ascii[x>>6] |= 1 << (x & 63)
		}
		if r.hi > 0x7f {
			rest = append(rest, utf8Ranges(max(r.lo, 0x80), r.hi)...)
		}
	}
	one := ascii != [4]uint64{}
	if len(rest) == 0 {
		if !one {
			b.fail("a character class is empty")
		}
		return append(out, b.intern(ascii))
	}
	id := b.rule()
	var starts []int32
	add := func(body ...symbol) {
		starts = append(starts, int32(len(b.g.symbols)))
		b.g.symbols = append(append(b.g.symbols, body...), symbol{})
	}
	if one {
		add(b.intern(ascii))
	}
	for _, r := range rest {
		var body []symbol
		for _, s := range r.([][2]byte) { // utf8Ranges makes nothing else
			body = append(body, b.set(s[0], s[1]))
		}
		add(body...)
	}
	b.g.rules[id] = starts
	return append(out, symbol{symRule, id})
}

// utf8Ranges splits a range of characters above ASCII into sequences of byte ranges.
func utf8Ranges(lo, hi rune) (out alt) {
	for _, gap := range []runeRange{{0x80, 0x7ff}, {0x800, 0xd7ff}, {0xe000, 0xffff}, {0x10000, utf8.MaxRune}} {
		if l, h := max(lo, gap.lo), min(hi, gap.hi); l <= h {
			out = append(out, splitRange(l, h)...)
		}
	}
	return out
}

// splitRange does so for characters of one encoded length: where the bytes before the last k agree, the last k may be
// anything only if they run over everything.
func splitRange(lo, hi rune) (out alt) {
	n := utf8.RuneLen(lo)
	for k := 1; k < n; k++ {
		m := rune(1)<<(6*k) - 1
		if lo&^m == hi&^m {
			continue
		}
		if lo&m != 0 {
			return append(splitRange(lo, lo|m), splitRange(lo|m+1, hi)...)
		}
		if hi&m != m {
			return append(splitRange(lo, hi&^m-1), splitRange(hi&^m, hi)...)
		}
	}
	a, b := []byte(string(lo)), []byte(string(hi))
	bytes := make([][2]byte, n)
	for i := range bytes {
		bytes[i] = [2]byte{a[i], b[i]}
	}
	return alt{bytes}
}

// checkLeft refuses rules that begin with themselves: the recognizer would look for them without end.
func (b *builder) checkLeft(order []string) {
	g := b.g
	nullable := make([]bool, len(g.rules))
	for changed := true; changed; {
		changed = false
		for r, alts := range g.rules {
			for _, at := range alts {
				for g.symbols[at].kind == symRule && nullable[g.symbols[at].arg] {
					at++
				}
				if g.symbols[at].kind == symEnd && !nullable[r] {
					nullable[r], changed = true, true
				}
			}
		}
	}
	state := make([]byte, len(g.rules)) // 1: being looked at, 2: done
	var visit func(r int32, depth int) bool
	visit = func(r int32, depth int) bool {
		if state[r] != 0 || depth > len(g.rules) {
			return state[r] == 1
		}
		state[r] = 1
		for _, at := range g.rules[r] {
			for ; g.symbols[at].kind == symRule; at++ {
				if visit(g.symbols[at].arg, depth+1) {
					return true
				}
				if !nullable[g.symbols[at].arg] {
					break
				}
			}
		}
		state[r] = 2
		return false
	}
	for _, name := range order {
		if visit(b.names[name], 0) {
			b.fail("rule %q begins with itself, or repeats what may be empty: write it so that a character comes first", name)
			return
		}
	}
}
