package chat

import (
	"math"

	"github.com/parelm/pare/internal/limits"
)

// arithmetic applies an operator as Python does.
func arithmetic(r *run, op string, a, b any) any {
	if x, ok := integer(a); ok {
		if y, ok := integer(b); ok {
			return integers(op, x, y)
		}
	}
	x, xok := number(a)
	y, yok := number(b)
	if xok && yok {
		return floats(op, x, y)
	}
	switch s := a.(type) {
	case text:
		switch t, isText := b.(text); {
		case op == "+" && isText:
			return r.made(plus(s, t))
		case op == "*":
			if n, ok := integer(b); ok {
				return times(r, s, n)
			}
		case op == "%":
			return r.made(printf(s, b))
		}
	case *list:
		if t, ok := b.(*list); ok && op == "+" && s.tuple == t.tuple {
			r.step(int64(len(s.items) + len(t.items)))
			return &list{append(append([]any{}, s.items...), t.items...), s.tuple}
		}
		if n, ok := integer(b); ok && op == "*" {
			n = max(n, 0)
			r.step(min(n, limits.TemplateFuel+1) * int64(max(1, len(s.items))))
			l := &list{tuple: s.tuple}
			for range n {
				l.items = append(l.items, s.items...)
			}
			return l
		}
	}
	if _, ok := integer(a); ok && op == "*" {
		switch b.(type) {
		case text, *list:
			return arithmetic(r, op, b, a)
		}
	}
	if u, ok := a.(undefined); ok {
		return arithmetic(r, op, r.missing(u), b)
	}
	if u, ok := b.(undefined); ok {
		return arithmetic(r, op, a, r.missing(u))
	}
	fail("%s between a %s and a %s", op, typeName(a), typeName(b))
	return nil
}

// plus adds strings; where one of them is marked as safe, the other is escaped.
func plus(a, b text) text {
	if a.markup != b.markup {
		if a.markup {
			b = escapeHTML(b)
		} else {
			a = escapeHTML(a)
		}
	}
	out := concat(a, b)
	out.markup = a.markup || b.markup
	return out
}

func times(r *run, t text, n int64) text {
	if n <= 0 || t.s == "" {
		return text{}
	}
	if n > maxText()/int64(len(t.s)) {
		budget("a string of %d times %d bytes, the limit is %d", n, len(t.s), maxText())
	}
	r.step(n/bytesPerStep + 1)
	var j joiner
	for range n {
		j.add(t)
	}
	return r.made(j.text())
}

func integers(op string, x, y int64) any {
	wide := func(f float64) {
		if math.Abs(f) >= 1<<62 {
			fail("%d %s %d is too large", x, op, y)
		}
	}
	switch op {
	case "+":
		wide(float64(x) + float64(y))
		return x + y
	case "-":
		wide(float64(x) - float64(y))
		return x - y
	case "*":
		wide(float64(x) * float64(y))
		return x * y
	case "**":
		if y < 0 {
			return math.Pow(float64(x), float64(y))
		}
		wide(math.Pow(float64(x), float64(y)))
		out := int64(1)
		for ; y > 0; y, x = y>>1, x*x {
			if y&1 == 1 {
				out *= x
			}
		}
		return out
	}
	if y == 0 {
		fail("division by zero")
	}
	switch op {
	case "/":
		return float64(x) / float64(y)
	case "//":
		q := x / y
		if x%y != 0 && (x < 0) != (y < 0) {
			q--
		}
		return q
	}
	m := x % y
	if m != 0 && (m < 0) != (y < 0) {
		m += y
	}
	return m
}

func floats(op string, x, y float64) any {
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "**":
		return math.Pow(x, y)
	}
	if y == 0 {
		fail("division by zero")
	}
	switch op {
	case "/":
		return x / y
	case "//":
		return math.Floor(x / y)
	}
	m := math.Mod(x, y)
	if m != 0 && (m < 0) != (y < 0) {
		m += y
	}
	return m
}
