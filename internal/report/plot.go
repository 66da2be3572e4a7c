package report

import (
	"fmt"
	"math"
	"strings"
)

// quality is the metric that a plot shows against size.
type quality struct {
	name, title string
	less        bool // is better
	value       func(m *Model) (v, low, high float64, ok bool)
}

// z95 is how many standard errors a 95 % interval reaches to either side.
const z95 = 1.959964

// pickQuality chooses what most models were measured in: perplexity, else divergence, else the first task.
func (r *Report) pickQuality() (quality, bool) {
	all := []quality{
		{"perplexity", "perplexity", true, func(m *Model) (v, low, high float64, ok bool) {
			if p := m.Perplexity; p != nil {
				return p.Value, p.Value - z95*p.Stderr, p.Value + z95*p.Stderr, true
			}
			return 0, 0, 0, false
		}},
		{"kld", "mean KL divergence to " + r.Baseline + " (nats)", true, func(m *Model) (v, low, high float64, ok bool) {
			if k := m.KLD; k != nil {
				return k.Mean, k.Mean - z95*k.Stderr, k.Mean + z95*k.Stderr, true
			}
			return 0, 0, 0, false
		}},
	}
	for _, task := range r.taskNames() {
		all = append(all, quality{task, task + " (" + r.taskMetric(task) + ")", false, func(m *Model) (v, low, high float64, ok bool) {
			t, ok := m.Tasks[task]
			if t.Low == 0 && t.High == 0 {
				return t.Value, t.Value - z95*t.Stderr, t.Value + z95*t.Stderr, ok
			}
			return t.Value, t.Low, t.High, ok
		}})
	}
	var best quality
	most := 0
	for _, q := range all {
		n := 0
		for i := range r.Models {
			if v, _, _, ok := q.value(&r.Models[i]); ok && r.Models[i].Bytes > 0 && v-v == 0 {
				n++
			}
		}
		if n > most {
			best, most = q, n
		}
	}
	return best, most > 0
}

// point is a model in the plot.
type point struct {
	m            *Model
	v, low, high float64
	ink          ink
	label        label
	detail       string
}

// sizePlot draws quality against size; ok is false where nothing was measured.
func (r *Report) sizePlot() (d drawing, ok bool) {
	q, ok := r.pickQuality()
	if !ok {
		return drawing{}, false
	}
	p := &sizePlot{r: r, q: q, box: rect{76, 84, 876, 468}}
	for i := range r.Models {
		m := &r.Models[i]
		if v, low, high, ok := q.value(m); ok && m.Bytes > 0 && v-v == 0 {
			p.points = append(p.points, &point{m: m, v: v, low: low, high: high, ink: r.stageInk(m.Stage), detail: p.detail(m, v)})
		}
	}
	p.scales()
	p.labels()
	return drawing{920, 540, fmt.Sprintf("%s: %s against size of %d models", r.Title, q.title, len(p.points)), p.draw}, true
}

type sizePlot struct {
	r      *Report
	q      quality
	box    rect // the axes
	x, y   scale
	points []*point
	lines  []segment // that labels keep clear of
}

func (p *sizePlot) detail(m *Model, v float64) string {
	s := size(float64(m.Bytes)) + " · " + figure(v, 4)
	if m.Decode != nil {
		s += " · " + figure(m.Decode.TokensPerSecond, 3) + " tok/s"
	}
	return s
}

// stageInk gives every kind of stage its color, the recipe's own model that of text.
func (r *Report) stageInk(kind string) ink {
	if kind == "" {
		return text1
	}
	var kinds []string
	for i := range r.Models {
		kinds = appendNew(kinds, []string{r.Models[i].Stage})
	}
	n := 0
	for _, k := range kinds {
		if k == kind {
			return accent[n%len(accent)]
		}
		if k != "" {
			n++
		}
	}
	return text1
}

