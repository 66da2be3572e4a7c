package runtime

import (
	"math"
	"sync"

	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
)

// Attention over a cache of bytes, in integers: a query becomes words of 16 bits with a scale for each 32 of its values, as keys
// have it, and so do the weights of the values of some pages, a span,
//
//	o += e^(top of the span - top so far) * sum_j e^(s_j - top of the span) * d_j * v_j,
//
// where e^() * d_j, at most the largest d_j of those that the row sees, is held in 15 bits. Sums of a page are exact integers.
// Beside the bytes themselves nothing is rounded coarser than in a cache of float16. For those who write text (RoundFast) the row of a query is
// bytes where products of them are faster, and so are a span's weights once those of the spans before add up to bytesEnough times its largest: then
// a weight is off by 1/8000 of the sum of all at most. A row meets a span's scales from the page that its window begins in up to its own
// position and no further, so that its bits depend neither on what comes after it nor on who is beside it.

const (
	// bytesEnough: see simd.MergeWords.
	bytesEnough = 16
	// spanPages is how many pages, from a multiple of them on, have their exponentials made together: a page is too short for calls of its own.
	spanPages = 4
	spanKeys  = spanPages * pageKeys
	// spanRows is about how many rows meet a span together: their scores and weights stay in the second cache.
	spanRows = 64
)

// bytesScratch is what one task needs: queries, scores and weights of its rows with their scales, their sums, and a span.
type bytesScratch struct {
	q, p           []int16
	qd, s, pd, o   []float32
	top, sum, fade []float32
	narrow         []bool    // rows whose weights of a span are bytes
	factor, unit   []float32 // see simd.WordFactors
	next           [spanPages][]byte
}

var bytesScratches = sync.Pool{New: func() any { return new(bytesScratch) }}

// bytesRows is a task: rows [lo,hi) of a part for the query heads of one key/value head.
type bytesRows struct {
	*bytesScratch
	a         *model.Attention
	spec      *cacheSpec
	kv, group int
	pos, hi   int      // positions: of the first row, and the one behind the last
	begin     int      // the first page
	pages     [][]byte // the span
	ask       [2][]byte
	from, to  int // what of the span factors were made for
	enough    float32
	scores    simd.PairsShape
	sums      simd.PairsShape
}

