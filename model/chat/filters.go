package chat

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type filter = func(r *run, v any, a *args) any

var filters map[string]filter

// onText makes a filter of a function on strings.
func onText(f func(r *run, t text, a *args) text) filter {
	return func(r *run, v any, a *args) any { return r.made(f(r, str(v), a)) }
}

func init() { // not a literal: map and select look filters and tests up
	filters = map[string]filter{
		"upper":      onText(func(_ *run, t text, _ *args) text { return t.mapped(upper) }),
		"lower":      onText(func(_ *run, t text, _ *args) text { return t.mapped(strings.ToLower) }),
		"capitalize": onText(func(_ *run, t text, _ *args) text { return t.title(false) }),
		"title":      onText(func(_ *run, t text, _ *args) text { return t.title(true) }),
		"trim":       filterTrim,
		"string":     onText(func(_ *run, t text, _ *args) text { return t }),
		"safe":       onText(func(_ *run, t text, _ *args) text { t.markup = true; return t }),
		"escape":     onText(func(_ *run, t text, _ *args) text { return escapeHTML(t) }),
		"replace": onText(func(_ *run, t text, a *args) text {
			return t.replace(a.text(0, "old", "").s, a.text(1, "new", ""), int(a.int(2, "count", -1)))
		}),
		"center": onText(func(r *run, t text, a *args) text { return pad(true, true)(r, t, a).(text) }),
		"indent": filterIndent,
		"truncate": onText(func(_ *run, t text, a *args) text {
			return truncate(t, a.int(0, "length", 255), a.bool(1, "killwords", false), a.text(2, "end", "..."), a.int(3, "leeway", 5))
		}),
		"format":    func(r *run, v any, a *args) any { return r.made(printf(str(v), &list{a.pos, true})) },
		"wordcount": func(_ *run, v any, _ *args) any { return int64(len(str(v).fields(-1))) },
		"default":   filterDefault,
		"length":    filterLength,
		"abs":       filterAbs,
		"int":       filterInt,
		"float":     filterFloat,
		"round": func(_ *run, v any, a *args) any {
			x, ok := number(v)
			if !ok {
				fail("round: a %s is no number", typeName(v))
			}
			return roundTo(x, a.int(0, "precision", 0), a.text(1, "method", "common").s)
		},
		"tojson":    filterJSON,
		"from_json": func(r *run, v any, _ *args) any { return fromJSON(r, str(v)) },
		"join":      filterJoin,
		"list":      func(r *run, v any, _ *args) any { return &list{items: append([]any{}, iterate(r, v)...)} },
		"first":     end(func(l []any) any { return l[0] }),
		"last":      end(func(l []any) any { return l[len(l)-1] }),
		"reverse":   filterReverse,
		"sort":      filterSort,
		"unique":    filterUnique,
		"min":       extreme(-1),
		"max":       extreme(1),
		"sum":       filterSum,
		"items":     filterItems,
		"dictsort":  filterDictsort,
		"map":       filterMap,
		"select":    selecting(false, true), "reject": selecting(false, false),
		"selectattr": selecting(true, true), "rejectattr": selecting(true, false),
		"groupby": filterGroup,
		"batch":   filterBatch,
		"attr":    func(r *run, v any, a *args) any { return attribute(r, v, a.text(0, "name", "").s) },
	}
	filters["e"], filters["d"], filters["count"] = filters["escape"], filters["default"], filters["length"]
}

func filterTrim(r *run, v any, a *args) any {
	return r.made(str(v).strip(a.text(0, "chars", "").s, a.get(0, "chars", nil) == nil, true, true))
}

func filterIndent(r *run, v any, a *args) any {
	prefix, ok := a.get(0, "width", int64(4)).(text)
	if !ok {
		prefix = times(r, lit(" "), a.int(0, "width", 4))
	}
	return indent(r, str(v), prefix, a.bool(1, "first", false), a.bool(2, "blank", false))
}

func filterDefault(_ *run, v any, a *args) any {
	_, undef := v.(undefined)
	if undef || a.bool(1, "boolean", false) && !truth(v) {
		return a.get(0, "default_value", text{})
	}
	return v
}

func filterLength(r *run, v any, _ *args) any {
	switch x := v.(type) {
	case text:
		r.step(int64(len(x.s) / bytesPerStep))
		return int64(utf8.RuneCountInString(x.s))
	case *list:
		return int64(len(x.items))
	case *dict:
		return int64(len(x.keys))
	case undefined:
		return int64(0)
	}
	fail("a %s has no length", typeName(v))
	return nil
}

func filterAbs(_ *run, v any, _ *args) any {
	if n, ok := integer(v); ok {
		return max(n, -n)
	}
	x, ok := number(v)
	if !ok {
		fail("abs: a %s is no number", typeName(v))
	}
	return math.Abs(x)
}

