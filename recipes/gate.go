package recipes

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/parelm/pare/internal/report"
)

// demand is one number that a gate sets.
type demand struct {
	name     string // as the recipe writes it
	metric   string // as the report knows it; empty for the scores of all tasks
	limit    float64
	most     bool // the limit is the highest allowed value; else the lowest
	relative bool // ... of the loss against the baseline
}

// demands lists what is set, in the order of the struct.
func (g *Gate) demands() []demand {
	var list []demand
	for _, m := range slices.Sorted(maps.Keys(g.MaxDegradation)) {
		list = append(list, demand{"max_degradation." + m, m, g.MaxDegradation[m], true, true})
	}
	add := func(name, metric string, limit float64, most bool) {
		if limit != 0 {
			list = append(list, demand{name, metric, limit, most, false})
		}
	}
	add("max_perplexity", "perplexity", g.MaxPerplexity, true)
	add("max_kld", "kld", g.MaxKLD, true)
	add("min_top1_agreement", "top1_agreement", g.MinTop1Agreement, false)
	for _, task := range slices.Sorted(maps.Keys(g.MinAccuracy)) {
		if task == "*" {
			add("min_accuracy", "", g.MinAccuracy[task], false)
		} else {
			add("min_accuracy."+task, task, g.MinAccuracy[task], false)
		}
	}
	add("max_size", "size", float64(g.MaxSize), true)
	add("max_bits_per_weight", "bits_per_weight", g.MaxBitsPerWeight, true)
	add("max_memory", "memory", float64(g.MaxMemory), true)
	add("min_tokens_per_s", "decode", g.MinTokensPerS, false)
	add("min_prefill_tokens_per_s", "prefill", g.MinPrefillTokensPerS, false)
	return list
}

// judge holds the models of a report to the recipe's gates; nil where there is none.
func judge(gates []Gate, r *report.Report) *Verdict {
	if len(gates) == 0 {
		return nil
	}
	v := &Verdict{OK: true}
	for i := range gates {
		g := &gates[i]
		m, base := r.Model(g.Model), r.Model(g.Baseline)
		for _, d := range g.demands() {
			if d.metric != "" {
				v.Checks = append(v.Checks, d.check(g, m, base))
				continue
			}
			if m == nil || len(m.Tasks) == 0 {
				v.Checks = append(v.Checks, d.failed(g, "no task was measured"))
				continue
			}
			for _, task := range slices.Sorted(maps.Keys(m.Tasks)) {
				one := d
				one.name, one.metric = d.name+"."+task, task
				v.Checks = append(v.Checks, one.check(g, m, base))
			}
		}
	}
	for _, c := range v.Checks {
		v.OK = v.OK && c.OK
	}
	return v
}

func (d demand) failed(g *Gate, why string) Check {
	return Check{Name: g.Model + " " + d.name, Limit: d.limit, Text: g.Model + ": " + why}
}

// check compares one metric. Not a number fails every demand.
func (d demand) check(g *Gate, m, base *report.Model) Check {
	if m == nil {
		return d.failed(g, "was not made")
	}
	x, less, ok := m.Metric(d.metric)
	if !ok {
		return d.failed(g, d.metric+" was not measured")
	}
	c := Check{Name: g.Model + " " + d.name, Limit: d.limit, Value: x}
	limit := "at least"
	if d.most {
		limit = "at most"
	}
	if !d.relative {
		c.OK = d.most && x <= d.limit || !d.most && x >= d.limit
		c.Text = fmt.Sprintf("%s of %s is %s, %s %s", metricName(d.metric), g.Model, show(d.metric, x), limit, show(d.metric, d.limit))
		return c
	}
	if base == nil {
		return d.failed(g, "the baseline "+g.Baseline+" was not measured")
	}
	b, _, ok := base.Metric(d.metric)
	if !ok {
		return d.failed(g, fmt.Sprintf("%s of the baseline %s was not measured", d.metric, g.Baseline))
	}
	if b == 0 {
		return d.failed(g, fmt.Sprintf("%s of the baseline %s is 0, which nothing can be a share of", d.metric, g.Baseline))
	}
	c.Value = (x - b) / b
	if !less {
		c.Value = -c.Value
	}
	c.OK = c.Value-d.limit <= 1e-9 // 25 % is met by what is 25 % worse but for rounding
	c.Text = fmt.Sprintf("%s of %s is %s, of %s %s: %s, at most %.3g %% allowed", metricName(d.metric), g.Model, show(d.metric, x),
		g.Baseline, show(d.metric, b), degradation(c.Value), 100*d.limit)
	return c
}

func degradation(x float64) string {
	if x < 0 {
		return fmt.Sprintf("%.3g %% better", -100*x)
	}
	return fmt.Sprintf("%.3g %% worse", 100*x)
}

// metricName is a metric in words.
func metricName(metric string) string {
	switch metric {
	case "kld":
		return "mean KL divergence"
	case "top1_agreement":
		return "top-1 agreement"
	case "decode":
		return "decoding speed"
	case "prefill":
		return "prefill speed"
	case "memory":
		return "peak memory"
	}
	return strings.ReplaceAll(metric, "_", " ")
}

// show formats a value of a metric with its unit.
func show(metric string, x float64) string {
	switch metric {
	case "size", "memory":
		return report.Bytes(int64(x))
	case "decode", "prefill":
		return fmt.Sprintf("%.4g tokens/s", x)
	case "top1_agreement":
		return fmt.Sprintf("%.4g %%", 100*x)
	}
	return fmt.Sprintf("%.4g", x)
}
