package report

import (
	"fmt"
	"math"
	"slices"
)

// lossPlot draws the curves of one stage over its steps; ok is false where there are fewer than two points.
func (r *Report) lossPlot(stage string) (d drawing, ok bool) {
	p := &lossPlot{title: r.Title + ": training of " + stage, box: rect{76, 84, 756, 408}}
	p.x = scale{lo: math.Inf(1), hi: math.Inf(-1), a: p.box.x0, b: p.box.x1}
	p.y = scale{lo: math.Inf(1), hi: math.Inf(-1), a: p.box.y1, b: p.box.y0}
	for _, c := range r.Curves {
		if c.Stage != stage || len(c.Steps) != len(c.Values) {
			continue
		}
		c = finite(c)
		if len(c.Steps) > 0 {
			p.curves = append(p.curves, c)
			p.x.lo, p.x.hi = min(p.x.lo, slices.Min(c.Steps)), max(p.x.hi, slices.Max(c.Steps))
			low, high := extent(c.Values)
			p.y.lo, p.y.hi = min(p.y.lo, low), max(p.y.hi, high)
		}
	}
	if !(p.x.hi > p.x.lo) {
		return drawing{}, false
	}
	if !(p.y.hi > p.y.lo) {
		p.y.lo, p.y.hi = p.y.lo-0.5, p.y.hi+0.5
	}
	p.y.log = p.y.lo > 0 && p.y.hi > 8*p.y.lo
	p.y = p.y.pad(0.05, 0.05)
	return drawing{920, 470, p.title, p.draw}, true
}

type lossPlot struct {
	title  string
	box    rect
	x, y   scale
	curves []Curve
}

// finite leaves out points that are not numbers, as a training that failed has them.
func finite(c Curve) Curve {
	f := Curve{Stage: c.Stage, Name: c.Name}
	for i, v := range c.Values {
		if v-v == 0 && c.Steps[i]-c.Steps[i] == 0 {
			f.Steps, f.Values = append(f.Steps, c.Steps[i]), append(f.Values, v)
		}
	}
	return f
}

// extent returns the range that holds all values but the highest two percent, so that the first steps do not flatten
// the rest.
func extent(v []float64) (low, high float64) {
	s := slices.Sorted(slices.Values(v))
	return s[0], s[len(s)-1-len(s)/50]
}

// smooth averages each value with its neighbours over a share of the curve.
func smooth(v []float64) []float64 {
	half := len(v) / 50
	out := make([]float64, len(v))
	for i := range v {
		lo, hi := max(0, i-half), min(len(v), i+half+1)
		sum := 0.0
		for _, x := range v[lo:hi] {
			sum += x
		}
		out[i] = sum / float64(hi-lo)
	}
	return out
}

func (p *lossPlot) draw(c *canvas) {
	c.text(p.title, 24, 36, 0, 20, true, text1)
	c.text("by step; thick lines are running means", 24, 58, 0, 13, false, text2)
	for _, v := range p.y.ticks(7) {
		y := p.y.at(v)
		c.line(grid, 1, nil, p.box.x0, y, p.box.x1, y)
		c.text(figure(v, 3), p.box.x0-8, y+4, 1, 12, false, text2)
	}
	for _, v := range p.x.ticks(7) {
		x := p.x.at(v)
		c.line(axis, 1, nil, x, p.box.y1, x, p.box.y1+5)
		c.text(figure(v, 6), x, p.box.y1+20, 0.5, 12, false, text2)
	}
	c.line(axis, 1, nil, p.box.x0, p.box.y1, p.box.x1, p.box.y1)
	var ends []label
	var last []float64
	for i, curve := range p.curves {
		i := accent[i%len(accent)]
		values := curve.Values
		if len(values) > 60 {
			p.curve(c, trail, 1, curve.Steps, values)
			values = smooth(values)
		}
		p.curve(c, i, 2.5, curve.Steps, values)
		if len(values) <= 60 {
			for k := range values {
				c.dot(i, p.x.at(curve.Steps[k]), p.y.at(p.clip(values[k])), 3)
			}
		}
		end := len(values) - 1
		ends = append(ends, label{x: p.x.at(curve.Steps[end]), y: p.y.at(p.clip(values[end]))})
		last = append(last, values[end])
	}
	for k, y := range spread(ends, 34) {
		i, curve := accent[k%len(accent)], p.curves[k]
		x := p.box.x1 + 18
		if e := ends[k]; math.Abs(y-e.y) > 6 || x-e.x > 24 {
			c.line(axis, 1, nil, e.x+6, e.y, x-4, y)
		}
		c.text(curve.Name, x, y-1, 0, 13, true, i)
		c.text(figure(last[k], 4), x, y+14, 0, 12, false, text2)
	}
}

// clip keeps a value inside the axes.
func (p *lossPlot) clip(v float64) float64 { return min(max(v, p.y.lo), p.y.hi) }

func (p *lossPlot) curve(c *canvas, i ink, width float64, steps, values []float64) {
	stride := max(1, len(steps)/2000) // finer than pixels costs bytes and shows nothing
	var xy []float64
	for k := range steps {
		if k%stride == 0 || k == len(steps)-1 {
			xy = append(xy, p.x.at(steps[k]), p.y.at(p.clip(values[k])))
		}
	}
	c.line(i, width, nil, xy...)
}

