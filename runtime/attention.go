package runtime

import (
	"math"
	"sync"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
)

// Attention over the paged cache, after Dao et al., "FlashAttention" (2022): a few queries of all the heads that share a
// key/value head meet the keys page by page; scores live in a small buffer, and what has been summed up is rescaled when
// a larger score turns up. Pages start at fixed positions and a row meets the same ones in the same order whoever is
// beside it, so its bits depend on neither the batch nor the cut of the prompt.

const (
	// attendRows is about how many rows, queries times heads, one task computes: each task reads all pages.
	attendRows = 256
	// pageRows is how many of them meet a page together: their scores stay in the first cache.
	pageRows = 32
)

func (c *compiler) attention(n *model.Node) error {
	q, k, v := n.In[0], n.In[1], n.In[2]
	qb, kb, vb := c.buf[q], c.buf[k], c.buf[v]
	c.buf[n] = c.alloc(n.Out.Size())
	c.use(q)
	c.use(k)
	c.use(v)
	a, id, sinks := n.Attn, len(c.plan.caches), n.Weight(0)
	spec, err := specOf(a, c.e.cache)
	if err != nil {
		return err
	}
	c.plan.caches = append(c.plan.caches, spec)
	dst, width := c.buf[n], n.Out.Size()
	qw, kw, vw := q.Out.Size(), k.Out.Size(), v.Out.Size()
	block := attendBlock(a)
	var brains bool
	fast := c.e.rounding == RoundFast
	coarse := fast && simd.BytesFast()
	var b *batch
	var query, out, sink []float32
	loop := func(t, _ int) {
		for _, p := range b.parts {
			n := (p.n + block - 1) / block * a.KVHeads
			if t >= n {
				t -= n
				continue
			}
			first := t / a.KVHeads * block
			hi, cache, kv := min(first+block, p.n), p.s.caches[id], t%a.KVHeads
			if spec.kind == cacheQ80 && !brains {
				attendBytes(a, p, cache, kv, first, hi, query, out, qw, width, sink, coarse)
			} else {
				attend(a, p, cache, kv, first, hi, query, out, qw, width, sink, brains)
			}
			return
		}
	}
	c.step("attention", func(x *batch) {
		b, sink = x, x.e.vec(sinks)
		brains = a.HeadDim >= brainDim && (b.prompt || fast && spec.kind != cacheQ80 && simd.BrainsFast())
		query, out = b.f(qb, qw), b.f(dst, width)
		key, value := b.f(kb, kw), b.f(vb, vw)
		tasks := 0
		for _, p := range b.parts {
			cache := p.s.caches[id]
			for i := range p.n {
				cache.put(p.pos+i, key[(p.lo+i)*kw:][:kw], value[(p.lo+i)*vw:][:vw])
			}
			tasks += (p.n + block - 1) / block * a.KVHeads
		}
		par.For(tasks, 1, loop)
		for _, p := range b.parts {
			p.s.caches[id].forget(p.pos + p.n)
		}
		b, query, out = nil, nil, nil
	})
	return nil
}

// attendBlock is how many queries one task computes.
func attendBlock(a *model.Attention) int { return max(1, attendRows*a.KVHeads/a.Heads) }

// attendScratch is what one task needs: queries, scores and sums of its rows, and a page of one head.
type attendScratch struct {
	q, s, o, page, top, sum, fade, here []float32
	brains                              brainPage
}

var attendScratches = sync.Pool{New: func() any { return new(attendScratch) }}

func sized[T any](p *[]T, n int) []T {
	if cap(*p) < n {
		*p = make([]T, n)
	}
	return (*p)[:n]
}

