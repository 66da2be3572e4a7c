package quantize

import (
	"context"
	"fmt"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
)

// A Folder is an algorithm that first moves scales between weights: what writes a value is divided by a scale per channel
// and what reads it is multiplied with it, which changes nothing but how well the readers can be rounded. Where that is
// possible the graph says (model.Graph.Folds).
type Folder interface {
	Algorithm
	// Scales returns one positive factor a channel for the readers, or nil to leave them.
	Scales(ctx context.Context, f *FoldProblem) ([]float32, error)
}

// FoldProblem is one place where scales can move.
type FoldProblem struct {
	Channels int
	// Readers are the matrices whose columns the scales multiply; Codec is nil where one is not quantized.
	Readers []*Problem
	// Channel is the channel of each column: several columns share one where query heads share value heads.
	Channel []int
}

// spread returns the scale of each column.
func (f *FoldProblem) spread(scales []float32) []float32 {
	out := make([]float32, len(f.Channel))
	for j, c := range f.Channel {
		out[j] = scales[c]
	}
	return out
}

// fold moves the scales of one layer, in drawing order.
func (w *work) fold(ctx context.Context, a Folder, l *calib.Layer) error {
	input := map[*model.Weight]*model.Node{}
	layer := map[*model.Weight]int{}
	for _, g := range w.m.Graph.Groups() {
		for _, n := range g.Linears {
			if n.Op == model.OpLinear {
				input[n.Weight(0)] = g.Input
			}
			for _, wt := range n.Weights {
				layer[wt] = n.Layer
			}
		}
	}
	for _, f := range w.m.Graph.Folds() {
		after := f.After[0]
		p := l.Points[input[after]]
		if layer[after] != l.Index || p == nil {
			continue
		}
		fp, err := w.foldProblem(&f, p)
		if err != nil {
			return err
		}
		if fp == nil {
			continue
		}
		s, err := a.Scales(ctx, fp)
		if err != nil {
			return err
		}
		if s == nil {
			continue
		}
		l.Points[input[after]] = p.Scaled(fp.spread(s))
		if err := w.applyFold(&f, fp, s); err != nil {
			return err
		}
	}
	return nil
}

// foldProblem returns the problem of a fold, nil where none of its readers is quantized.
func (w *work) foldProblem(f *model.Fold, in *calib.Point) (*FoldProblem, error) {
	n := f.Channels.Size()
	fp := &FoldProblem{Channels: n, Channel: make([]int, n*f.Repeat)}
	block := n // columns that repeat together
	if f.Repeat > 1 {
		block = f.Channels.Block
	}
	for j := range fp.Channel {
		fp.Channel[j] = j/block/f.Repeat*block + j%block
	}
	any := false
	for _, wt := range f.After {
		v, err := w.float(wt)
		if err != nil {
			return nil, err
		}
		t := w.m.Tensor(wt)
		fp.Readers = append(fp.Readers, &Problem{Name: wt.Name, W: v, Rows: t.Rows(), Cols: t.Cols(), Codec: w.todo[wt], Inputs: in})
		any = any || w.todo[wt] != nil
	}
	if !any {
		return nil, nil
	}
	return fp, nil
}

// applyFold changes the weights on both sides of a fold.
func (w *work) applyFold(f *model.Fold, fp *FoldProblem, s []float32) error {
	columns := fp.spread(s)
	for i, wt := range f.After {
		v := append([]float32(nil), fp.Readers[i].W...)
		for j := range v {
			v[j] *= columns[j%len(columns)]
		}
		if err := w.change(wt, v); err != nil {
			return err
		}
	}
	for _, wt := range f.Before {
		old, err := w.float(wt)
		if err != nil {
			return err
		}
		v := append([]float32(nil), old...)
		per := len(v) / fp.Channels
		plusOne := f.PlusOne && wt == f.Before[0]
		for j := range v {
			if plusOne {
				v[j] = (1+v[j])/s[j/per] - 1
			} else {
				v[j] /= s[j/per]
			}
		}
		if err := w.change(wt, v); err != nil {
			return err
		}
	}
	return nil
}

// change sets a weight that a fold changed. What is quantized later stays in memory until then; the rest is finished.
func (w *work) change(wt *model.Weight, v []float32) error {
	for i, x := range v {
		if x-x != 0 {
			return fmt.Errorf("%s: value %d is %v after scaling", wt.Name, i, x)
		}
	}
	w.values[wt] = v
	if w.todo[wt] != nil {
		return nil
	}
	f32, err := codec.Lookup("f32")
	if err != nil {
		return err
	}
	data := make([]byte, 4*len(v))
	f32.Encode(data, v, nil)
	return w.keep(wt, wt.Shape(), f32, data, TensorReport{Name: wt.Name, Format: "f32"})
}
