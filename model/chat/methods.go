package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// A method of a string, list or mapping, by its name in Python. self is what it is called on.
type (
	textMethod func(r *run, t text, a *args) any
	listMethod func(r *run, l *list, a *args) any
	dictMethod func(r *run, d *dict, a *args) any
)

// method returns a bound method, or nil.
func method(v any, name string) any {
	switch x := v.(type) {
	case text:
		if m := textMethods[name]; m != nil {
			return &callable{name, func(r *run, a *args) any {
				r.step(int64(len(x.s) / bytesPerStep))
				out := m(r, x, a)
				if t, ok := out.(text); ok {
					return r.made(t)
				}
				return out
			}}
		}
	case *list:
		if m := listMethods[name]; m != nil {
			return &callable{name, func(r *run, a *args) any { r.step(int64(len(x.items) / 8)); return m(r, x, a) }}
		}
	case *dict:
		if m := dictMethods[name]; m != nil {
			return &callable{name, func(r *run, a *args) any { r.step(int64(len(x.keys) / 8)); return m(r, x, a) }}
		}
	}
	return nil
}

func stripMethod(left, right bool) textMethod {
	return func(_ *run, t text, a *args) any {
		v := a.get(0, "", nil)
		return t.strip(a.text(0, "chars", "").s, v == nil, left, right)
	}
}

func splitMethod(right bool) textMethod {
	return func(r *run, t text, a *args) any {
		n := a.int(1, "maxsplit", -1)
		sep := a.get(0, "sep", nil)
		var out []any
		switch {
		case sep != nil:
			s := a.text(0, "sep", "").s
			if s == "" {
				fail("%s: the separator is empty", a.of)
			}
			out = t.split(s, int(n), right)
		case right && n >= 0:
			fail("rsplit at white space with a bound is not known here")
		default:
			out = t.fields(int(n))
		}
		r.step(int64(len(out)))
		return &list{items: out}
	}
}

// affix makes startswith and endswith.
func affix(has func(s, affix string) bool) textMethod {
	return func(_ *run, t text, a *args) any {
		a.want(1, 1)
		if l, ok := a.pos[0].(*list); ok {
			for _, v := range l.items {
				if x, ok := v.(text); ok && has(t.s, x.s) {
					return true
				}
			}
			return false
		}
		return has(t.s, a.text(0, "prefix", "").s)
	}
}

func every(is func(rune) bool) textMethod {
	return func(_ *run, t text, _ *args) any {
		for _, r := range t.s {
			if !is(r) {
				return false
			}
		}
		return t.s != ""
	}
}

// cased reports whether all letters with case are of one case, and there is one.
func cased(is, other func(rune) bool) textMethod {
	return func(_ *run, t text, _ *args) any {
		any := false
		for _, r := range t.s {
			if other(r) {
				return false
			}
			any = any || is(r)
		}
		return any
	}
}

func findMethod(index func(s, sub string) int, must bool) textMethod {
	return func(_ *run, t text, a *args) any {
		i := index(t.s, a.text(0, "sub", "").s)
		if i < 0 && must {
			fail("%s: not found", a.of)
		}
		if i < 0 {
			return int64(-1)
		}
		return int64(utf8.RuneCountInString(t.s[:i]))
	}
}

// pad makes ljust, rjust and center.
func pad(left, right bool) textMethod {
	return func(r *run, t text, a *args) any {
		n := a.int(0, "width", 0) - int64(utf8.RuneCountInString(t.s))
		fill := a.text(1, "fillchar", " ")
		if n <= 0 {
			return t
		}
		var before, after int64
		switch {
		case left && right:
			before = n/2 + n&a.int(0, "width", 0)&1
			after = n - before
		case right:
			after = n
		default:
			before = n
		}
		return concat(times(r, fill, before), t, times(r, fill, after))
	}
}

var textMethods map[string]textMethod

