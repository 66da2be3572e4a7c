// Package calib gathers statistics of the inputs of linear layers while texts run through a model one layer at a time:
// what GPTQ, AWQ, importance-weighted quantization and the pruning criteria need to know.
//
// Only one layer's weights are in memory, and the residual streams of all samples. The caller may exchange a layer's
// weights once it has seen the statistics; the samples then go on through the new ones, so that later layers are
// calibrated on what they will really get. Mean squares of each channel can be kept in a file, merged and used again: the
// importance matrices of llama.cpp, in both of its formats.
package calib

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
)

// Needs says what to gather at each calibration point.
type Needs struct {
	Hessian bool // sum of x xᵀ, Width x Width float64 a point: quadratic in the width
	// Outside also visits what lies outside of the layers: Index -1, without points, before embeddings are looked up, and
	// Index Layers at the head.
	Outside bool
	// Lean leaves Layer.In and Layer.Out nil, which saves two sets of residual streams.
	Lean bool
	// HoldOut keeps every n-th sample out of the statistics; some of its rows are kept in Point.Held. 0 keeps none out.
	HoldOut int
	// Known returns a model with new tensors for a layer (or, at Index Layers, the head) that needs no visit, as those of a
	// run that was cut short; nil where there are none yet. The samples go on through them. A nil Known knows nothing.
	Known func(index int) (*model.Model, error)
}

// Point is what was seen at one input of linear layers. Sums run over all tokens of all samples.
type Point struct {
	Width  int
	Rows   int64
	SumSq  []float64 // of each channel
	SumAbs []float64
	MaxAbs []float32
	// Hessian is X Xᵀ, [Width, Width], without GPTQ's factor 2; nil unless asked for.
	Hessian []float64
	h32     []float32
	once    sync.Once
	pending []float32 // rows that are not in the Hessian yet
	// Held is rows of samples that were held out, [rows, Width].
	Held []float32
	// Hits is how many tokens each expert that reads this point got, and ExpertSumSq the squares of those; nil where none
	// does.
	Hits        []int64
	ExpertSumSq [][]float64
	// Kept is what an algorithm worked out from the point, for the next matrix that reads it.
	Kept any
}

// Layer is the statistics of one layer by the node that is read.
type Layer struct {
	Index  int
	Points map[*model.Node]*Point
	// In and Out are the residual streams before and after the layer with its old weights, one a sample, [tokens, hidden].
	In, Out [][]float32
}

// Visit sees a layer's statistics and may return a model of the same graph with new tensors for it; nil keeps the old.
type Visit func(ctx context.Context, l *Layer) (*model.Model, error)

// heldRows is how many rows of held-out samples a point keeps.
const heldRows = 256

// hold keeps rows of a held-out sample, evenly spread over it.
func (p *Point) hold(x []float32, rows int) {
	w := p.Width
	step := max(1, rows/16)
	for r := 0; r < rows && len(p.Held) < heldRows*w; r += step {
		p.Held = append(p.Held, x[r*w:(r+1)*w]...)
	}
}

// newPoint returns a point without rows.
func newPoint(w int, needs Needs) *Point {
	p := &Point{Width: w, SumSq: make([]float64, w), SumAbs: make([]float64, w), MaxAbs: make([]float32, w)}
	if needs.Hessian {
		p.Hessian = make([]float64, w*w)
	}
	return p
}

// add takes rows of an input into the statistics.
func (p *Point) add(x []float32, rows int) {
	p.Rows += int64(rows)
	w := p.Width
	par.For(w, 64, func(lo, hi int) {
		for r := range rows {
			for j, v := range x[r*w+lo : r*w+hi] {
				a := max(v, -v)
				p.SumSq[lo+j] += float64(v) * float64(v)
				p.SumAbs[lo+j] += float64(a)
				p.MaxAbs[lo+j] = max(p.MaxAbs[lo+j], a)
			}
		}
	})
	if p.Hessian == nil {
		return
	}
	for len(x) > 0 {
		if p.pending == nil {
			p.pending = make([]float32, 0, ProductRows*w)
		}
		n := min(len(x), ProductRows*w-len(p.pending))
		p.pending, x = append(p.pending, x[:n]...), x[n:]
		if len(p.pending) == ProductRows*w {
			p.flush()
		}
	}
}

// Products of rows are summed in float32 within ProductRows of them, and those sums in float64. strip is how many rows of it are
// worked at once: they bound the memory for partial sums.
const (
	ProductRows = 1024
	strip       = 256
)

