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
	panel     = 16   // columns of B that lie together
	gemmSlice = 256  // steps of k in one go
	gemmRows  = 96   // rows of a block of A: a multiple of all register tiles
	gemmBigM  = 3072 // rows and columns packed at once: bounds the buffers
	gemmBigN  = 4096

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
	case avx2:
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
	case avx2:
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

// gemm is the blocked product of any size; pb is B where it is packed already.
func gemm(c []float32, ldc int, a, b operand, pb *PackedB, m, n, k int, accumulate, parallel bool) {
	g := gemmJob{c: c, ldc: ldc, parallel: parallel && m*n*k > gemmTaskWork}
	for j := 0; j < n; j += gemmBigN {
		jn := min(gemmBigN, n-j)
		for l := 0; l < k; l += gemmSlice {
			kn := min(gemmSlice, k-l)
			g.bTail = nil
			bBuf := g.sliceB(b, pb, m, j, jn, l, kn)
			for i := 0; i < m; i += gemmBigM {
				in := min(gemmBigM, m-i)
				aBuf := g.sliceA(a, n, i, in, l, kn)
				g.multiply(i, in, j, jn, kn, accumulate || l > 0)
				if aBuf != nil {
					buffers.Put(aBuf)
				}
			}
			if bBuf != nil {
				buffers.Put(bBuf)
			}
		}
	}
}

// gemmJob is one slice of a product.
type gemmJob struct {
	c        []float32
	ldc      int
	parallel bool
	a        aView
	b        bView
	bTail    []float32 // the last panel, packed, where it is narrow and the others are not
}

func (g *gemmJob) each(n, grain int, f func(lo, hi int)) {
	if !g.parallel {
		f(0, n)
		return
	}
	par.For(n, grain, f)
}

// sliceB makes steps [l,l+kn) of columns [j,j+jn) ready: in place where few rows of A will read them.
func (g *gemmJob) sliceB(b operand, pb *PackedB, m, j, jn, l, kn int) *[]float32 {
	if pb != nil {
		g.b = bView{pb.data[(j/panel*pb.k+l)*panel:], pb.k * panel, panel}
		return nil
	}
	if !b.t && m <= 8 {
		g.b = bView{b.v[b.at(l, j):], panel, b.ld}
		if jn%panel == 0 {
			return nil
		}
		buf := buffer(panel * kn)
		packB(*buf, b, j+jn/panel*panel, j+jn, l, l+kn)
		g.bTail = *buf
		return buf
	}
	buf := buffer(panels(jn) * panel * kn)
	g.each(panels(jn), 8, func(lo, hi int) {
		packB((*buf)[lo*panel*kn:], b, j+lo*panel, min(j+jn, j+hi*panel), l, l+kn)
	})
	g.b = bView{*buf, panel * kn, panel}
	return buf
}

// sliceA makes steps [l,l+kn) of rows [i,i+in) ready. Plain rows are copied closer together unless they lie close or are
// read by few columns; columns are copied into panels of a tile's rows.
func (g *gemmJob) sliceA(a operand, n, i, in, l, kn int) *[]float32 {
	rows, _ := tileRows()
	if !a.t {
		if in <= 2*rows || n <= 4*panel || a.ld <= gemmSlice+gemmSlice/4 {
			g.a = aView{a.v[a.at(i, l):], a.ld, 1, rows * a.ld}
			return nil
		}
		step := kn + panel // not a power of two: rows must not fall on the same cache sets
		buf := buffer(in * step)
		g.each(in, gemmRows, func(lo, hi int) {
			for r := lo; r < hi; r++ {
				copy((*buf)[r*step:r*step+kn], a.v[a.at(i+r, l):])
			}
		})
		g.a = aView{*buf, step, 1, rows * step}
		return buf
	}
	if n <= panel {
		g.a = aView{a.v[a.at(i, l):], 1, a.ld, rows}
		return nil
	}
	strips, strip := (in+rows-1)/rows, rows*kn
	buf := buffer(strips * (strip + panel)) // packA writes a vector too much
	strip += panel
	g.each(strips, gemmRows/rows, func(lo, hi int) {
		for s := lo; s < hi; s++ {
			packA((*buf)[s*strip:(s+1)*strip], rows, a, i+s*rows, min(rows, in-s*rows), l, kn)
		}
	})
	g.a = aView{*buf, 1, rows, strip}
	return buf
}

// multiply runs the tiles of a slice: tasks are blocks of rows by groups of panels.
func (g *gemmJob) multiply(i, in, j, jn, kn int, load bool) {
	rowTasks, np := (in+gemmRows-1)/gemmRows, panels(jn)
	if !g.parallel {
		for r := range rowTasks {
			g.block(i, r*gemmRows, min(in, (r+1)*gemmRows), j, jn, 0, np, kn, load)
		}
		return
	}
	group := 16 // panels in a task: fewer where that leaves too few tasks to share
	for group > 2 && rowTasks*((np+group-1)/group) < 32 {
		group /= 2
	}
	colTasks := (np + group - 1) / group
	par.For(rowTasks*colTasks, 1, func(t, _ int) {
		r, p := t/colTasks, t%colTasks*group
		g.block(i, r*gemmRows, min(in, (r+1)*gemmRows), j, jn, p, min(np, p+group), kn, load)
	})
}

// block computes rows [lo,hi) of the slice's A, rows i+lo to i+hi of C, with panels [p,q), from column j+16p of C on.
func (g *gemmJob) block(i, lo, hi, j, jn, p, q, kn int, load bool) {
	rows, wide := tileRows()
	whole := q // panels that are
	if whole*panel > jn {
		whole--
	}
	full := lo + (hi-lo)/rows*rows
	for s := p; s < whole; s += wide {
		w := min(wide, whole-s)
		b := g.b.v[s*g.b.panelStep:]
		for r := lo; r < full; r += rows {
			runTile(rows, w, g.c[(i+r)*g.ldc+j+s*panel:], g.ldc, g.a.v[r/rows*g.a.strip:], g.a.row, g.a.col, b, g.b.panelStep, g.b.step, kn, load)
		}
	}
	if rest := hi - full; rest > 0 { // few rows take more panels at a time
		wide = tilePanels(rest)
		for s := p; s < whole; {
			w := wide
			for w > whole-s {
				w = narrower(w)
			}
			runTile(rest, w, g.c[(i+full)*g.ldc+j+s*panel:], g.ldc, g.a.v[full/rows*g.a.strip:], g.a.row, g.a.col, g.b.v[s*g.b.panelStep:], g.b.panelStep, g.b.step, kn, load)
			s += w
		}
	}
	if whole < q {
		for r := lo; r < hi; r += rows {
			g.edge(min(rows, hi-r), g.c[(i+r)*g.ldc+j+whole*panel:], jn-whole*panel, g.a.v[r/rows*g.a.strip:], whole, kn, load)
		}
	}
}

// edge computes a tile with fewer than 16 columns through a buffer.
func (g *gemmJob) edge(rows int, c []float32, cols int, a []float32, p, kn int, load bool) {
	var t [12 * panel]float32
	if load {
		for i := range rows {
			copy(t[i*panel:i*panel+cols], c[i*g.ldc:])
		}
	}
	b, step := g.bTail, panel
	if b == nil {
		b, step = g.b.v[p*g.b.panelStep:], g.b.step
	}
	runTile(rows, 1, t[:], panel, a, g.a.row, g.a.col, b, 0, step, kn, load)
	for i := range rows {
		copy(c[i*g.ldc:i*g.ldc+cols], t[i*panel:])
	}
}
