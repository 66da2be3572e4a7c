package quantize

import "github.com/parelm/pare/internal/simd"

// Coordinate descent on the codes (Behdin et al. 2023, QuantEase, eq. 8): with all other codes of a row fixed, the best value
// for column i is
//
//	q_i - ((q - w) H)_i / H_ii
//
// which is rounded to the grid. Error feedback leaves a good start and decides columns without knowing what comes later;
// a few sweeps set that right. The error never rises.

// sweep goes over the codes of rows from lo on, whose cells are given by row and group. Parameters stay.
func (w *gptqWork) sweep(lo int, cells [][]*cell) {
	n, rows := w.p.Cols, len(cells)
	h := w.p.hessian32()
	e := make([]float32, rows*n) // q - w, in column order
	for r := range rows {
		for i, c := range w.order {
			if !w.dead[i] {
				e[r*n+c] = w.out.value[(lo+r)*n+i] - w.p.W[(lo+r)*n+c]
			}
		}
	}
	g := make([]float32, rows*n) // e (H + damping)
	simd.Gemm(g, n, e, n, false, h, n, false, rows, n, n, false)
	simd.Axpy(g, e, w.damping)
	for r := range rows {
		for range w.sweeps {
			if !w.sweepRow(lo+r, cells[r], e[r*n:(r+1)*n], g[r*n:(r+1)*n], h) {
				break
			}
		}
	}
}

// sweepRow goes over one row and reports whether a code changed.
func (w *gptqWork) sweepRow(row int, cells []*cell, e, g, h []float32) bool {
	n, changed := w.p.Cols, false
	values := w.out.value[row*n : (row+1)*n]
	for i, c := range w.order {
		d := h[c*n+c] + w.damping
		if w.dead[i] || d <= 0 {
			continue
		}
		place := c // in the row of groups
		if !w.static {
			place = i
		}
		q := cells[place/w.group].round(place%w.group, values[i]-g[c]/d)
		step := q - values[i]
		if step == 0 {
			continue
		}
		// Rounding in g may make a step of no gain look good; one that gains is proof against going in circles.
		if gain := -step * (2*g[c] + step*d); !(gain > 1e-6*d*step*step) {
			cells[place/w.group].round(place%w.group, values[i])
			continue
		}
		changed = true
		values[i] = q
		e[c] += step
		simd.Axpy(g, h[c*n:(c+1)*n], step)
		g[c] += w.damping * step
	}
	return changed
}

// damping returns what is added to the diagonal of a Hessian: a share of its mean, dead columns counting as one.
func damping(hessian []float64, n int, frac float64) float64 {
	var trace float64
	for i := range n {
		if d := hessian[i*(n+1)]; d != 0 {
			trace += d
		} else {
			trace++
		}
	}
	return frac * trace / float64(n)
}