// attend computes rows [lo,hi) of a part for the query heads of one key/value head, in bfloat16 where it says so. sinks may be nil.
func attend(a *model.Attention, p part, c *cache, kv, lo, hi int, query, out []float32, qw, width int, sinks []float32, brains bool) {
	group, spec := a.Heads/a.KVHeads, &c.spec
	rows := (hi - lo) * group
	step := pageRows
	if brains {
		step = brainRows()
	}
	w := attendScratches.Get().(*attendScratch)
	defer attendScratches.Put(w)
	q, s, o := sized(&w.q, rows*a.HeadDim), sized(&w.s, min(step, rows)*pageKeys), sized(&w.o, rows*spec.valuePad)
	top, sum, buf := sized(&w.top, rows), sized(&w.sum, rows), sized(&w.page, spec.headSize())
	fade, here := sized(&w.fade, min(step, rows)), sized(&w.here, min(step, rows))
	for i := lo; i < hi; i++ {
		at := (i - lo) * group * a.HeadDim
		simd.Scale(q[at:at+group*a.HeadDim], query[(p.lo+i)*qw+kv*group*a.HeadDim:][:group*a.HeadDim], float32(a.Scale))
	}
	if brains {
		w.brains.begin(spec, q, rows)
	}
	clear(o)
	clear(sum)
	for r := range top {
		top[r] = float32(math.Inf(-1))
	}
	plain, last := plainScores(a), (p.pos+hi-1)/pageKeys
	for pg := firstPage(a, p.pos+lo); pg <= last; pg++ {
		n := min(pageKeys, p.pos+hi-pg*pageKeys)
		wide := (n + panel - 1) &^ (panel - 1)
		var keys, values []float32
		if brains {
			wide = pageKeys
			w.brains.load(spec, c.pages[pg], c.pages[min(pg+1, last)], kv, n)
		} else {
			keys, values = spec.floats(c.pages[pg], kv, buf)
		}
		for at := 0; at < rows; at += step {
			k := min(step, rows-at)
			fade, here, top, sum, o := fade[:k], here[:k], top[at:at+k], sum[at:at+k], o[at*spec.valuePad:(at+k)*spec.valuePad]
			if brains {
				w.brains.scores(s, at, k)
			} else {
				simd.MulPanels(s, pageKeys, q[at*a.HeadDim:], a.HeadDim, k, keys, panel*a.HeadDim, panel, wide/panel, a.HeadDim, false)
			}
			for r := at; r < at+k && !(plain && p.pos+lo+at/group >= pg*pageKeys+wide-1); r++ { // but where the first sees all of the page
				pos := p.pos + lo + r/group
				from, to := 0, max(0, min(n, pos+1-pg*pageKeys))
				if a.Window > 0 {
					from = min(max(0, pos-a.Window+1-pg*pageKeys), to)
				}
				x := s[(r-at)*pageKeys:][:wide]
				mask(x, from, to)
				bias(a, x[from:to], kv*group+r%group, pg*pageKeys+from)
			}
			copy(fade, top)
			simd.SoftmaxPage(s, pageKeys, wide, top, here)
			fadeSums(fade, here, top, sum, o, spec.valuePad)
			if brains {
				w.brains.sums(o, s, k)
			} else {
				simd.MulPanels(o, spec.valuePad, s, pageKeys, k, values, panel, spec.valuePad, spec.valuePad/panel, n, true)
			}
		}
	}
	addSinks(sum, top, sinks, kv*group, group)
	for r := range rows {
		y := out[(p.lo+lo+r/group)*width+(kv*group+r%group)*a.ValueDim:][:a.ValueDim]
		simd.Scale(y, o[r*spec.valuePad:][:a.ValueDim], 1/sum[r])
	}
}

// firstPage is the first page that a query at a position sees.
func firstPage(a *model.Attention, pos int) int {
	if a.Window == 0 {
		return 0
	}
	return max(0, pos-a.Window+1) / pageKeys
}

// addSinks adds to the sums of exponentials, whose references are in top, those of the sinks of the group of heads from first on, row after row.
func addSinks(sum, top, sinks []float32, first, group int) {
	if sinks == nil {
		return
	}
	for r := range sum {
		sum[r] += float32(math.Exp(float64(sinks[first+r%group] - top[r])))
	}
}

// fadeSums takes the sums of a page, here, into those so far, and what rows of o hold, when the references of the exponentials, which were in
// fade, have become top.
func fadeSums(fade, here, top, sum, o []float32, width int) {
	for r, m := range top {
		if fade[r] == m {
			fade[r] = 0 // among them rows without any score, whose difference would be NaN
		} else {
			fade[r] -= m
		}
	}
	simd.Exp(fade, fade)
	for r, f := range fade {
		if f != 1 {
			sum[r] *= f
			row := o[r*width:][:width]
			simd.Scale(row, row, f)
		}
		sum[r] += here[r]
	}
}

// plainScores reports whether scores are neither biased nor, before a row's own position, masked.
func plainScores(a *model.Attention) bool { return a.Window == 0 && a.Softcap == 0 && a.Alibi == nil }

// bias applies the soft cap and alibi to the scores of the keys from position first on.
func bias(a *model.Attention, s []float32, head, first int) {
	if a.Softcap > 0 {
		for j, v := range s {
			s[j] = float32(a.Softcap * math.Tanh(float64(v)/a.Softcap))
		}
	}
	if a.Alibi != nil {
		for j := range s {
			s[j] += float32(a.Alibi.Bias(head, first+j))
		}
	}
}
