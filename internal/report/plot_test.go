package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// points returns a plot of n models in random places, crowded as sweeps are.
func crowd(n int, seed uint64) *sizePlot {
	rng := rand.New(rand.NewPCG(seed, 5))
	r := &Report{Title: "crowd", Baseline: "base"}
	for i := range n {
		name, stage, from := fmt.Sprintf("q%d-long-name"[:4+rng.IntN(8)], i), "quantize", "base"
		if i == 0 {
			name, stage, from = "base", "", ""
		}
		v := 5 + rng.ExpFloat64()
		r.Models = append(r.Models, Model{Name: name, Stage: stage, From: from, Bytes: 1e6 + int64(rng.IntN(4e6)), Perplexity: &Perplexity{Value: v, Stderr: 0.02 * rng.Float64()}})
	}
	q, _ := r.pickQuality()
	p := &sizePlot{r: r, q: q, box: rect{76, 84, 876, 468}}
	for i := range r.Models {
		m := &r.Models[i]
		v, low, high, _ := q.value(m)
		p.points = append(p.points, &point{m: m, v: v, low: low, high: high, ink: text1, detail: p.detail(m, v)})
	}
	p.scales()
	p.labels()
	return p
}

// TestLabelsKeepApart: no label covers another, or a point, or leaves the picture, in a hundred crowded plots.
func TestLabelsKeepApart(t *testing.T) {
	for seed := range uint64(100) {
		p := crowd(3+int(seed%8), seed)
		for i, a := range p.points {
			if b := a.label.box; b.x0 < 0 || b.x1 > 920 || b.y0 < 60 || b.y1 > 500 {
				t.Errorf("seed %d: label %s leaves the picture: %+v", seed, a.m.Name, b)
			}
			for j, b := range p.points {
				if i < j && a.label.box.overlap(b.label.box) > 0 {
					t.Errorf("seed %d: labels of %s and %s overlap", seed, a.m.Name, b.m.Name)
				}
				dot := rect{b.label.x - 5, b.label.y - 5, b.label.x + 5, b.label.y + 5}
				if a.label.box.overlap(dot) > 0 {
					t.Errorf("seed %d: the label of %s covers the point of %s", seed, a.m.Name, b.m.Name)
				}
			}
		}
	}
}

func TestSegmentWithin(t *testing.T) {
	b := rect{0, 0, 10, 10}
	for _, tc := range []struct {
		s    segment
		want float64
	}{
		{segment{-5, 5, 15, 5}, 10}, {segment{5, 5, 5, 8}, 3}, {segment{-5, -5, -1, 20}, 0}, {segment{0, 0, 10, 10}, math.Sqrt(200)},
		{segment{20, 20, 30, 30}, 0}, {segment{5, 5, 5, 5}, 0}, {segment{-10, 5, 5, 5}, 5},
	} {
		if got := tc.s.within(b); math.Abs(got-tc.want) > 1e-9 {
			t.Errorf("%+v: %v, want %v", tc.s, got, tc.want)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, tc := range []struct {
		s    scale
		n    int
		want string
	}{
		{scale{lo: 4.9, hi: 7.2}, 5, "[5 5.5 6 6.5 7]"},
		{scale{lo: 0, hi: 1}, 5, "[0 0.2 0.4 0.6000000000000001 0.8 1]"},
		{scale{lo: 1.2e6, hi: 1.1e7, log: true}, 7, "[1.5e+06 2e+06 3e+06 5e+06 7e+06 1e+07]"},
		{scale{lo: 1e3, hi: 1e9, log: true}, 7, "[1000 10000 100000 1e+06 1e+07 1e+08 1e+09]"},
		{scale{lo: 0.1, hi: 0.9, log: true}, 5, "[0.1 0.15000000000000002 0.2 0.30000000000000004 0.5 0.7000000000000001]"},
	} {
		if got := fmt.Sprint(tc.s.ticks(tc.n)); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.s, got, tc.want)
		}
	}
	// Whatever the range, ticks are inside, ascending, and a handful.
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		lo := math.Exp(rng.NormFloat64() * 8)
		s := scale{lo: lo, hi: lo * (1.01 + rng.ExpFloat64()*10), log: rng.IntN(2) == 0}
		ticks := s.ticks(6)
		if len(ticks) < 2 || len(ticks) > 14 || !slices.IsSorted(ticks) || ticks[0] < s.lo*(1-1e-9) || ticks[len(ticks)-1] > s.hi*(1+1e-9) {
			t.Fatalf("%+v: %v", s, ticks)
		}
	}
}

