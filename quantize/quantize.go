package quantize

import (
	"context"
	"fmt"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// TensorReport says what became of one matrix.
type TensorReport struct {
	Name   string  `json:"name"`
	Format string  `json:"format"`
	Error  float64 `json:"error"` // relative squared output error on the calibration text; of the weights where there is none
	Note   string  `json:"note,omitempty"`
}

// Report says what quantization did.
type Report struct {
	Bytes         int64          `json:"bytes"` // of all weights
	BitsPerWeight float64        `json:"bits_per_weight"`
	Tensors       []TensorReport `json:"tensors"`
}

// Run quantizes m. samples is calibration text as token ids, needed by algorithms that ask for statistics. The returned
// model holds the quantized matrices in memory and reads the rest from m, which must stay open.
func Run(ctx context.Context, m *model.Model, samples [][]int32, s Settings, a Algorithm) (*model.Model, *Report, error) {
	choices, err := Plan(m, s)
	if err != nil {
		return nil, nil, err
	}
	w := &work{m: m, a: a, tensors: map[*model.Weight]*tensor.Tensor{}, reports: map[*model.Weight]TensorReport{}}
	w.todo = map[*model.Weight]codec.Codec{}
	for _, c := range choices {
		if c.Codec == nil {
			continue
		}
		if n, _ := m.Tensor(c.Weight).Codec.Block(); n != 1 {
			return nil, nil, tensor.Errorf(model.ErrInvalid, m.Path, fmt.Sprintf("tensor %q", c.Weight.Name),
				"is already quantized as %s: quantizing it again would lose twice", m.Tensor(c.Weight).Codec.Name())
		}
		w.todo[c.Weight] = c.Codec
	}
	if needs := a.Needs(); needs != nil {
		if len(samples) == 0 {
			return nil, nil, fmt.Errorf("this algorithm needs calibration text")
		}
		if err := calib.Walk(ctx, m, samples, *needs, w.layer); err != nil {
			return nil, nil, err
		}
	}
	task := progress.Start(ctx, "quantize", "tensors", int64(len(w.todo)))
	defer task.Done()
	for _, c := range choices { // what calibration did not reach: all of it without, embedding and head with
		if c.Codec != nil && w.tensors[c.Weight] == nil {
			if err := w.solve(ctx, c.Weight, nil); err != nil {
				return nil, nil, err
			}
			task.Add(1)
		}
	}
	out := m.With(w.tensors)
	r := &Report{Bytes: out.Bytes()}
	r.BitsPerWeight = 8 * float64(r.Bytes) / float64(out.Graph.Parameters())
	for _, c := range choices {
		if t, ok := w.reports[c.Weight]; ok {
			r.Tensors = append(r.Tensors, t)
		}
	}
	return out, r, nil
}

type work struct {
	m       *model.Model
	a       Algorithm
	todo    map[*model.Weight]codec.Codec
	tensors map[*model.Weight]*tensor.Tensor
	reports map[*model.Weight]TensorReport
}

// layer quantizes the matrices of one layer.
func (w *work) layer(ctx context.Context, l *calib.Layer) (*model.Model, error) {
	for _, g := range w.m.Graph.Groups() {
		for _, n := range g.Linears {
			if n.Layer != l.Index {
				continue
			}
			p := l.Points[g.Input]
			for i, wt := range n.Weights {
				if wt == nil || wt.Role != model.RoleMatrix || w.todo[wt] == nil {
					continue
				}
				if n.Op == model.OpExperts && i == 2 {
					p = nil // the inputs of an expert's down projection are not seen from outside
				}
				if err := w.solve(ctx, wt, p); err != nil {
					return nil, err
				}
			}
		}
	}
	return w.m.With(w.tensors), nil
}

// solve quantizes one weight.
func (w *work) solve(ctx context.Context, wt *model.Weight, inputs *calib.Point) error {
	t := w.m.Tensor(wt)
	v, err := t.Float32()
	if err != nil {
		return err
	}
	for i, x := range v {
		if x-x != 0 {
			return tensor.Errorf(model.ErrInvalid, w.m.Path, fmt.Sprintf("tensor %q", wt.Name), "value %d is %v: weights must be finite", i, x)
		}
	}
	p := &Problem{Name: wt.Name, W: v, Rows: t.Rows(), Cols: t.Cols(), Codec: w.todo[wt], Inputs: inputs}
	a := w.a
	if n, _ := p.Codec.Block(); inputs == nil || n == 1 {
		a = &RTN{}
	}
	r, err := a.Solve(ctx, p)
	if err != nil {
		return fmt.Errorf("quantize %s: %w", wt.Name, err)
	}
	w.tensors[wt] = tensor.FromBytes(wt.Name, p.Codec, wt.Shape(), r.Data)
	w.reports[wt] = TensorReport{Name: wt.Name, Format: p.Codec.Name(), Error: r.Error, Note: r.Note}
	return nil
}
