package calib

import (
	"sync"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
)

// The second moment of an input, Σ x xᵀ, a product of rows with themselves: half of it is enough, and both operands are the
// same. So rows are packed once, as they come, into the panels of 16 columns that the tiles of package simd read, and a panel
// serves on either side. The upper triangle is cut into blocks: what a block multiplies and its sums stay in the second
// cache, one panel from either side in the first.

// Products of rows are summed in float32 within ProductRows of them, and those sums in float64.
const ProductRows = 1024

const (
	panel       = simd.PanelColumns
	panelStride = panel * ProductRows // values of a panel
	momentSide  = 12                  // panels a side of a block
	momentSteps = 128                 // rows that are multiplied at a time
	momentWide  = 2                   // panels that one meets at a time
)

// wait packs rows, as many as there is room for, and adds them to the second moment when there is no more.
func (p *Point) wait(x []float32, rows int) {
	w := p.Width
	panels := (w + panel - 1) / panel
	if p.pending == nil {
		p.pending = make([]float32, panels*panelStride)
	}
	par.For(panels, 4, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			simd.PackPanels(p.pending[i*panelStride+p.waiting*panel:][:rows*panel], x[i*panel:], w, false, min(panel, w-i*panel), rows)
		}
	})
	if p.waiting += rows; p.waiting == ProductRows {
		p.flush()
	}
}

// momentSums holds the sums of a block.
var momentSums = sync.Pool{New: func() any { return new([momentSide * momentSide * panel * panel]float32) }}

// flush adds xᵀx of the rows that wait. Only panels on and right of the diagonal are added; Mirror fills in the rest.
func (p *Point) flush() {
	if p.waiting == 0 {
		return
	}
	panels := (p.Width + panel - 1) / panel
	var blocks [][2]int // by their first panels
	for i := 0; i < panels; i += momentSide {
		for j := i; j < panels; j += momentSide {
			blocks = append(blocks, [2]int{i, j})
		}
	}
	par.For(len(blocks), 1, func(lo, hi int) {
		for _, b := range blocks[lo:hi] {
			p.block(b[0], b[1], panels)
		}
	})
	p.waiting = 0
}

// block adds to the block of the second moment whose first row is that of panel i and whose first column that of panel j.
func (p *Point) block(i, j, panels int) {
	const ld = momentSide * panel
	sums := momentSums.Get().(*[ld * ld]float32)
	defer momentSums.Put(sums)
	iEnd, jEnd := min(i+momentSide, panels), min(j+momentSide, panels)
	for l := 0; l < p.waiting; l += momentSteps {
		steps := min(momentSteps, p.waiting-l)
		for a := i; a < iEnd; a++ {
			left := p.pending[a*panelStride+l*panel:]
			for b := max(a, j); b < jEnd; b += momentWide {
				n := min(momentWide, jEnd-b)
				simd.Tile(sums[(a-i)*panel*ld+(b-j)*panel:], ld, left, 1, panel, p.pending[b*panelStride+l*panel:], panelStride, panel, panel, n*panel, steps, l > 0)
			}
		}
	}
	w := p.Width
	for r := i * panel; r < min(iEnd*panel, w); r++ {
		from, to := max(r, j*panel), min(jEnd*panel, w)
		out, part := p.Hessian[r*w+from:r*w+to], sums[(r-i*panel)*ld+from-j*panel:]
		part = part[:len(out)]
		for k := range out {
			out[k] += float64(part[k])
		}
	}
}
