package chat

import (
	"fmt"
	"strings"
)

type expr interface {
	eval(r *run, s *scope) any
}

type (
	constExpr struct{ v any }
	nameExpr  struct {
		name string
		line int
	}
	listExpr struct {
		items []expr
		tuple bool
	}
	dictExpr struct{ keys, vals []expr }
	condExpr struct{ cond, then, orElse expr }
	binExpr  struct {
		op   string
		a, b expr
	}
	logicExpr struct {
		and  bool
		a, b expr
	}
	notExpr  struct{ e expr }
	signExpr struct {
		op string
		e  expr
	}
	compareExpr struct {
		first expr
		ops   []string
		rest  []expr
	}
	concatExpr struct{ parts []expr }
	attrExpr   struct {
		of   expr
		name string
		line int
	}
	indexExpr struct {
		of, i expr
		line  int
	}
	sliceExpr struct{ of, lo, hi, step expr }
	callExpr  struct {
		f    expr
		args *argExprs
		line int
	}
	argExprs struct {
		pos            []expr
		names          []string
		named          []expr
		star, starStar expr
	}
	filterExpr struct {
		of   expr // nil in a filter block: what the block prints
		name string
		f    func(r *run, v any, a *args) any
		args *argExprs
		line int
	}
	testExpr struct {
		of   expr
		name string
		f    func(r *run, v any, a *args) bool
		args *argExprs
		line int
	}
)

func (e constExpr) eval(r *run, _ *scope) any { r.step(1); return e.v }

func (e *nameExpr) eval(r *run, s *scope) any {
	r.step(1)
	if v, ok := s.get(e.name); ok {
		return v
	}
	for i := len(r.callers) - 1; i >= 0 && r.forgiving; i-- {
		if v, ok := r.callers[i].get(e.name); ok {
			return v
		}
	}
	return undefined{fmt.Sprintf("%q", e.name)}
}

func (e *listExpr) eval(r *run, s *scope) any {
	r.step(1)
	l := &list{items: make([]any, len(e.items)), tuple: e.tuple}
	for i, x := range e.items {
		l.items[i] = x.eval(r, s)
	}
	return l
}

func (e *dictExpr) eval(r *run, s *scope) any {
	r.step(1)
	d := newDict()
	for i := range e.keys {
		d.set(e.keys[i].eval(r, s), e.vals[i].eval(r, s))
	}
	return d
}

func (e *condExpr) eval(r *run, s *scope) any {
	r.step(1)
	if truth(e.cond.eval(r, s)) {
		return e.then.eval(r, s)
	}
	if e.orElse == nil {
		return undefined{"the value of a condition without else"}
	}
	return e.orElse.eval(r, s)
}

func (e *logicExpr) eval(r *run, s *scope) any {
	r.step(1)
	v := e.a.eval(r, s)
	if truth(v) != e.and {
		return v
	}
	return e.b.eval(r, s)
}

func (e *notExpr) eval(r *run, s *scope) any { r.step(1); return !truth(e.e.eval(r, s)) }

func (e *signExpr) eval(r *run, s *scope) any {
	r.step(1)
	switch x := e.e.eval(r, s).(type) {
	case int64:
		if e.op == "-" {
			return -x
		}
		return x
	case float64:
		if e.op == "-" {
			return -x
		}
		return x
	default:
		fail("%s before a %s", e.op, typeName(x))
		return nil
	}
}

func (e *compareExpr) eval(r *run, s *scope) any {
	r.step(1)
	a := e.first.eval(r, s)
	for i, op := range e.ops {
		b := e.rest[i].eval(r, s)
		if !holds(r, op, a, b) {
			return false
		}
		a = b
	}
	return true
}

func holds(r *run, op string, a, b any) bool {
	if x, ok := a.(text); ok {
		r.step(int64(len(x.s) / bytesPerStep))
	}
	switch op {
	case "==":
		return equal(a, b)
	case "!=":
		return !equal(a, b)
	case "<":
		return compare(a, b) < 0
	case "<=":
		return compare(a, b) <= 0
	case ">":
		return compare(a, b) > 0
	case ">=":
		return compare(a, b) >= 0
	case "not in":
		return !contains(r, b, a)
	}
	return contains(r, b, a)
}