// attendBytes computes rows [lo,hi) of a part for the query heads of one key/value head, coarsely with rows of bytes.
func attendBytes(a *model.Attention, p part, c *cache, kv, lo, hi int, query, out []float32, qw, width int, sinks []float32, coarse bool) {
	w := bytesScratches.Get().(*bytesScratch)
	defer bytesScratches.Put(w)
	spec, group := &c.spec, a.Heads/a.KVHeads
	kb, vb, rows := spec.keyDim/32, spec.valueDim/32, (hi-lo)*group
	step := min(rows, max(1, spanRows/group)*group)
	lanes := step + panel // see simd.MergeWords
	w.q, w.qd = sized(&w.q, rows*spec.keyDim), sized(&w.qd, rows*kb)
	w.s, w.o = sized(&w.s, step*spanKeys), sized(&w.o, rows*spec.valuePad)
	w.p, w.pd, w.narrow = sized(&w.p, step*vb*spanKeys), sized(&w.pd, lanes*vb), sized(&w.narrow, step)
	w.factor, w.unit = sized(&w.factor, vb*spanKeys), sized(&w.unit, vb)
	w.top, w.sum, w.fade = sized(&w.top, rows+panel), sized(&w.sum, rows+panel), sized(&w.fade, rows+panel)
	quantize, form, enough := simd.QuantizeWords, simd.RowWords, float32(math.Inf(1))
	if coarse {
		quantize, form, enough = simd.QuantizeBytes, simd.RowSigned, bytesEnough
	}
	n := group * spec.keyDim
	for i := range hi - lo {
		quantize(w.q[i*n:(i+1)*n], w.qd[i*group*kb:(i+1)*group*kb], query[(p.lo+lo+i)*qw+kv*n:][:n])
	}
	simd.Scale(w.qd, w.qd, float32(a.Scale))
	clear(w.o)
	clear(w.sum)
	for r := range w.top {
		w.top[r] = float32(math.Inf(-1))
	}
	t := bytesRows{bytesScratch: w, a: a, spec: spec, kv: kv, group: group, pos: p.pos + lo, hi: p.pos + hi, enough: enough,
		scores: simd.PairsShape{Form: form, C: spanKeys, A: spec.keyDim, B: panel * spec.keyDim, S: kb,
			Blocks: kb, BlockA: 32, BlockB: 32 * panel, BlockD: pageKeys, BlockS: 1, PageC: pageKeys,
			AtB: spec.atBytes(kv), AtD: spec.atScales(kv), Pairs: 16, Panels: pageKeys / panel, LastPairs: 16},
		sums: simd.PairsShape{C: spec.valuePad, A: vb * spanKeys, B: panel * pageKeys, S: 1,
			Blocks: vb, BlockC: 32, BlockA: spanKeys, BlockB: 32 * pageKeys, BlockS: lanes, PageA: pageKeys,
			AtB: spec.atBytes(kv) + spec.headKeys(), AtD: -1, Pairs: pageKeys / 2, Panels: 32 / panel, LastPanels: 32 / panel}}
	t.begin = firstPage(a, t.pos)
	pages := c.pages[:(t.hi+pageKeys-1)/pageKeys]
	simd.Ask(pages[t.begin][t.scores.AtB:][:spec.headKeys()])
	for first := t.begin; first < len(pages); {
		end := spanEnd(first, len(pages))
		t.turn(pages, first, end)
		for at := 0; at < rows; at += step {
			t.span(at, min(step, rows-at), first*pageKeys)
		}
		first = end
	}
	clear(w.next[:]) // so that the pool keeps nobody's pages
	addSinks(w.sum[:rows], w.top, sinks, kv*group, group)
	for r := range rows {
		y := out[(p.lo+lo+r/group)*width+(kv*group+r%group)*a.ValueDim:][:a.ValueDim]
		simd.Scale(y, w.o[r*spec.valuePad:][:a.ValueDim], 1/w.sum[r])
	}
}

// spanEnd is the end of the span that page first is in, where there are n pages.
func spanEnd(first, n int) int { return min((first/spanPages+1)*spanPages, n) }

// turn makes pages [first,end) the span, and says what is to be asked for meanwhile, every line once and as evenly as may be, since what memory cannot bring at once is
// forgotten: the span's values beside the scores, half of the next span's keys beside the exponentials and half beside the sums. Behind the
// last span is the first of the next head, which is likely to be this thread's too.
func (t *bytesRows) turn(pages [][]byte, first, end int) {
	t.pages, t.to = pages[first:end], -1
	head, next := t.kv, pages[end:spanEnd(end, len(pages))]
	if len(next) == 0 && t.kv+1 < t.a.KVHeads {
		head, next = t.kv+1, pages[t.begin:spanEnd(t.begin, len(pages))]
	}
	t.scores.Ahead = t.spec.headKeys()
	t.sums.Ahead = t.spec.atBytes(head) - t.spec.atBytes(t.kv) - t.spec.headKeys()
	copy(t.next[:], t.pages) // those whose keys are here already
	for i, p := range next {
		if i < len(t.ask) {
			t.ask[i] = p[t.spec.atBytes(head):][:t.spec.headKeys()]
		} else {
			t.next[2*(i-len(t.ask))] = p
		}
		simd.Ask(p[t.spec.atScales(head):][:4*t.spec.headScales()])
	}
}

