package cpu

import (
	"math"
	"sync"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
)

// Attention is causal multi-head attention without the matrix of all scores: a block of queries meets the keys it sees and
// no others, its scores stay in the cache, and the backward pass computes them again from the logarithm of each row's sum
// (Dao et al. 2022, "FlashAttention"). Memory grows with the sequence, not with its square.
//
// Keys and values are copied into the order that register tiles read, once for all queries of a task that meet them. So a
// product of a block with so few columns (a head's) costs little beside its multiplications, which a general product would
// spend more time to prepare.
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

const (
	attentionBlock = 48  // queries (and, backward, keys) of a block: whole register tiles of every kind
	attentionTask  = 192 // queries of a task of the forward pass
	attentionSlice = 128 // keys whose values stay in the first cache while a block of queries meets them
)

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

// first returns the first key that the query at position i sees.
func (a *Attention) first(i int) int {
	if a.Window > 0 {
		return max(0, i-a.Window+1)
	}
	return 0
}

// head is where the rows of one head lie: row i at x[i*stride:], dim values.
type head struct {
	x           []float32
	stride, dim int
}

func (h head) row(i int) []float32 { return h.x[i*h.stride:][:h.dim] }

// part returns head h of batch entry b in an array [batch, length, heads*dim].
func (a *Attention) part(x *Buffer, b, h, heads, dim int) head {
	return head{x.Data.([]float32)[(b*a.Length*heads+h)*dim : ((b+1)*a.Length)*heads*dim], heads * dim, dim}
}

// wide returns n rounded up to whole panels of columns.
func wide(n int) int { return (n + simd.PanelColumns - 1) / simd.PanelColumns * simd.PanelColumns }

// rows are rows of one head lying together, each padded with zeros to whole panels.
type rows struct {
	x     []float32
	width int
}

func (r rows) at(i int) []float32 { return r.x[i*r.width:] }

// gather copies rows [from,to) of a head, times scale.
func (r rows) gather(h head, from, to int, scale float32) {
	for i := from; i < to; i++ {
		row := r.x[(i-from)*r.width:][:r.width]
		if scale == 1 {
			copy(row, h.row(i))
		} else {
			simd.Scale(row[:h.dim], h.row(i), scale)
		}
		clear(row[h.dim:])
	}
}

// spread writes rows to [from,to) of a head, times scale.
func (r rows) spread(h head, from, to int, scale float32) {
	for i := from; i < to; i++ {
		simd.Scale(h.row(i), r.at(i - from)[:h.dim], scale)
	}
}

// columns packs the transpose of n rows, so that a product with it gives a column for each row, zeros up to whole panels.
func (r rows) columns(dst []float32, dim, n int) { simd.PackPanels(dst, r.x, r.width, true, n, dim) }

var attentionScratch = sync.Pool{New: func() any { return new([]float32) }}

// scratch is memory of a task, given out piece by piece.
type scratch struct{ x []float32 }

func (s *scratch) take(n int) []float32 {
	x := s.x[:n:n]
	s.x = s.x[n:]
	return x
}

func (s *scratch) rows(n, width int) rows { return rows{s.take(n * width), width} }

// withScratch hands n values to f.
func withScratch(n int, f func(s *scratch)) {
	p := attentionScratch.Get().(*[]float32)
	if len(*p) < n {
		*p = make([]float32, n)
	}
	f(&scratch{(*p)[:n]})
	attentionScratch.Put(p)
}

// Run computes o and lse. A task is the query heads of one key/value head over some blocks of queries; the last ones, which
// see most keys, are begun first.
func (a *Attention) Run(out, in []*Buffer) {
	tasks := (a.Length + attentionTask - 1) / attentionTask
	units := a.Batch * a.KVHeads * tasks
	par.For(units, 1, func(lo, hi int) {
		for u := lo; u < hi; u++ {
			t := units - 1 - u
			a.task(out, in, t%(a.Batch*a.KVHeads)/a.KVHeads, t%a.KVHeads, t/(a.Batch*a.KVHeads)*attentionTask)
		}
	})
}

// forward is what a task of the forward pass works with. Keys and values begin with that at position base.
type forward struct {
	*Attention
	base      int
	keys      []float32 // panels of 16 keys
	values    rows
	q, o      rows      // of a block
	scores    []float32 // of a block, rows stride apart
	stride    int
	lse       []float32
	normalize [attentionBlock]float32
}

// task computes the queries of key/value head kv from position i0 on.
func (a *Attention) task(out, in []*Buffer, b, kv, i0 int) {
	i1 := min(i0+attentionTask, a.Length)
	base := a.first(i0) / simd.PanelColumns * simd.PanelColumns
	n := wide(i1 - base)
	d, dv := wide(a.Dim), wide(a.ValueDim)
	k, v := a.part(in[1], b, kv, a.KVHeads, a.Dim), a.part(in[2], b, kv, a.KVHeads, a.ValueDim)
	stride := n + simd.PanelColumns // not a power of two: rows must not fall on the same cache sets
	withScratch(n*a.Dim+n*max(d, dv)+attentionBlock*(d+dv+stride), func(s *scratch) {
		f := forward{Attention: a, base: base, keys: s.take(n * a.Dim), stride: stride}
		pool := s.take(n * max(d, dv)) // keys lie there until they are packed, then values
		rows{pool, d}.gather(k, base, i1, a.Scale)
		rows{pool, d}.columns(f.keys, a.Dim, i1-base)
		f.values = rows{pool, dv}
		f.values.gather(v, base, i1, 1)
		f.q, f.o, f.scores = s.rows(attentionBlock, d), s.rows(attentionBlock, dv), s.take(attentionBlock*stride)
		group := a.Heads / a.KVHeads
		for h := kv * group; h < (kv+1)*group; h++ {
			f.lse = out[1].Data.([]float32)[(b*a.Heads+h)*a.Length:][:a.Length]
			q, o := a.part(in[0], b, h, a.Heads, a.Dim), a.part(out[0], b, h, a.Heads, a.ValueDim)
			for i := i0; i < i1; i += attentionBlock {
				f.block(q, o, h, i, min(i+attentionBlock, i1))
			}
		}
	})
}