// TestCharts: the SVG is well formed and carries both color schemes, the PNG shows the same picture, and the same
// report gives the same bytes.
func TestCharts(t *testing.T) {
	size, ok1 := sample().sizePlot()
	loss, ok2 := sample().lossPlot("student")
	cmp, ok3 := comparePlot("a & b", comparisons())
	if !ok1 || !ok2 || !ok3 {
		t.Fatal(ok1, ok2, ok3)
	}
	for _, d := range []drawing{size, loss, cmp} {
		svg, err := d.svg()
		if err != nil {
			t.Fatal(err)
		}
		again, _ := d.svg()
		if !bytes.Equal(svg, again) {
			t.Errorf("%s: SVG differs from call to call", d.title)
		}
		dec := xml.NewDecoder(bytes.NewReader(svg))
		texts := 0
		for {
			tok, err := dec.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: not well formed: %v", d.title, err)
			}
			if s, ok := tok.(xml.StartElement); ok && s.Name.Local == "text" {
				texts++
			}
		}
		if texts < 8 || !bytes.Contains(svg, []byte("prefers-color-scheme:dark")) || bytes.Contains(svg, []byte("href=")) {
			t.Errorf("%s: %d texts", d.title, texts)
		}
		raw, err := d.png()
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(raw))
		if err != nil || img.Bounds().Dx() != int(2*d.w) || img.Bounds().Dy() != int(2*d.h) {
			t.Fatal(img.Bounds(), err)
		}
		if c := color.NRGBAModel.Convert(img.At(3, 3)); c != (color.NRGBA{255, 255, 255, 255}) {
			t.Errorf("%s: background is %v", d.title, c)
		}
	}
}

// TestPlotShowsThePoints looks for every model's color where its point belongs.
func TestPlotShowsThePoints(t *testing.T) {
	r := sample()
	d, _ := r.sizePlot()
	raw, err := d.png()
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	p := &sizePlot{r: r, box: rect{76, 84, 876, 468}}
	p.q, _ = r.pickQuality()
	for i := range r.Models {
		m := &r.Models[i]
		v, low, high, _ := p.q.value(m)
		p.points = append(p.points, &point{m: m, v: v, low: low, high: high})
	}
	p.scales()
	for _, pt := range p.points {
		x, y := p.x.at(float64(pt.m.Bytes)), p.y.at(pt.v)
		want := color.NRGBAModel.Convert(r.stageInk(pt.m.Stage).rgba())
		if got := color.NRGBAModel.Convert(at(img, x, y)); got != want {
			t.Errorf("%s at %.0f, %.0f: %v, want %v", pt.m.Name, x, y, got, want)
		}
	}
}

func at(img image.Image, x, y float64) color.Color { return img.At(int(2*x), int(2*y)) }

func TestQualityFallsBack(t *testing.T) {
	r := sample()
	for i := range r.Models {
		r.Models[i].Perplexity = nil
	}
	if q, ok := r.pickQuality(); !ok || q.name != "brackets" { // all six have it, five have a divergence
		t.Error(q.name, ok)
	}
	for i := range r.Models {
		r.Models[i].Tasks = nil
	}
	if q, ok := r.pickQuality(); !ok || q.name != "kld" {
		t.Error(q.name, ok)
	}
	for i := range r.Models {
		r.Models[i].KLD = nil
	}
	if _, ok := r.sizePlot(); ok {
		t.Error("drew a plot of nothing")
	}
}

func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		low, high float64
		less      bool
		want      string
	}{
		{0.1, 0.2, true, "worse"}, {0.1, 0.2, false, "better"}, {-0.2, -0.1, true, "better"}, {-0.2, -0.1, false, "worse"},
		{-0.1, 0.1, true, "no clear difference"}, {-0.1, 0.1, false, "no clear difference"}, {0, 0.1, true, "no clear difference"},
	} {
		if got := (Comparison{Low: tc.low, High: tc.high, LessIsBetter: tc.less}).Verdict(); got != tc.want {
			t.Errorf("%+v: %s", tc, got)
		}
	}
}

func comparisons() []Comparison {
	return []Comparison{
		{Name: "q4", Baseline: "base", Metric: "perplexity", Value: 5.74, Reference: 5.21, Difference: 0.53, Low: 0.41, High: 0.65, N: 200, LessIsBetter: true},
		{Name: "student", Baseline: "base", Metric: "perplexity", Value: 5.62, Reference: 5.21, Difference: 0.41, Low: 0.3, High: 0.52, N: 200, LessIsBetter: true},
		{Name: "q4", Baseline: "base", Metric: "brackets", Value: 0.76, Reference: 0.79, Difference: -0.03, Low: -0.07, High: 0.01, PValue: 0.21, N: 500},
		{Name: "student", Baseline: "base", Metric: "brackets", Value: 0.82, Reference: 0.79, Difference: 0.03, Low: 0.01, High: 0.05, PValue: 0.004, N: 500},
	}
}

func TestComparePages(t *testing.T) {
	if _, ok := comparePlot("x", []Comparison{{Name: "a", Low: math.NaN()}}); ok {
		t.Error("drew a plot of nothing")
	}
	var b strings.Builder
	table := CompareTable(comparisons())
	table.markdown(func(f string, a ...any) { fmt.Fprintf(&b, f, a...) })
	if !strings.Contains(b.String(), "| q4 | brackets | 0.76 | 0.79 | −0.03 | −0.07 to +0.01 | 0.21 | 500 | no clear difference |") {
		t.Error(b.String())
	}
}
