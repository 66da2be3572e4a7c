package quantize

import (
	"github.com/parelm/pare/internal/simd"
)

// Coordinate descent on the codes (Behdin et al. 2023, QuantEase, eq. 8): with all other codes of a row fixed, the best value
// for column i is
//
//	q_i - ((q - w) H)_i / H_ii
//
// which is rounded to the grid. Error feedback leaves a good start and decides columns without knowing what comes later;
// a few sweeps set that right. The error never rises.

// sweepBlock is how many columns are gone over before what their changes mean for all others is worked out.
const sweepBlock = 128

// sweepStrip is how many columns of g a row's changes are taken into at once: they stay in the first cache, and what is read of H
// for them in the second.
const sweepStrip = 768

// sweep goes over the codes of rows whose cells are given by row and group. Parameters stay. errs is w - q, and
// values q, in the order of columns.
func (w *gptqWork) sweep(cells [][]*cell, errs, values []float32) {
	n, rows := w.p.Cols, len(cells)
	s := &sweeper{w: w, cells: cells, h: w.p.hessian32(), diagonal: make([]float32, n), group: make([]groupPlace, n), q: make([]float32, rows*n), g: make([]float32, rows*n),
		step: make([]float32, rows*sweepBlock)}
	e := make([]float32, rows*n) // q - w
	for i, c := range w.order {
		at := c // in the row of groups
		if !w.static {
			at = i
		}
		s.group[c] = groupPlace{at / w.group, at % w.group}
		if !w.dead[i] {
			s.diagonal[c] = s.h[c*n+c] + w.damping
		}
	}
	for r := range rows {
		for i, c := range w.order {
			e[r*n+c], s.q[r*n+c] = -errs[r*n+i], values[r*n+i]
		}
	}
	simd.Gemm(s.g, n, e, n, false, s.h, n, false, rows, n, n, false)
	simd.Axpy(s.g, e, w.damping)
	active := make([]bool, rows)
	for r := range active {
		active[r] = true
	}
	for range w.sweeps {
		changed := make([]bool, rows)
		any := false
		for c := 0; c < n; c += sweepBlock {
			any = s.block(c, min(c+sweepBlock, n), active, changed) || any
		}
		if active = changed; !any {
			return
		}
	}
}

// groupPlace is a value of a group of a row.
type groupPlace struct{ cell, value int }

func abs(v float32) float32 {
	if v < 0 {
		return -v
	}
	return v
}

// sweeper is a sweep over some rows. Columns are in their own order.
type sweeper struct {
	w     *gptqWork
	cells [][]*cell
	h     []float32
	// Of each column: its second moment with damping, 0 where it is dead, and where its code is.
	diagonal []float32
	group    []groupPlace
	q        []float32 // values
	g        []float32 // (q - w) (H + damping)
	step     []float32 // what changed in the block at hand
}

// block goes over columns [c0,c1) of the active rows, notes those in which a code changed, and reports whether any did.
func (s *sweeper) block(c0, c1 int, active, changed []bool) bool {
	n, size := s.w.p.Cols, c1-c0
	steps := s.step[:len(active)*size]
	clear(steps)
	count := 0
	for r, on := range active {
		if !on {
			continue
		}
		g, step := s.g[r*n+c0:r*n+c1], steps[r*size:(r+1)*size]
		for c := c0; c < c1; c++ {
			d := s.diagonal[c]
			if at := s.group[c]; abs(g[c-c0]) < d*s.cells[r][at.cell].reach(at.value) {
				continue // the best value is nearer than any other code's
			}
			if d = s.column(r, c); d != 0 {
				step[c-c0] = d
				simd.Axpy(g, s.h[c*n+c0:c*n+c1], d)
				g[c-c0] += s.w.damping * d
				changed[r] = true
				count++
			}
		}
	}
	for _, side := range [][2]int{{0, c0}, {c1, n}} {
		from, to := side[0], side[1]
		switch {
		case count == 0 || from == to:
		case count > len(steps)/4:
			simd.Gemm(s.g[from:], n, steps, size, false, s.h[c0*n+from:], n, false, len(active), to-from, size, true)
		default:
			for ; from < to; from += sweepStrip {
				s.few(steps, active, c0, size, from, min(from+sweepStrip, to))
			}
		}
	}
	return count > 0
}

// few takes what changed in columns [c0,c0+size) of the active rows into g's columns [from,to), value by value.
func (s *sweeper) few(steps []float32, active []bool, c0, size, from, to int) {
	n := s.w.p.Cols
	for r, on := range active {
		if !on {
			continue
		}
		g := s.g[r*n+from : r*n+to]
		for i, d := range steps[r*size : (r+1)*size] {
			if d != 0 {
				c := c0 + i
				simd.Axpy(g, s.h[c*n+from:c*n+to], d)
			}
		}
	}
}

// column sets the code of a column to the best one and returns by how much its value changed.
func (s *sweeper) column(r, c int) float32 {
	n := s.w.p.Cols
	d, at := s.diagonal[c], s.group[c]
	if d <= 0 {
		return 0
	}
	old, g, cl := &s.q[r*n+c], s.g[r*n+c], s.cells[r][at.cell]
	q := cl.round(at.value, *old-g/d)
	step := q - *old
	if step == 0 {
		return 0
	}
	// Rounding in g may make a step of no gain look good; one that gains is proof against going in circles.
	if gain := -step * (2*g + step*d); !(gain > 1e-6*d*step*step) {
		cl.round(at.value, *old)
		return 0
	}
	*old = q
	return step
}
