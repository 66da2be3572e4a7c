package simd

import (
	"fmt"
	"unsafe"
)

// Attention in bfloat16: rows of it meet panels of 16 columns, which are made of floats or of bytes with scales a page at a
// time. A panel is blocks of 32 rows, in which rows 2i and 2i+1 of a column make a word of 32 bits, as weights of bfloat16 lie. All of this
// needs AVX512_BF16 (PromptsFast or BrainsFast).

// BrainsFast reports whether products of bfloat16 take less time here than those of float32 however few rows there are. Where tiles multiply
// it only those of many rows do (PromptsFast).
func BrainsFast() bool { return brainDots() && !tiles }

// RoundBrains rounds values to bfloat16, ties to even, and subnormal ones to zero.
func RoundBrains(dst []byte, src []float32) {
	same(len(dst), 2*len(src))
	if n := len(src) &^ (blockCols - 1); n > 0 {
		brainRow(&dst[0], &src[0], n)
		dst, src = dst[2*n:], src[n:]
	}
	if len(src) > 0 {
		var last [blockCols]float32
		var to [2 * blockCols]byte
		copy(last[:], src)
		brainRow(&to[0], &last[0], blockCols)
		copy(dst, to[:])
	}
}

// BrainPanelBytes is what a panel of some rows takes.
func BrainPanelBytes(rows int) int { return (rows + blockCols - 1) / blockCols * brainBlock }

// FloatRows is rows of 16 values for each of some panels, Step bytes apart; what belongs to a panel is Between bytes from what
// belongs to the one before.
type FloatRows struct {
	Format        Float
	Data          []byte
	Step, Between int
	Rows, Panels  int
}

// BrainPanels makes panels, apart bytes each, of rows. Those of a panel that are left are zeros. An odd number of rows needs memory of one
// more. What lies in next as the rows lie in x is asked for on the way; nil is nothing.
func BrainPanels(dst []byte, apart int, x FloatRows, next []byte) {
	size := 2 * tileRows16
	if x.Format == F32 {
		size *= 2
	}
	pairs := (x.Rows + 1) / 2
	if x.Rows <= 0 || x.Panels <= 0 || apart < 64*pairs {
		panic(fmt.Sprintf("simd: %d panels of %d rows, each in %d bytes", x.Panels, x.Rows, apart))
	}
	_, _ = dst[x.Panels*apart-1], x.Data[(x.Panels-1)*x.Between+(2*pairs-1)*x.Step+size-1]
	ahead := 0
	if next != nil {
		ahead = int(uintptr(unsafe.Pointer(&next[0])) - uintptr(unsafe.Pointer(&x.Data[0])))
	}
	kernel := panelPairsF32
	switch x.Format {
	case F16:
		kernel = panelPairsF16
	case BF16:
		kernel = panelPairsBF16
	}
	if apart == 64*pairs && x.Step == size && x.Between == 2*pairs*size { // one panel after the other, here and there
		kernel(&dst[0], 64, &x.Data[0], size, 2*size, 1, pairs*x.Panels, ahead)
	} else {
		kernel(&dst[0], apart, &x.Data[0], x.Step, x.Between, pairs, x.Panels, ahead)
	}
	for p := range x.Panels {
		closePanel(dst[p*apart:][:apart], x.Rows)
	}
}

// closePanel clears what fills up a panel behind so many rows, the other half of the last pair too: what lies behind the last row is nobody's.
func closePanel(dst []byte, rows int) {
	if rows%2 == 1 {
		last := dst[rows/2*64:][:64]
		for i := 2; i < len(last); i += 4 {
			last[i], last[i+1] = 0, 0
		}
	}
	clear(dst[(rows+1)/2*64:])
}

// BytePanelColumns makes a panel of rows of 16 bytes whose rows 2i and 2i+1 lie side by side, byte by byte (see MulPairs). 32 rows share
// scales, one for each column, the next 32 have theirs step further. rows is a multiple of 32.
func BytePanelColumns(dst []byte, src []int8, scales []float32, step, rows int) {
	_, _, _ = dst[BrainPanelBytes(rows)-1], src[rows*tileRows16-1], scales[(rows/blockCols-1)*step+tileRows16-1]
	for b := range rows / blockCols {
		byteColumnPairs(&dst[b*brainBlock], &src[b*blockCols*tileRows16], &scales[b*step], blockCols/2)
	}
}

// BytePanelRows is BytePanelColumns for any number of rows that have a scale each.
func BytePanelRows(dst []byte, src []int8, scales []float32, rows int) {
	pairs := (rows + 1) / 2
	_, _ = src[pairs*2*tileRows16-1], scales[2*pairs-1]
	byteRowPairs(&dst[0], &src[0], &scales[0], pairs)
	closePanel(dst, rows)
}

// MulBrainPanels computes C (+)= A·B for rows of bfloat16, lda bytes apart, and panels B of as many blocks of 32 rows, one panel after
// the other. C is [rows, 16*panels], its rows ldc apart. A sum is one chain over the blocks, on tiles as in Matrix.Mul of a prompt, elsewhere as in
// that of a matrix of bfloat16. It runs on the calling goroutine.
func MulBrainPanels(c []float32, ldc int, a []byte, lda, rows int, b []byte, panels, blocks int, accumulate bool) {
	if rows <= 0 || panels <= 0 || blocks <= 0 || ldc < panels*tileRows16 || lda < 64*blocks {
		panic(fmt.Sprintf("simd: %d rows, %d apart, of %d blocks in bfloat16, %d panels, results %d apart", rows, lda, blocks, panels, ldc))
	}
	step := blocks * brainBlock
	_, _, _ = c[(rows-1)*ldc+panels*tileRows16-1], a[(rows-1)*lda+64*blocks-1], b[panels*step-1]
	if !tiles {
		mulBrainTiles(c, ldc, a, lda, rows, b, step, panels, blocks*blockCols/2, accumulate)
		return
	}
	x := brainRows{a, lda, 64, tileRows16 * lda, rows}
	w := promptTiles{data: b, tiles: 2, step: step, next: &b[0]}
	if panels >= 2 {
		w.mul(c, ldc, x, 0, blocks, panels/2, accumulate)
	}
	if panels%2 == 1 {
		w.tiles, w.data = 1, b[(panels-1)*step:]
		w.mul(c[(panels-1)*tileRows16:], ldc, x, 0, blocks, 1, accumulate)
	}
}