// contains reports whether v is in the collection.
func contains(r *run, in, v any) bool {
	switch x := in.(type) {
	case text:
		y, ok := v.(text)
		if !ok {
			fail("a %s is looked for in a string", typeName(v))
		}
		r.step(int64(len(x.s) / bytesPerStep))
		return strings.Contains(x.s, y.s)
	case *dict:
		_, ok := x.get(v)
		return ok
	}
	for _, y := range iterate(r, in) {
		r.step(1)
		if equal(y, v) {
			return true
		}
	}
	return false
}

func (e *concatExpr) eval(r *run, s *scope) any {
	r.step(1)
	var j joiner
	for _, p := range e.parts {
		j.add(str(p.eval(r, s)))
		if int64(j.b.Len()) > maxText() {
			budget("a string has over %d bytes", maxText())
		}
	}
	return r.made(j.text())
}

func (e *binExpr) eval(r *run, s *scope) any {
	r.step(1)
	return arithmetic(r, e.op, e.a.eval(r, s), e.b.eval(r, s))
}

func (e *attrExpr) eval(r *run, s *scope) any {
	r.step(1)
	v := e.of.eval(r, s)
	r.line = e.line
	return attribute(r, v, e.name)
}

func (e *indexExpr) eval(r *run, s *scope) any {
	r.step(1)
	v, i := e.of.eval(r, s), e.i.eval(r, s)
	r.line = e.line
	return item(r, v, i)
}

// attribute is v.name: a method first, then a key, as in Jinja.
func attribute(r *run, v any, name string) any {
	if strings.HasPrefix(name, "__") {
		fail("attribute %q: names that begin with __ are closed", name)
	}
	switch x := v.(type) {
	case undefined:
		r.missing(x)
		return x
	case *loop:
		return x.attr(name)
	case *namespace:
		if w, ok := x.get(lit(name)); ok {
			return w
		}
		return undefined{fmt.Sprintf("attribute %q of a namespace", name)}
	}
	if m := method(v, name); m != nil {
		return m
	}
	if d, ok := v.(*dict); ok {
		if w, ok := d.get(lit(name)); ok {
			return w
		}
	}
	return undefined{fmt.Sprintf("attribute %q of a %s", name, typeName(v))}
}

// item is v[i]: a key or place first, then a method.
func item(r *run, v, i any) any {
	switch x := v.(type) {
	case undefined:
		r.missing(x)
		return x
	case *dict:
		if w, ok := x.find(i); ok {
			return w
		}
	case *namespace:
		if w, ok := x.find(i); ok {
			return w
		}
	case *list:
		if n, ok := integer(i); ok {
			if n < 0 {
				n += int64(len(x.items))
			}
			if n >= 0 && n < int64(len(x.items)) {
				return x.items[n]
			}
			return undefined{fmt.Sprintf("item %d of %d", n, len(x.items))}
		}
	case text:
		if n, ok := integer(i); ok {
			at := x.runes()
			if n < 0 {
				n += int64(len(at) - 1)
			}
			if n >= 0 && n < int64(len(at)-1) {
				return x.cut(at[n], at[n+1])
			}
			return undefined{fmt.Sprintf("character %d of %d", n, len(at)-1)}
		}
	}
	if name, ok := i.(text); ok {
		return attribute(r, v, name.s)
	}
	return undefined{fmt.Sprintf("item %s of a %s", str(i).s, typeName(v))}
}

