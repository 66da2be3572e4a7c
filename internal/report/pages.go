package report

import (
	"encoding/json"
	"errors"
)

// Page is one file of a rendered report.
type Page struct {
	Name string
	Data []byte
}

// Pages renders everything: report.md, report.html and report.json, junit.xml where there is a gate, and the plots that
// the facts allow, as SVG and PNG: plot (quality against size), compare (differences with their intervals), and loss-STAGE for
// every stage that trained.
func (r *Report) Pages() ([]Page, error) {
	var pages []Page
	var errs []error
	add := func(name string, data []byte, err error) {
		pages = append(pages, Page{name, data})
		errs = append(errs, err)
	}
	data, err := r.JSON()
	add("report.json", data, err)
	add("report.md", r.Markdown(), nil)
	data, err = r.HTML()
	add("report.html", data, err)
	if r.Gate != nil {
		data, err = r.JUnit()
		add("junit.xml", data, err)
	}
	charts := map[string]drawing{}
	names := []string{}
	if d, ok := r.sizePlot(); ok {
		charts["plot"], names = d, append(names, "plot")
	}
	if d, ok := comparePlot("Against "+r.Baseline, r.Pairs); ok {
		charts["compare"], names = d, append(names, "compare")
	}
	for _, stage := range r.curveStages() {
		if d, ok := r.lossPlot(stage); ok {
			charts[lossName(stage)], names = d, append(names, lossName(stage))
		}
	}
	for _, name := range names {
		data, err = charts[name].svg()
		add(name+".svg", data, err)
		data, err = charts[name].png()
		add(name+".png", data, err)
	}
	return pages, errors.Join(errs...)
}

// JSON renders the report for programs.
func (r *Report) JSON() ([]byte, error) {
	data, err := json.MarshalIndent(r, "", "  ")
	return append(data, '\n'), err
}

// CompareTable renders differences between models as a table.
func CompareTable(rows []Comparison) Table {
	t := Table{Columns: []string{"model", "metric", "value", "baseline", "difference", "95 % interval", "p", "n", "verdict"}}
	for _, c := range rows {
		t.Rows = append(t.Rows, []string{c.Name, c.Metric, figure(c.Value, 4), figure(c.Reference, 4), signed(c.Difference, 3),
			signed(c.Low, 3) + " to " + signed(c.High, 3), chance(c.PValue), count(float64(c.N)), c.Verdict()})
	}
	return t
}

// chance formats a p-value.
func chance(p float64) string {
	if p < 0.001 {
		return "< 0.001"
	}
	return figure(p, 2)
}
