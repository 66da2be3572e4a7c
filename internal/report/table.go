package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// column is one column of the table of models.
type column struct {
	Head  string
	Note  string // what the figures are, for those who wonder
	Text  bool   // words, not figures
	Cells []cell
}

// cell is one figure with what belongs to it.
type cell struct {
	Text string
	Sub  string  // smaller, beneath or behind
	Bar  float64 // share of the column's largest, 0 for no bar
}

// columns is the table of models: one column for each thing that was measured of any.
func (r *Report) columns() []column {
	base := r.Model(r.Baseline)
	if base == nil {
		base = &Model{}
	}
	largest := int64(1)
	for i := range r.Models {
		largest = max(largest, r.Models[i].Bytes)
	}
	var cols []column
	add := func(head, note string, text bool, f func(m *Model) cell) {
		c := column{Head: head, Note: note, Text: text}
		some := false
		for i := range r.Models {
			c.Cells = append(c.Cells, f(&r.Models[i]))
			some = some || c.Cells[i].Text != ""
		}
		if some {
			cols = append(cols, c)
		}
	}
	add("model", "", true, func(m *Model) cell { return cell{Text: m.Name, Sub: madeBy(m)} })
	add("format", "of the weights", true, func(m *Model) cell { return cell{Text: m.Format} })
	add("size", "of the model's files", false, func(m *Model) cell {
		if m.Bytes == 0 {
			return cell{}
		}
		return cell{size(float64(m.Bytes)), times(float64(base.Bytes), float64(m.Bytes), m == base, "÷"), float64(m.Bytes) / float64(largest)}
	})
	add("parameters", "", false, func(m *Model) cell { return positive(float64(m.Parameters), count) })
	add("bits/weight", "stored bits of all files by parameters", false, func(m *Model) cell {
		return positive(m.BitsPerWeight, func(x float64) string { return fixed(x, 3) })
	})
	add("perplexity", "± one standard error; lower is better", false, func(m *Model) cell { return perplexityCell(m, base) })
	add("KL", "mean divergence to "+r.Baseline+" in nats; lower is better", false, func(m *Model) cell {
		if m.KLD == nil {
			return cell{}
		}
		return cell{Text: pm(m.KLD.Mean, m.KLD.Stderr), Sub: fmt.Sprintf("p99 %s, max %s", figure(m.KLD.P99, 3), figure(m.KLD.Max, 3))}
	})
	add("top-1", "positions with the best token of "+r.Baseline, false, func(m *Model) cell {
		if m.Top1Agreement == nil {
			return cell{}
		}
		return cell{Text: fixed(100**m.Top1Agreement, 3) + " %"}
	})
	for _, task := range r.taskNames() {
		add(task, r.taskMetric(task)+" with its 95 % interval", false, func(m *Model) cell { return taskCell(m, task) })
	}
	speed := func(of func(m *Model) *Speed) func(m *Model) cell {
		return func(m *Model) cell {
			s := of(m)
			if s == nil {
				return cell{}
			}
			c := cell{Text: fixed(s.TokensPerSecond, 3)}
			if b := of(base); b != nil {
				c.Sub = times(s.TokensPerSecond, b.TokensPerSecond, m == base, "×")
			}
			return c
		}
	}
	add("prefill", "prompt tokens per second", false, speed(func(m *Model) *Speed { return m.Prefill }))
	add("decode", "generated tokens per second", false, speed(func(m *Model) *Speed { return m.Decode }))
	add("memory", "peak while running", false, func(m *Model) cell { return positive(float64(m.PeakMemory), size) })
	return cols
}

// madeBy says how a model came about.
func madeBy(m *Model) string {
	switch {
	case m.Stage == "":
		return "original"
	case m.From == "":
		return m.Stage
	}
	return m.Stage + " of " + m.From
}

func positive(x float64, f func(float64) string) cell {
	if x <= 0 {
		return cell{}
	}
	return cell{Text: f(x)}
}

// times is how many times a is of b, silent about a thing itself.
func times(a, b float64, same bool, sign string) string {
	if same || a <= 0 || b <= 0 {
		return ""
	}
	if sign == "÷" {
		return "1/" + fixed(a/b, 2)
	}
	return fixed(a/b, 2) + sign
}

// pm is a value with its standard error, to the error's digits.
func pm(v, err float64) string {
	if err <= 0 || err-err != 0 {
		return fixed(v, 4)
	}
	e := fixed(err, 2)
	if strings.ContainsRune(e, 'e') {
		return fixed(v, 4) + " ± " + e
	}
	_, decimals, _ := strings.Cut(e, ".")
	return fmt.Sprintf("%.*f", len(decimals), v) + " ± " + e
}