func filterInt(_ *run, v any, a *args) any {
	if x, ok := number(v); ok {
		if n, ok := integer(v); ok {
			return n
		}
		if math.Abs(x) < 1<<62 {
			return int64(x)
		}
	}
	if t, ok := v.(text); ok {
		s := strings.TrimFunc(t.s, pySpace)
		if n, err := strconv.ParseInt(s, int(min(max(a.int(1, "base", 10), 2), 36)), 64); err == nil {
			return n
		}
		if x, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(x) < 1<<62 {
			return int64(x)
		}
	}
	return a.get(0, "default", int64(0))
}

func filterFloat(_ *run, v any, a *args) any {
	if x, ok := number(v); ok {
		return x
	}
	if t, ok := v.(text); ok {
		if x, err := strconv.ParseFloat(strings.TrimFunc(t.s, pySpace), 64); err == nil {
			return x
		}
	}
	return a.get(0, "default", 0.0)
}

func filterJSON(r *run, v any, a *args) any {
	d := dump{item: ", ", key: ": ", sort: a.bool(-1, "sort_keys", false), ascii: a.bool(-1, "ensure_ascii", false)}
	switch x := a.get(1, "indent", a.get(0, "indent", nil)).(type) {
	case int64:
		d.indent, d.item = strings.Repeat(" ", int(min(max(x, 0), 64))), ","
	case text:
		d.indent, d.item = x.s, ","
	}
	if l, ok := a.get(-1, "separators", nil).(*list); ok && len(l.items) == 2 {
		d.item, d.key = str(l.items[0]).s, str(l.items[1]).s
	}
	if u, ok := v.(undefined); ok {
		return r.missing(u)
	}
	d.value(v, 0)
	return r.made(d.text())
}

func filterJoin(r *run, v any, a *args) any {
	items := iterate(r, v)
	if name := a.get(1, "attribute", nil); name != nil {
		items = mapped(items, func(v any) any { return path(r, v, name) })
	}
	return joinTexts(r, a.text(0, "d", ""), items, false)
}

// end makes first and last.
func end(pick func([]any) any) filter {
	return func(r *run, v any, a *args) any {
		items := iterate(r, v)
		if len(items) == 0 {
			return undefined{"the " + a.of + " item of nothing"}
		}
		return pick(items)
	}
}

func filterReverse(r *run, v any, _ *args) any {
	if t, ok := v.(text); ok {
		return joinTexts(r, text{}, reversed(iterate(r, t)), true)
	}
	return &list{items: reversed(iterate(r, v))}
}

// path is attribute "a.b.0" of v, as sort, map and their kin take it.
func path(r *run, v, name any) any {
	t, ok := name.(text)
	if !ok {
		return item(r, v, name)
	}
	for _, p := range strings.Split(t.s, ".") {
		if n, err := strconv.ParseInt(p, 10, 64); err == nil {
			v = item(r, v, n)
		} else {
			v = item(r, v, lit(p))
		}
	}
	return v
}

// by returns how items are compared: their attribute, without case unless asked.
func by(r *run, a *args, attr, cased any) func(any) any {
	return func(v any) any {
		if attr != nil {
			v = path(r, v, attr)
		}
		if t, ok := v.(text); ok && !truth(cased) {
			return t.mapped(strings.ToLower)
		}
		return v
	}
}

func sortItems(r *run, items []any, less func(any) any, reverse bool) []any {
	keys := make([]any, len(items))
	index := make([]int, len(items))
	for i, v := range items {
		keys[i], index[i] = less(v), i
	}
	r.step(int64(len(items)) * 4)
	slices.SortStableFunc(index, func(i, j int) int {
		r.step(1)
		if reverse {
			return compare(keys[j], keys[i])
		}
		return compare(keys[i], keys[j])
	})
	out := make([]any, len(items))
	for i, k := range index {
		out[i] = items[k]
	}
	return out
}

func sortedKeys(d *dict) []any {
	keys := append([]any{}, d.keys...)
	slices.SortStableFunc(keys, func(a, b any) int { return compare(d.all[a], d.all[b]) })
	return keys
}

func filterSort(r *run, v any, a *args) any {
	return &list{items: sortItems(r, iterate(r, v), by(r, a, a.get(2, "attribute", nil), a.get(1, "case_sensitive", false)), a.bool(0, "reverse", false))}
}

func filterUnique(r *run, v any, a *args) any {
	k := by(r, a, a.get(1, "attribute", nil), a.get(0, "case_sensitive", false))
	seen := newDict()
	out := &list{items: []any{}}
	for _, x := range iterate(r, v) {
		r.step(1)
		if _, ok := seen.get(k(x)); !ok {
			seen.set(k(x), true)
			out.items = append(out.items, x)
		}
	}
	return out
}