func (e *sliceExpr) eval(r *run, s *scope) any {
	r.step(1)
	v := e.of.eval(r, s)
	bound := func(x expr) (int64, bool) {
		if x == nil {
			return 0, false
		}
		w := x.eval(r, s)
		if w == nil {
			return 0, false
		}
		n, ok := integer(w)
		if !ok {
			fail("a slice wants integers, not a %s", typeName(w))
		}
		return n, true
	}
	lo, hasLo := bound(e.lo)
	hi, hasHi := bound(e.hi)
	step, hasStep := bound(e.step)
	if !hasStep {
		step = 1
	}
	if step == 0 {
		fail("a slice with step 0")
	}
	var n int64
	var at []int
	switch x := v.(type) {
	case text:
		at = x.runes()
		n = int64(len(at) - 1)
		r.step(n / bytesPerStep)
	case *list:
		n = int64(len(x.items))
	case undefined:
		return r.missing(x)
	default:
		fail("a %s has no slices", typeName(v))
	}
	clamp := func(i int64, has bool, def, low, high int64) int64 {
		if !has {
			return def
		}
		if i < 0 {
			i += n
		}
		return min(max(i, low), high)
	}
	if step > 0 {
		lo, hi = clamp(lo, hasLo, 0, 0, n), clamp(hi, hasHi, n, 0, n)
	} else {
		lo, hi = clamp(lo, hasLo, n-1, -1, n-1), clamp(hi, hasHi, -1, -1, n-1)
	}
	if t, ok := v.(text); ok {
		if step == 1 {
			return r.made(t.cut(at[lo], at[max(lo, hi)]))
		}
		var j joiner
		for i := lo; step > 0 && i < hi || step < 0 && i > hi; i += step {
			j.add(t.cut(at[i], at[i+1]))
		}
		return r.made(j.text())
	}
	l := v.(*list)
	out := &list{items: []any{}, tuple: l.tuple}
	for i := lo; step > 0 && i < hi || step < 0 && i > hi; i += step {
		out.items = append(out.items, l.items[i])
	}
	r.step(int64(len(out.items)))
	return out
}

func (e *callExpr) eval(r *run, s *scope) any {
	r.step(1)
	f := e.f.eval(r, s)
	a := e.args.eval(r, s)
	r.line = e.line
	r.callers = append(r.callers, s)
	v := invoke(r, f, a)
	r.callers = r.callers[:len(r.callers)-1]
	return v
}

func invoke(r *run, f any, a *args) any {
	switch x := f.(type) {
	case *callable:
		a.of = x.name
		return x.call(r, a)
	case *loop:
		if x.again == nil {
			fail("the loop is not recursive")
		}
		return x.again(r, iterate(r, a.get(0, "iterable", undefined{"the argument of loop"})))
	case undefined:
		return r.missing(x)
	}
	fail("a %s cannot be called", typeName(f))
	return nil
}

func (e *filterExpr) eval(r *run, s *scope) any { return e.apply(r, s, e.of.eval(r, s)) }

func (e *filterExpr) apply(r *run, s *scope, v any) any {
	r.step(1)
	r.line = e.line
	if e.f == nil {
		fail("there is no filter %q", e.name)
	}
	a := e.args.eval(r, s)
	a.of = e.name
	return e.f(r, v, a)
}

// applyChain runs the filters of a block on what it printed.
func applyChain(r *run, s *scope, e expr, v any) any {
	f := e.(*filterExpr) // the parser makes nothing else
	if f.of != nil {
		v = applyChain(r, s, f.of, v)
	}
	return f.apply(r, s, v)
}

func (e *testExpr) eval(r *run, s *scope) any {
	r.step(1)
	v := e.of.eval(r, s)
	r.line = e.line
	if e.f == nil {
		fail("there is no test %q", e.name)
	}
	a := e.args.eval(r, s)
	a.of = e.name
	return e.f(r, v, a)
}

func (e *argExprs) eval(r *run, s *scope) *args {
	a := &args{}
	if e == nil {
		return a
	}
	for _, x := range e.pos {
		a.pos = append(a.pos, x.eval(r, s))
	}
	if e.star != nil {
		a.pos = append(a.pos, iterate(r, e.star.eval(r, s))...)
	}
	a.names = append(a.names, e.names...)
	for _, x := range e.named {
		a.named = append(a.named, x.eval(r, s))
	}
	if e.starStar != nil {
		d, ok := e.starStar.eval(r, s).(*dict)
		if !ok {
			fail("** wants a mapping")
		}
		for _, k := range d.keys {
			a.names, a.named = append(a.names, str(d.all[k]).s), append(a.named, d.vals[k])
		}
	}
	return a
}

// iterate returns the items of a collection: of a mapping its keys, of a string its characters.
func iterate(r *run, v any) []any {
	switch x := v.(type) {
	case *list:
		r.step(int64(len(x.items) / 8))
		return x.items
	case *dict:
		r.step(int64(len(x.keys) / 8))
		return x.names()
	case text:
		at := x.runes()
		r.step(int64(len(at)))
		out := make([]any, len(at)-1)
		for i := range out {
			out[i] = x.cut(at[i], at[i+1])
		}
		return out
	case undefined:
		return nil
	}
	fail("a %s has no items", typeName(v))
	return nil
}
