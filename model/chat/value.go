package chat

import (
	"fmt"
	"math"
	"strings"
)

// A value of the template language is one of: nil (none), undefined, bool, int64, float64, text, *list, *dict,
// *namespace, *loop, *callable. Nothing of Go's is reachable from a template.

// undefined is what a missing name or key gives. It prints as nothing and is false; any other use is an error.
type undefined struct{ what string }

type list struct {
	items []any
	tuple bool
}

// dict keeps the order in which keys came.
type dict struct {
	keys []any
	vals map[any]any
	all  map[any]any // the keys as they were given, with their marks
}

// namespace is the only object whose attributes a template may set.
type namespace struct{ dict }

// callable is a macro, a method or a function.
type callable struct {
	name string
	call func(r *run, a *args) any
}

func newDict() *dict { return &dict{vals: map[any]any{}, all: map[any]any{}} }

// key makes a value a map key: strings without their marks, numbers by value.
func key(v any) any {
	k, ok := keyOf(v)
	if !ok {
		fail("a %s cannot be a key", typeName(v))
	}
	return k
}

func keyOf(v any) (k any, ok bool) {
	switch x := v.(type) {
	case text:
		return x.s, true
	case bool:
		if x {
			return int64(1), true
		}
		return int64(0), true
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1<<62 {
			return int64(x), true
		}
		return x, true
	case int64, nil:
		return x, true
	case *list:
		if x.tuple {
			return repr(v).s, true
		}
	}
	return nil, false
}

// find is get for d[k]: what cannot be a key is not there, as in Jinja.
func (d *dict) find(k any) (any, bool) {
	if _, ok := keyOf(k); !ok {
		return nil, false
	}
	return d.get(k)
}

func (d *dict) get(k any) (any, bool) {
	if _, ok := k.(undefined); ok {
		return nil, false
	}
	v, ok := d.vals[key(k)]
	return v, ok
}

func (d *dict) set(k, v any) {
	h := key(k)
	if _, ok := d.vals[h]; !ok {
		d.keys = append(d.keys, h)
		d.all[h] = k
	}
	d.vals[h] = v
}

func (d *dict) delete(k any) {
	h := key(k)
	for i, x := range d.keys {
		if x == h {
			d.keys = append(d.keys[:i:i], d.keys[i+1:]...)
		}
	}
	delete(d.vals, h)
	delete(d.all, h)
}

// pairs returns the items as tuples.
func (d *dict) pairs() []any {
	out := make([]any, len(d.keys))
	for i, k := range d.keys {
		out[i] = &list{[]any{d.all[k], d.vals[k]}, true}
	}
	return out
}

func (d *dict) names() []any {
	out := make([]any, len(d.keys))
	for i, k := range d.keys {
		out[i] = d.all[k]
	}
	return out
}

func (d *dict) values() []any {
	out := make([]any, len(d.keys))
	for i, k := range d.keys {
		out[i] = d.vals[k]
	}
	return out
}

// failure is an error on its way out of the interpreter; Render turns it into an error.
type failure struct{ err error }

func fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func typeName(v any) string {
	switch x := v.(type) {
	case nil:
		return "none"
	case undefined:
		return "undefined"
	case bool:
		return "boolean"
	case int64:
		return "integer"
	case float64:
		return "float"
	case text:
		return "string"
	case *list:
		if x.tuple {
			return "tuple"
		}
		return "list"
	case *dict:
		return "mapping"
	case *namespace:
		return "namespace"
	case *loop:
		return "loop"
	}
	return "function"
}

func truth(v any) bool {
	switch x := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return x
	case int64:
		return x != 0
	case float64:
		return x != 0
	case text:
		return x.s != ""
	case *list:
		return len(x.items) > 0
	case *dict:
		return len(x.keys) > 0
	}
	return true
}

// number returns v as a float where it is a number; booleans count.
func number(v any) (f float64, ok bool) {
	switch x := v.(type) {
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	case int64:
		return float64(x), true
	case float64:
		return x, true
	}
	return 0, false
}

// integer returns v as an integer where it is one.
func integer(v any) (int64, bool) {
	switch x := v.(type) {
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	case int64:
		return x, true
	}
	return 0, false
}

// maxNesting bounds the nesting of values that are compared or printed, so that a list that holds itself ends.
const maxNesting = 128

func equal(a, b any) bool { return equalAt(a, b, 0) }

func equalAt(a, b any, depth int) bool {
	if depth > maxNesting {
		fail("values are nested deeper than %d", maxNesting)
	}
	if i, ok := integer(a); ok {
		if j, ok := integer(b); ok {
			return i == j
		}
	}
	if x, ok := number(a); ok {
		y, ok := number(b)
		return ok && x == y
	}
	switch x := a.(type) {
	case nil:
		return b == nil
	case undefined:
		_, ok := b.(undefined)
		return ok
	case text:
		y, ok := b.(text)
		return ok && x.s == y.s
	case *list:
		y, ok := b.(*list)
		if !ok || len(x.items) != len(y.items) || x.tuple != y.tuple {
			return false
		}
		for i := range x.items {
			if !equalAt(x.items[i], y.items[i], depth+1) {
				return false
			}
		}
		return true
	case *dict:
		y, ok := b.(*dict)
		if !ok || len(x.keys) != len(y.keys) {
			return false
		}
		for _, k := range x.keys {
			if v, ok := y.vals[k]; !ok || !equalAt(x.vals[k], v, depth+1) {
				return false
			}
		}
		return true
	}
	return a == b
}

// compare orders two numbers, strings or lists.
func compare(a, b any) int {
	if i, ok := integer(a); ok {
		if j, ok := integer(b); ok {
			return order(i, j)
		}
	}
	if x, ok := number(a); ok {
		if y, ok := number(b); ok {
			return order(x, y)
		}
	}
	switch x := a.(type) {
	case text:
		if y, ok := b.(text); ok {
			return strings.Compare(x.s, y.s)
		}
	case *list:
		if y, ok := b.(*list); ok {
			for i := range min(len(x.items), len(y.items)) {
				if !equal(x.items[i], y.items[i]) {
					return compare(x.items[i], y.items[i])
				}
			}
			return order(len(x.items), len(y.items))
		}
	}
	fail("a %s and a %s have no order", typeName(a), typeName(b))
	return 0
}

func order[T int | int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
