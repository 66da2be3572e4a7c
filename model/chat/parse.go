package chat

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/parelm/pare/internal/limits"
)

// parser builds the tree by recursive descent, in the grammar of Jinja.
type parser struct {
	toks  []token
	pos   int
	depth int64
	loops int // nesting of for blocks, for break and continue
	maybe int // nesting of branches that may not run: unknown filters and tests there fail only when they do
}

// chain bounds a run of operators or postfixes of one level, which nest to the left without brackets.
const chain = 2000

func (p *parser) tok() token { return p.toks[p.pos] }

func (p *parser) next() token {
	t := p.toks[p.pos]
	if t.kind != kEOF {
		p.pos++
	}
	return t
}

func (p *parser) fail(format string, args ...any) {
	panic(failure{&syntaxError{p.tok().line, fmt.Sprintf(format, args...)}})
}

// enter guards against deep nesting; call the result when leaving.
func (p *parser) enter() func() {
	if p.depth++; p.depth > limits.TemplateDepth {
		p.fail("nested deeper than %d", limits.TemplateDepth)
	}
	return func() { p.depth-- }
}

func (p *parser) op(s string) bool {
	if t := p.tok(); t.kind == kOp && t.s == s {
		p.pos++
		return true
	}
	return false
}

func (p *parser) isOp(s string) bool { t := p.tok(); return t.kind == kOp && t.s == s }

func (p *parser) word(s string) bool {
	if t := p.tok(); t.kind == kName && t.s == s {
		p.pos++
		return true
	}
	return false
}

func (p *parser) isWord(names ...string) bool {
	t := p.tok()
	return t.kind == kName && slices.Contains(names, t.s)
}

func (p *parser) want(s string) {
	if !p.op(s) {
		p.fail("expected %q, found %v", s, p.tok())
	}
}

func (p *parser) name() string {
	t := p.tok()
	if t.kind != kName {
		p.fail("expected a name, found %v", t)
	}
	p.pos++
	return t.s
}

func (p *parser) end() {
	if t := p.tok(); t.kind != kBlockEnd {
		p.fail("expected \"%%}\", found %v", t)
	}
	p.pos++
}

// block parses statements up to a tag that begins with one of the names, which it consumes and returns.
func (p *parser) block(ends ...string) (body []stmt, end string) {
	defer p.enter()()
	for {
		switch t := p.next(); t.kind {
		case kEOF:
			if len(ends) > 0 {
				p.fail("expected {%% %s %%}, found the end of the template", ends[len(ends)-1])
			}
			return body, ""
		case kData:
			body = append(body, &dataStmt{t.s})
		case kVarBegin:
			e := p.tuple(true)
			if t := p.next(); t.kind != kVarEnd {
				p.pos--
				p.fail("expected \"}}\", found %v", t)
			}
			body = append(body, &outStmt{e, t.line})
		case kBlockBegin:
			if p.isWord(ends...) {
				return body, p.next().s
			}
			line := t.line
			if s := p.statement(); s != nil {
				body = append(body, &at{s, line})
			}
		default:
			p.pos--
			p.fail("unexpected %v", t)
		}
	}
}

// statement parses a tag behind its "{%".
func (p *parser) statement() stmt {
	switch n := p.name(); n {
	case "if":
		return p.ifStmt()
	case "for":
		return p.forStmt()
	case "set":
		return p.setStmt()
	case "macro":
		return p.macroStmt()
	case "call":
		return p.callStmt()
	case "filter":
		f := p.filterChain(nil)
		p.end()
		body, _ := p.block("endfilter")
		p.end()
		return &filterStmt{body, f}
	case "with":
		return p.withStmt()
	case "generation":
		p.end()
		body, _ := p.block("endgeneration")
		p.end()
		return &bodyStmt{body}
	case "break", "continue":
		if p.loops == 0 {
			p.fail("%s stands outside a loop", n)
		}
		p.end()
		return &jumpStmt{map[string]signal{"break": sigBreak, "continue": sigContinue}[n]}
	case "do":
		e := p.tuple(true)
		p.end()
		return &doStmt{e}
	case "import", "include", "from", "extends", "block":
		p.fail("%s reaches outside the template, which is not allowed", n)
	default:
		p.pos--
		p.fail("unknown tag %q", n)
	}
	return nil
}

