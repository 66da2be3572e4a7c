package runtime

import (
	"math"
	"sync"

	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
)

// Attention over a cache of bytes, in integers: a query becomes words of 16 bits with a scale for each 32 of its values, as keys
// have it, and so do the weights of a page's values,
//
//	o += e^(top of the page - top so far) * sum_j e^(s_j - top of the page) * d_j * v_j,
//
// where e^() * d_j, at most the largest d_j of those that the row sees, is held in 15 bits. Sums are exact integers.
// Beside the bytes themselves nothing is rounded coarser than in a cache of float16. For those who write text (RoundFast) the row of a query is
// bytes where products of them are faster, and so are a page's weights once those of the pages before add up to bytesEnough times its largest: then
// a weight is off by 1/4000 of the sum of all at most. A row meets a page's scales up to its own
// position and no further, so that its bits do not depend on what comes after it.

// bytesEnough: see simd.MergeWords.
const bytesEnough = 8

// bytesScratch is what one task needs: queries, scores and weights of its rows with their scales, their sums, and the weights'
// factors that a page has.
type bytesScratch struct {
	q, p                       []int16
	qd, s, pd, o, factor, unit []float32
	top, sum, fade             []float32
	narrow                     []bool // rows whose weights of a page are bytes
}

var bytesScratches = sync.Pool{New: func() any { return new(bytesScratch) }}

// attendBytes computes rows [lo,hi) of a part for the query heads of one key/value head, coarsely with rows of bytes.
func attendBytes(a *model.Attention, p part, c *cache, kv, lo, hi int, query, out []float32, qw, width int, sinks []float32, coarse bool) {
	spec := &c.spec
	group, kb, vb := a.Heads/a.KVHeads, spec.keyDim/32, spec.valueDim/32
	rows := (hi - lo) * group
	lanes := rows + panel // see simd.MergeWords
	w := bytesScratches.Get().(*bytesScratch)
	defer bytesScratches.Put(w)
	q, qd := sized(&w.q, rows*spec.keyDim), sized(&w.qd, rows*kb)
	s, o := sized(&w.s, rows*pageKeys), sized(&w.o, rows*spec.valuePad)
	pw, pd := sized(&w.p, rows*vb*pageKeys), sized(&w.pd, lanes*vb)
	factor, unit := sized(&w.factor, vb*pageKeys), sized(&w.unit, vb)
	top, sum, fade := sized(&w.top, lanes), sized(&w.sum, lanes), sized(&w.fade, lanes)
	narrow := sized(&w.narrow, rows)
	quantize, form, enough := simd.QuantizeWords, simd.RowWords, float32(math.Inf(1))
	if coarse {
		quantize, form, enough = simd.QuantizeBytes, simd.RowSigned, bytesEnough
	}
	n := group * spec.keyDim
	for i := range hi - lo {
		quantize(q[i*n:(i+1)*n], qd[i*group*kb:(i+1)*group*kb], query[(p.lo+lo+i)*qw+kv*n:][:n])
	}
	simd.Scale(qd, qd, float32(a.Scale))
	clear(o)
	clear(sum)
	for r := range top {
		top[r] = float32(math.Inf(-1))
	}
	start := 0
	if a.Window > 0 {
		start = max(0, p.pos+lo-a.Window+1)
	}
	scores := simd.PairsShape{Form: form, Rows: rows, Pairs: 16, C: pageKeys, A: spec.keyDim, B: panel * spec.keyDim, S: kb,
		Blocks: kb, BlockA: 32, BlockB: 32 * panel, BlockD: pageKeys, BlockS: 1}
	sums := simd.PairsShape{Panels: 32 / panel, C: spec.valuePad, A: vb * pageKeys, B: panel * pageKeys, S: 1,
		Blocks: vb, BlockC: 32, BlockA: pageKeys, BlockB: 32 * pageKeys, BlockS: lanes}
	plain := plainScores(a)
	next := spec.bytes(&c.pages[start/pageKeys], kv)
	for pg := start / pageKeys; pg*pageKeys < p.pos+hi; pg++ {
		first := p.pos + lo - pg*pageKeys // the first row's place in the page, or behind or before it
		page := next
		if (pg+1)*pageKeys < p.pos+hi {
			next = spec.bytes(&c.pages[pg+1], kv)
			simd.Ask(next.kd[:spec.headScales()])
		}
		n := (min(pageKeys, p.pos+hi-pg*pageKeys) + panel - 1) &^ (panel - 1)
		scores.Panels, sums.Pairs = n/panel, n/2
		simd.MulPairs(s, q, page.keys, page.kd, qd, &scores, false, next.keys)
		for lo, hi := 0, 0; lo < rows; lo = hi { // rows that see as much
			to := seen(first+lo/group, n)
			for hi = lo + group; hi < rows && seen(first+hi/group, n) == to; {
				hi += group
			}
			valueFactors(factor, unit, page.vd, n, to)
			for r := lo; r < hi && !(plain && to == n); r++ {
				from, x := 0, s[r*pageKeys:][:n]
				if a.Window > 0 {
					from = min(max(0, first+r/group-a.Window+1), to)
				}
				mask(x, from, to)
				bias(a, x[from:to], kv*group+r%group, pg*pageKeys+from)
			}
			simd.MergeWords(pw[lo*vb*pageKeys:], vb*pageKeys, s[lo*pageKeys:], pageKeys, n, factor, pageKeys, unit, hi-lo, top[lo:], sum[lo:], fade[lo:], pd[lo:], lanes, enough, narrow[lo:hi])
		}
		for r, f := range fade[:rows] {
			if f != 1 {
				row := o[r*spec.valuePad:][:spec.valuePad]
				simd.Scale(row, row, f)
			}
		}
		for lo, hi := 0, 0; lo < rows; lo = hi { // rows of one form
			sums.Form = simd.RowWords
			if narrow[lo] {
				sums.Form = simd.RowUnsigned
			}
			for hi = lo + 1; hi < rows && narrow[hi] == narrow[lo]; {
				hi++
			}
			sums.Rows = hi - lo
			simd.MulPairs(o[lo*spec.valuePad:], pw[lo*vb*pageKeys:], page.values, nil, pd[lo:], &sums, true, next.values)
		}
	}
	addSinks(sum[:rows], top, sinks, kv*group, group)
	for r := range rows {
		y := out[(p.lo+lo+r/group)*width+(kv*group+r%group)*a.ValueDim:][:a.ValueDim]
		simd.Scale(y, o[r*spec.valuePad:][:a.ValueDim], 1/sum[r])
	}
}

// valueFactors is simd.WordFactors of the first to positions of a page of which n are looked at; those behind have none.
func valueFactors(factor, unit, d []float32, n, to int) {
	if to < n {
		for b := range unit {
			f := factor[b*pageKeys:][:n]
			copy(f[:to], d[b*pageKeys:])
			clear(f[to:])
		}
		d = factor
	}
	simd.WordFactors(factor, unit, d, pageKeys, n)
}

// seen returns how many of a page's first n positions a row at a place of the page, before or behind it sees.
func seen(place, n int) int { return max(0, min(n, place+1)) }

// mask hides the scores outside [from,to).
func mask(x []float32, from, to int) {
	for i := range from {
		x[i] = float32(math.Inf(-1))
	}
	for i := to; i < len(x); i++ {
		x[i] = float32(math.Inf(-1))
	}
}
