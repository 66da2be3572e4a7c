package chat

import (
	"fmt"
	"strings"
	"time"

	"github.com/parelm/pare/internal/limits"
)

// globals are the functions that a template can call.
func globals() *scope {
	s := &scope{}
	for name, f := range map[string]func(r *run, a *args) any{
		"range":        rangeOf,
		"namespace":    namespaceOf,
		"dict":         dictOf,
		"joiner":       joinerOf,
		"cycler":       cyclerOf,
		"strftime_now": func(r *run, a *args) any { return lit(strftime(r.now, a.text(0, "format", "").s)) },
		"raise_exception": func(_ *run, a *args) any {
			panic(failure{&Refusal{str(a.get(0, "message", text{})).s}})
		},
	} {
		s.set(name, &callable{name, f})
	}
	return s
}

// Refusal is what a template says about a conversation that its model cannot have.
type Refusal struct{ Message string }

func (e *Refusal) Error() string { return "the chat template refuses: " + e.Message }

func rangeOf(r *run, a *args) any {
	a.want(1, 3)
	lo, hi, step := int64(0), a.int(0, "stop", 0), int64(1)
	if len(a.pos) > 1 {
		lo, hi, step = hi, a.int(1, "stop", 0), a.int(2, "step", 1)
	}
	if step == 0 {
		fail("range: the step is 0")
	}
	n := max(0, (float64(hi)-float64(lo))/float64(step))
	if n > float64(limits.TemplateRange) {
		budget("range of %.0f, the limit is %d", n, limits.TemplateRange)
	}
	l := &list{items: make([]any, 0, int(n)+1)}
	for i := lo; step > 0 && i < hi || step < 0 && i > hi; i += step {
		l.items = append(l.items, i)
	}
	r.step(int64(len(l.items)))
	return l
}

func dictOf(r *run, a *args) any {
	d := newDict()
	dictMethods["update"](r, d, a)
	return d
}

func namespaceOf(r *run, a *args) any {
	n := &namespace{*newDict()}
	dictMethods["update"](r, &n.dict, a)
	return n
}

func joinerOf(_ *run, a *args) any {
	sep, used := a.text(0, "sep", ", "), false
	return &callable{"joiner", func(*run, *args) any {
		if used {
			return sep
		}
		used = true
		return text{}
	}}
}

func cyclerOf(_ *run, a *args) any {
	if len(a.pos) == 0 {
		fail("cycler wants items")
	}
	d, i := newDict(), 0
	next := func(*run, *args) any {
		v := a.pos[i%len(a.pos)]
		i++
		return v
	}
	d.set(lit("next"), &callable{"next", next})
	return d
}

// strftime formats a time as strftime of C does.
func strftime(t time.Time, format string) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		bare := format[i] == '-' && i+1 < len(format)
		if bare {
			i++
		}
		s := directive(t, format[i])
		if bare {
			if s = strings.TrimLeft(s, "0 "); s == "" {
				s = "0"
			}
		}
		b.WriteString(s)
	}
	return b.String()
}

func directive(t time.Time, c byte) string {
	layouts := map[byte]string{'Y': "2006", 'm': "01", 'd': "02", 'e': "_2", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'y': "06", 'B': "January",
		'b': "Jan", 'h': "Jan", 'A': "Monday", 'a': "Mon", 'p': "PM", 'Z': "MST", 'z': "-0700", 'j': "002", 'F': "2006-01-02", 'T': "15:04:05",
		'D': "01/02/06", 'R': "15:04", 'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05"}
	switch c {
	case '%', 'n', 't':
		return map[byte]string{'%': "%", 'n': "\n", 't': "\t"}[c]
	case 'f':
		return fmt.Sprintf("%06d", t.Nanosecond()/1000)
	case 's':
		return fmt.Sprint(t.Unix())
	case 'u':
		return fmt.Sprint((int(t.Weekday())+6)%7 + 1)
	case 'w':
		return fmt.Sprint(int(t.Weekday()))
	}
	if l, ok := layouts[c]; ok {
		return t.Format(l)
	}
	return "%" + string(c)
}
