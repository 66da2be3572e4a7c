package report

import "math"

// rect is a box in pixels, y growing downward.
type rect struct{ x0, y0, x1, y1 float64 }

// overlap returns the area that two boxes share.
func (r rect) overlap(o rect) float64 {
	w, h := min(r.x1, o.x1)-max(r.x0, o.x0), min(r.y1, o.y1)-max(r.y0, o.y0)
	if w <= 0 || h <= 0 {
		return 0
	}
	return w * h
}

func (r rect) grow(d float64) rect { return rect{r.x0 - d, r.y0 - d, r.x1 + d, r.y1 + d} }

// label is text beside a point. place finds its box.
type label struct {
	x, y, r  float64 // the point
	up, down float64 // how far its error bar reaches, at least r
	w, h     float64 // of the text
	box      rect
}

// segment is a line that labels should not cover.
type segment struct{ x0, y0, x1, y1 float64 }

// within returns the length of the segment inside a box (Liang and Barsky 1984).
func (s segment) within(b rect) float64 {
	dx, dy := s.x1-s.x0, s.y1-s.y0
	t0, t1 := 0.0, 1.0
	for _, e := range [][2]float64{{-dx, s.x0 - b.x0}, {dx, b.x1 - s.x0}, {-dy, s.y0 - b.y0}, {dy, b.y1 - s.y0}} {
		p, q := e[0], e[1]
		if p == 0 {
			if q < 0 {
				return 0
			}
			continue
		}
		if t := q / p; p < 0 {
			t0 = max(t0, t)
		} else {
			t1 = min(t1, t)
		}
	}
	return max(0, t1-t0) * math.Hypot(dx, dy)
}

// spots are the directions a label may lie in, best first: people read to the right, then look above.
var spots = [][2]float64{{1, 0}, {0, -1}, {-1, 0}, {0, 1}, {1, -0.7}, {1, 0.7}, {-1, -0.7}, {-1, 0.7}}

// spot returns the box of a label in direction d at a distance from its point's rim.
func (l *label) spot(d [2]float64, distance float64) rect {
	ry := l.r
	if d[0] == 0 && d[1] < 0 {
		ry = max(ry, l.up)
	} else if d[0] == 0 {
		ry = max(ry, l.down)
	}
	cx := l.x + d[0]*(l.r+distance+l.w/2)
	cy := l.y + d[1]*(ry+distance+l.h/2)
	return rect{cx - l.w/2, cy - l.h/2, cx + l.w/2, cy + l.h/2}
}

// place gives every label the box that covers least: other labels above all, then points, then lines. It starts from
// the best box of each alone and lets each in turn move away from the others until none wants to.
func place(labels []label, lines []segment, bounds rect) {
	var points []rect
	for _, l := range labels {
		points = append(points, rect{l.x - l.r, l.y - l.r, l.x + l.r, l.y + l.r}.grow(2))
	}
	cost := func(i int, b rect, others bool) float64 {
		c := 0.0
		if b.x0 < bounds.x0 || b.x1 > bounds.x1 || b.y0 < bounds.y0 || b.y1 > bounds.y1 {
			c += 1e6
		}
		for j := range labels {
			if j != i && others {
				c += 50 * b.grow(3).overlap(labels[j].box)
			}
			c += 20 * b.overlap(points[j])
		}
		for _, s := range lines {
			c += 15 * s.within(b.grow(1))
		}
		return c
	}
	best := func(i int, others bool) rect {
		var found rect
		least := math.Inf(1)
		for ring, distance := range []float64{5, 16, 30, 48} {
			for k, d := range spots {
				b := labels[i].spot(d, distance)
				if c := cost(i, b, others) + float64(ring*60+k*4); c < least {
					found, least = b, c
				}
			}
		}
		return found
	}
	for i := range labels {
		labels[i].box = best(i, false)
	}
	for range 20 {
		moved := false
		for i := range labels {
			if b := best(i, true); b != labels[i].box {
				labels[i].box, moved = b, true
			}
		}
		if !moved {
			return
		}
	}
}

// leader returns the line from a point's rim to a box that lies apart from it; ok is false where they are neighbours.
func (l *label) leader() (s segment, ok bool) {
	nx, ny := min(max(l.x, l.box.x0), l.box.x1), min(max(l.y, l.box.y0), l.box.y1)
	d := math.Hypot(nx-l.x, ny-l.y)
	if d < max(l.r, l.up, l.down)+10 {
		return segment{}, false
	}
	k := (l.r + 3) / d
	e := (d - 3) / d
	return segment{l.x + k*(nx-l.x), l.y + k*(ny-l.y), l.x + e*(nx-l.x), l.y + e*(ny-l.y)}, true
}
