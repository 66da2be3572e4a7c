package report

import (
	"fmt"
	"math"
	"strings"
)

// Chapter is what one stage did: what went, what it cost, what came back.
type Chapter struct {
	Stage string
	Text  string
}

// Story tells what became of the models, stage by stage. Stages that make no model have no chapter.
func (r *Report) Story() []Chapter {
	var out []Chapter
	for _, s := range r.Stages {
		m := r.Model(s.Name)
		if m == nil {
			continue
		}
		var parts []string
		from := r.Model(m.From)
		if from == nil {
			from = &Model{}
		}
		if from.Bytes > 0 && m.Bytes > 0 && from.Bytes != m.Bytes {
			parts = append(parts, size(float64(from.Bytes))+" became "+size(float64(m.Bytes)))
		}
		if from.Parameters > 0 && m.Parameters > 0 && from.Parameters != m.Parameters {
			parts = append(parts, fmt.Sprintf("%s of %s parameters stayed", count(float64(m.Parameters)), count(float64(from.Parameters))))
		}
		if p, q := m.Perplexity, from.Perplexity; p != nil && q != nil {
			parts = append(parts, fmt.Sprintf("perplexity went from %s to %s (%s %%)", figure(q.Value, 4), figure(p.Value, 4), signed(100*(p.Value/q.Value-1), 2)))
		}
		if back := r.cameBack(m, from); back != "" {
			parts = append(parts, back)
		}
		if s.Seconds > 0 {
			parts = append(parts, "in "+Duration(s.Seconds))
		}
		if len(parts) > 0 {
			out = append(out, Chapter{s.Name, madeBy(m) + ": " + strings.Join(parts, ", ") + "."})
		}
	}
	return out
}

// cameBack says how much of the loss that came before a training came back, in nats a token.
func (r *Report) cameBack(m, from *Model) string {
	base := r.Model(r.Baseline)
	if m.Stage != "distill" || base == nil || base == from || base.Perplexity == nil || from.Perplexity == nil || m.Perplexity == nil {
		return ""
	}
	lost := math.Log(from.Perplexity.Value / base.Perplexity.Value)
	back := math.Log(from.Perplexity.Value / m.Perplexity.Value)
	if lost <= 0.01 || back <= 0 {
		return ""
	}
	if share := 100 * back / lost; share < 100 {
		return fixed(share, 2) + " % of the loss came back"
	}
	return "more than what was lost came back"
}