func extreme(sign int) filter {
	return func(r *run, v any, a *args) any {
		items := iterate(r, v)
		if len(items) == 0 {
			return undefined{"the " + a.of + " of nothing"}
		}
		k := by(r, a, a.get(1, "attribute", nil), a.get(0, "case_sensitive", false))
		best := items[0]
		for _, x := range items[1:] {
			r.step(1)
			if compare(k(x), k(best))*sign > 0 {
				best = x
			}
		}
		return best
	}
}

func filterSum(r *run, v any, a *args) any {
	sum := a.get(1, "start", int64(0))
	name := a.get(0, "attribute", nil)
	for _, x := range iterate(r, v) {
		if name != nil {
			x = path(r, x, name)
		}
		sum = arithmetic(r, "+", sum, x)
	}
	return sum
}

func filterItems(_ *run, v any, _ *args) any {
	switch x := v.(type) {
	case *dict:
		return &list{items: x.pairs()}
	case undefined:
		return &list{items: []any{}}
	}
	fail("items: a %s is no mapping", typeName(v))
	return nil
}

func filterDictsort(r *run, v any, a *args) any {
	d, ok := v.(*dict)
	if !ok {
		fail("dictsort: a %s is no mapping", typeName(v))
	}
	which := int64(0)
	if a.text(1, "by", "key").s == "value" {
		which = 1
	}
	return &list{items: sortItems(r, d.pairs(), by(r, a, which, a.get(0, "case_sensitive", false)), a.bool(2, "reverse", false))}
}

func mapped(items []any, f func(any) any) []any {
	out := make([]any, len(items))
	for i, v := range items {
		out[i] = f(v)
	}
	return out
}

func filterMap(r *run, v any, a *args) any {
	items := iterate(r, v)
	r.step(int64(len(items)))
	if name := a.get(-1, "attribute", nil); name != nil {
		def := a.get(-1, "default", nil)
		return &list{items: mapped(items, func(v any) any {
			w := path(r, v, name)
			if _, ok := w.(undefined); ok && def != nil {
				return def
			}
			return w
		})}
	}
	name := a.text(0, "filter", "").s
	f := filters[name]
	if f == nil {
		fail("there is no filter %q", name)
	}
	rest := a.rest(1)
	rest.of = name
	return &list{items: mapped(items, func(v any) any { return f(r, v, rest) })}
}

// selecting makes select, reject, selectattr and rejectattr.
func selecting(attr, keep bool) filter {
	return func(r *run, v any, a *args) any {
		at := 0
		if attr {
			a.want(1, 8)
			at = 1
		}
		is := func(v any) bool { return truth(v) }
		if len(a.pos) > at {
			name := a.text(at, "test", "").s
			t := tests[name]
			if t == nil {
				fail("there is no test %q", name)
			}
			rest := a.rest(at + 1)
			rest.of = name
			is = func(v any) bool { return t(r, v, rest) }
		}
		out := &list{items: []any{}}
		if !truth(v) { // none too, as in Jinja
			return out
		}
		for _, x := range iterate(r, v) {
			r.step(1)
			y := x
			if attr {
				y = path(r, x, a.pos[0])
			}
			if is(y) == keep {
				out.items = append(out.items, x)
			}
		}
		return out
	}
}

func filterGroup(r *run, v any, a *args) any {
	k := by(r, a, a.get(0, "attribute", nil), a.get(2, "case_sensitive", false))
	out := &list{items: []any{}}
	var group *list
	var last any
	for _, x := range sortItems(r, iterate(r, v), k, false) {
		if group == nil || !equal(k(x), last) {
			group, last = &list{}, k(x)
			out.items = append(out.items, &list{[]any{path(r, x, a.get(0, "attribute", nil)), group}, true})
		}
		group.items = append(group.items, x)
	}
	return out
}

func filterBatch(r *run, v any, a *args) any {
	n := a.int(0, "linecount", 1)
	if n < 1 {
		fail("batch: %d items in a line", n)
	}
	out := &list{items: []any{}}
	for part := range slices.Chunk(iterate(r, v), int(n)) {
		part = append([]any{}, part...)
		if fill := a.get(1, "fill_with", nil); fill != nil {
			r.step(n)
			for int64(len(part)) < n {
				part = append(part, fill)
			}
		}
		out.items = append(out.items, &list{items: part})
	}
	return out
}

func isUpper(s string) bool {
	return strings.ContainsFunc(s, unicode.IsUpper) && s == strings.ToUpper(s)
}
func isLower(s string) bool {
	return strings.ContainsFunc(s, unicode.IsLower) && s == strings.ToLower(s)
}
