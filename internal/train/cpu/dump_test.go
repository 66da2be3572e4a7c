package cpu

import (
	"fmt"
	"strings"
)

// dump lists the steps of a compiled program, for looking at failures.
func dump(e *Exec) string {
	var b strings.Builder
	name := func(s *storage) string {
		r := s.root()
		switch {
		case r.param > 0:
			return fmt.Sprintf("p%d", r.param-1)
		case r.out > 0:
			return fmt.Sprintf("s%d(out%d)", s.id, r.out-1)
		case r.value != nil:
			return fmt.Sprintf("c%d", s.id)
		}
		return fmt.Sprintf("s%d@%d", s.id, r.offset)
	}
	for i, s := range e.steps {
		fmt.Fprintf(&b, "%3d %-8s", i, s.name)
		for _, r := range s.reads {
			fmt.Fprintf(&b, " %s", name(r))
		}
		b.WriteString(" ->")
		for _, w := range s.writes {
			fmt.Fprintf(&b, " %s%s", name(w), w.shape)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintln(&b, "donors", e.donor)
	return b.String()
}
