package chat

type test = func(r *run, v any, a *args) bool

var tests map[string]test

func is[T any](_ *run, v any, _ *args) bool { _, ok := v.(T); return ok }

func not(t test) test { return func(r *run, v any, a *args) bool { return !t(r, v, a) } }

// comparing makes a test of an operator.
func comparing(op string) test {
	return func(r *run, v any, a *args) bool { a.want(1, 1); return holds(r, op, v, a.pos[0]) }
}

func divides(n int64) func(v any) bool {
	return func(v any) bool {
		x, ok := integer(v)
		if !ok {
			fail("a %s is no integer", typeName(v))
		}
		return x%n == 0
	}
}

func init() {
	sequence := func(_ *run, v any, _ *args) bool {
		switch v.(type) {
		case text, *list, *dict, undefined:
			return true
		}
		return false
	}
	tests = map[string]test{
		"defined":   not(is[undefined]),
		"undefined": is[undefined],
		"none":      func(_ *run, v any, _ *args) bool { return v == nil },
		"string":    is[text],
		"mapping":   is[*dict],
		"sequence":  sequence,
		"iterable":  sequence,
		"boolean":   is[bool],
		"integer":   is[int64],
		"float":     is[float64],
		"number":    func(_ *run, v any, _ *args) bool { _, ok := number(v); return ok },
		"true":      func(_ *run, v any, _ *args) bool { return v == true },
		"false":     func(_ *run, v any, _ *args) bool { return v == false },
		"callable":  is[*callable],
		"upper":     func(_ *run, v any, _ *args) bool { return isUpper(str(v).s) },
		"lower":     func(_ *run, v any, _ *args) bool { return isLower(str(v).s) },
		"odd":       func(_ *run, v any, _ *args) bool { return !divides(2)(v) },
		"even":      func(_ *run, v any, _ *args) bool { return divides(2)(v) },
		"divisibleby": func(_ *run, v any, a *args) bool {
			n := a.int(0, "num", 0)
			if n == 0 {
				fail("division by zero")
			}
			return divides(n)(v)
		},
		"sameas": func(_ *run, v any, a *args) bool {
			a.want(1, 1)
			return typeName(v) == typeName(a.pos[0]) && equal(v, a.pos[0])
		},
		"filter": func(_ *run, v any, _ *args) bool { return filters[str(v).s] != nil },
		"test":   func(_ *run, v any, _ *args) bool { return tests[str(v).s] != nil },
		"escaped": func(_ *run, v any, _ *args) bool {
			t, ok := v.(text)
			return ok && t.markup
		},
		"in": comparing("in"),
		"eq": comparing("=="), "ne": comparing("!="), "lt": comparing("<"), "le": comparing("<="), "gt": comparing(">"), "ge": comparing(">="),
	}
	for name, like := range map[string]string{"equalto": "eq", "==": "eq", "!=": "ne", "<": "lt", "lessthan": "lt", "<=": "le", ">": "gt",
		"greaterthan": "gt", ">=": "ge"} {
		tests[name] = tests[like]
	}
}
