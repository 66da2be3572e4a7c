package cpu

import (
	"sync"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
)

// Attention is causal multi-head attention without the matrix of all scores: a block of queries meets the keys it sees,
// its scores stay in the cache, and the backward pass computes them again from the logarithm of each row's sum
// (Dao et al. 2022). Memory grows with the sequence, not with its square.
//
// Inputs: q [batch, length, Heads*Dim], k [batch, length, KVHeads*Dim], v [batch, length, KVHeads*ValueDim].
// Outputs: o [batch, length, Heads*ValueDim] and lse [batch, Heads, length], the log of the sum of exponentials.
// Query head h reads key/value head h / (Heads/KVHeads).
type Attention struct {
	Batch, Length  int
	Heads, KVHeads int
	Dim, ValueDim  int
	Scale          float32     // of q·k
	Window         int         // keys a query sees, its own counted; 0 means all before it
	Softcap        float32     // scores become Softcap*tanh(score/Softcap); 0 means none
	Bias           [][]float32 // added to the score of the key at a position, by head; nil means none
}

// String names the kernel in profiles.
func (a *Attention) String() string { return "attention" }

// Flops counts the products.
func (a *Attention) Flops() int { return a.pairs() * 2 * (a.Dim + a.ValueDim) }

// pairs returns the number of query/key pairs that see each other.
func (a *Attention) pairs() int {
	n := a.Length * (a.Length + 1) / 2
	if w := a.Window; w > 0 && w < a.Length {
		n -= (a.Length - w) * (a.Length - w + 1) / 2
	}
	return n * a.Batch * a.Heads
}

// block returns how many queries are computed at once: their scores should fit the second-level cache.
func (a *Attention) block() int { return min(64, max(16, (1<<15)/a.Length)) }

// first returns the first key that the query at position i sees.
func (a *Attention) first(i int) int {
	if a.Window > 0 {
		return max(0, i-a.Window+1)
	}
	return 0
}

// head is where the rows of one head lie.
type head struct {
	x      []float32
	stride int
}

func (h head) from(row int) []float32 { return h.x[min(row*h.stride, len(h.x)):] }

// part returns head h of batch entry b in an array [batch, length, heads*dim].
func (a *Attention) part(x *Buffer, b, h, heads, dim int) head {
	return head{x.Data.([]float32)[(b*a.Length*heads+h)*dim : ((b+1)*a.Length)*heads*dim], heads * dim}
}

var attentionScratch = sync.Pool{New: func() any { return new([]float32) }}

// scratch hands n values to f.
func scratch(n int, f func(x []float32)) {
	p := attentionScratch.Get().(*[]float32)
	if len(*p) < n {
		*p = make([]float32, n)
	}
	f((*p)[:n])
	attentionScratch.Put(p)
}

// Run computes o and lse.
func (a *Attention) Run(out, in []*Buffer) {
	rows := a.block()
	blocks := (a.Length + rows - 1) / rows
	lse := out[1].Data.([]float32)
	par.For(a.Batch*a.Heads*blocks, 1, func(lo, hi int) {
		for u := lo; u < hi; u++ {
			b, h, i0 := u/(a.Heads*blocks), u/blocks%a.Heads, u%blocks*rows
			i1 := min(i0+rows, a.Length)
			kv := h / (a.Heads / a.KVHeads)
			q, k := a.part(in[0], b, h, a.Heads, a.Dim), a.part(in[1], b, kv, a.KVHeads, a.Dim)
			v, o := a.part(in[2], b, kv, a.KVHeads, a.ValueDim), a.part(out[0], b, h, a.Heads, a.ValueDim)
			j0 := a.first(i0)
			n := i1 - j0
			scratch((i1-i0)*n, func(s []float32) {
				a.scores(s, q, k, h, i0, i1, j0)
				for i := i0; i < i1; i++ {
					row, seen := a.row(s, i, i0, i1, j0)
					lse[(b*a.Heads+h)*a.Length+i] = simd.LogSumExp(seen)
					simd.Softmax(seen, seen)
					a.hide(row, i, j0)
				}
				simd.Gemm(o.from(i0), o.stride, s, n, false, v.from(j0), v.stride, false, i1-i0, a.ValueDim, n, false)
			})
		}
	})
}

// row returns the scores of the query at position i in a block, and those of the keys it sees.
func (a *Attention) row(s []float32, i, i0, i1, j0 int) (row, seen []float32) {
	n := i1 - j0
	row = s[(i-i0)*n : (i-i0+1)*n]
	return row, row[a.first(i)-j0 : i+1-j0]
}

// hide clears what the query at position i does not see.
func (a *Attention) hide(row []float32, i, j0 int) {
	clear(row[:a.first(i)-j0])
	clear(row[i+1-j0:])
}

