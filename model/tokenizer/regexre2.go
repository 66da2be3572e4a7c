package tokenizer

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// re2Match runs one alternative of a pattern on Go's regexp package, which follows the same leftmost-first rule as the
// backtracking engines and takes the same matches where a pattern has no assertions. It reads runes one by one, so that
// the work is counted: a pattern that reads far ahead again and again is stopped.
type re2Match struct{ re *regexp.Regexp }

const (
	re2StepsPerByte = 64
	re2StepsFree    = 1 << 16
)

// compileRE2 translates the tree; classes are spelled out, so that none depends on what \s or \w mean to Go.
func compileRE2(n *reNode) (*re2Match, error) {
	var b strings.Builder
	b.WriteString("^(?:")
	if err := writeRE2(&b, n); err != nil {
		return nil, err
	}
	b.WriteString(")")
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, fmt.Errorf("pattern has no exact linear form: %v", err)
	}
	return &re2Match{re}, nil
}

func writeRE2(b *strings.Builder, n *reNode) error {
	switch n.op {
	case opEmpty:
	case opSet:
		if len(n.set) == 0 {
			return fmt.Errorf("pattern has an empty class")
		}
		b.WriteByte('[')
		for _, x := range n.set {
			fmt.Fprintf(b, `\x{%x}-\x{%x}`, x.lo, x.hi)
		}
		b.WriteByte(']')
	case opCat, opAlt:
		for i, s := range n.subs {
			if i > 0 && n.op == opAlt {
				b.WriteByte('|')
			}
			b.WriteString("(?:")
			if err := writeRE2(b, s); err != nil {
				return err
			}
			b.WriteByte(')')
		}
	case opRep:
		if n.possessive {
			return fmt.Errorf("possessive quantifier in this place is not supported")
		}
		if nullable(n.subs[0]) {
			return fmt.Errorf("repetition of something that may be empty is not supported")
		}
		b.WriteString("(?:")
		if err := writeRE2(b, n.subs[0]); err != nil {
			return err
		}
		b.WriteString("){" + strconv.Itoa(n.min))
		if n.max != n.min {
			b.WriteByte(',')
			if n.max >= 0 {
				b.WriteString(strconv.Itoa(n.max))
			}
		}
		b.WriteByte('}')
	case opLook:
		return fmt.Errorf("lookahead in this place is not supported")
	case opLineEnd, opTextEnd:
		return fmt.Errorf("end anchor in this place is not supported")
	default:
		return fmt.Errorf("%s is not supported", n.text)
	}
	return nil
}

func (m *re2Match) match(st *scanState, s string, pos int) int {
	if st.over {
		return -1
	}
	r := runeReader{s: s, pos: pos}
	loc := m.re.FindReaderIndex(&r)
	if st.steps += r.n; st.steps > re2StepsPerByte*len(s)+re2StepsFree {
		st.over = true
	}
	if loc == nil {
		return -1
	}
	return pos + loc[1]
}

// runeReader reads runes and counts them. An invalid byte counts one byte wide, as everywhere in this package.
type runeReader struct {
	s      string
	pos, n int
}

func (r *runeReader) ReadRune() (rune, int, error) {
	if r.pos >= len(r.s) {
		return 0, 0, io.EOF
	}
	c, w := utf8.DecodeRuneInString(r.s[r.pos:])
	r.pos += w
	r.n++
	return c, w, nil
}
