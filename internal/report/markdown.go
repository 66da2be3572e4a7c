package report

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// Markdown renders the report as GitHub reads it. The plot is expected beside it as plot.svg.
func (r *Report) Markdown() []byte {
	var b strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	w("# %s\n\n", md(r.Title))
	if r.Description != "" {
		w("%s\n\n", md(r.Description))
	}
	if r.Gate != nil {
		w("**Gate: %s**\n\n", verdict(r.Gate))
	}
	if h := r.Headline(); h != "" {
		w("%s\n\n", md(h))
	}
	if n := len(r.Warnings); n > 4 {
		w("<details><summary>%d warnings</summary>\n\n", n)
		for _, s := range r.Warnings {
			w("- %s\n", md(s))
		}
		w("\n</details>\n\n")
	} else {
		for _, s := range r.Warnings {
			w("> **Warning:** %s\n\n", md(s))
		}
	}
	if _, ok := r.sizePlot(); ok {
		w("![%s against size](plot.svg)\n\n", md(r.Title))
	}
	for _, c := range r.Story() {
		w("- **%s**, %s\n", md(c.Stage), md(c.Text))
	}
	if len(r.Story()) > 0 {
		w("\n")
	}
	w("## Models\n\n")
	r.markdownModels(w)
	if r.Gate != nil {
		t := Table{Columns: []string{"check", "limit", "value", "", ""}}
		for _, c := range r.Gate.Checks {
			t.Rows = append(t.Rows, []string{c.Name, figure(c.Limit, 4), figure(c.Value, 4), map[bool]string{true: "met", false: "**not met**"}[c.OK], c.Text})
		}
		w("## Gate\n\n")
		t.markdown(w)
	}
	if len(r.Pairs) > 0 {
		w("## Differences\n\nOn the same items as %s: paired windows of text, McNemar's test for tasks.\n\n", md(r.Baseline))
		t := CompareTable(r.Pairs)
		t.markdown(w)
	}
	for _, stage := range r.curveStages() {
		if _, ok := r.lossPlot(stage); ok {
			w("## Training of %s\n\n![training of %s](%s.svg)\n\n", md(stage), md(stage), lossName(stage))
		}
	}
	w("## Stages\n\n")
	t := r.stageTable()
	t.markdown(w)
	for _, t := range r.Tables {
		w("<details><summary>%s (%d rows)</summary>\n\n", html.EscapeString(t.Title), len(t.Rows))
		t.markdown(w)
		w("</details>\n\n")
	}
	w("## How this was measured\n\n")
	for _, p := range r.Protocol {
		w("- %s\n", md(p))
	}
	w("- %s\n- %s, pare %s\n", md(r.machine()), r.Generated.Format("2 January 2006 15:04 MST"), md(r.Pare))
	for _, in := range r.Inputs {
		w("- %s: `%s`, %s, `%s`\n", md(in.Role), code(in.Name), size(float64(in.Bytes)), clip(in.Digest))
	}
	w("\n")
	if r.Recipe != "" {
		fence := "```"
		for strings.Contains(r.Recipe, fence) {
			fence += "`"
		}
		w("<details><summary>Recipe, with every default</summary>\n\n%syaml\n%s\n%s\n\n</details>\n", fence, strings.TrimRight(r.Recipe, "\n"), fence)
	}
	return []byte(b.String())
}

// Evaluation returns a section for a model card: what was measured of models, the first being the one that the others are
// compared with, and by which protocol.
func Evaluation(models []Model, protocol []string) string {
	var b strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	r := &Report{Models: models, Baseline: models[0].Name}
	w("\n## Evaluation\n\n")
	r.markdownModels(w)
	for i, p := range protocol {
		if !slices.Contains(protocol[:i], p) {
			w("- %s\n", md(p))
		}
	}
	return b.String()
}

func verdict(g *Gate) string {
	if g.OK {
		return "met"
	}
	n := 0
	for _, c := range g.Checks {
		if !c.OK {
			n++
		}
	}
	return fmt.Sprintf("not met (%d of %d checks fail)", n, len(g.Checks))
}

func (r *Report) markdownModels(w func(string, ...any)) {
	cols := r.columns()
	t := Table{}
	for _, c := range cols {
		t.Columns = append(t.Columns, c.Head)
	}
	for i := range r.Models {
		var row []string
		for k, c := range cols {
			s := c.Cells[i].Text
			if c.Cells[i].Sub != "" && k > 0 {
				s += " (" + c.Cells[i].Sub + ")"
			}
			row = append(row, s)
		}
		t.Rows = append(t.Rows, row)
	}
	t.markdown(w)
	for _, c := range cols {
		if c.Note != "" {
			w("%s: %s. ", md(c.Head), md(c.Note))
		}
	}
	w("\n\n")
}

// markdown writes the table. Columns whose cells all begin with a digit or sign are set to the right.
func (t *Table) markdown(w func(string, ...any)) {
	for _, c := range t.Columns {
		w("| %s ", md(c))
	}
	w("|\n")
	for i := range t.Columns {
		w("|%s", map[bool]string{true: "--:", false: "---"}[t.numeric(i)])
	}
	w("|\n")
	for _, row := range t.Rows {
		for _, s := range row {
			if s == "**not met**" {
				w("| %s ", s)
			} else {
				w("| %s ", md(s))
			}
		}
		w("|\n")
	}
	w("\n")
}

// numeric reports a column of figures.
func (t *Table) numeric(col int) bool {
	some := false
	for _, row := range t.Rows {
		if col >= len(row) || row[col] == "" {
			continue
		}
		if !strings.ContainsRune("0123456789+-−", []rune(row[col])[0]) {
			return false
		}
		some = true
	}
	return some
}

var mdEscapes = strings.NewReplacer("\\", "\\\\", "|", "\\|", "*", "\\*", "_", "\\_", "`", "\\`", "<", "&lt;", ">", "&gt;", "[", "\\[", "\n", " ")

// md escapes text for Markdown.
func md(s string) string { return mdEscapes.Replace(s) }

// code makes text fit between single backquotes.
func code(s string) string {
	return strings.NewReplacer("`", "'", "\n", " ").Replace(s)
}

// clip shortens a digest.
func clip(digest string) string { return digest[:min(16, len(digest))] }

// machine describes where it ran.
func (r *Report) machine() string {
	m := r.Machine
	s := m.CPU
	if s == "" {
		s = "unknown processor"
	}
	if m.Cores > 0 {
		s += fmt.Sprintf(", %d cores", m.Cores)
	}
	if m.Threads > 0 && m.Threads != m.Cores {
		s += fmt.Sprintf(" (%d threads used)", m.Threads)
	}
	if m.Memory > 0 {
		s += ", " + size(float64(m.Memory)) + " memory"
	}
	for _, more := range []string{m.OS, m.Go} {
		if more != "" {
			s += ", " + more
		}
	}
	if m.Kernel != "" {
		s += ", " + m.Kernel + " kernels"
	}
	return s
}

// curveStages lists the stages that have curves, in their order.
func (r *Report) curveStages() []string {
	var stages []string
	for _, c := range r.Curves {
		stages = appendNew(stages, []string{c.Stage})
	}
	return stages
}

// lossName is the file name of a stage's curves, without its extension.
func lossName(stage string) string { return "loss-" + stage }
