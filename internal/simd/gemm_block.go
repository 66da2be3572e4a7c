package simd

import (
	"sync"

	"github.com/parelm/pare/internal/par"
)

// The blocked product, after Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008). k is cut
// into slices so that a panel of B (16 columns of a slice, 16 KiB) stays in the first cache while it meets a block of A that
// stays in the second. Both are copied into contiguous panels first, unless they are small or lie well already.
//
// Differing from the paper, the tiles go on with the sums they find in C instead of adding to it. So an element is one
// chain of multiply-adds in the order of k, whatever the shape of the tile, the slices and the threads.

const (
	panel      = 16  // columns of B that lie together
	gemmSlice  = 256 // steps of k in one go
	gemmRows   = 96  // rows of a block of A: a multiple of all register tiles
	gemmRegion = 512 // rows and columns of C that one thread takes at most: bounds the buffers

	// gemmTaskWork is how many multiply-adds are worth a task of their own, some 20 us.
	gemmTaskWork = 1 << 19
)

func panels(n int) int { return (n + panel - 1) / panel }

// operand is a matrix as stored: element (i,j) at v[i*ld+j], or at v[j*ld+i] where t is set.
type operand struct {
	v  []float32
	ld int
	t  bool
}

func (o operand) at(i, j int) int {
	if o.t {
		i, j = j, i
	}
	return i*o.ld + j
}

// bView is a part of B as panels: panel j, step l starts at v[j*panelStep+l*step].
type bView struct {
	v               []float32
	panelStep, step int
}

// aView is a part of A in strips of a tile's rows: strip s starts at v[s*strip], and in it element (i,l) at i*row+l*col.
type aView struct {
	v               []float32
	row, col, strip int
}

// tileRows returns the rows of the largest register tile and the panels it takes.
func tileRows() (rows, cols int) {
	switch impl {
	case avx512:
		return 12, 2
	case avx2, neon, dotprod:
		return 6, 1
	}
	return 4, 1
}

// tilePanels returns how many panels a tile of few rows takes at most.
func tilePanels(rows int) int {
	switch impl {
	case avx512:
		if rows <= 4 {
			return 4
		}
		return 2
	case avx2, neon, dotprod:
		return [...]int{0, 4, 3, 2, 1, 1, 1}[rows]
	}
	return 1
}

// narrower returns the next smaller number of panels for which there are tiles of as many rows.
func narrower(cols int) int {
	if impl == avx512 {
		return cols / 2
	}
	return 1
}

// runTile computes C (+)= A·B for one register tile; rows and cols (panels) must be a shape that there is.
func runTile(rows, cols int, c []float32, ldc int, a []float32, row, col int, b []float32, panelStep, step, k int, load bool) {
	// The kernels do not check: touch the last elements they will.
	_ = c[(rows-1)*ldc+cols*panel-1]
	_ = a[(rows-1)*row+(k-1)*col]
	_ = b[(cols-1)*panelStep+(k-1)*step+panel-1]
	if impl == generic {
		gemmTileGeneric(rows, cols, c, ldc, a, row, col, b, panelStep, step, k, load)
		return
	}
	init := 0
	if load {
		init = 1
	}
	gemmTile(rows, cols, &c[0], ldc, &a[0], 4*row, 4*col, &b[0], 4*panelStep, 4*step, k, init)
}

// gemmTileGeneric is a tile in plain Go.
func gemmTileGeneric(rows, cols int, c []float32, ldc int, a []float32, row, col int, b []float32, panelStep, step, k int, load bool) {
	for i := range rows {
		for j := range cols {
			out := (*[panel]float32)(c[i*ldc+j*panel:])
			var s [panel]float32
			if load {
				s = *out
			}
			for l := range k {
				x := a[i*row+l*col]
				for q, w := range (*[panel]float32)(b[j*panelStep+l*step:]) {
					s[q] += x * w
				}
			}
			*out = s
		}
	}
}

var buffers = sync.Pool{New: func() any { return new([]float32) }}

// buffer returns n values from the pool; give back the pointer with buffers.Put.
func buffer(n int) *[]float32 {
	p := buffers.Get().(*[]float32)
	if cap(*p) < n {
		*p = make([]float32, n)
	}
	*p = (*p)[:n]
	return p
}