// spread moves labels apart so that they are at least gap pixels from each other, and returns their heights.
func spread(labels []label, gap float64) []float64 {
	order := make([]int, len(labels))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case labels[a].y < labels[b].y:
			return -1
		case labels[a].y > labels[b].y:
			return 1
		}
		return 0
	})
	y := make([]float64, len(labels))
	for i := range labels {
		y[i] = labels[i].y
	}
	for range 100 {
		moved := false
		for k := 1; k < len(order); k++ {
			a, b := order[k-1], order[k]
			if d := gap - (y[b] - y[a]); d > 0.01 {
				y[a], y[b], moved = y[a]-d/2, y[b]+d/2, true
			}
		}
		if !moved {
			break
		}
	}
	return y
}

// Comparison is what separates two models in one metric, measured on the same items.
type Comparison struct {
	Name         string  `json:"name"`
	Baseline     string  `json:"baseline"`
	Metric       string  `json:"metric"`
	Value        float64 `json:"value"`
	Reference    float64 `json:"reference"`  // the baseline's
	Difference   float64 `json:"difference"` // value - reference, of paired items
	Low          float64 `json:"low"`        // 95 % interval of the difference
	High         float64 `json:"high"`
	PValue       float64 `json:"p_value"` // two-sided: how likely so large a difference is where there is none
	N            int     `json:"n"`
	LessIsBetter bool    `json:"less_is_better"`
}

// Verdict says whether the difference is more than chance: "better", "worse" or "no clear difference".
func (c Comparison) Verdict() string {
	switch {
	case c.Low > 0 != c.LessIsBetter && (c.Low > 0 || c.High < 0):
		return "better"
	case c.Low > 0 || c.High < 0:
		return "worse"
	}
	return "no clear difference"
}

// comparePlot draws differences with their intervals, one line each, by metric.
func comparePlot(title string, rows []Comparison) (d drawing, ok bool) {
	var metrics []string
	for _, c := range rows {
		if c.Difference-c.Difference == 0 && c.Low-c.Low == 0 && c.High-c.High == 0 {
			metrics = appendNew(metrics, []string{c.Metric})
		}
	}
	if len(metrics) == 0 {
		return drawing{}, false
	}
	h := 84.0
	for _, m := range metrics {
		h += 62
		for _, c := range rows {
			if c.Metric == m {
				h += 34
			}
		}
	}
	draw := func(c *canvas) {
		c.text(title, 24, 36, 0, 20, true, text1)
		c.text("difference to "+rows[0].Baseline+" on the same items; bars are 95 % intervals", 24, 58, 0, 13, false, text2)
		y := 92.0
		for _, m := range metrics {
			y = compareGroup(c, m, rows, y)
		}
	}
	return drawing{920, h, title, draw}, true
}

// compareGroup draws the lines of one metric from y downward and returns where the next begins.
func compareGroup(c *canvas, metric string, rows []Comparison, y float64) float64 {
	var group []Comparison
	s := scale{a: 240, b: 640}
	for _, row := range rows {
		if row.Metric == metric && row.Low-row.Low == 0 && row.High-row.High == 0 {
			group = append(group, row)
			s.lo, s.hi = min(s.lo, row.Low), max(s.hi, row.High)
		}
	}
	if s.hi == s.lo {
		s.lo, s.hi = -1, 1
	}
	s = s.pad(0.08, 0.08)
	better := "higher is better"
	if group[0].LessIsBetter {
		better = "lower is better"
	}
	c.text(metric, 24, y, 0, 14, true, text1)
	c.text(better, 24+width(metric, 14, true)+10, y, 0, 12, false, text2)
	bottom := y + 14 + 34*float64(len(group))
	for _, v := range s.ticks(5) {
		x := s.at(v)
		c.line(grid, 1, nil, x, y+10, x, bottom)
		c.text(signed(v, 3), x, bottom+15, 0.5, 11, false, text2)
	}
	c.line(text2, 1, nil, s.at(0), y+10, s.at(0), bottom)
	for k, row := range group {
		at := y + 30 + 34*float64(k)
		i := map[string]ink{"better": accent[3], "worse": accent[4]}[row.Verdict()]
		if i == (ink{}) {
			i = text2
		}
		c.text(row.Name, 226, at+5, 1, 13, true, text1)
		c.line(i, 2, nil, s.at(row.Low), at, s.at(row.High), at)
		c.line(i, 2, nil, s.at(row.Low), at-5, s.at(row.Low), at+5)
		c.line(i, 2, nil, s.at(row.High), at-5, s.at(row.High), at+5)
		c.dot(i, s.at(row.Difference), at, 5)
		c.text(fmt.Sprintf("%s  (%s against %s)", signed(row.Difference, 3), figure(row.Value, 4), figure(row.Reference, 4)), 660, at+1, 0, 12, false, text1)
		c.text(fmt.Sprintf("%s, n = %d", row.Verdict(), row.N), 660, at+15, 0, 11, false, i)
	}
	return bottom + 48
}

// signed formats with a plus sign, and a proper minus.
func signed(x float64, n int) string {
	switch {
	case x > 0:
		return "+" + figure(x, n)
	case x < 0:
		return "−" + figure(-x, n)
	}
	return "0"
}
