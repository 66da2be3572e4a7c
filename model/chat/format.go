package chat

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// printf is the % operator of strings: %s %r %d %i %f %e %g %x %%, with flags, width and precision.
func printf(t text, v any) text {
	values := []any{v}
	if l, ok := v.(*list); ok && l.tuple {
		values = l.items
	}
	var j joiner
	at, used := 0, 0
	for {
		i := strings.IndexByte(t.s[at:], '%')
		if i < 0 {
			j.add(t.cut(at, len(t.s)))
			break
		}
		j.add(t.cut(at, at+i))
		at += i + 1
		flags := at
		for at < len(t.s) && strings.IndexByte("-+ 0123456789.", t.s[at]) >= 0 {
			at++
		}
		if at == len(t.s) {
			fail("%%: the format is cut off")
		}
		spec, verb := t.s[flags:at], t.s[at]
		at++
		if verb == '%' {
			j.addFrom("%", false)
			continue
		}
		if used == len(values) {
			fail("%%: too few values")
		}
		j.add(verbText(spec, verb, values[used]))
		used++
	}
	if _, isDict := v.(*dict); used < len(values) && !isDict {
		fail("%%: too many values")
	}
	return j.text()
}

// verbText formats one value.
func verbText(spec string, verb byte, v any) text {
	for _, n := range strings.Split(strings.TrimLeft(spec, "-+ 0"), ".") {
		if w, err := strconv.Atoi(n); n != "" && (err != nil || w > 1000) {
			fail("%%: width %s is over 1000", n)
		}
	}
	switch verb {
	case 's', 'r':
		s := str(v)
		if verb == 'r' {
			s = repr(v)
		}
		if spec == "" {
			return s
		}
		out := fmt.Sprintf("%"+spec+"s", s.s)
		if len(s.user) > 0 {
			return foreign(out) // which of the bytes are a user's is not followed through widths and precisions
		}
		return lit(out)
	case 'd', 'i', 'x', 'X', 'o':
		f, ok := number(v)
		if !ok {
			fail("%%%c: a %s is no number", verb, typeName(v))
		}
		n, ok := integer(v)
		if !ok {
			n = int64(math.Trunc(f))
		}
		return lit(fmt.Sprintf("%"+spec+map[byte]string{'i': "d"}[verb]+strings.TrimLeft(string(verb), "i"), n))
	case 'f', 'e', 'g', 'F', 'E', 'G':
		f, ok := number(v)
		if !ok {
			fail("%%%c: a %s is no number", verb, typeName(v))
		}
		return lit(fmt.Sprintf("%"+spec+string(verb), f))
	}
	fail("%%%c is not known", verb)
	return text{}
}

// formatBraces is str.format with {} and {0} and {name}, without attributes, conversions or format specifications.
func formatBraces(t text, a *args) text {
	var j joiner
	next := 0
	for at := 0; at < len(t.s); {
		i := strings.IndexAny(t.s[at:], "{}")
		if i < 0 {
			j.add(t.cut(at, len(t.s)))
			break
		}
		j.add(t.cut(at, at+i))
		at += i
		if strings.HasPrefix(t.s[at:], "{{") || strings.HasPrefix(t.s[at:], "}}") {
			j.add(t.cut(at, at+1))
			at += 2
			continue
		}
		end := strings.IndexByte(t.s[at:], '}')
		if t.s[at] == '}' || end < 0 {
			fail("format: a single brace")
		}
		field := t.s[at+1 : at+end]
		at += end + 1
		index, err := strconv.Atoi(field)
		switch {
		case field == "":
			index = next
			next++
		case strings.ContainsAny(field, ".[!:"):
			fail("format: {%s} is not known here", field)
		case err != nil:
			index = -1
		}
		v := a.get(index, field, undefined{"{" + field + "}"})
		if u, ok := v.(undefined); ok {
			fail("format: %s has no value", u.what)
		}
		j.add(str(v))
	}
	return j.text()
}

var htmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

func escapeHTML(t text) text {
	if t.markup {
		return t
	}
	out := t.mapped(htmlEscaper.Replace)
	out.markup = true
	return out
}

// indent puts a prefix before each line but the first.
func indent(r *run, t text, prefix text, first, blank bool) text {
	var j joiner
	if first {
		j.add(prefix)
	}
	lines := concat(t, lit("\n")).lines(false)
	for i, v := range lines {
		line := v.(text) // lines gives texts
		if i > 0 {
			j.addFrom("\n", false)
			if line.s != "" || blank {
				j.add(prefix)
			}
		}
		j.add(line)
		if int64(j.b.Len()) > maxText() {
			budget("a string has over %d bytes", maxText())
		}
	}
	return r.made(j.text())
}

// truncate shortens t to n characters, at a word's end unless kill, with an ending.
func truncate(t text, n int64, kill bool, end text, leeway int64) text {
	if n < int64(utf8.RuneCountInString(end.s)) {
		fail("truncate: the length is below that of the ending")
	}
	at := t.runes()
	if int64(len(at)-1) <= n+leeway {
		return t
	}
	keep := t.cut(0, at[n-int64(utf8.RuneCountInString(end.s))])
	if !kill {
		if i := strings.LastIndexByte(keep.s, ' '); i >= 0 {
			keep = keep.cut(0, i)
		}
	}
	return concat(keep, end)
}

// roundTo rounds as the filter does: half to even, up or down.
func roundTo(x float64, digits int64, how string) float64 {
	switch how {
	case "ceil", "floor":
		p := math.Pow(10, float64(digits))
		if how == "ceil" {
			return math.Ceil(x*p) / p
		}
		return math.Floor(x*p) / p
	}
	if digits < 0 {
		p := math.Pow(10, float64(-digits))
		return math.RoundToEven(x/p) * p
	}
	f, err := strconv.ParseFloat(strconv.FormatFloat(x, 'f', int(min(digits, 300)), 64), 64)
	if err != nil {
		return x
	}
	return f
}
