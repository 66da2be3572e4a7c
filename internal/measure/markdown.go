package measure

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/parelm/pare/internal/report"
)

// Markdown returns a section for a model card: what was measured of models, the first being the one that the others are
// compared with, and by which protocol.
func Markdown(models []report.Model, protocol []string) string {
	var b strings.Builder
	tasks := map[string]bool{}
	for _, m := range models {
		for name := range m.Tasks {
			tasks[name] = true
		}
	}
	names := slices.Sorted(maps.Keys(tasks))
	b.WriteString("\n## Evaluation\n\n| model | format | bits per weight | perplexity | divergence | same likeliest token |")
	for _, name := range names {
		fmt.Fprintf(&b, " %s |", name)
	}
	b.WriteString("\n|---|---|--:|--:|--:|--:|" + strings.Repeat("--:|", len(names)) + "\n")
	for _, m := range models {
		fmt.Fprintf(&b, "| %s | %s | %.3f |", m.Name, m.Format, m.BitsPerWeight)
		cell := func(there bool, format string, args ...any) {
			if there {
				fmt.Fprintf(&b, " "+format+" |", args...)
			} else {
				b.WriteString(" |")
			}
		}
		if p := m.Perplexity; p != nil {
			cell(true, "%.4g ± %.2g", p.Value, p.Stderr)
		} else {
			cell(false, "")
		}
		if k := m.KLD; k != nil {
			cell(true, "%.4g ± %.2g", k.Mean, k.Stderr)
		} else {
			cell(false, "")
		}
		if t := m.Top1Agreement; t != nil {
			cell(true, "%.2f %%", 100**t)
		} else {
			cell(false, "")
		}
		for _, name := range names {
			t, ok := m.Tasks[name]
			cell(ok, "%.3f ± %.2g", t.Value, t.Stderr)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\nDivergence is the mean of KL(%s || model) in nats; ± is a standard error.\n", models[0].Name)
	for i, line := range protocol {
		if !slices.Contains(protocol[:i], line) {
			fmt.Fprintf(&b, "- %s\n", line)
		}
	}
	return b.String()
}