// span has n rows from row at on meet the span, which begins at position origin.
func (t *bytesRows) span(at, n, origin int) {
	last := t.pos + (at+n-1)/t.group // the last row's position
	wide := (min(len(t.pages)*pageKeys, last+1-origin) + panel - 1) &^ (panel - 1)
	if wide <= 0 {
		return
	}
	pages := t.pages[:(wide+pageKeys-1)/pageKeys]
	keys := wide - (len(pages)-1)*pageKeys // in the last one
	t.scores.LastPanels, t.sums.LastPairs = keys/panel, keys/2
	dim, kb, vb := t.spec.keyDim, t.scores.Blocks, t.sums.Blocks
	t.scores.Rows = n
	simd.MulPairs(t.s, t.q[at*dim:], pages, pages, t.qd[at*kb:], &t.scores, false)
	top, sum, fade := t.top[at:], t.sum[at:], t.fade[at:]
	plain := plainScores(t.a)
	for lo, hi := 0, 0; lo < n; lo = hi { // rows that see as much
		from, to := t.sees(at+lo, origin, wide)
		for hi = lo + t.group; hi < n; hi += t.group {
			if f, u := t.sees(at+hi, origin, wide); f != from || u != to {
				break
			}
		}
		t.factors(from, to, wide)
		for r := lo; r < hi && !(plain && to == wide); r++ {
			x, hidden := t.s[r*spanKeys:][:wide], 0
			if t.a.Window > 0 {
				hidden = min(max(0, t.pos+(at+r)/t.group-t.a.Window+1-origin), to)
			}
			mask(x, hidden, to)
			bias(t.a, x[hidden:to], t.kv*t.group+r%t.group, origin+hidden)
		}
		simd.MergeWords(&simd.WordPage{X: t.s[lo*spanKeys:], P: t.p[lo*vb*spanKeys:], Factor: t.factor, Unit: t.unit, Top: top[lo:], Sum: sum[lo:], Fade: fade[lo:],
			Scale: t.pd[lo:], Bytes: t.narrow[lo:hi], N: wide, LDX: spanKeys, LDP: vb * spanKeys, Step: spanKeys, LDS: t.sums.BlockS, Enough: t.enough, Ask: t.ask})
		t.ask = [2][]byte{}
	}
	pad := t.spec.valuePad
	o := t.o[at*pad:]
	for r, f := range fade[:n] {
		if f != 1 {
			row := o[r*pad:][:pad]
			simd.Scale(row, row, f)
		}
	}
	for lo, hi := 0, 0; lo < n; lo = hi { // rows of one form
		t.sums.Form = simd.RowWords
		if t.narrow[lo] {
			t.sums.Form = simd.RowUnsigned
		}
		for hi = lo + 1; hi < n && t.narrow[hi] == t.narrow[lo]; {
			hi++
		}
		t.sums.Rows = hi - lo
		simd.MulPairs(o[lo*pad:], t.p[lo*vb*spanKeys:], pages, t.next[:len(pages)], t.pd[lo:], &t.sums, true)
	}
}

// sees returns which of the first wide positions of a span from origin on a row sees, from the page on that its window begins in.
func (t *bytesRows) sees(row, origin, wide int) (from, to int) {
	pos := t.pos + row/t.group
	to = max(0, min(wide, pos+1-origin))
	return min(to, max(0, firstPage(t.a, pos)*pageKeys-origin)), to
}

// factors is simd.WordFactors of positions [from,to) of the first wide ones of the span; others have none.
func (t *bytesRows) factors(from, to, wide int) {
	if t.from == from && t.to == to {
		return
	}
	t.from, t.to = from, to
	at := t.spec.atScales(t.kv) + 4*t.scores.Blocks*pageKeys
	if from == 0 && to == wide {
		simd.WordFactors(t.factor, t.unit, spanKeys, t.pages, at, pageKeys, wide)
		return
	}
	clear(t.factor)
	for i := from; i < to; i += pageKeys {
		d, _ := simd.Float32s(t.pages[i/pageKeys][at:])
		for b := range t.unit {
			copy(t.factor[b*spanKeys+i:b*spanKeys+min(to, i+pageKeys)], d[b*pageKeys:])
		}
	}
	own := [1][]byte{simd.BytesOf(t.factor)}
	simd.WordFactors(t.factor, t.unit, spanKeys, own[:], 0, spanKeys, wide)
}

// mask hides the scores outside [from,to).
func mask(x []float32, from, to int) {
	for i := range from {
		x[i] = float32(math.Inf(-1))
	}
	for i := to; i < len(x); i++ {
		x[i] = float32(math.Inf(-1))
	}
}
