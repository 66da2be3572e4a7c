package chat

import (
	"strconv"
	"strings"
)

// tuple parses an expression, or several parted by commas. cond allows "a if b else c".
func (p *parser) tuple(cond bool) expr { return p.tupleUntil(cond) }

func (p *parser) tupleUntil(cond bool, stops ...string) expr {
	one := p.expression
	if !cond {
		one = p.or
	}
	var items []expr
	comma := false
	for {
		if len(items) > 0 || comma {
			if !p.op(",") {
				break
			}
			comma = true
		}
		if t := p.tok(); t.kind == kVarEnd || t.kind == kBlockEnd || p.isOp(")") || len(stops) > 0 && p.isWord(stops...) {
			break
		}
		items = append(items, one())
	}
	if len(items) == 1 && !comma {
		return items[0]
	}
	if len(items) == 0 {
		p.fail("expected an expression, found %v", p.tok())
	}
	return &listExpr{items, true}
}

// expression parses a conditional expression, the loosest kind.
func (p *parser) expression() expr {
	defer p.enter()()
	e := p.or()
	for n := 0; p.word("if"); n++ {
		p.limit(n)
		cond := p.or()
		c := &condExpr{cond: cond, then: e}
		if p.word("else") {
			c.orElse = p.expression()
		}
		e = c
	}
	return e
}

func (p *parser) limit(n int) {
	if n > chain {
		p.fail("more than %d operators follow one another", chain)
	}
}

// left parses a run of operators of one level that group to the left.
func (p *parser) left(operand func() expr, ops ...string) expr {
	e := operand()
	for n := 0; ; n++ {
		p.limit(n)
		op := ""
		for _, o := range ops {
			if p.op(o) {
				op = o
				break
			}
		}
		if op == "" {
			return e
		}
		e = &binExpr{op, e, operand()}
	}
}

func (p *parser) or() expr {
	e := p.and()
	for n := 0; p.word("or"); n++ {
		p.limit(n)
		e = &logicExpr{false, e, p.and()}
	}
	return e
}

func (p *parser) and() expr {
	e := p.not()
	for n := 0; p.word("and"); n++ {
		p.limit(n)
		e = &logicExpr{true, e, p.not()}
	}
	return e
}

func (p *parser) not() expr {
	if p.word("not") {
		defer p.enter()()
		return &notExpr{p.not()}
	}
	return p.compare()
}

func (p *parser) compare() expr {
	e := p.sum()
	c := &compareExpr{first: e}
	for n := 0; ; n++ {
		p.limit(n)
		op := ""
		for _, o := range []string{"==", "!=", "<=", ">=", "<", ">"} {
			if p.op(o) {
				op = o
				break
			}
		}
		switch {
		case op != "":
		case p.word("in"):
			op = "in"
		case p.isWord("not") && p.toks[p.pos+1].kind == kName && p.toks[p.pos+1].s == "in":
			p.pos += 2
			op = "not in"
		default:
			if n == 0 {
				return e
			}
			return c
		}
		c.ops, c.rest = append(c.ops, op), append(c.rest, p.sum())
	}
}

func (p *parser) sum() expr { return p.left(p.concat, "+", "-") }

func (p *parser) concat() expr {
	e := p.product()
	if !p.isOp("~") {
		return e
	}
	c := &concatExpr{[]expr{e}}
	for p.op("~") {
		c.parts = append(c.parts, p.product())
	}
	return c
}

func (p *parser) product() expr { return p.left(p.pow, "*", "//", "/", "%") }

func (p *parser) pow() expr { return p.left(func() expr { return p.unary(true) }, "**") }

func (p *parser) unary(filters bool) expr {
	var e expr
	switch {
	case p.isOp("-") || p.isOp("+"):
		defer p.enter()()
		op := p.next().s
		e = &signExpr{op, p.unary(false)}
	default:
		e = p.primary()
	}
	e = p.postfix(e)
	if filters {
		e = p.filters(e)
	}
	return e
}

func (p *parser) primary() expr {
	t := p.next()
	switch t.kind {
	case kName:
		switch t.s {
		case "true", "True":
			return constExpr{true}
		case "false", "False":
			return constExpr{false}
		case "none", "None":
			return constExpr{nil}
		}
		return &nameExpr{t.s, t.line}
	case kString:
		s := t.s
		for p.tok().kind == kString {
			s += p.next().s
		}
		return constExpr{lit(s)}
	case kInt:
		n, err := parseInt(t.s)
		if err != nil {
			if n, err = strconv.ParseInt(t.s, 10, 64); err != nil {
				p.fail("number %s does not fit 64 bits", t.s)
			}
		}
		return constExpr{n}
	case kFloat:
		f, err := strconv.ParseFloat(t.s, 64)
		if err != nil {
			p.fail("number %s is too large", t.s)
		}
		return constExpr{f}
	case kOp:
		defer p.enter()()
		switch t.s {
		case "(":
			if p.op(")") {
				return &listExpr{nil, true}
			}
			e := p.tuple(true)
			p.want(")")
			return e
		case "[":
			return &listExpr{p.items("]"), false}
		case "{":
			return p.dict()
		}
	}
	p.pos--
	if t.kind == kEOF {
		p.pos = len(p.toks) - 1
	}
	p.fail("unexpected %v", t)
	return nil
}

