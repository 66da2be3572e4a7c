package simd

import (
	"fmt"
	"math"
	"unsafe"
)

// Pages of a softmax that is computed online: scores become exponentials relative to the largest so far. Scores of -Inf are
// masked and become zeros, and so may those 87 or more below the reference; scores are a multiple of 16 so that no kernel meets a part of a vector. Sums depend on the place
// of a score in its page and not on how many masked ones follow.

// SoftmaxPage replaces rows of n scores, ldx apart, by their exponentials relative to the value of top or, where that is larger, the
// largest of the row. For each row it sets top to this reference and sum to the sum of the exponentials.
func SoftmaxPage(x []float32, ldx, n int, top, sum []float32) {
	checkPage(n)
	rows := len(top)
	same(rows, len(sum))
	if rows == 0 || ldx < n {
		panic(fmt.Sprintf("simd: %d rows of %d scores, %d apart", rows, n, ldx))
	}
	_ = x[(rows-1)*ldx+n-1]
	if impl.x86() {
		softmaxFloatsVector(&x[0], ldx, n, rows, &top[0], &sum[0])
		return
	}
	for r := range rows {
		y := x[r*ldx:][:n]
		if top[r], sum[r] = max(top[r], Max(y)), 0; math.IsInf(float64(top[r]), -1) {
			clear(y)
			continue
		}
		sum[r] = expSum(y, y, top[r])
	}
}

// pageWords makes words of the exponentials of rows of n scores, ldx apart, relative to the largest of each: value i of block b
// is the exponential of x[i] times factor[b*step+i], rounded to the nearest integer, and goes to p[b*step+i] of a row of
// words; those are ldp apart. Factors are at most WordMax. For each row it sets top to the reference and sum to the sum of the
// exponentials; it leaves anything in x.
func pageWords(p []int16, ldp int, x []float32, ldx, n int, factor []float32, step, blocks int, top, sum []float32) {
	rows := len(top)
	same(rows, len(sum))
	checkWords(p, ldp, x, ldx, n, factor, step, blocks, rows)
	if impl.x86() {
		softmaxWords(&p[0], ldp, &x[0], ldx, &factor[0], step, blocks, n, rows, &top[0], &sum[0])
		return
	}
	for r := range top {
		top[r] = float32(math.Inf(-1))
	}
	SoftmaxPage(x, ldx, n, top, sum)
	for r := range rows {
		y := x[r*ldx:][:n]
		for b := range blocks {
			Words(p[r*ldp+b*step:][:n], y, factor[b*step:][:n])
		}
	}
}

// WordPage is rows of scores of one page of several, which are met page by page, and what becomes of them. Rows and blocks are some values apart.
type WordPage struct {
	X              []float32 // N scores a row, LDX apart
	P              []int16   // as many words for each block, Step apart, a row's LDP
	Factor, Unit   []float32 // of the page: see WordFactors; factors of blocks are Step apart
	Top, Sum, Fade []float32 // of rows, and up to 16 more
	Scale          []float32 // of rows, for each block, LDS apart, and as many more
	Bytes          []bool    // of rows
	N              int
	LDX, LDP, Step int
	LDS            int
	Enough         float32
	Ask            [2][]byte // see MergeWords
}

// MergeWords is pageWords for one page of several: Top and Sum are the references and sums of
// the pages before, those of no scores -Inf and 0, and become those of all. It sets Fade to what everything before must be multiplied
// by to be relative to the new reference, and Scale to what a word of a block of a row stands for, of which Unit is the part
// that pageWords leaves open.
//
// Where the exponentials of the pages before add up to at least Enough times the largest of this one, a row becomes unsigned bytes,
// words over 128 rounded to the nearest, half up, and Scale is for those; Bytes tells which do.
//
// Top, Sum, Fade and the scales of a block are read and written, but in no way that matters, up to 16 values behind the last row's. What lies in
// Ask is asked for on the way, its parts one after the other: memory brings only so much at a time, and nothing else is read here.
func MergeWords(w *WordPage) {
	blocks, rows := len(w.Unit), len(w.Bytes)
	for r := 0; r < rows; r += panel {
		m := min(panel, rows-r)
		p, x, top, sum, fade, scale, bytes := w.P[r*w.LDP:], w.X[r*w.LDX:], w.Top[r:][:panel], w.Sum[r:][:panel], w.Fade[r:][:panel], w.Scale[r:], w.Bytes[r:][:m]
		if impl == avx512 {
			checkWords(p, w.LDP, x, w.LDX, w.N, w.Factor, w.Step, blocks, m)
			_ = scale[(blocks-1)*w.LDS+panel-1]
			var mask uint32
			ask, then, half, lines := w.asks(r, m)
			mergeWords(&p[0], w.LDP, &x[0], w.LDX, &w.Factor[0], w.Step, &w.Unit[0], blocks, w.N, m, &top[0], &sum[0], &fade[0], &scale[0], w.LDS, w.Enough, &mask, ask, then, half, lines)
			for i := range bytes {
				bytes[i] = mask>>i&1 != 0
			}
			continue
		}
		var here, total [panel]float32
		pageWords(p, w.LDP, x, w.LDX, w.N, w.Factor, w.Step, blocks, here[:m], total[:m])
		for i, y := range here[:m] {
			old := top[i]
			if !(old > y) { // NaN stays
				top[i] = y
			}
			fade[i], here[i] = old-top[i], y-top[i]
			if math.IsInf(float64(top[i]), -1) { // no score at all
				fade[i], here[i] = y, y
			}
		}
		Exp(fade[:m], fade[:m])
		Exp(here[:m], here[:m])
		for i, f := range here[:m] {
			before := float32(sum[i] * fade[i])
			sum[i] = before + float32(total[i]*f)
			for b, u := range w.Unit {
				scale[b*w.LDS+i] = f * u
			}
			if bytes[i] = before >= w.Enough*f; bytes[i] {
				for b := range w.Unit {
					unsignedRow(p[i*w.LDP+b*w.Step:][:w.N])
					scale[b*w.LDS+i] *= byteWords
				}
			}
		}
	}
}