// scores computes the scores of queries [i0,i1) and keys [j0,i1); those of keys a query does not see are left as they are.
func (a *Attention) scores(s []float32, q, k head, h, i0, i1, j0 int) {
	n := i1 - j0
	simd.Gemm(s, n, q.from(i0), q.stride, false, k.from(j0), k.stride, true, i1-i0, n, a.Dim, false)
	if a.Softcap > 0 {
		simd.Scale(s, s, a.Scale/a.Softcap)
		simd.Tanh(s, s)
		simd.Scale(s, s, a.Softcap)
	} else {
		simd.Scale(s, s, a.Scale)
	}
	if a.Bias != nil {
		for i := i0; i < i1; i++ {
			row := s[(i-i0)*n : (i-i0+1)*n]
			simd.Add(row, row, a.Bias[h][j0:i1])
		}
	}
}

// AttentionGrad is the gradient of Attention. Inputs: q, k, v, o, lse as there, and do, the gradient of o. Outputs: the
// gradients of q, k and v.
type AttentionGrad struct{ Attention }

// String names the kernel in profiles.
func (a *AttentionGrad) String() string { return "attention'" }

// Flops counts the products, that of the scores computed again among them.
func (a *AttentionGrad) Flops() int { return a.pairs() * (6*a.Dim + 4*a.ValueDim) }

// Run computes the gradients, every key/value head on one thread: the sums over its query heads and their blocks run
// in one order.
func (a *AttentionGrad) Run(out, in []*Buffer) {
	group := a.Heads / a.KVHeads
	par.For(a.Batch*a.KVHeads, 1, func(lo, hi int) {
		for u := lo; u < hi; u++ {
			b, kv := u/a.KVHeads, u%a.KVHeads
			dk, dv := a.part(out[1], b, kv, a.KVHeads, a.Dim), a.part(out[2], b, kv, a.KVHeads, a.ValueDim)
			for i := range a.Length {
				clear(dk.from(i)[:a.Dim])
				clear(dv.from(i)[:a.ValueDim])
			}
			for h := kv * group; h < (kv+1)*group; h++ {
				a.head(out, in, b, h, kv, dk, dv)
			}
		}
	})
}

// head adds the gradients that pass through query head h.
func (a *AttentionGrad) head(out, in []*Buffer, b, h, kv int, dk, dv head) {
	q, k := a.part(in[0], b, h, a.Heads, a.Dim), a.part(in[1], b, kv, a.KVHeads, a.Dim)
	v, o := a.part(in[2], b, kv, a.KVHeads, a.ValueDim), a.part(in[3], b, h, a.Heads, a.ValueDim)
	lse := in[4].Data.([]float32)[(b*a.Heads+h)*a.Length:]
	do, dq := a.part(in[5], b, h, a.Heads, a.ValueDim), a.part(out[0], b, h, a.Heads, a.Dim)
	rows := a.block()
	for i0 := 0; i0 < a.Length; i0 += rows {
		i1 := min(i0+rows, a.Length)
		j0 := a.first(i0)
		n := i1 - j0
		size := (i1 - i0) * n
		scratch(2*size, func(x []float32) {
			p, ds := x[:size], x[size:]
			a.scores(p, q, k, h, i0, i1, j0)
			simd.Gemm(ds, n, do.from(i0), do.stride, false, v.from(j0), v.stride, true, i1-i0, n, a.ValueDim, false)
			for i := i0; i < i1; i++ {
				prow, pseen := a.row(p, i, i0, i1, j0)
				drow, dseen := a.row(ds, i, i0, i1, j0)
				delta := simd.Dot(do.from(i)[:a.ValueDim], o.from(i)[:a.ValueDim])
				a.slope(pseen, dseen, h, a.first(i), lse[i], delta)
				a.hide(prow, i, j0)
				a.hide(drow, i, j0)
			}
			simd.Gemm(dv.from(j0), dv.stride, p, n, true, do.from(i0), do.stride, false, n, a.ValueDim, i1-i0, true)
			simd.Gemm(dq.from(i0), dq.stride, ds, n, false, k.from(j0), k.stride, false, i1-i0, a.Dim, n, false)
			simd.Gemm(dk.from(j0), dk.stride, ds, n, true, q.from(i0), q.stride, false, n, a.Dim, i1-i0, true)
		})
	}
}

// slope turns scores s into probabilities p and the gradients of probabilities dp into those of q·k, in place. j is the
// position of the first key.
func (a *AttentionGrad) slope(s, dp []float32, h, j int, lse, delta float32) {
	if a.Softcap == 0 {
		addVS(s, s, -lse)
		simd.Exp(s, s)
		addVS(dp, dp, -delta)
		simd.Mul(dp, dp, s)
		simd.Scale(dp, dp, a.Scale)
		return
	}
	for i, x := range s {
		capped := x
		if a.Bias != nil {
			capped -= a.Bias[h][j+i]
		}
		t := capped / a.Softcap
		s[i] = exp32(x - lse)
		dp[i] = s[i] * (dp[i] - delta) * (1 - t*t) * a.Scale
	}
}