// block computes queries [i0,i1) of head h.
func (f *forward) block(q, o head, h, i0, i1 int) {
	j0 := f.first(i0) / simd.PanelColumns * simd.PanelColumns
	f.q.gather(q, i0, i1, 1)
	lines := scoreTile{f.Attention, f.q, f.keys[(j0-f.base)*f.Dim:], f.scores, f.stride}
	lines.compute(i0, i1, j0, i1)
	if f.Softcap > 0 || f.Bias != nil {
		for i := i0; i < i1; i++ {
			f.bend(f.scores[(i-i0)*f.stride:][:i+1-j0], nil, h, j0)
		}
	}
	strip := simd.TileRows()
	for s := i0; s < i1; s += strip {
		last := min(s+strip, i1) - 1 // what the strip's last query sees all of its rows must hold
		for i := s; i <= last; i++ {
			f.softmax(f.scores[(i-i0)*f.stride:][:last+1-j0], i, i-i0, j0)
		}
	}
	for j := j0; j < i1; j += attentionSlice {
		for s := i0; s < i1; s += strip {
			end := min(s+strip, i1)
			if n := min(j+attentionSlice, end) - j; n > 0 {
				simd.Tile(f.o.at(s-i0), f.o.width, f.scores[(s-i0)*f.stride+j-j0:], f.stride, 1, f.values.at(j-f.base),
					simd.PanelColumns, f.values.width, end-s, f.o.width, n, j > j0)
			}
		}
	}
	for i := i0; i < i1; i++ {
		simd.Scale(o.row(i), f.o.at(i - i0)[:o.dim], f.normalize[i-i0])
	}
}

// softmax turns the scores of the query at position i, that of key j0 first, into exponentials, zero where it does not see,
// and keeps what they must be multiplied by.
func (f *forward) softmax(row []float32, i, r, j0 int) {
	first := f.first(i) - j0
	clear(row[:first])
	clear(row[i+1-j0:])
	seen := row[first : i+1-j0]
	top := simd.Max(seen)
	if math.IsInf(float64(top), -1) { // nothing to see: zeros
		clear(seen)
		f.lse[i], f.normalize[r] = top, 0
		return
	}
	var sum float64
	for len(seen) > 0 { // long rows lose nothing
		n := min(len(seen), 4096)
		sum += float64(simd.ExpSum(seen[:n], seen[:n], top))
		seen = seen[n:]
	}
	f.lse[i] = float32(float64(top) + math.Log(sum))
	f.normalize[r] = float32(1 / sum)
}

// bend applies the cap and adds the bias to scores of head h, that of key j first. Where slope is not nil it is set to the
// derivative of the cap.
func (a *Attention) bend(scores, slope []float32, h, j int) {
	if a.Softcap > 0 {
		simd.Scale(scores, scores, 1/a.Softcap)
		simd.Tanh(scores, scores)
		if slope != nil {
			simd.Mul(slope, scores, scores)
			for i, x := range slope {
				slope[i] = 1 - x
			}
		}
		simd.Scale(scores, scores, a.Softcap)
	}
	if a.Bias != nil {
		simd.Add(scores, scores, a.Bias[h][j:j+len(scores)])
	}
}

// scoreTile computes the products of a block of rows with packed columns where queries see keys.
type scoreTile struct {
	*Attention
	rows    rows
	columns []float32 // panels of 16, len(rows) steps each
	out     []float32
	stride  int
}

// compute computes queries [i0,i1) and keys [j0,j1), j0 at the first panel, where they meet, and some more.
func (t *scoreTile) compute(i0, i1, j0, j1 int) { t.product(t.Dim, i0, i1, j0, j1) }

// product is compute for rows of k values.
func (t *scoreTile) product(k, i0, i1, j0, j1 int) {
	all := min(wide(j1-j0), max(0, i0-j0)/simd.PanelColumns*simd.PanelColumns) // seen by all queries
	if all > 0 {
		simd.Tile(t.out, t.stride, t.rows.x, t.rows.width, 1, t.columns, k*simd.PanelColumns, simd.PanelColumns, i1-i0, all, k, false)
	}
	strip := simd.TileRows()
	for s := i0; s < i1; s += strip {
		end := min(s+strip, i1)
		if n := wide(min(end, j1)-j0) - all; n > 0 {
			simd.Tile(t.out[(s-i0)*t.stride+all:], t.stride, t.rows.at(s-i0), t.rows.width, 1, t.columns[all*k:],
				k*simd.PanelColumns, simd.PanelColumns, end-s, n, k, false)
		}
	}
}