// asks returns where m rows from row r on begin to ask for memory, where those go on that have no more than half rows behind them, themselves included, and for how many
// lines all do for each 64 scores. The first rows alone do.
func (w *WordPage) asks(r, m int) (ask, then *byte, half, lines int) {
	ask = (*byte)(unsafe.Pointer(&w.X[0])) // nothing that would not be there
	upper := (m + 1) / 2
	if steps := w.N / 64 * upper; r == 0 && steps > 0 && len(w.Ask[0]) > 0 {
		ask, lines = &w.Ask[0][0], (len(w.Ask[0])/64+steps-1)/steps
	}
	then = ask
	if lines > 0 && len(w.Ask[1]) > 0 {
		then = &w.Ask[1][0]
	}
	return ask, then, m - upper, lines
}

// WordFactors sets factor to what pageWords needs so that words stand for weights times scales: for each block of n scales, which are
// not negative, those times WordMax over the largest, step apart from block to block. It sets unit to what a word of the block then stands for. Pages hold
// per scales of a block each, from byte at on, and behind them those of the next. A page may be factor.
func WordFactors(factor, unit []float32, step int, pages [][]byte, at, per, n int) {
	checkPage(n)
	blocks := len(unit)
	if blocks == 0 || step < n || per%panel != 0 || n > per*len(pages) || at%4 != 0 {
		panic(fmt.Sprintf("simd: %d blocks of %d scales, %d apart, in %d pages of %d", blocks, n, step, len(pages), per))
	}
	_ = factor[(blocks-1)*step+n-1]
	for i := 0; i*per < n; i++ {
		_ = pages[i][at+4*((blocks-1)*per+min(per, n-i*per))-1]
	}
	const tiny = 0x1p-100 // so that no factor is infinite
	if impl.x86() {
		wordFactors(&factor[0], &unit[0], step, &pages[0], at, per, blocks, n, tiny, WordMax)
		return
	}
	for b := range unit {
		largest := float32(tiny)
		each := func(f func(i int, x []float32)) {
			for i := 0; i < n; i += per {
				x, _ := Float32s(pages[i/per][at+4*b*per:])
				f(i, x[:min(per, n-i)])
			}
		}
		each(func(_ int, x []float32) { largest = max(largest, Max(x)) })
		unit[b] = largest / WordMax
		each(func(i int, x []float32) { Scale(factor[b*step+i:][:len(x)], x, WordMax/largest) })
	}
}

// checkWords panics where an operand of pageWords is too short.
func checkWords(p []int16, ldp int, x []float32, ldx, n int, factor []float32, step, blocks, rows int) {
	checkPage(n)
	if rows == 0 || blocks <= 0 || step < n || ldx < n || ldp < (blocks-1)*step+n {
		panic(fmt.Sprintf("simd: %d rows of %d blocks of %d words, rows %d and %d, blocks %d apart", rows, blocks, n, ldx, ldp, step))
	}
	_, _, _ = p[(rows-1)*ldp+(blocks-1)*step+n-1], x[(rows-1)*ldx+n-1], factor[(blocks-1)*step+n-1]
}

func checkPage(n int) {
	if n == 0 || n%panel != 0 || n > sumChunk {
		panic(fmt.Sprintf("simd: a page of %d scores", n))
	}
}