func init() { // not a literal: the methods refer to functions that refer to the table
	textMethods = map[string]textMethod{
		"strip": stripMethod(true, true), "lstrip": stripMethod(true, false), "rstrip": stripMethod(false, true),
		"split": splitMethod(false), "rsplit": splitMethod(true),
		"splitlines": func(_ *run, t text, a *args) any { return &list{items: t.lines(a.bool(0, "keepends", false))} },
		"startswith": affix(strings.HasPrefix), "endswith": affix(strings.HasSuffix),
		"upper":      func(_ *run, t text, _ *args) any { return t.mapped(upper) },
		"lower":      func(_ *run, t text, _ *args) any { return t.mapped(strings.ToLower) },
		"casefold":   func(_ *run, t text, _ *args) any { return t.mapped(strings.ToLower) },
		"capitalize": func(_ *run, t text, _ *args) any { return t.title(false) },
		"title":      func(_ *run, t text, _ *args) any { return t.title(true) },
		"replace": func(_ *run, t text, a *args) any {
			a.want(2, 3)
			return t.replace(a.text(0, "old", "").s, a.text(1, "new", ""), int(a.int(2, "count", -1)))
		},
		"join": func(r *run, t text, a *args) any { return joinTexts(r, t, iterate(r, a.get(0, "iterable", nil)), true) },
		"find": findMethod(strings.Index, false), "rfind": findMethod(strings.LastIndex, false),
		"index": findMethod(strings.Index, true), "rindex": findMethod(strings.LastIndex, true),
		"count": func(_ *run, t text, a *args) any { return int64(strings.Count(t.s, a.text(0, "sub", "").s)) },
		"removeprefix": func(_ *run, t text, a *args) any {
			return t.cut(len(t.s)-len(strings.TrimPrefix(t.s, a.text(0, "prefix", "").s)), len(t.s))
		},
		"removesuffix": func(_ *run, t text, a *args) any {
			return t.cut(0, len(strings.TrimSuffix(t.s, a.text(0, "suffix", "").s)))
		},
		"partition":  func(_ *run, t text, a *args) any { return partition(t, a.text(0, "sep", "").s, false) },
		"rpartition": func(_ *run, t text, a *args) any { return partition(t, a.text(0, "sep", "").s, true) },
		"isdigit":    every(unicode.IsDigit), "isdecimal": every(unicode.IsDigit), "isnumeric": every(unicode.IsNumber),
		"isalpha": every(unicode.IsLetter), "isspace": every(pySpace),
		"isalnum": every(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }),
		"isupper": cased(unicode.IsUpper, unicode.IsLower), "islower": cased(unicode.IsLower, unicode.IsUpper),
		"ljust": pad(false, true), "rjust": pad(true, false), "center": pad(true, true),
		"zfill": func(r *run, t text, a *args) any {
			return pad(true, false)(r, t, &args{pos: []any{a.get(0, "", nil), lit("0")}})
		},
		"format": func(_ *run, t text, a *args) any { return formatBraces(t, a) },
	}
}

func partition(t text, sep string, right bool) any {
	i := strings.Index(t.s, sep)
	if right {
		i = strings.LastIndex(t.s, sep)
	}
	switch {
	case sep == "":
		fail("partition: the separator is empty")
	case i < 0 && right:
		return &list{[]any{text{}, text{}, t}, true}
	case i < 0:
		return &list{[]any{t, text{}, text{}}, true}
	}
	return &list{[]any{t.cut(0, i), t.cut(i, i+len(sep)), t.cut(i+len(sep), len(t.s))}, true}
}

// joinTexts is sep.join(items); strict refuses items that are no strings.
func joinTexts(r *run, sep text, items []any, strict bool) text {
	var j joiner
	for i, v := range items {
		r.step(1)
		t, ok := v.(text)
		if !ok && strict {
			fail("join: item %d is a %s, not a string", i, typeName(v))
		}
		if !ok {
			t = str(v)
		}
		if i > 0 {
			j.add(sep)
		}
		j.add(t)
		if int64(j.b.Len()) > maxText() {
			budget("a string has over %d bytes", maxText())
		}
	}
	return r.made(j.text())
}