// gemm is the blocked product of any size; pb is B where it is packed already. C is cut into regions, each the work of one
// thread, which packs for itself: what it packs stays in its own second cache, which costs less than to share the packing
// and fetch the other half from another core's.
func gemm(c []float32, ldc int, a, b operand, pb *PackedB, m, n, k int, accumulate, parallel bool) {
	g := gemmJob{c, ldc, a, b, pb, n, k, accumulate}
	rows, cols := (m+gemmRegion-1)/gemmRegion, (n+gemmRegion-1)/gemmRegion
	if parallel && m*n*k > gemmTaskWork {
		for rows*cols < 3*par.Threads() && m*n*k > 8*gemmTaskWork*rows*cols && (m > gemmRows*rows || n > 4*panel*cols) {
			if m*cols > n*rows && m > gemmRows*rows || n <= 4*panel*cols {
				rows++
			} else {
				cols++
			}
		}
	}
	unit, _ := tileRows()
	high, wide := roundUp((m+rows-1)/rows, unit), roundUp((n+cols-1)/cols, 2*panel)
	rows, cols = (m+high-1)/high, (n+wide-1)/wide
	do := func(lo, hi int) {
		for t := lo; t < hi; t++ {
			i, j := t/cols*high, t%cols*wide
			g.region(i, min(m, i+high), j, min(n, j+wide))
		}
	}
	if rows*cols == 1 || !parallel {
		do(0, rows*cols)
		return
	}
	par.For(rows*cols, 1, do)
}

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

// gemmJob is one product.
type gemmJob struct {
	c          []float32
	ldc        int
	a, b       operand
	pb         *PackedB
	n, k       int
	accumulate bool
}

// slice is one slice of k with both operands ready.
type slice struct {
	steps int
	a     aView
	b     bView
	bTail []float32 // the last panel, packed, where it is narrow and the others are not
}

// workspace is what a thread packs into.
type workspace struct{ a, b []float32 }

var workspaces = sync.Pool{New: func() any { return new(workspace) }}

// region computes rows [i,iEnd) and columns [j,jEnd) of C.
func (g *gemmJob) region(i, iEnd, j, jEnd int) {
	w := workspaces.Get().(*workspace)
	defer workspaces.Put(w)
	if w.a == nil {
		w.a = make([]float32, gemmRows*(gemmSlice+panel))
	}
	if size := panels(jEnd-j) * panel * min(gemmSlice, g.k); len(w.b) < size && g.pb == nil {
		w.b = make([]float32, size)
	}
	for l := 0; l < g.k; l += gemmSlice {
		s := slice{steps: min(gemmSlice, g.k-l)}
		g.readyB(&s, w.b, iEnd-i, j, jEnd, l)
		for lo := i; lo < iEnd; lo += gemmRows {
			hi := min(iEnd, lo+gemmRows)
			g.readyA(&s, w.a, lo, hi, iEnd-i, jEnd-j, l)
			s.block(g.c[lo*g.ldc+j:], g.ldc, 0, hi-lo, jEnd-j, 0, panels(jEnd-j), g.accumulate || l > 0)
		}
	}
}

// readyB makes the slice's part of B from step l on ready: packed, or in place where few rows of A will read it.
func (g *gemmJob) readyB(s *slice, buf []float32, rows, j, jEnd, l int) {
	switch {
	case g.pb != nil:
		s.b = bView{g.pb.data[(j/panel*g.k+l)*panel:], g.k * panel, panel}
	case !g.b.t && rows <= 8:
		s.b = bView{g.b.v[g.b.at(l, j):], panel, g.b.ld}
		if whole := (jEnd - j) / panel * panel; whole < jEnd-j {
			packB(buf, g.b, j+whole, jEnd, l, l+s.steps)
			s.bTail = buf
		}
	default:
		packB(buf, g.b, j, jEnd, l, l+s.steps)
		s.b = bView{buf, panel * s.steps, panel}
	}
}

