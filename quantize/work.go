package quantize

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// work is a Run under way.
type work struct {
	m       *model.Model
	a       Algorithm
	o       Options
	todo    map[*model.Weight]codec.Codec
	tensors map[*model.Weight]*tensor.Tensor // finished, or changed by a fold
	reports map[*model.Weight]TensorReport
	values  map[*model.Weight][]float32 // weights of the layer at hand that folds changed
	resumed int
	adapter model.Adapter
	open    []io.Closer // files of the journal
	streams []*streamed
}

// unreached says how many experts no calibration token reached, whose weights are then rounded without knowing their inputs.
func unreached(hits []int64) string {
	n := 0
	for _, h := range hits {
		if h == 0 {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %d of %d experts got no calibration token: give more or other text", n, len(hits))
}

// visit quantizes what lies before the layers, the matrices of one layer, or the head.
func (w *work) visit(ctx context.Context, l *calib.Layer) (*model.Model, error) {
	if l.Index < 0 {
		return w.embedding(ctx)
	}
	w.values = map[*model.Weight][]float32{}
	defer func() { w.values = nil }()
	if f, ok := w.a.(Folder); ok && l.Index < w.m.Graph.Layers {
		if err := w.fold(ctx, f, l); err != nil {
			return nil, err
		}
	}
	readers := w.readers(l.Index)
	for i, r := range readers {
		p := l.Points[r.input]
		if _, done := w.reports[r.weight]; done || p == nil && l.Index == w.m.Graph.Layers {
			continue
		}
		if r.hidden {
			p = nil
		}
		if err := w.solve(ctx, r.weight, p, nil); err != nil {
			return nil, err
		}
		if p != nil && (i+1 == len(readers) || readers[i+1].input != r.input) {
			p.Release() // its readers are done: others need the memory
		}
	}
	return w.m.With(w.tensors), nil
}

// reader is a matrix that is quantized and the node it reads.
type reader struct {
	weight *model.Weight
	input  *model.Node
	hidden bool // its inputs are not seen from outside: those of an expert's down projection
}

// readers lists what is quantized of one layer, or of what follows the layers.
func (w *work) readers(index int) []reader {
	var out []reader
	for _, g := range w.m.Graph.Groups() {
		for _, n := range g.Linears {
			if calib.Segment(w.m.Graph, n) != index {
				continue
			}
			for i, wt := range n.Weights {
				if wt != nil && wt.Role == model.RoleMatrix && w.todo[wt] != nil {
					out = append(out, reader{wt, g.Input, n.Op == model.OpExperts && i == 2})
				}
			}
		}
	}
	return out
}

// known returns the model with a layer that the journal holds whole, so that nothing needs to be gathered for it; nil where
// it does not.
func (w *work) known(index int) (*model.Model, error) {
	if w.o.Journal == nil || w.o.LowRank > 0 { // corrections are made from the inputs and are not kept
		return nil, nil
	}
	readers := w.readers(index)
	for _, r := range readers {
		f, err := w.o.Journal.Open(r.weight.Name)
		if f == nil || err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	for _, wt := range w.of(index) {
		if w.tensors[wt] == nil {
			if _, err := w.resume(wt); err != nil {
				return nil, err
			}
		}
	}
	return w.m.With(w.tensors), nil
}

// of lists the weights of a layer, among them vectors that a fold may have changed.
func (w *work) of(index int) []*model.Weight {
	var out []*model.Weight
	in := map[*model.Weight]bool{}
	for _, n := range w.m.Graph.Nodes {
		if calib.Segment(w.m.Graph, n) == index {
			out = append(out, n.Weights...)
		}
	}
	for _, wt := range out {
		in[wt] = true
	}
	for _, f := range w.m.Graph.Folds() {
		if in[f.After[0]] {
			out = append(out, f.Before...)
		}
	}
	return slices.DeleteFunc(out, func(wt *model.Weight) bool { return wt == nil })
}

// embedding quantizes the embedding, so that all layers are calibrated on what they will get.
func (w *work) embedding(ctx context.Context) (*model.Model, error) {
	for _, wt := range w.m.Graph.Weights {
		if wt.Role != model.RoleEmbed || w.todo[wt] == nil {
			continue
		}
		var metric *calib.Point
		if needs := w.a.Needs(); needs.Hessian && len(w.m.Graph.Readers(wt)) == 1 && len(wt.Dims) == 2 && wt.Dims[1] == w.m.Graph.Entry[0].Out {
			var err error
			if metric, err = readers(w.m); err != nil {
				return nil, err
			}
		}
		if err := w.solve(ctx, wt, metric, nil); err != nil {
			return nil, err
		}
	}
	return w.m.With(w.tensors), nil
}

// float returns the values of a weight as they stand.
func (w *work) float(wt *model.Weight) ([]float32, error) {
	if v, ok := w.values[wt]; ok {
		return v, nil
	}
	t := w.m.Tensor(wt)
	v, err := t.Float32()
	if err != nil {
		return nil, err
	}
	for i, x := range v {
		if x-x != 0 {
			return nil, tensor.Errorf(model.ErrInvalid, w.m.Path, fmt.Sprintf("tensor %q", wt.Name), "value %d is %v: weights must be finite", i, x)
		}
	}
	return v, nil
}

// solve quantizes one weight. importance is used where there are no inputs.
func (w *work) solve(ctx context.Context, wt *model.Weight, inputs, importance *calib.Point) error {
	n, _ := w.todo[wt].Block()
	correct := w.o.LowRank > 0 && inputs != nil && n != 1 && len(wt.Dims) == 2 && strings.HasPrefix(wt.Name, "layers.")
	done, err := w.resume(wt)
	if err != nil || done && !correct {
		return err
	}
	v, err := w.float(wt)
	if err != nil {
		return err
	}
	t := w.m.Tensor(wt)
	p := &Problem{Name: wt.Name, W: v, Rows: t.Rows(), Cols: t.Cols(), Codec: w.todo[wt], Inputs: inputs, Stacked: len(wt.Dims) == 3}
	if done {
		return w.correct(wt, p)
	}
	a := w.a
	switch n, _ := p.Codec.Block(); {
	case n == 1:
		a = &RTN{}
	case inputs == nil && importance != nil:
		p.Inputs, a = importance, &RTN{Importance: true}
	case inputs == nil && a.Needs() != nil:
		a = &RTN{}
	}
	r, err := a.Solve(ctx, p)
	if err != nil {
		return fmt.Errorf("quantize %s: %w", wt.Name, err)
	}
	report := TensorReport{Name: wt.Name, Format: p.Codec.Name(), Error: r.Error, Held: r.Held, Note: r.Note}
	if inputs != nil && len(wt.Dims) == 3 {
		report.Hits = inputs.Hits
		report.Note = strings.TrimPrefix(report.Note+unreached(inputs.Hits), "; ")
	}
	if err := w.keep(wt, wt.Shape(), p.Codec, r.Data, report); err != nil || !correct {
		return err
	}
	return w.correct(wt, p)
}
