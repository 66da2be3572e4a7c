package cpu

import (
	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
)

// AttentionGrad is the gradient of Attention. Inputs: q, k, v, o, lse as there, and do, the gradient of o. Outputs: the
// gradients of q, k and v.
//
// With p the probabilities and delta = sum of do*o of a row:
//
//	dv = p'·do    dp = do·v'    ds = p*(dp - delta)*scale    dq = ds·k    dk = ds'·q
//
// all of them over blocks of queries and keys that see each other.
type AttentionGrad struct{ Attention }

// String names the kernel in profiles.
func (a *AttentionGrad) String() string { return "attention'" }

// Flops counts the products, that of the scores computed again among them.
func (a *AttentionGrad) Flops() int { return a.pairs() * (6*a.Dim + 4*a.ValueDim) }

// Run computes the gradients, every key/value head on one thread: the sums over its query heads and their blocks run
// in one order.
func (a *AttentionGrad) Run(out, in []*Buffer) {
	par.For(a.Batch*a.KVHeads, 1, func(lo, hi int) {
		for u := lo; u < hi; u++ {
			a.task(out, in, u/a.KVHeads, u%a.KVHeads)
		}
	})
}

// backward is what a task works with: rows of the whole sequence, and a block of keys. Keys are scaled.
type backward struct {
	*Attention
	q, do, dq        rows
	dk, dv           rows
	lse, delta       []float32
	k, v             rows      // of the block
	keys, values     []float32 // the same as panels of 16
	p, ds, slope     []float32 // scores of a block of queries and keys, then probabilities; their gradients
	keyHead, valHead head
}

// task computes the gradients of key/value head kv and of the query heads that read it.
func (a *AttentionGrad) task(out, in []*Buffer, b, kv int) {
	n, d, dv := a.Length, wide(a.Dim), wide(a.ValueDim)
	const block = attentionBlock
	withScratch(n*(3*d+2*dv+1)+block*(2*d+2*dv+3*block), func(s *scratch) {
		w := backward{Attention: &a.Attention, q: s.rows(n, d), do: s.rows(n, dv), dq: s.rows(n, d), dk: s.rows(n, d), dv: s.rows(n, dv),
			delta: s.take(n), k: s.rows(block, d), v: s.rows(block, dv), keys: s.take(block * d), values: s.take(block * dv),
			p: s.take(block * block), ds: s.take(block * block), slope: s.take(block * block)}
		w.keyHead, w.valHead = a.part(in[1], b, kv, a.KVHeads, a.Dim), a.part(in[2], b, kv, a.KVHeads, a.ValueDim)
		clear(w.dk.x)
		clear(w.dv.x)
		group := a.Heads / a.KVHeads
		for h := kv * group; h < (kv+1)*group; h++ {
			o, do := a.part(in[3], b, h, a.Heads, a.ValueDim), a.part(in[5], b, h, a.Heads, a.ValueDim)
			w.lse = in[4].Data.([]float32)[(b*a.Heads+h)*n:][:n]
			w.q.gather(a.part(in[0], b, h, a.Heads, a.Dim), 0, n, 1)
			w.do.gather(do, 0, n, 1)
			clear(w.dq.x)
			for i := range n {
				w.delta[i] = simd.Dot(do.row(i), o.row(i))
			}
			for j := 0; j < n; j += block {
				w.column(h, j, min(j+block, n))
			}
			w.dq.spread(a.part(out[0], b, h, a.Heads, a.Dim), 0, n, 1)
		}
		w.dk.spread(a.part(out[1], b, kv, a.KVHeads, a.Dim), 0, n, a.Scale)
		w.dv.spread(a.part(out[2], b, kv, a.KVHeads, a.ValueDim), 0, n, 1)
	})
}

// column adds what keys [j0,j1) have to do with the queries of head h that see them.
func (w *backward) column(h, j0, j1 int) {
	w.k.gather(w.keyHead, j0, j1, w.Scale)
	w.v.gather(w.valHead, j0, j1, 1)
	w.k.columns(w.keys, w.Dim, j1-j0)
	w.v.columns(w.values, w.ValueDim, j1-j0)
	for i0 := j0; i0 < w.Length && w.first(i0) < j1; i0 += attentionBlock {
		w.block(h, i0, min(i0+attentionBlock, w.Length), j0, j1)
	}
}

// block adds what queries [i0,i1) and keys [j0,j1) have to do with one another.
func (w *backward) block(h, i0, i1, j0, j1 int) {
	const stride = attentionBlock
	cols := wide(j1 - j0)
	q, do := rows{w.q.at(i0), w.q.width}, rows{w.do.at(i0), w.do.width}
	scores := scoreTile{w.Attention, q, w.keys, w.p, stride}
	scores.product(w.Dim, i0, i1, j0, j1)
	gradients := scoreTile{w.Attention, do, w.values, w.ds, stride}
	gradients.product(w.ValueDim, i0, i1, j0, j1)
	w.slopes(h, i0, i1, j0, j1)
	strip := simd.TileRows()
	for s := i0; s < i1; s += strip { // what the strip's last query sees
		end := min(s+strip, i1)
		simd.Tile(w.dq.at(s), w.dq.width, w.ds[(s-i0)*stride:], stride, 1, w.k.x, simd.PanelColumns, w.k.width,
			end-s, w.dq.width, min(cols, min(end, j1)-j0), true)
	}
	for s := j0; s < j1; s += strip { // from the first query that sees the strip's first key
		from, rows := max(s, i0), min(strip, j1-s)
		if from >= i1 {
			break
		}
		at := (from-i0)*stride + s - j0
		simd.Tile(w.dv.at(s), w.dv.width, w.p[at:], 1, stride, do.at(from-i0), simd.PanelColumns, do.width, rows, w.dv.width, i1-from, true)
		simd.Tile(w.dk.at(s), w.dk.width, w.ds[at:], 1, stride, q.at(from-i0), simd.PanelColumns, q.width, rows, w.dk.width, i1-from, true)
	}
}

// slopes turns scores into probabilities and the gradients of probabilities into those of scores, zero where a query does
// not see a key.
func (w *backward) slopes(h, i0, i1, j0, j1 int) {
	const stride = attentionBlock
	n := j1 - j0
	if w.Softcap > 0 || w.Bias != nil {
		for i := i0; i < i1; i++ {
			at := (i - i0) * stride
			w.bend(w.p[at:][:n], w.slope[at:][:n], h, j0)
		}
	}
	simd.SoftmaxGrad(w.p, w.ds, stride, i1-i0, n, w.lse[i0:i1], w.delta[i0:i1])
	for i := i0; i < i1; i++ {
		at := (i - i0) * stride
		p, ds := w.p[at:][:n], w.ds[at:][:n]
		if w.Softcap > 0 {
			simd.Mul(ds, ds, w.slope[at:][:n])
		}
		lo, hi := min(n, max(0, w.first(i)-j0)), min(n, i+1-j0)
		clear(p[:lo])
		clear(p[hi:])
		clear(ds[:lo])
		clear(ds[hi:])
	}
}