// flush adds xᵀx of the rows that are pending. Only what lies on and right of the diagonal's strips is added; Mirror fills in
// the rest.
func (p *Point) flush() {
	x, w := p.pending, p.Width
	p.pending = p.pending[:0]
	if len(x) == 0 {
		return
	}
	part := make([]float32, min(strip, w)*w)
	for top := 0; top < w; top += strip {
		height, width := min(strip, w-top), w-top
		simd.Gemm(part, width, x[top:], w, true, x[top:], w, false, height, width, len(x)/w, false)
		par.For(height, 16, func(i, j int) {
			for r := i; r < j; r++ {
				out := p.Hessian[(top+r)*w+top : (top+r+1)*w]
				for k, v := range part[r*width : (r+1)*width] {
					out[k] += float64(v)
				}
			}
		})
	}
}

// Release forgets what takes memory: the Hessian and what was made of it.
func (p *Point) Release() { p.Hessian, p.h32, p.Kept, p.pending = nil, nil, nil, nil }

// Mirror copies what is above the diagonal of the Hessian below it.
func (p *Point) Mirror() {
	w := p.Width
	if p.Hessian == nil {
		return
	}
	const tile = 16 // rows of it are read whole and written as columns, which stay in the cache meanwhile
	par.For(w, tile, func(lo, hi int) {
		for from := 0; from < hi; from += tile {
			for j := from; j < min(from+tile, hi); j++ {
				row := p.Hessian[j*w : (j+1)*w]
				for i := max(lo, j+1); i < hi; i++ {
					p.Hessian[i*w+j] = row[i]
				}
			}
		}
	})
}

// finish completes the sums.
func (p *Point) finish() error {
	p.flush()
	p.pending = nil
	p.Mirror()
	return p.check()
}

// check returns an error when an activation was not finite.
func (p *Point) check() error {
	for j, v := range p.SumSq {
		if v-v != 0 {
			return fmt.Errorf("channel %d is not finite on the calibration text", j)
		}
	}
	return nil
}

// Hessian32 returns the Hessian in float32, made once.
func (p *Point) Hessian32() []float32 {
	p.once.Do(func() {
		p.h32 = make([]float32, len(p.Hessian))
		par.For(len(p.h32), 1<<16, func(lo, hi int) {
			for i, v := range p.Hessian[lo:hi] {
				p.h32[lo+i] = float32(v)
			}
		})
	})
	return p.h32
}

// Importance returns the mean square of each channel.
func (p *Point) Importance() []float32 { return means(p.SumSq, p.Rows) }

// ExpertImportance returns the mean square of each channel over the tokens of one expert; over all tokens where experts
// are not told apart, and one everywhere where an expert got none.
func (p *Point) ExpertImportance(e int) []float32 {
	if p.ExpertSumSq == nil {
		return p.Importance()
	}
	v := means(p.ExpertSumSq[e], p.Hits[e])
	if p.Hits[e] == 0 {
		for j := range v {
			v[j] = 1
		}
	}
	return v
}

func means(sums []float64, n int64) []float32 {
	v := make([]float32, len(sums))
	for j, s := range sums {
		v[j] = float32(s / float64(max(n, 1)))
	}
	return v
}

// Scaled returns the statistics of inputs whose channel j is divided by s[j] > 0.
func (p *Point) Scaled(s []float32) *Point {
	q := newPoint(p.Width, Needs{Hessian: p.Hessian != nil})
	q.Rows, q.Hits = p.Rows, p.Hits
	for _, sums := range p.ExpertSumSq {
		scaled := make([]float64, len(sums))
		for j, v := range sums {
			scaled[j] = v / (float64(s[j]) * float64(s[j]))
		}
		q.ExpertSumSq = append(q.ExpertSumSq, scaled)
	}
	for j, v := range s {
		q.SumSq[j] = p.SumSq[j] / (float64(v) * float64(v))
		q.SumAbs[j] = p.SumAbs[j] / float64(v)
		q.MaxAbs[j] = p.MaxAbs[j] / v
	}
	par.For(p.Width, 64, func(lo, hi int) {
		if q.Hessian == nil {
			return
		}
		for i := lo; i < hi; i++ {
			for j := range p.Width {
				q.Hessian[i*p.Width+j] = p.Hessian[i*p.Width+j] / (float64(s[i]) * float64(s[j]))
			}
		}
	})
	q.Held = append([]float32(nil), p.Held...)
	for i := range q.Held {
		q.Held[i] /= s[i%p.Width]
	}
	return q
}

// RMS returns the root mean square of each channel.
func (p *Point) RMS() []float64 {
	out := make([]float64, p.Width)
	for j, v := range p.SumSq {
		out[j] = math.Sqrt(v / float64(max(p.Rows, 1)))
	}
	return out
}
