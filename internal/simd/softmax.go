package simd

import (
	"fmt"
	"math"
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

// MergeWords is pageWords for one page of several, of rows scores that are met page by page: top and sum are the references and sums of
// the pages before, those of no scores -Inf and 0, and become those of all. It sets fade to what everything before must be multiplied
// by to be relative to the new reference, and scale[b*lds+r] to what a word of block b of row r stands for, of which unit[b] is the part
// that pageWords leaves open.
//
// Where the exponentials of the pages before add up to at least enough times the largest of this one, a row becomes unsigned bytes,
// words over 128 rounded to the nearest, half up, and scale is for those; bytes tells which do.
//
// top, sum, fade and the scales of a block are read and written, but in no way that matters, up to 16 values behind the last row's.
func MergeWords(p []int16, ldp int, x []float32, ldx, n int, factor []float32, step int, unit []float32, rows int, top, sum, fade, scale []float32, lds int, enough float32, bytes []bool) {
	blocks := len(unit)
	for r := 0; r < rows; r += panel {
		m := min(panel, rows-r)
		p, x, top, sum, fade, scale, bytes := p[r*ldp:], x[r*ldx:], top[r:][:panel], sum[r:][:panel], fade[r:][:panel], scale[r:], bytes[r:][:m]
		if impl == avx512 {
			checkWords(p, ldp, x, ldx, n, factor, step, blocks, m)
			_ = scale[(blocks-1)*lds+panel-1]
			var mask uint32
			mergeWords(&p[0], ldp, &x[0], ldx, &factor[0], step, &unit[0], blocks, n, m, &top[0], &sum[0], &fade[0], &scale[0], lds, enough, &mask)
			for i := range bytes {
				bytes[i] = mask>>i&1 != 0
			}
			continue
		}
		var here, total [panel]float32
		pageWords(p, ldp, x, ldx, n, factor, step, blocks, here[:m], total[:m])
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
			for b, u := range unit {
				scale[b*lds+i] = f * u
			}
			if bytes[i] = before >= enough*f; bytes[i] {
				for b := range unit {
					unsignedRow(p[i*ldp+b*step:][:n])
					scale[b*lds+i] *= byteWords
				}
			}
		}
	}
}

// WordFactors sets factor to what pageWords needs so that words stand for weights times scales: for each block of n scales d, which are
// not negative and step apart, the scales times WordMax over the largest. It sets unit to what a word of the block then stands for.
// factor may be d.
func WordFactors(factor, unit, d []float32, step, n int) {
	checkPage(n)
	blocks := len(unit)
	if blocks == 0 || step < n {
		panic(fmt.Sprintf("simd: %d blocks of %d scales, %d apart", blocks, n, step))
	}
	_, _ = factor[(blocks-1)*step+n-1], d[(blocks-1)*step+n-1]
	const tiny = 0x1p-100 // so that no factor is infinite
	if impl.x86() {
		wordFactors(&factor[0], &unit[0], &d[0], step, blocks, n, tiny, WordMax)
		return
	}
	for b := range unit {
		x := d[b*step:][:n]
		largest := max(tiny, Max(x))
		unit[b] = largest / WordMax
		Scale(factor[b*step:][:n], x, WordMax/largest)
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
