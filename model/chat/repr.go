package chat

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// str is how a value prints, as str() of Python.
func str(v any) text {
	switch x := v.(type) {
	case text:
		return x
	case undefined:
		return text{}
	}
	return repr(v)
}

// repr is how a value prints inside a list.
func repr(v any) text {
	var j joiner
	writeRepr(&j, v, 0)
	return j.text()
}

func writeRepr(j *joiner, v any, depth int) {
	if depth > maxNesting {
		fail("values are nested deeper than %d", maxNesting)
	}
	switch x := v.(type) {
	case nil:
		j.addFrom("None", false)
	case bool:
		j.addFrom(map[bool]string{true: "True", false: "False"}[x], false)
	case int64:
		j.addFrom(strconv.FormatInt(x, 10), false)
	case float64:
		j.addFrom(pyFloat(x), false)
	case text:
		quote := "'"
		if strings.Contains(x.s, "'") && !strings.Contains(x.s, `"`) {
			quote = `"`
		}
		j.addFrom(quote, false)
		x.each(func(s string, user bool) { j.addFrom(pyEscape(s, quote), user) })
		j.addFrom(quote, false)
	case *list:
		open, shut := "[", "]"
		if x.tuple {
			open, shut = "(", ")"
			if len(x.items) == 1 {
				shut = ",)"
			}
		}
		j.addFrom(open, false)
		for i, v := range x.items {
			if i > 0 {
				j.addFrom(", ", false)
			}
			writeRepr(j, v, depth+1)
		}
		j.addFrom(shut, false)
	case *dict:
		j.addFrom("{", false)
		for i, k := range x.keys {
			if i > 0 {
				j.addFrom(", ", false)
			}
			writeRepr(j, x.all[k], depth+1)
			j.addFrom(": ", false)
			writeRepr(j, x.vals[k], depth+1)
		}
		j.addFrom("}", false)
	case undefined:
		j.addFrom("Undefined", false)
	default:
		j.addFrom("<"+typeName(v)+">", false)
	}
	if int64(j.b.Len()) > maxText() {
		fail("a string has over %d bytes", maxText())
	}
}

// pyFloat is repr(float): the shortest digits that read back as the same number.
func pyFloat(x float64) string {
	switch {
	case math.IsInf(x, 1):
		return "inf"
	case math.IsInf(x, -1):
		return "-inf"
	case math.IsNaN(x):
		return "nan"
	}
	e := strconv.FormatFloat(x, 'e', -1, 64)
	mantissa, exp, _ := strings.Cut(e, "e")
	n, _ := strconv.Atoi(exp) // FormatFloat wrote it
	if n >= -4 && n < 16 {
		s := strconv.FormatFloat(x, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	return fmt.Sprintf("%se%+03d", mantissa, n)
}

// pyEscape is what stands between the quotes of a repr.
func pyEscape(s, quote string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\\' || string(r) == quote:
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r >= 0x80 && !unicode.IsPrint(r):
			switch {
			case r < 0x100:
				fmt.Fprintf(&b, `\x%02x`, r)
			case r < 0x10000:
				fmt.Fprintf(&b, `\u%04x`, r)
			default:
				fmt.Fprintf(&b, `\U%08x`, r)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// dump writes JSON as json.dumps of Python does.
type dump struct {
	joiner
	indent    string // "" for one line
	item, key string // separators
	sort      bool
	ascii     bool
}

func (d *dump) value(v any, depth int) {
	if depth > maxNesting {
		fail("values are nested deeper than %d", maxNesting)
	}
	switch x := v.(type) {
	case nil:
		d.addFrom("null", false)
	case bool:
		d.addFrom(strconv.FormatBool(x), false)
	case int64:
		d.addFrom(strconv.FormatInt(x, 10), false)
	case float64:
		s := pyFloat(x)
		d.addFrom(map[string]string{"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}[s], false)
		if !math.IsInf(x, 0) && !math.IsNaN(x) {
			d.addFrom(s, false)
		}
	case text:
		d.string(x)
	case *list:
		d.group("[", "]", len(x.items), depth, func(i int) { d.value(x.items[i], depth+1) })
	case *dict:
		keys := x.keys
		if d.sort {
			keys = sortedKeys(x)
		}
		d.group("{", "}", len(keys), depth, func(i int) {
			switch k := x.all[keys[i]].(type) {
			case text:
				d.string(k)
			case nil:
				d.addFrom(`"null"`, false)
			case bool:
				d.addFrom(strconv.Quote(strconv.FormatBool(k)), false)
			default:
				d.addFrom(`"`+str(k).s+`"`, false)
			}
			d.addFrom(d.key, false)
			d.value(x.vals[keys[i]], depth+1)
		})
	default:
		fail("a %s has no JSON", typeName(v))
	}
	if int64(d.b.Len()) > maxText() {
		fail("a string has over %d bytes", maxText())
	}
}

func (d *dump) group(open, shut string, n, depth int, each func(i int)) {
	d.addFrom(open, false)
	for i := range n {
		if i > 0 {
			d.addFrom(d.item, false)
		}
		if d.indent != "" {
			d.addFrom("\n"+strings.Repeat(d.indent, depth+1), false)
		}
		each(i)
	}
	if d.indent != "" && n > 0 {
		d.addFrom("\n"+strings.Repeat(d.indent, depth), false)
	}
	d.addFrom(shut, false)
}

func (d *dump) string(t text) {
	d.addFrom(`"`, false)
	t.each(func(s string, user bool) { d.addFrom(jsonEscape(s, d.ascii), user) })
	d.addFrom(`"`, false)
}

func jsonEscape(s string, ascii bool) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r < 0x20 || ascii && r >= 0x7f && r < 0x10000 && r != 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		case ascii && r >= 0x10000:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		case r == utf8.RuneError:
			b.WriteString("\ufffd")
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
