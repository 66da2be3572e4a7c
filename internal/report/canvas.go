package report

import (
	"bytes"
	"fmt"
	"html"
	"image/color"
	"regexp"
	"strings"
	"sync"

	"codeberg.org/go-fonts/liberation/liberationsansbold"
	"codeberg.org/go-fonts/liberation/liberationsansregular"
	stdfont "golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// ink is a color of the charts. Each has a twin for dark pages, which style sheets choose.
type ink struct{ light, dark string }

var (
	paper  = ink{"#ffffff", "#0d1117"}
	text1  = ink{"#1f2328", "#e6edf3"} // names and titles
	text2  = ink{"#59636e", "#9198a1"} // figures and axes
	grid   = ink{"#e7eaee", "#21262d"}
	axis   = ink{"#afb8c1", "#484f58"}
	trail  = ink{"#d0d7de", "#30363d"} // from a model to what was made of it
	accent = []ink{                    // one for each kind of stage, told apart by color-blind readers too
		{"#0969da", "#58a6ff"}, {"#bf5a00", "#f0883e"}, {"#8250df", "#bc8cff"}, {"#0a7f5a", "#3fb99a"}, {"#cf222e", "#ff7b72"}, {"#7d6608", "#d4a72c"},
	}
)

func inks() []ink { return append([]ink{paper, text1, text2, grid, axis, trail}, accent...) }

func (i ink) rgba() color.Color {
	var c color.NRGBA
	c.A = 0xff
	fmt.Sscanf(i.light, "#%02x%02x%02x", &c.R, &c.G, &c.B)
	return c
}

// canvas draws in pixels from the upper left corner, as people read.
type canvas struct {
	vg.Canvas
	w, h float64
}

// at turns our coordinates into vg's, which begin at the lower left. It keeps them near the picture: the rasterizer
// walks every pixel of a line, and for ever along one that ends nowhere.
func (c *canvas) at(x, y float64) vg.Point {
	return vg.Point{X: vg.Length(near(x, c.w)), Y: vg.Length(c.h - near(y, c.h))}
}

func near(x, size float64) float64 {
	if x != x {
		return 0
	}
	return min(max(x, -size), 2*size)
}

var faces = sync.OnceValue(func() map[stdfont.Weight]*opentype.Font {
	m := map[stdfont.Weight]*opentype.Font{}
	for w, ttf := range map[stdfont.Weight][]byte{stdfont.WeightNormal: liberationsansregular.TTF, stdfont.WeightBold: liberationsansbold.TTF} {
		f, err := opentype.Parse(ttf)
		if err != nil {
			panic(err) // the font is compiled in
		}
		m[w] = f
	}
	return m
})

// face is Liberation Sans, whose letters are as wide as those of Helvetica and Arial.
func face(size float64, bold bool) font.Face {
	w := stdfont.WeightNormal
	if bold {
		w = stdfont.WeightBold
	}
	return font.Face{Font: font.Font{Typeface: "Liberation", Variant: "Sans", Weight: w, Size: vg.Length(size)}, Face: faces()[w]}
}

// width returns how wide a text is in pixels.
func width(s string, size float64, bold bool) float64 {
	f := face(size, bold)
	return float64(f.Width(s))
}

// text writes s with its baseline at y. align is 0 to begin at x, 0.5 to center, 1 to end there.
func (c *canvas) text(s string, x, y, align, size float64, bold bool, i ink) {
	f := face(size, bold)
	c.SetColor(i.rgba())
	c.FillString(f, c.at(x-align*float64(f.Width(s)), y), s)
}

// line draws a line through points given as x, y, x, y, ...; dash lengths are in pixels.
func (c *canvas) line(i ink, width float64, dash []float64, xy ...float64) {
	var p vg.Path
	for k := 0; k+1 < len(xy); k += 2 {
		if k == 0 {
			p.Move(c.at(xy[0], xy[1]))
		} else {
			p.Line(c.at(xy[k], xy[k+1]))
		}
	}
	c.SetColor(i.rgba())
	c.SetLineWidth(vg.Length(width))
	var d []vg.Length
	for _, x := range dash {
		d = append(d, vg.Length(x))
	}
	c.SetLineDash(d, 0)
	c.Stroke(p)
}

// fill fills the polygon of points given as x, y, x, y, ...
func (c *canvas) fill(i ink, xy ...float64) {
	var p vg.Path
	for k := 0; k+1 < len(xy); k += 2 {
		if k == 0 {
			p.Move(c.at(xy[0], xy[1]))
		} else {
			p.Line(c.at(xy[k], xy[k+1]))
		}
	}
	p.Close()
	c.SetColor(i.rgba())
	c.Fill(p)
}

// dot draws a disc with a rim in the color of the paper, so that it stands off from lines.
func (c *canvas) dot(i ink, x, y, r float64) {
	for _, d := range []struct {
		ink ink
		r   float64
	}{{paper, r + 1.75}, {i, r}} {
		var p vg.Path
		p.Move(c.at(x+d.r, y))
		p.Arc(c.at(x, y), vg.Length(d.r), 0, 2*3.141592653589793)
		p.Close()
		c.SetColor(d.ink.rgba())
		c.Fill(p)
	}
}

// drawing is a chart that can be drawn on any canvas.
type drawing struct {
	w, h  float64
	title string // for those who cannot see it
	draw  func(c *canvas)
}

// png returns the chart as an image of two pixels a point, for sharp screens.
func (d drawing) png() ([]byte, error) {
	img := vgimg.NewWith(vgimg.UseWH(vg.Length(d.w), vg.Length(d.h)), vgimg.UseDPI(144), vgimg.UseBackgroundColor(paper.rgba()))
	d.draw(&canvas{img, d.w, d.h})
	var b bytes.Buffer
	_, err := vgimg.PngCanvas{Canvas: img}.WriteTo(&b)
	return b.Bytes(), err
}

var svgHead = regexp.MustCompile(`(?s)^.*?<svg [^>]*>`)

// svg returns the chart as SVG that follows the reader's choice of a light or dark page.
func (d drawing) svg() ([]byte, error) {
	s := vgsvg.New(vg.Length(d.w), vg.Length(d.h))
	c := &canvas{s, d.w, d.h}
	c.fill(paper, 0, 0, d.w, 0, d.w, d.h, 0, d.h)
	d.draw(c)
	var b bytes.Buffer
	if _, err := s.WriteTo(&b); err != nil {
		return nil, err
	}
	var css strings.Builder
	for _, i := range inks() {
		fmt.Fprintf(&css, "[style*=\"fill:%s\" i]{fill:%s!important}[style*=\"stroke:%s\" i]{stroke:%s!important}\n", i.light, i.dark, i.light, i.dark)
	}
	head := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%g" height="%g" viewBox="0 0 %g %g" role="img"><title>%s</title>`+
		"\n<style>\ntext{font-family:'Liberation Sans',Arimo,Helvetica,Arial,sans-serif}\n@media (prefers-color-scheme:dark){\n%s}\n</style>", d.w, d.h, d.w, d.h, html.EscapeString(d.title), css.String())
	out := svgHead.ReplaceAllLiteralString(b.String(), head)
	out = strings.ReplaceAll(out, "font-family:Liberation Sans;font-variant:normal;", "")
	return []byte(out), nil
}
