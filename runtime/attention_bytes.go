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
// Beside the bytes themselves nothing is rounded coarser than in a cache of float16. A row meets a page's scales up to its own
// position and no further, so that its bits do not depend on what comes after it.

// bytesScratch is what one task needs: queries, scores and weights of its rows with their scales, their sums, and the weights'
// factors that a page has.
type bytesScratch struct {
	q, p                        []int16
	qd, s, pd, o, factor, unit  []float32
	top, sum, fade, here, total []float32
}

var bytesScratches = sync.Pool{New: func() any { return new(bytesScratch) }}

// attendBytes computes rows [lo,hi) of a part for the query heads of one key/value head.
func attendBytes(a *model.Attention, p part, c *cache, kv, lo, hi int, query, out []float32, qw, width int) {
	spec := &c.spec
	group, kb, vb := a.Heads/a.KVHeads, spec.keyDim/32, spec.valueDim/32
	rows := (hi - lo) * group
	w := bytesScratches.Get().(*bytesScratch)
	defer bytesScratches.Put(w)
	q, qd := sized(&w.q, rows*spec.keyDim), sized(&w.qd, rows*kb)
	s, o := sized(&w.s, rows*pageKeys), sized(&w.o, rows*spec.valuePad)
	pw, pd := sized(&w.p, rows*vb*pageKeys), sized(&w.pd, rows*vb)
	factor, unit := sized(&w.factor, vb*pageKeys), sized(&w.unit, vb)
	top, sum, fade := sized(&w.top, rows), sized(&w.sum, rows), sized(&w.fade, rows)
	here, total := sized(&w.here, rows), sized(&w.total, rows)
	n := group * spec.keyDim
	for i := range hi - lo {
		simd.QuantizeWords(q[i*n:(i+1)*n], qd[i*group*kb:(i+1)*group*kb], query[(p.lo+lo+i)*qw+kv*n:][:n])
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
	plain := plainScores(a)
	for pg := start / pageKeys; pg*pageKeys < p.pos+hi; pg++ {
		first := p.pos + lo - pg*pageKeys // the first row's place in the page, or behind or before it
		keys, values, kd, vd := spec.bytes(c.pages[pg], kv)
		nextKeys, nextValues := keys, values
		if (pg+1)*pageKeys < p.pos+hi {
			var d []float32
			nextKeys, nextValues, d, _ = spec.bytes(c.pages[pg+1], kv)
			simd.Ask(d[:spec.headScales()])
		}
		n := (min(pageKeys, p.pos+hi-pg*pageKeys) + panel - 1) &^ (panel - 1)
		for b := range kb {
			at := 32 * panel * b
			simd.MulPairs(s, pageKeys, q[32*b:], spec.keyDim, rows, keys[at:], panel*spec.keyDim, 16, n/panel, kd[b*pageKeys:], qd[b:], kb, b > 0,
				nextKeys[at:])
		}
		for lo, hi := 0, 0; lo < rows; lo = hi { // rows that see as much
			to := seen(first+lo/group, n)
			for hi = lo + group; hi < rows && seen(first+hi/group, n) == to; {
				hi += group
			}
			valueFactors(factor, unit, vd, n, to)
			for r := lo; r < hi && !(plain && to == n); r++ {
				from, x := 0, s[r*pageKeys:][:n]
				if a.Window > 0 {
					from = min(max(0, first+r/group-a.Window+1), to)
				}
				mask(x, from, to)
				bias(a, x[from:to], kv*group+r%group, pg*pageKeys+from)
			}
			for b, u := range unit {
				for i := lo*vb + b; i < hi*vb; i += vb {
					pd[i] = u
				}
			}
			simd.SoftmaxWords(pw[lo*vb*pageKeys:], vb*pageKeys, s[lo*pageKeys:], pageKeys, n, factor, pageKeys, vb, here[lo:hi], total[lo:hi])
		}
		if rescale(top, here, fade) {
			for r, f := range fade {
				if f != 1 {
					sum[r] *= f
					row := o[r*spec.valuePad:][:spec.valuePad]
					simd.Scale(row, row, f)
				}
			}
		}
		for r, f := range here {
			sum[r] += float32(total[r] * f)
			for b := range vb {
				pd[r*vb+b] *= f
			}
		}
		for b := range vb {
			at := 32 * b * pageKeys
			simd.MulPairs(o[32*b:], spec.valuePad, pw[b*pageKeys:], vb*pageKeys, rows, values[at:], panel*pageKeys, n/2, 32/panel, nil, pd[b:], vb, true,
				nextValues[at:])
		}
	}
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

// rescale brings the largest scores so far up to those of a page, here. It sets here to what the page's exponentials must be
// multiplied by to be relative to the new ones. Where any is new it sets fade to what those before must be and returns true.
func rescale(top, here, fade []float32) bool {
	grown := false
	for r, m := range here {
		old := top[r]
		switch fade[r] = 0; {
		case math.IsInf(float64(m), -1): // no score at all
		case m > old:
			top[r], here[r], fade[r] = m, 0, old-m
			grown = true
		default:
			here[r] = m - old
		}
	}
	simd.Exp(here, here)
	if grown {
		simd.Exp(fade, fade)
	}
	return grown
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