func (p *parser) ifStmt() stmt {
	s := &ifStmt{}
	p.maybe++
	defer func() { p.maybe-- }()
	for {
		cond := p.tuple(false)
		p.end()
		body, end := p.block("elif", "else", "endif")
		s.conds, s.bodies = append(s.conds, cond), append(s.bodies, body)
		switch end {
		case "else":
			p.end()
			s.orElse, _ = p.block("endif")
			p.end()
			return s
		case "endif":
			p.end()
			return s
		}
	}
}

func (p *parser) forStmt() stmt {
	s := &forStmt{target: p.target(false)}
	if !p.word("in") {
		p.fail("expected \"in\", found %v", p.tok())
	}
	s.over = p.tupleUntil(false, "recursive")
	if p.word("if") {
		s.cond = p.expression()
	}
	s.recursive = p.word("recursive")
	p.end()
	p.loops++
	p.maybe++
	body, end := p.block("else", "endfor")
	p.loops--
	s.body = body
	if end == "else" {
		p.end()
		s.orElse, _ = p.block("endfor")
	}
	p.maybe--
	p.end()
	return s
}

// target parses what is assigned to: names, or ns.attribute where allowed.
func (p *parser) target(namespaces bool) target {
	var t target
	one := func() {
		if p.op("(") {
			inner := p.target(namespaces)
			p.want(")")
			t.parts = append(t.parts, inner)
			return
		}
		n := target{name: p.name()}
		if slices.Contains([]string{"true", "false", "none", "True", "False", "None"}, n.name) {
			p.fail("%s cannot be assigned to", n.name)
		}
		if namespaces && p.op(".") {
			n.attr = p.name()
		}
		t.parts = append(t.parts, n)
	}
	defer p.enter()()
	one()
	tuple := false
	for p.op(",") {
		tuple = true
		if t := p.tok(); t.kind == kBlockEnd || p.isOp("=") || p.isWord("in") {
			break
		}
		one()
	}
	if !tuple {
		return t.parts[0]
	}
	return t
}

func (p *parser) setStmt() stmt {
	s := &setStmt{target: p.target(true)}
	if p.op("=") {
		s.value = p.tuple(true)
		p.end()
		return s
	}
	if p.isOp("|") {
		s.filter = p.filterChain(nil)
	}
	p.end()
	s.body, _ = p.block("endset")
	p.end()
	return s
}

func (p *parser) withStmt() stmt {
	s := &withStmt{}
	for p.tok().kind != kBlockEnd {
		if len(s.targets) > 0 {
			p.want(",")
		}
		s.targets = append(s.targets, p.target(false))
		p.want("=")
		s.values = append(s.values, p.expression())
	}
	p.end()
	s.body, _ = p.block("endwith")
	p.end()
	return s
}

// signature parses the parameters of a macro.
func (p *parser) signature(m *macro) {
	p.want("(")
	for !p.op(")") {
		if len(m.params) > 0 {
			p.want(",")
		}
		m.params = append(m.params, p.name())
		var def expr
		if p.op("=") {
			def = p.expression()
		} else if n := len(m.defaults); n > 0 && m.defaults[n-1] != nil {
			p.fail("a parameter without a default follows one with")
		}
		m.defaults = append(m.defaults, def)
	}
}

func (p *parser) macroStmt() stmt {
	m := &macro{name: p.name()}
	p.signature(m)
	p.end()
	p.inMacro(m, "endmacro")
	return &macroStmt{m}
}

func (p *parser) inMacro(m *macro, end string) {
	loops := p.loops
	p.loops = 0
	p.maybe++
	m.body, _ = p.block(end)
	p.maybe--
	p.loops = loops
	p.end()
}

func (p *parser) callStmt() stmt {
	m := &macro{name: "caller"}
	if p.isOp("(") {
		p.signature(m)
	}
	e := p.unary(true)
	c, ok := e.(*callExpr)
	if !ok {
		p.fail("a call block wants a call")
	}
	p.end()
	p.inMacro(m, "endcall")
	return &callStmt{c, m}
}

// parseInt reads an integer literal of any base.
func parseInt(s string) (int64, error) { return strconv.ParseInt(s, 0, 64) }
