// Package calib gathers statistics of the inputs of linear layers while texts run through a model one layer at a time:
// what GPTQ, AWQ, importance-weighted quantization and the pruning criteria need to know.
//
// Only one layer's weights are in memory, and the residual streams of all samples. The caller may exchange a layer's
// weights once it has seen the statistics; the samples then go on through the new ones, so that later layers are
// calibrated on what they will really get.
package calib

import (
	"context"
	"fmt"
	"math"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/runtime"
)

// Needs says what to gather at each calibration point.
type Needs struct {
	Hessian bool // sum of x xᵀ, Width x Width float64 a point: quadratic in the width
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

// Walk takes the samples through the model.
func Walk(ctx context.Context, m *model.Model, samples [][]int32, needs Needs, visit Visit) error {
	if len(samples) == 0 {
		return fmt.Errorf("no calibration samples")
	}
	longest := 0
	for _, s := range samples {
		longest = max(longest, len(s))
	}
	e, err := runtime.Load(ctx, m, runtime.Options{Lazy: true, Batch: longest})
	if err != nil {
		return err
	}
	layers := len(m.Config.Layers)
	task := progress.Start(ctx, "calibrate", "layers", int64(layers))
	defer task.Done()
	if err := e.LoadLayer(ctx, -1); err != nil {
		return err
	}
	streams := make([][]float32, len(samples))
	for i, ids := range samples {
		if streams[i], err = e.Embed(ctx, ids); err != nil {
			return err
		}
	}
	e.UnloadLayer(-1)
	for i := range layers {
		if streams, err = walkLayer(ctx, e, i, streams, needs, visit); err != nil {
			return err
		}
		task.Add(1)
	}
	return nil
}

// walkLayer runs one layer with taps, shows the statistics, and returns the streams behind it.
func walkLayer(ctx context.Context, e *runtime.Engine, i int, in [][]float32, needs Needs, visit Visit) ([][]float32, error) {
	if err := e.LoadLayer(ctx, i); err != nil {
		return nil, err
	}
	defer e.UnloadLayer(i)
	l := &Layer{Index: i, Points: map[*model.Node]*Point{}, In: in}
	e.SetTap(func(n *model.Node, x []float32, rows int) { l.add(n, x, rows, needs) })
	defer e.SetTap(nil)
	forward := func() ([][]float32, error) {
		out := make([][]float32, len(in))
		for s := range in {
			out[s] = append([]float32(nil), in[s]...)
			if err := e.Layer(ctx, i, out[s]); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	var err error
	if l.Out, err = forward(); err != nil {
		return nil, err
	}
	e.SetTap(nil)
	for n, p := range l.Points {
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("layer %d, input of %s: %w", i, n.Site, err)
		}
	}
	changed, err := visit(ctx, l)
	if err != nil || changed == nil {
		return l.Out, err
	}
	e.UnloadLayer(i)
	e.SetModel(changed)
	if err := e.LoadLayer(ctx, i); err != nil {
		return nil, err
	}
	return forward()
}

// add takes rows of an input into the statistics. A value that several groups of layers read counts once.
func (l *Layer) add(n *model.Node, x []float32, rows int, needs Needs) {
	p := l.Points[n]
	if p == nil {
		w := n.Out.Size()
		p = &Point{Width: w, SumSq: make([]float64, w), SumAbs: make([]float64, w), MaxAbs: make([]float32, w)}
		if needs.Hessian {
			p.Hessian = make([]float64, w*w)
		}
		l.Points[n] = p
	}
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
	if p.Hessian != nil {
		p.addHessian(x, rows)
	}
}

// addHessian adds xᵀx of the rows, computed in float32 a few hundred rows at a time and summed in float64.
func (p *Point) addHessian(x []float32, rows int) {
	w := p.Width
	const block = 256
	sum := make([]float32, w*w)
	for lo := 0; lo < rows; lo += block {
		n := min(block, rows-lo)
		a := x[lo*w : (lo+n)*w]
		simd.Gemm(sum, w, a, w, true, a, w, false, w, w, n, false)
		par.For(w, 16, func(i, j int) {
			for k := i * w; k < j*w; k++ {
				p.Hessian[k] += float64(sum[k])
			}
		})
	}
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

// RMS returns the root mean square of each channel.
func (p *Point) RMS() []float64 {
	out := make([]float64, p.Width)
	for j, v := range p.SumSq {
		out[j] = math.Sqrt(v / float64(max(p.Rows, 1)))
	}
	return out
}