// readyA makes rows [lo,hi) of A from step l on ready. Plain rows are copied closer together unless they lie close or are
// read by few columns; columns are copied into panels of a tile's rows.
func (g *gemmJob) readyA(s *slice, buf []float32, lo, hi, rows, cols, l int) {
	unit, _ := tileRows()
	switch {
	case !g.a.t && (rows <= 2*unit || cols <= 4*panel || g.a.ld <= gemmSlice+gemmSlice/4):
		s.a = aView{g.a.v[g.a.at(lo, l):], g.a.ld, 1, unit * g.a.ld}
	case !g.a.t:
		const step = gemmSlice + panel // not a power of two: rows must not fall on the same cache sets
		for r := lo; r < hi; r++ {
			copy(buf[(r-lo)*step:(r-lo)*step+s.steps], g.a.v[g.a.at(r, l):])
		}
		s.a = aView{buf, step, 1, unit * step}
	case cols <= panel:
		s.a = aView{g.a.v[g.a.at(lo, l):], 1, g.a.ld, unit}
	default:
		strip := unit*s.steps + panel // packA writes a vector too much
		const turn = 32               // steps: whole lines of A are read while they are near
		for d := 0; d < s.steps; d += turn {
			for r := lo; r < hi; r += unit {
				packA(buf[(r-lo)/unit*strip+d*unit:], unit, g.a, r, min(unit, hi-r), l+d, min(turn, s.steps-d))
			}
		}
		s.a = aView{buf, 1, unit, strip}
	}
}

// block computes rows [lo,hi) of the slice's A with panels [p,q) of its jn columns: c begins with row 0 and column 0 of them.
func (x *slice) block(c []float32, ldc, lo, hi, jn, p, q int, load bool) {
	rows, wide := tileRows()
	whole := q // panels that are
	if whole*panel > jn {
		whole--
	}
	full := lo + (hi-lo)/rows*rows
	for s := p; s < whole; s += wide {
		w := min(wide, whole-s)
		b := x.b.v[s*x.b.panelStep:]
		if impl == avx2 && full-lo > rows {
			x.strips(c[lo*ldc+s*panel:], ldc, x.a.v[lo/rows*x.a.strip:], b, (full-lo)/rows, load)
			continue
		}
		for r := lo; r < full; r += rows {
			runTile(rows, w, c[r*ldc+s*panel:], ldc, x.a.v[r/rows*x.a.strip:], x.a.row, x.a.col, b, x.b.panelStep, x.b.step, x.steps, load)
		}
	}
	if rest := hi - full; rest > 0 { // few rows take more panels at a time
		wide = tilePanels(rest)
		for s := p; s < whole; {
			w := wide
			for w > whole-s {
				w = narrower(w)
			}
			runTile(rest, w, c[full*ldc+s*panel:], ldc, x.a.v[full/rows*x.a.strip:], x.a.row, x.a.col, x.b.v[s*x.b.panelStep:], x.b.panelStep, x.b.step, x.steps, load)
			s += w
		}
	}
	if whole < q {
		for r := lo; r < hi; r += rows {
			x.edge(min(rows, hi-r), c[r*ldc+whole*panel:], ldc, jn-whole*panel, x.a.v[r/rows*x.a.strip:], whole, load)
		}
	}
}

// strips computes AVX2's largest tile, which is one panel wide, for strips of A one below the other.
func (x *slice) strips(c []float32, ldc int, a, b []float32, tiles int, load bool) {
	rows, _ := tileRows()
	_ = c[(tiles*rows-1)*ldc+panel-1]
	_ = a[(tiles-1)*x.a.strip+(rows-1)*x.a.row+(x.steps-1)*x.a.col]
	_ = b[(x.steps-1)*x.b.step+panel-1]
	init := 0
	if load {
		init = 1
	}
	gemmStrip(&c[0], ldc, &a[0], 4*x.a.row, 4*x.a.col, &b[0], 0, 4*x.b.step, x.steps, init, 4*x.a.strip, tiles)
}

// edge computes a tile with fewer than 16 columns through a buffer.
func (x *slice) edge(rows int, c []float32, ldc, cols int, a []float32, p int, load bool) {
	var t [12 * panel]float32
	if load {
		for i := range rows {
			copy(t[i*panel:i*panel+cols], c[i*ldc:])
		}
	}
	b, step := x.bTail, panel
	if b == nil {
		b, step = x.b.v[p*x.b.panelStep:], x.b.step
	}
	runTile(rows, 1, t[:], panel, a, x.a.row, x.a.col, b, 0, step, x.steps, load)
	for i := range rows {
		copy(c[i*ldc:i*ldc+cols], t[i*panel:])
	}
}
