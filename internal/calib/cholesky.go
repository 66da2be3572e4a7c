package calib

// Cholesky factorisation in float64, blocked: a block on the diagonal is factorised and inverted, the columns below it are
// multiplied with the inverse, and what lies behind is updated with their product, which is nearly all of the work and runs
// on the tiles of package simd. (Golub and Van Loan, "Matrix Computations", 4.2.6.)

import (
	"math"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
)

const (
	cholBlock  = 192                // columns at a time: a panel of them, 12 KB, stays in the first cache
	cholStrips = 16                 // strips of rows that a task updates at once: they stay in the second
	stripRows  = simd.DoubleRows    // rows of a packed strip
	panelCols  = simd.DoubleColumns // columns of a packed panel
	cholRows   = cholStrips * stripRows
)

// Cholesky replaces the lower triangle of a symmetric matrix, [n, n] row by row, by L with A = L Lᵀ. What is above the
// diagonal is neither read nor written. false means that A is not positive definite; its lower triangle is lost then. The
// result does not depend on the number of threads.
func Cholesky(a []float64, n int) bool {
	c := &cholesky{a: a, n: n}
	for j := 0; j < n; j += cholBlock {
		c.at, c.size = j, min(cholBlock, n-j)
		if !c.diagonal() {
			return false
		}
		if c.below = n - j - c.size; c.below > 0 {
			c.invert()
			par.For((c.below+cholRows-1)/cholRows, 1, c.columns)
			par.For((c.below+cholRows-1)/cholRows, 1, c.behind)
		}
	}
	return true
}

// cholesky is a factorisation under way: columns [at, at+size), below which there are so many rows.
type cholesky struct {
	a               []float64
	n               int
	at, size, below int
	inverse         []float64 // minus the inverse of the diagonal block, transposed, in panels
	strips, panels  []float64 // the columns below it, packed both ways
}

// row returns row r from the column on where the block begins.
func (c *cholesky) row(r int) []float64 { return c.a[r*c.n+c.at:] }

// diagonal factorises the block on the diagonal.
func (c *cholesky) diagonal() bool {
	for i := range c.size {
		ri := c.row(c.at + i)[:i+1]
		for j := range i + 1 {
			rj := c.row(c.at + j)[:j+1]
			s := ri[j]
			for k, v := range rj[:j] {
				s -= v * ri[k]
			}
			if j < i {
				ri[j] = s / rj[j]
				continue
			}
			if !(s > 0) || math.IsInf(s, 0) {
				return false
			}
			ri[j] = math.Sqrt(s)
		}
	}
	return true
}

// invert packs minus the transposed inverse of the block on the diagonal.
func (c *cholesky) invert() {
	n := c.size
	t := make([]float64, n*n) // lower triangular
	for i := range n {
		l := c.row(c.at + i)[:i+1]
		ti := t[i*n : i*n+i+1]
		for k, v := range l[:i] { // row i of the inverse is made of the rows before it
			for j, x := range t[k*n : k*n+k+1] {
				ti[j] -= v * x
			}
		}
		for j := range ti[:i] {
			ti[j] /= l[i]
		}
		ti[i] = 1 / l[i]
	}
	c.inverse = make([]float64, (n+panelCols-1)/panelCols*panelCols*n)
	for i := range n {
		for l, v := range t[i*n : i*n+i+1] {
			c.inverse[i/panelCols*panelCols*n+l*panelCols+i%panelCols] = -v
		}
	}
	up := func(unit int) int { return (c.below + unit - 1) / unit * unit * n }
	c.strips, c.panels = grown(c.strips, up(stripRows)), grown(c.panels, up(panelCols))
	for i := up(1); i < len(c.panels); i++ { // rows that are not there
		c.panels[i] = 0
	}
}

func grown(v []float64, n int) []float64 {
	if cap(v) < n {
		return make([]float64, n)
	}
	return v[:n]
}

// columns multiplies rows below the diagonal block, in tasks [lo,hi), with its inverse and packs them.
func (c *cholesky) columns(lo, hi int) {
	n := c.size
	in := make([]float64, stripRows*n)
	wide := len(c.inverse) / n
	out := make([]float64, stripRows*wide)
	first := c.at + n
	for r := lo * cholRows; r < min(hi*cholRows, c.below); r += stripRows {
		rows := min(stripRows, c.below-r)
		clear(in)
		clear(out)
		for i := range rows {
			for l, v := range c.row(first + r + i)[:n] {
				in[l*stripRows+i] = v
			}
		}
		for p := 0; p < wide; p += panelCols {
			simd.DoubleTile(out[p:], wide, in, c.inverse[p*n:], n)
		}
		strip := c.strips[r*n:][:stripRows*n]
		for i := range stripRows {
			for l, v := range out[i*wide : i*wide+n] {
				strip[l*stripRows+i] = v
			}
		}
		for i := range rows {
			copy(c.row(first+r+i), out[i*wide:i*wide+n])
			panel := c.panels[(r+i)/panelCols*panelCols*n+(r+i)%panelCols:]
			for l, v := range out[i*wide : i*wide+n] {
				panel[l*panelCols] = v
			}
		}
	}
}

// behind subtracts the product of the new columns from what lies behind them, in tasks [lo,hi) of rows.
func (c *cholesky) behind(lo, hi int) {
	n, first := c.size, c.at+c.size
	from, to := lo*cholRows, min(hi*cholRows, c.below)
	for p := 0; p < to; p += panelCols {
		panel := c.panels[p*n:]
		for r := max(from, p/stripRows*stripRows); r < to; r += stripRows {
			at := c.a[(first+r)*c.n+first+p:]
			if r >= p+panelCols-1 && r+stripRows <= to {
				simd.DoubleTile(at, c.n, c.strips[r*n:], panel, n)
				continue
			}
			var t [stripRows * panelCols]float64 // across the diagonal, or past the end
			simd.DoubleTile(t[:], panelCols, c.strips[r*n:], panel, n)
			for i := range min(stripRows, to-r) {
				for j := range min(panelCols, r+i-p+1) {
					at[i*c.n+j] += t[i*panelCols+j]
				}
			}
		}
	}
}
