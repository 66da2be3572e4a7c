package runtime

import (
	"math"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
)

func (c *compiler) attention(n *model.Node) {
	q, k, v := n.In[0], n.In[1], n.In[2]
	qb, kb, vb := c.buf[q], c.buf[k], c.buf[v]
	c.buf[n] = c.alloc(n.Out.Size())
	c.use(q)
	c.use(k)
	c.use(v)
	a, id := n.Attn, len(c.plan.caches)
	c.plan.caches = append(c.plan.caches, specOf(a))
	dst, width := c.buf[n], n.Out.Size()
	qw, kw, vw := q.Out.Size(), k.Out.Size(), v.Out.Size()
	c.step("attention", func(b *batch) {
		query, key, value, out := b.f(qb, qw), b.f(kb, kw), b.f(vb, vw), b.f(dst, width)
		for _, p := range b.parts {
			cache := p.s.caches[id]
			for i := range p.n {
				cache.put(p.pos+i, key[(p.lo+i)*kw:][:kw], value[(p.lo+i)*vw:][:vw])
			}
		}
		// One task is a few queries of one key/value head: its query heads share the keys.
		for _, p := range b.parts {
			const block = 8
			blocks := (p.n + block - 1) / block
			par.For(blocks*a.KVHeads, 1, func(t, _ int) {
				kv, first := t%a.KVHeads, t/a.KVHeads*block
				attend(a, p, p.s.caches[id], kv, first, min(first+block, p.n), query, out, qw, width)
			})
			p.s.caches[id].forget(p.pos + p.n)
		}
	})
}

// attend computes rows [lo,hi) of a part for the query heads of one key/value head.
func attend(a *model.Attention, p part, c *cache, kv, lo, hi int, query, out []float32, qw, width int) {
	group := a.Heads / a.KVHeads
	scores := make([]float32, p.pos+hi)
	for i := lo; i < hi; i++ {
		pos := p.pos + i
		first := 0
		if a.Window > 0 {
			first = max(0, pos-a.Window+1)
		}
		for h := kv * group; h < (kv+1)*group; h++ {
			q := query[(p.lo+i)*qw+h*a.HeadDim:][:a.HeadDim]
			s := scores[:pos+1-first]
			for j := range s {
				at := first + j
				s[j] = simd.Dot(q, c.spec.key(c.pages[at/pageKeys], kv, at%pageKeys)) * float32(a.Scale)
			}
			bias(a, s, h, first)
			simd.Softmax(s, s)
			y := out[(p.lo+i)*width+h*a.ValueDim:][:a.ValueDim]
			clear(y)
			for j, w := range s {
				at := first + j
				v := c.spec.value(c.pages[at/pageKeys], kv, at%pageKeys)
				simd.Axpy(y, v, w)
			}
		}
	}
}

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
