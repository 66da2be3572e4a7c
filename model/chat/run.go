package chat

import (
	"errors"
	"fmt"
	"time"

	"github.com/parelm/pare/internal/limits"
)

// run is one rendering: what is left of its fuel, and where it writes.
type run struct {
	fuel  int64
	depth int64
	line  int
	out   *joiner
	now   time.Time

	// forgiving rendering does what Jinja2 refuses: an undefined name is looked for in the callers of a macro, then
	// counts as nothing; messages can be assigned to.
	forgiving bool
	callers   []*scope
}

// missing is an undefined value in use.
func (r *run) missing(u undefined) text {
	if !r.forgiving {
		fail("%s is undefined", u.what)
	}
	return text{}
}

// errBudget goes with failures of a template that wants more than it is given.
var errBudget = errors.New("over a limit")

func budget(format string, args ...any) {
	panic(failure{fmt.Errorf("%w: "+format, append([]any{errBudget}, args...)...)})
}

func maxText() int64 { return limits.TemplateOutput }

// step pays for n units of work.
func (r *run) step(n int64) {
	if r.fuel -= n; r.fuel < 0 {
		budget("the template takes over %d steps", limits.TemplateFuel)
	}
}

// bytesPerStep is how much text one step may copy.
const bytesPerStep = 64

// made pays for a new string.
func (r *run) made(t text) text {
	if int64(len(t.s)) > maxText() {
		budget("a string has %d bytes, the limit is %d", len(t.s), maxText())
	}
	r.step(int64(len(t.s)/bytesPerStep + len(t.user)/4))
	return t
}

// enter guards against endless recursion; call the result when leaving.
func (r *run) enter() func() {
	if r.depth++; r.depth > limits.TemplateDepth {
		budget("calls are nested deeper than %d", limits.TemplateDepth)
	}
	return func() { r.depth-- }
}

// write prints to the output.
func (r *run) write(t text) {
	r.step(int64(len(t.s) / bytesPerStep))
	if n := int64(r.out.b.Len() + len(t.s)); n > limits.TemplateOutput {
		budget("the output has over %d bytes", limits.TemplateOutput)
	}
	r.out.add(t)
}

// capture returns what f prints.
func (r *run) capture(f func()) text {
	old := r.out
	r.out = &joiner{}
	f()
	t := r.out.text()
	r.out = old
	return r.made(t)
}

// scope is a set of names within another. It is a list: most hold one or two names, and a loop makes one for each turn.
type scope struct {
	names []string
	vals  []any
	up    *scope
}

func (s *scope) in() *scope { return &scope{up: s} }

func (s *scope) get(name string) (any, bool) {
	for ; s != nil; s = s.up {
		for i, n := range s.names {
			if n == name {
				return s.vals[i], true
			}
		}
	}
	return nil, false
}

func (s *scope) set(name string, v any) {
	for i, n := range s.names {
		if n == name {
			s.vals[i] = v
			return
		}
	}
	if s.names == nil {
		s.names, s.vals = make([]string, 0, 2), make([]any, 0, 2)
	}
	s.names, s.vals = append(s.names, name), append(s.vals, v)
}

// signal says how a statement ended.
type signal byte

const (
	sigNone signal = iota
	sigBreak
	sigContinue
)

type stmt interface {
	exec(r *run, s *scope) signal
}

func execAll(r *run, s *scope, body []stmt) signal {
	for _, b := range body {
		r.step(1)
		if sig := b.exec(r, s); sig != sigNone {
			return sig
		}
	}
	return sigNone
}

type (
	at struct {
		stmt
		line int
	}
	dataStmt struct{ s string }
	outStmt  struct {
		e    expr
		line int
	}
	bodyStmt struct{ body []stmt }
	doStmt   struct{ e expr }
	jumpStmt struct{ sig signal }
	ifStmt   struct {
		conds  []expr
		bodies [][]stmt
		orElse []stmt
	}
	forStmt struct {
		target    target
		over      expr
		cond      expr
		body      []stmt
		orElse    []stmt
		recursive bool
	}
	target struct {
		name, attr string
		parts      []target
	}
	setStmt struct {
		target target
		value  expr
		body   []stmt
		filter expr
	}
	withStmt struct {
		targets []target
		values  []expr
		body    []stmt
	}
	filterStmt struct {
		body   []stmt
		filter expr
	}
	macro struct {
		name     string
		params   []string
		defaults []expr
		body     []stmt
	}
	macroStmt struct{ m *macro }
	callStmt  struct {
		call *callExpr
		m    *macro
	}
)

func (b *at) exec(r *run, s *scope) signal {
	r.line = b.line
	return b.stmt.exec(r, s)
}

func (b *dataStmt) exec(r *run, _ *scope) signal { r.write(lit(b.s)); return sigNone }

func (b *outStmt) exec(r *run, s *scope) signal {
	r.line = b.line
	r.write(str(b.e.eval(r, s)))
	return sigNone
}

func (b *bodyStmt) exec(r *run, s *scope) signal { return execAll(r, s, b.body) }
func (b *jumpStmt) exec(*run, *scope) signal     { return b.sig }

func (b *doStmt) exec(r *run, s *scope) signal {
	b.e.eval(r, s)
	return sigNone
}

func (b *ifStmt) exec(r *run, s *scope) signal {
	for i, c := range b.conds {
		if truth(c.eval(r, s)) {
			return execAll(r, s, b.bodies[i])
		}
	}
	return execAll(r, s, b.orElse)
}

func (b *forStmt) exec(r *run, s *scope) signal {
	b.over1(r, s, iterate(r, b.over.eval(r, s)), 1)
	return sigNone
}