// scales fits both axes to the points, with room for the labels beside them.
func (p *sizePlot) scales() {
	p.x = scale{lo: math.Inf(1), hi: math.Inf(-1), a: p.box.x0, b: p.box.x1, log: true}
	p.y = scale{lo: math.Inf(1), hi: math.Inf(-1), a: p.box.y1, b: p.box.y0}
	for _, pt := range p.points {
		b := float64(pt.m.Bytes)
		p.x.lo, p.x.hi = min(p.x.lo, b), max(p.x.hi, b)
		p.y.lo, p.y.hi = min(p.y.lo, pt.low), max(p.y.hi, pt.high)
	}
	if p.x.hi < 2*p.x.lo {
		mid := math.Sqrt(p.x.lo * p.x.hi)
		p.x.lo, p.x.hi = mid/1.5, mid*1.5
	}
	if span := max(math.Abs(p.y.lo+p.y.hi)/20, 1e-9); p.y.hi-p.y.lo < span {
		mid := (p.y.lo + p.y.hi) / 2
		p.y.lo, p.y.hi = mid-span/2, mid+span/2
	}
	p.y.log = p.y.lo > 0 && p.y.hi > 6*p.y.lo
	p.x, p.y = p.x.pad(0.12, 0.16), p.y.pad(0.12, 0.14)
	if p.y.lo < 0 && !p.y.log {
		p.y.lo = 0
	}
}

// labels places the names beside the points.
func (p *sizePlot) labels() {
	var labels []label
	base := p.r.Model(p.r.Baseline)
	if base != nil {
		if v, _, _, ok := p.q.value(base); ok {
			y := p.y.at(v)
			p.lines = append(p.lines, segment{p.box.x0, y, p.box.x1, y})
		}
	}
	for _, pt := range p.points {
		x, y := p.x.at(float64(pt.m.Bytes)), p.y.at(pt.v)
		w := max(width(pt.m.Name, 14, true), width(pt.detail, 11.5, false))
		labels = append(labels, label{x: x, y: y, r: 6.5, up: y - p.y.at(pt.high), down: p.y.at(p.clamp(pt.low)) - y, w: w + 4, h: 31})
		p.lines = append(p.lines, segment{x, p.y.at(p.clamp(pt.high)), x, p.y.at(p.clamp(pt.low))})
		if from := p.parent(pt); from != nil {
			p.lines = append(p.lines, segment{x, y, p.x.at(float64(from.m.Bytes)), p.y.at(from.v)})
		}
	}
	place(labels, p.lines, rect{p.box.x0 + 4, p.box.y0, p.box.x1 + 34, p.box.y1 - 2})
	for i, pt := range p.points {
		pt.label = labels[i]
	}
}

// clamp keeps the end of an error bar on a logarithmic axis.
func (p *sizePlot) clamp(v float64) float64 {
	if p.y.log {
		return max(v, p.y.lo)
	}
	return v
}

// parent returns the point of the model that pt was made from.
func (p *sizePlot) parent(pt *point) *point {
	for _, from := range p.points {
		if pt.m.From != "" && from.m.Name == pt.m.From {
			return from
		}
	}
	return nil
}

func (p *sizePlot) draw(c *canvas) {
	better := "lower"
	if !p.q.less {
		better = "higher"
	}
	c.text(p.r.Title, p.box.x0-52, 36, 0, 20, true, text1)
	c.text(fmt.Sprintf("%s against size on disk; %s and further left is better", p.q.title, better), p.box.x0-52, 58, 0, 13, false, text2)
	p.axes(c)
	for _, pt := range p.points {
		if from := p.parent(pt); from != nil {
			p.arrow(c, from, pt)
		}
	}
	bars := false
	for _, pt := range p.points {
		x, y := pt.label.x, pt.label.y
		if hi, lo := p.y.at(pt.high), p.y.at(p.clamp(pt.low)); lo-hi > 2 {
			c.line(pt.ink, 1.5, nil, x, hi, x, lo)
			c.line(pt.ink, 1.5, nil, x-4, hi, x+4, hi)
			c.line(pt.ink, 1.5, nil, x-4, lo, x+4, lo)
			bars = true
		}
		c.dot(pt.ink, x, y, pt.label.r)
	}
	for _, pt := range p.points {
		p.name(c, pt)
	}
	p.foot(c, bars)
}