func (p *parser) items(end string) []expr {
	var items []expr
	for !p.op(end) {
		if len(items) > 0 {
			p.want(",")
			if p.op(end) {
				break
			}
		}
		items = append(items, p.expression())
	}
	return items
}

func (p *parser) dict() expr {
	d := &dictExpr{}
	for !p.op("}") {
		if len(d.keys) > 0 {
			p.want(",")
			if p.op("}") {
				break
			}
		}
		d.keys = append(d.keys, p.expression())
		p.want(":")
		d.vals = append(d.vals, p.expression())
	}
	return d
}

func (p *parser) postfix(e expr) expr {
	for n := 0; ; n++ {
		p.limit(n)
		line := p.tok().line
		switch {
		case p.op("."):
			switch t := p.next(); t.kind {
			case kName:
				e = &attrExpr{e, t.s, line}
			case kInt:
				i, err := strconv.ParseInt(t.s, 10, 64)
				if err != nil {
					p.fail("index %s is too large", t.s)
				}
				e = &indexExpr{e, constExpr{i}, line}
			default:
				p.pos--
				p.fail("expected a name, found %v", t)
			}
		case p.op("["):
			e = p.subscript(e, line)
		case p.isOp("("):
			e = &callExpr{e, p.arguments(), line}
		default:
			return e
		}
	}
}

func (p *parser) subscript(e expr, line int) expr {
	defer p.enter()()
	s := &sliceExpr{of: e}
	parts := []*expr{&s.lo, &s.hi, &s.step}
	colons := 0
	for !p.op("]") {
		if p.op(":") {
			if colons++; colons > 2 {
				p.fail("a slice has at most three parts")
			}
			continue
		}
		if *parts[colons] != nil {
			p.fail("expected \"]\", found %v", p.tok())
		}
		*parts[colons] = p.expression()
	}
	if colons > 0 {
		return s
	}
	if s.lo == nil {
		p.fail("a subscript is empty")
	}
	return &indexExpr{e, s.lo, line}
}

// arguments parses a call's arguments, brackets included.
func (p *parser) arguments() *argExprs {
	defer p.enter()()
	p.want("(")
	a := &argExprs{}
	for first := true; !p.op(")"); first = false {
		if !first {
			p.want(",")
			if p.op(")") {
				break
			}
		}
		switch {
		case p.op("*"):
			a.star = p.expression()
		case p.op("**"):
			a.starStar = p.expression()
		case p.tok().kind == kName && p.toks[p.pos+1].kind == kOp && p.toks[p.pos+1].s == "=":
			a.names = append(a.names, p.name())
			p.pos++
			a.named = append(a.named, p.expression())
		default:
			if len(a.names) > 0 {
				p.fail("an argument without a name follows one with")
			}
			a.pos = append(a.pos, p.expression())
		}
	}
	return a
}

// filters parses what may follow an operand: filters, tests and calls.
func (p *parser) filters(e expr) expr {
	for n := 0; ; n++ {
		p.limit(n)
		line := p.tok().line
		switch {
		case p.isOp("|"):
			e = p.filterChain(e)
		case p.word("is"):
			e = p.test(e)
		case p.isOp("("):
			e = &callExpr{e, p.arguments(), line}
		default:
			return e
		}
	}
}

func (p *parser) filterChain(e expr) expr {
	for n := 0; ; n++ {
		p.limit(n)
		if e != nil || n > 0 {
			if !p.op("|") {
				return e
			}
		} else {
			p.op("|")
		}
		f := &filterExpr{of: e, name: p.dotted(), line: p.tok().line}
		f.f = filters[f.name]
		if f.f == nil && p.maybe == 0 {
			p.fail("there is no filter %q", f.name)
		}
		if p.isOp("(") {
			f.args = p.arguments()
		}
		e = f
	}
}

func (p *parser) dotted() string {
	n := []string{p.name()}
	for p.op(".") {
		n = append(n, p.name())
	}
	return strings.Join(n, ".")
}

// test parses what follows "is".
func (p *parser) test(e expr) expr {
	negate := p.word("not")
	t := &testExpr{of: e, name: p.dotted(), line: p.tok().line}
	if t.f = tests[t.name]; t.f == nil && p.maybe == 0 {
		p.fail("there is no test %q", t.name)
	}
	switch k := p.tok(); {
	case p.isOp("("):
		t.args = p.arguments()
	case k.kind == kString || k.kind == kInt || k.kind == kFloat || p.isOp("[") || p.isOp("{") ||
		k.kind == kName && !p.isWord("else", "or", "and", "if", "is", "in", "not", "recursive"):
		t.args = &argExprs{pos: []expr{p.postfix(p.primary())}}
	case p.isWord("is"):
		p.fail("tests cannot follow one another")
	}
	if negate {
		return &notExpr{t}
	}
	return t
}
