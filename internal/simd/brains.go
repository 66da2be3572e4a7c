package simd

import "fmt"

// Attention of prompts on AMX: rows of bfloat16 meet panels of 16 columns, which are made of floats or of bytes with scales a page at a
// time. A panel is blocks of 32 rows, in which rows 2i and 2i+1 of a column make a word of 32 bits, as weights of bfloat16 lie.

// RoundBrains rounds values to bfloat16, ties to even, and subnormal ones to zero. It needs PromptsFast.
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

// BrainPanel makes a panel, which is all of dst, of rows of 16 floats, step apart. Rows that are left are zeros.
func BrainPanel(dst []byte, src []float32, step, rows int) {
	_ = src[(rows-1)*step+tileRows16-1]
	clearPanel(dst, rows)
	brainPairs(&dst[0], &src[0], 4*step, rows/2)
	if rows%2 == 1 {
		var last [2 * tileRows16]float32
		copy(last[:tileRows16], src[(rows-1)*step:])
		brainPairs(&dst[rows/2*64], &last[0], 4*tileRows16, 1)
	}
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
	clearPanel(dst, rows)
	byteRowPairs(&dst[0], &src[0], &scales[0], pairs)
	if rows%2 == 1 { // what lies behind the last row is nobody's
		last := dst[rows/2*64:][:64]
		for i := 2; i < len(last); i += 4 {
			last[i], last[i+1] = 0, 0
		}
	}
}

// clearPanel clears what fills up a panel behind so many rows.
func clearPanel(dst []byte, rows int) {
	if rows <= 0 {
		panic(fmt.Sprintf("simd: panel of %d rows", rows))
	}
	clear(dst[rows/2*64:])
}

// MulBrainPanels computes C (+)= A·B for rows of bfloat16, lda bytes apart, and panels B of as many blocks of 32 rows, one panel after
// the other. C is [rows, 16*panels], its rows ldc apart. A sum is one chain over the blocks, as in Matrix.Mul of a prompt. It needs PromptsFast and
// runs on the calling goroutine.
func MulBrainPanels(c []float32, ldc int, a []byte, lda, rows int, b []byte, panels, blocks int, accumulate bool) {
	if rows <= 0 || panels <= 0 || blocks <= 0 || ldc < panels*tileRows16 || lda < 64*blocks {
		panic(fmt.Sprintf("simd: %d rows, %d apart, of %d blocks in bfloat16, %d panels, results %d apart", rows, lda, blocks, panels, ldc))
	}
	step := blocks * brainBlock
	_, _, _ = c[(rows-1)*ldc+panels*tileRows16-1], a[(rows-1)*lda+64*blocks-1], b[panels*step-1]
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