// The values a template changes with these are its own copies.
var listMethods = map[string]listMethod{
	"append": func(_ *run, l *list, a *args) any {
		a.want(1, 1)
		l.items = append(l.items[:len(l.items):len(l.items)], a.pos[0])
		return nil
	},
	"extend": func(r *run, l *list, a *args) any {
		more := iterate(r, a.get(0, "iterable", nil))
		r.step(int64(len(more)))
		l.items = append(l.items[:len(l.items):len(l.items)], more...)
		return nil
	},
	"insert": func(_ *run, l *list, a *args) any {
		a.want(2, 2)
		n := int64(len(l.items))
		i := a.int(0, "index", 0)
		if i < 0 {
			i += n
		}
		i = min(max(i, 0), n)
		l.items = append(append(append([]any{}, l.items[:i]...), a.pos[1]), l.items[i:]...)
		return nil
	},
	"pop": func(_ *run, l *list, a *args) any {
		n := int64(len(l.items))
		i := a.int(0, "index", n-1)
		if i < 0 {
			i += n
		}
		if i < 0 || i >= n {
			fail("pop: there is no item %d of %d", i, n)
		}
		v := l.items[i]
		l.items = append(append([]any{}, l.items[:i]...), l.items[i+1:]...)
		return v
	},
	"reverse": func(_ *run, l *list, _ *args) any { l.items = reversed(l.items); return nil },
	"copy":    func(_ *run, l *list, _ *args) any { return &list{items: append([]any{}, l.items...)} },
	"index": func(_ *run, l *list, a *args) any {
		for i, v := range l.items {
			if equal(v, a.get(0, "value", nil)) {
				return int64(i)
			}
		}
		fail("index: not found")
		return nil
	},
	"count": func(_ *run, l *list, a *args) any {
		n := int64(0)
		for _, v := range l.items {
			if equal(v, a.get(0, "value", nil)) {
				n++
			}
		}
		return n
	},
}

var dictMethods = map[string]dictMethod{
	"items":  func(_ *run, d *dict, _ *args) any { return &list{items: d.pairs()} },
	"keys":   func(_ *run, d *dict, _ *args) any { return &list{items: d.names()} },
	"values": func(_ *run, d *dict, _ *args) any { return &list{items: d.values()} },
	"get": func(_ *run, d *dict, a *args) any {
		a.want(1, 2)
		if v, ok := d.get(a.pos[0]); ok {
			return v
		}
		return a.get(1, "default", nil)
	},
	"pop": func(_ *run, d *dict, a *args) any {
		a.want(1, 2)
		v, ok := d.get(a.pos[0])
		if !ok {
			if len(a.pos) == 2 {
				return a.pos[1]
			}
			fail("pop: there is no key %s", repr(a.pos[0]).s)
		}
		d.delete(a.pos[0])
		return v
	},
	"update": func(r *run, d *dict, a *args) any {
		if o, ok := a.get(0, "", nil).(*dict); ok {
			for _, k := range o.keys {
				r.step(1)
				d.set(o.all[k], o.vals[k])
			}
		}
		for i, n := range a.names {
			d.set(lit(n), a.named[i])
		}
		return nil
	},
	"setdefault": func(_ *run, d *dict, a *args) any {
		if v, ok := d.get(a.get(0, "key", nil)); ok {
			return v
		}
		v := a.get(1, "default", nil)
		d.set(a.get(0, "key", nil), v)
		return v
	},
	"copy": func(_ *run, d *dict, _ *args) any {
		c := newDict()
		for _, k := range d.keys {
			c.set(d.all[k], d.vals[k])
		}
		return c
	},
}