func (p *sizePlot) axes(c *canvas) {
	for _, v := range p.y.ticks(7) {
		y := p.y.at(v)
		c.line(grid, 1, nil, p.box.x0, y, p.box.x1, y)
		c.text(figure(v, 3), p.box.x0-8, y+4, 1, 12, false, text2)
	}
	for _, v := range p.x.ticks(7) {
		x := p.x.at(v)
		c.line(axis, 1, nil, x, p.box.y1, x, p.box.y1+5)
		c.text(size(v), x, p.box.y1+20, 0.5, 12, false, text2)
	}
	c.line(axis, 1, nil, p.box.x0, p.box.y1, p.box.x1, p.box.y1)
	base := p.r.Model(p.r.Baseline)
	if base == nil {
		return
	}
	if v, _, _, ok := p.q.value(base); ok && len(p.points) > 1 {
		y := p.y.at(v)
		c.line(text2, 1, []float64{2, 4}, p.box.x0, y, p.box.x1, y)
	}
}

// arrow draws the way from a model to what was made of it.
func (p *sizePlot) arrow(c *canvas, from, to *point) {
	x0, y0, x1, y1 := from.label.x, from.label.y, to.label.x, to.label.y
	d := math.Hypot(x1-x0, y1-y0)
	if d < 30 {
		return
	}
	ux, uy := (x1-x0)/d, (y1-y0)/d
	x0, y0, x1, y1 = x0+11*ux, y0+11*uy, x1-12*ux, y1-12*uy
	c.line(trail, 2, nil, x0, y0, x1-6*ux, y1-6*uy)
	c.fill(trail, x1, y1, x1-9*ux+4.5*uy, y1-9*uy-4.5*ux, x1-9*ux-4.5*uy, y1-9*uy+4.5*ux)
}

func (p *sizePlot) name(c *canvas, pt *point) {
	b := pt.label.box
	c.fill(paper, b.x0, b.y0+1, b.x1, b.y0+1, b.x1, b.y1, b.x0, b.y1) // keeps grid lines out of the text
	if s, ok := pt.label.leader(); ok {
		c.line(axis, 1, nil, s.x0, s.y0, s.x1, s.y1)
	}
	x, align := b.x0+2, 0.0
	switch mid := (b.x0 + b.x1) / 2; {
	case mid < pt.label.x-10:
		x, align = b.x1-2, 1
	case mid < pt.label.x+10:
		x, align = mid, 0.5
	}
	c.text(pt.m.Name, x, b.y0+13, align, 14, true, pt.ink)
	c.text(pt.detail, x, b.y0+27, align, 11.5, false, text2)
}

// foot names the colors, and says how it was measured.
func (p *sizePlot) foot(c *canvas, bars bool) {
	var said []string
	x := p.box.x0 - 52
	for _, pt := range p.points {
		kind := pt.m.Stage
		if kind == "" {
			kind = "original"
		}
		if n := len(said); len(appendNew(said, []string{kind})) == n {
			continue
		}
		said = append(said, kind)
		c.dot(pt.ink, x+5, 515, 4.5)
		c.text(kind, x+15, 519, 0, 12, false, text2)
		x += 15 + width(kind, 12, false) + 18
	}
	var how []string
	if bars {
		how = append(how, "bars: 95 % intervals")
	}
	if p.r.Machine.CPU != "" {
		how = append(how, shortCPU(p.r.Machine))
	}
	how = append(how, "pare "+p.r.Pare)
	c.text(strings.Join(how, " · "), 896, 519, 1, 11, false, text2)
}

// shortCPU names the processor without its marketing.
func shortCPU(m Machine) string {
	words := strings.Fields(strings.NewReplacer("(R)", "", "(TM)", "", "Processor", "", "CPU", "").Replace(m.CPU))
	s := strings.Join(words, " ")
	if len(s) > 42 {
		s = s[:42]
	}
	if m.Threads > 0 {
		s += fmt.Sprintf(", %d threads", m.Threads)
	}
	return s
}