func perplexityCell(m, base *Model) cell {
	if m.Perplexity == nil {
		return cell{}
	}
	c := cell{Text: pm(m.Perplexity.Value, m.Perplexity.Stderr)}
	if base.Perplexity != nil && m != base && base.Perplexity.Value > 0 {
		c.Sub = signed(100*(m.Perplexity.Value/base.Perplexity.Value-1), 3) + " %"
	}
	return c
}

func taskCell(m *Model, task string) cell {
	t, ok := m.Tasks[task]
	if !ok {
		return cell{}
	}
	low, high := t.Low, t.High
	if low == 0 && high == 0 {
		low, high = t.Value-z95*t.Stderr, t.Value+z95*t.Stderr
	}
	return cell{Text: fixed(t.Value, 3), Sub: fmt.Sprintf("%s to %s, n = %d", figure(low, 3), figure(high, 3), t.N)}
}

// taskNames lists the tasks that any model was measured in, sorted.
func (r *Report) taskNames() []string {
	names := map[string]bool{}
	for i := range r.Models {
		for t := range r.Models[i].Tasks {
			names[t] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// taskMetric returns what a task's score is called.
func (r *Report) taskMetric(task string) string {
	for i := range r.Models {
		if t, ok := r.Models[i].Tasks[task]; ok {
			return t.Metric
		}
	}
	return ""
}

// stageTable is what every stage cost, beside what the plan had said.
func (r *Report) stageTable() Table {
	t := Table{Columns: []string{"stage", "kind", "time", "planned", "output", "planned", "peak memory", "planned"}}
	for _, s := range r.Stages {
		row := []string{s.Name, s.Kind, Duration(s.Seconds), "", size(float64(s.Bytes)), "", "", ""}
		if s.Reused {
			row[2] += " (earlier)"
		}
		for i, v := range map[int]float64{3: s.EstimatedSeconds, 5: float64(s.EstimatedBytes), 6: float64(s.PeakMemory), 7: float64(s.EstimatedMemory)} {
			switch {
			case v <= 0:
			case i == 3:
				row[i] = Duration(v)
			default:
				row[i] = size(v)
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// Duration formats seconds for people: 0.42 s, 12.3 s, 2 min 11 s, 3 h 20 min.
func Duration(s float64) string {
	switch {
	case s < 0.1:
		return figure(1000*s, 2) + " ms"
	case s < 59.95:
		return figure(s, 3) + " s"
	case s < 3600:
		return fmt.Sprintf("%d min %d s", int(s)/60, int(s)%60)
	}
	return fmt.Sprintf("%d h %d min", int(s)/3600, int(s)/60%60)
}

// Headline says in a sentence what became of the smallest model that was measured.
func (r *Report) Headline() string {
	base := r.Model(r.Baseline)
	var best *Model
	for i := range r.Models {
		m := &r.Models[i]
		if m != base && m.Bytes > 0 && m.Perplexity != nil && (best == nil || m.Bytes < best.Bytes) {
			best = m
		}
	}
	if r.Gate != nil && len(r.Gate.Checks) > 0 { // the gated model is the one that goes out
		for i := range r.Models {
			if m := &r.Models[i]; m != base && m.Perplexity != nil && gated(r.Gate, m.Name) {
				best = m
				break
			}
		}
	}
	if base == nil || best == nil || base.Bytes == 0 {
		return ""
	}
	s := fmt.Sprintf("%s is 1/%s of %s's size (%s instead of %s)", best.Name, fixed(float64(base.Bytes)/float64(best.Bytes), 2), base.Name, size(float64(best.Bytes)), size(float64(base.Bytes)))
	if base.Perplexity != nil {
		s += fmt.Sprintf(" at perplexity %s instead of %s (%s %%)", figure(best.Perplexity.Value, 4), figure(base.Perplexity.Value, 4), signed(100*(best.Perplexity.Value/base.Perplexity.Value-1), 2))
	}
	if best.Decode != nil && base.Decode != nil && base.Decode.TokensPerSecond > 0 {
		s += fmt.Sprintf(", decoding %s times as fast", fixed(best.Decode.TokensPerSecond/base.Decode.TokensPerSecond, 2))
	}
	return s + "."
}

func gated(g *Gate, model string) bool {
	return slices.ContainsFunc(g.Checks, func(c Check) bool { return len(c.Name) > len(model) && c.Name[:len(model)+1] == model+" " })
}