// over1 runs the loop over items; depth counts recursive loops.
func (b *forStmt) over1(r *run, s *scope, items []any, depth int64) {
	if b.cond != nil {
		var keep []any
		for _, v := range items {
			in := s.in()
			b.target.assign(r, in, v)
			r.step(1)
			if truth(b.cond.eval(r, in)) {
				keep = append(keep, v)
			}
		}
		items = keep
	}
	if len(items) == 0 {
		execAll(r, s.in(), b.orElse)
		return
	}
	l := &loop{items: items, depth: depth}
	if b.recursive {
		l.again = func(r *run, items []any) text {
			defer r.enter()()
			return r.capture(func() { b.over1(r, s, items, depth+1) })
		}
	}
	for l.i = range items {
		r.step(2)
		in := s.in()
		in.set("loop", l)
		b.target.assign(r, in, items[l.i])
		if execAll(r, in, b.body) == sigBreak {
			return
		}
	}
}

// assign gives v to the target.
func (t *target) assign(r *run, s *scope, v any) {
	if t.parts != nil {
		items := iterate(r, v)
		if len(items) != len(t.parts) {
			fail("%d values for %d names", len(items), len(t.parts))
		}
		for i := range t.parts {
			t.parts[i].assign(r, s, items[i])
		}
		return
	}
	if t.attr == "" {
		s.set(t.name, v)
		return
	}
	ns, _ := s.get(t.name)
	n, ok := ns.(*namespace)
	if d, isDict := ns.(*dict); isDict && r.forgiving {
		d.set(lit(t.attr), v)
		return
	}
	if !ok {
		fail("%s is no namespace: its attribute %s cannot be set", t.name, t.attr)
	}
	n.set(lit(t.attr), v)
}

func (b *setStmt) exec(r *run, s *scope) signal {
	if b.value != nil {
		b.target.assign(r, s, b.value.eval(r, s))
		return sigNone
	}
	var v any = r.capture(func() { execAll(r, s.in(), b.body) })
	if b.filter != nil {
		v = applyChain(r, s, b.filter, v)
	}
	b.target.assign(r, s, v)
	return sigNone
}

func (b *withStmt) exec(r *run, s *scope) signal {
	in := s.in()
	for i, v := range b.values {
		b.targets[i].assign(r, in, v.eval(r, s))
	}
	return execAll(r, in, b.body)
}

func (b *filterStmt) exec(r *run, s *scope) signal {
	t := r.capture(func() { execAll(r, s.in(), b.body) })
	r.write(str(applyChain(r, s, b.filter, t)))
	return sigNone
}

func (b *macroStmt) exec(_ *run, s *scope) signal {
	s.set(b.m.name, b.m.bind(s))
	return sigNone
}

// bind makes the macro callable in the scope where it is defined.
func (m *macro) bind(s *scope) *callable {
	return &callable{name: m.name, call: func(r *run, a *args) any {
		defer r.enter()()
		in := s.in()
		in.set("varargs", &list{append([]any{}, a.pos[min(len(a.pos), len(m.params)):]...), true})
		rest := newDict()
		for i, n := range a.names {
			if n == "caller" {
				in.set("caller", a.named[i])
				continue
			}
			rest.set(lit(n), a.named[i])
		}
		for i, p := range m.params {
			if i < len(a.pos) {
				in.set(p, a.pos[i])
			} else if v, ok := rest.get(lit(p)); ok {
				in.set(p, v)
				rest.delete(lit(p))
			} else if m.defaults[i] != nil {
				in.set(p, m.defaults[i].eval(r, in))
			} else {
				in.set(p, undefined{fmt.Sprintf("parameter %q", p)})
			}
		}
		in.set("kwargs", rest)
		return r.capture(func() { execAll(r, in, m.body) })
	}}
}

func (b *callStmt) exec(r *run, s *scope) signal {
	f := b.call.f.eval(r, s)
	a := b.call.args.eval(r, s)
	a.names, a.named = append(a.names, "caller"), append(a.named, b.m.bind(s))
	r.write(str(invoke(r, f, a)))
	return sigNone
}

// loop is the variable of that name inside a for block.
type loop struct {
	items []any
	i     int
	depth int64
	last  []any // arguments of the last call of changed
	again func(r *run, items []any) text
}

func (l *loop) attr(name string) any {
	n := len(l.items)
	switch name {
	case "index":
		return int64(l.i + 1)
	case "index0":
		return int64(l.i)
	case "revindex":
		return int64(n - l.i)
	case "revindex0":
		return int64(n - l.i - 1)
	case "first":
		return l.i == 0
	case "last":
		return l.i == n-1
	case "length":
		return int64(n)
	case "depth":
		return l.depth
	case "depth0":
		return l.depth - 1
	case "previtem":
		if l.i > 0 {
			return l.items[l.i-1]
		}
		return undefined{"loop.previtem of the first item"}
	case "nextitem":
		if l.i < n-1 {
			return l.items[l.i+1]
		}
		return undefined{"loop.nextitem of the last item"}
	case "cycle":
		return &callable{name: "cycle", call: func(_ *run, a *args) any {
			if len(a.pos) == 0 {
				fail("cycle wants items")
			}
			return a.pos[l.i%len(a.pos)]
		}}
	case "changed":
		return &callable{name: "changed", call: func(_ *run, a *args) any {
			same := l.last != nil && equal(&list{l.last, true}, &list{a.pos, true})
			l.last = append([]any{}, a.pos...)
			return !same
		}}
	}
	return undefined{"loop." + name}
}
