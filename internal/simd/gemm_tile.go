package simd

// Products of blocks that their caller has laid out for the register tiles: nothing is copied, allocated or split among
// threads. For products so small, or with an operand so often used, that packing would show.

// PanelColumns is the width of a panel: B is read in panels of so many columns.
const PanelColumns = panel

// TileRows returns the rows of the largest register tile; blocks of a multiple of it are fastest.
func TileRows() int {
	rows, _ := tileRows()
	return rows
}

// PackPanels copies B, [k,n] or, where t is set, stored as [n,k], into panels: element (l, 16p+q) goes to
// dst[(p*k+l)*16+q]. The last panel is filled up with zeros.
func PackPanels(dst, b []float32, ld int, t bool, n, k int) {
	checkMatrix("B", len(b), ld, k, n, t)
	_ = dst[:panels(n)*panel*k]
	if n > 0 && k > 0 {
		packB(dst, operand{b, ld, t}, 0, n, 0, k)
	}
}

// Tile computes C = A·B, or C += A·B when accumulate is set, on the calling thread. C is [m,n] with rows ldc apart, n whole
// panels. Element (i,l) of A is a[i*row+l*col]. Columns 16p to 16p+15 of step l of B are at b[p*panelStep+l*step]: packed
// panels have panelStep 16*k and step 16, plain rows panelStep 16 and their own distance as step.
// Every element is one chain of multiply-adds in the order of k, as in Gemm.
func Tile(c []float32, ldc int, a []float32, row, col int, b []float32, panelStep, step, m, n, k int, accumulate bool) {
	if m <= 0 || n <= 0 || k <= 0 || n%panel != 0 || ldc < n || row < 0 || col < 0 || panelStep < 0 || step < 0 {
		panic("simd: Tile of sizes that do not fit")
	}
	rows, _ := tileRows()
	x := slice{steps: k, a: aView{a, row, col, rows * row}, b: bView{b, panelStep, step}}
	if rest := m % rows; m > rows && rest > 0 && rest <= rows/3 { // two tiles of some size in place of a large one and a small
		first := m - rest - rows
		half := (rows + rest + 1) / 2
		if first > 0 {
			x.block(c, ldc, 0, first, n, 0, n/panel, accumulate)
		}
		for lo := first; lo < m; lo += half {
			x.a.v = a[lo*row:]
			x.block(c[lo*ldc:], ldc, 0, min(half, m-lo), n, 0, n/panel, accumulate)
		}
		return
	}
	x.block(c, ldc, 0, m, n, 0, n/panel, accumulate)
}
