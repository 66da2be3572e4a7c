package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
)

//go:embed report.html.tmpl
var htmlText string

var htmlPage = template.Must(template.New("report").Parse(htmlText))

// htmlCell is a cell as the page shows it.
type htmlCell struct {
	Text, Sub  string
	Bar        string // width in percent; empty for no bar
	Words, Num bool
}

// htmlTable is a plain table as the page shows it.
type htmlTable struct {
	Title string
	Head  []htmlCell
	Rows  [][]htmlCell
}

// HTML renders the report as one page that needs nothing else: no script, no font, no image from anywhere.
func (r *Report) HTML() ([]byte, error) {
	data := struct {
		R        *Report
		Plot     template.HTML
		Losses   []template.HTML
		Columns  []column
		Rows     [][]htmlCell
		Pairs    htmlTable
		PairPlot template.HTML
		Stages   htmlTable
		Tables   []htmlTable
		Machine  string
		Headline string
	}{R: r, Headline: strings.ReplaceAll(r.Headline(), " %", "\u00a0%"), Columns: r.columns(), Machine: r.machine(), Stages: asHTML(r.stageTable())}
	if d, ok := r.sizePlot(); ok {
		svg, err := d.svg()
		if err != nil {
			return nil, err
		}
		data.Plot = template.HTML(svg) // of our own making, with foreign text escaped
	}
	if len(r.Pairs) > 0 {
		data.Pairs = asHTML(CompareTable(r.Pairs))
	}
	if d, ok := comparePlot("Against "+r.Baseline, r.Pairs); ok {
		svg, err := d.svg()
		if err != nil {
			return nil, err
		}
		data.PairPlot = template.HTML(svg)
	}
	for _, stage := range r.curveStages() {
		if d, ok := r.lossPlot(stage); ok {
			svg, err := d.svg()
			if err != nil {
				return nil, err
			}
			data.Losses = append(data.Losses, template.HTML(svg))
		}
	}
	for i := range r.Models {
		var row []htmlCell
		for _, c := range data.Columns {
			cell := htmlCell{Text: c.Cells[i].Text, Sub: c.Cells[i].Sub, Words: c.Text}
			if bar := c.Cells[i].Bar; bar > 0 {
				cell.Bar = fmt.Sprintf("%.1f%%", 100*bar)
			}
			row = append(row, cell)
		}
		data.Rows = append(data.Rows, row)
	}
	for _, t := range r.Tables {
		h := asHTML(t)
		h.Title = fmt.Sprintf("%s (%d rows)", t.Title, len(t.Rows))
		data.Tables = append(data.Tables, h)
	}
	var b bytes.Buffer
	err := htmlPage.Execute(&b, data)
	return b.Bytes(), err
}

func asHTML(t Table) htmlTable {
	h := htmlTable{Title: t.Title}
	for i, c := range t.Columns {
		h.Head = append(h.Head, htmlCell{Text: c, Num: t.numeric(i)})
	}
	for _, row := range t.Rows {
		var cells []htmlCell
		for i, s := range row {
			cells = append(cells, htmlCell{Text: s, Num: t.numeric(i)})
		}
		h.Rows = append(h.Rows, cells)
	}
	return h
}
