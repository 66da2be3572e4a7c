package quantize

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// TensorReport says what became of one matrix.
type TensorReport struct {
	Name   string `json:"name"`
	Format string `json:"format"`
	// Error is the relative squared output error on the calibration text; of the weights where there is none.
	Error float64 `json:"error"`
	// Held is the same on samples that calibration did not use; 0 where there are none.
	Held float64 `json:"held_out_error,omitempty"`
	// Hits is how many calibration tokens each expert got.
	Hits []int64 `json:"expert_hits,omitempty"`
	Note string  `json:"note,omitempty"`
	// Corrected is Error with the adapter of low_rank; 0 where there is none.
	Corrected float64 `json:"error_with_adapter,omitempty"`
}

// Report says what quantization did.
type Report struct {
	Bytes         int64          `json:"bytes"` // of all weights
	BitsPerWeight float64        `json:"bits_per_weight"`
	Tensors       []TensorReport `json:"tensors"`
	Resumed       int            `json:"resumed,omitempty"` // matrices taken over from a run that was cut short

	// Notes say what was done otherwise than asked for the model as a whole.
	Notes []string `json:"notes,omitempty"`

	// Budget says how formats were chosen; nil where they were not.
	Budget *Budget `json:"budget,omitempty"`

	// Adapter is the correction that low_rank asks for; nil where it does not.
	Adapter model.Adapter `json:"-"`

	open    []io.Closer
	streams []*streamed
}

// Close closes the files of the journal, which the quantized model reads.
func (r *Report) Close() error {
	var all error
	for _, f := range r.open {
		all = errors.Join(all, f.Close())
	}
	r.open = nil
	return all
}

// Options is what Run needs besides settings; the zero value will do for algorithms without calibration.
type Options struct {
	// Samples is calibration text as token ids, for algorithms that ask for statistics.
	Samples [][]int32
	// Imatrix stands in for Samples where an algorithm needs mean squares alone.
	Imatrix *calib.Imatrix
	// Journal keeps finished matrices, so that a run that is cut short goes on where it was, and none stays in memory; nil
	// keeps them in memory.
	Journal Journal
	// Stream encodes matrices whenever the model that Run returns is read, instead of keeping them: for a model that is
	// written once, where Settings.Streams allows it. Report.Complete then tells errors, after the writing.
	Stream bool
	// LowRank is the rank of the correction in Report.Adapter; Run takes it from the settings.
	LowRank int
}

// holdOut keeps one in so many samples out of calibration, to measure errors with.
const holdOut = 16

// Run quantizes m. The returned model holds the quantized matrices in memory or in the journal, and reads the rest from
// m, which must stay open.
func Run(ctx context.Context, m *model.Model, s Settings, a Algorithm, o Options) (*model.Model, *Report, error) {
	m, note, err := s.turned(ctx, m, o)
	if err != nil {
		return nil, nil, err
	}
	if err := s.checkLowRank(a); err != nil {
		return nil, nil, err
	}
	o.LowRank = s.LowRank
	choices, err := Plan(m, s)
	if err != nil {
		return nil, nil, err
	}
	release, err := s.limitMemory(m, choices, a, o)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	var b *Budget
	if s.Budgeted() {
		if choices, b, err = searchPlan(ctx, m, s, o); err != nil {
			return nil, nil, err
		}
	}
	out, r, err := Apply(ctx, m, choices, a, o)
	if err != nil {
		return nil, nil, err
	}
	if r.Budget = b; note != "" {
		r.Notes = append(r.Notes, note)
	}
	return s.Pack(out), r, nil
}

// Apply is Run with a plan that is already made.
func Apply(ctx context.Context, m *model.Model, choices []Choice, a Algorithm, o Options) (*model.Model, *Report, error) {
	w := &work{m: m, a: a, o: o, reports: map[*model.Weight]TensorReport{}, todo: map[*model.Weight]codec.Codec{}}
	w.tensors = map[*model.Weight]*tensor.Tensor{}
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
	if o.Stream {
		if err := w.streamAll(ctx, choices); err != nil {
			return nil, nil, err
		}
		return w.result(choices)
	}
	if needs := a.Needs(); needs != nil {
		if err := w.calibrated(ctx, *needs); err != nil {
			return nil, nil, err
		}
	}
	task := progress.Start(ctx, "quantize", "tensors", int64(len(w.todo)-len(w.reports)))
	defer task.Done()
	names := m.GGUFNames()
	for _, c := range choices { // what calibration did not reach
		if _, done := w.reports[c.Weight]; c.Codec != nil && !done {
			p, err := o.Imatrix.Point(names[c.Weight], m.Tensor(c.Weight).Cols())
			if err == nil {
				err = w.solve(ctx, c.Weight, nil, p)
			}
			if err != nil {
				return nil, nil, err
			}
			task.Add(1)
		}
	}
	return w.result(choices)
}

// result returns the quantized model and what is known about it.
func (w *work) result(choices []Choice) (*model.Model, *Report, error) {
	out := w.m.With(w.tensors)
	r := &Report{Bytes: out.Bytes(), Resumed: w.resumed, open: w.open, Adapter: w.adapter, streams: w.streams}
	r.BitsPerWeight = 8 * float64(r.Bytes) / float64(out.Graph.Parameters())
	for _, c := range choices {
		if t, ok := w.reports[c.Weight]; ok {
			r.Tensors = append(r.Tensors, t)
		}
	}
	return out, r, nil
}

// NeedsText reports whether calibration text is needed, given importances or nil.
func (s *Settings) NeedsText(a Algorithm, x *calib.Imatrix) bool {
	return s.Budgeted() || needsText(a, x)
}

func needsText(a Algorithm, x *calib.Imatrix) bool {
	needs := a.Needs()
	_, folds := a.(Folder)
	return needs != nil && (x == nil || needs.Hessian || folds)
}

// calibrated quantizes what calibration reaches.
func (w *work) calibrated(ctx context.Context, needs calib.Needs) error {
	if !needsText(w.a, w.o.Imatrix) {
		return nil
	}
	if len(w.o.Samples) == 0 {
		if w.o.Imatrix != nil {
			return fmt.Errorf("this algorithm needs calibration text: an importance matrix does not say how inputs go together")
		}
		return fmt.Errorf("this algorithm needs calibration text")
	}
	needs.Outside, needs.Lean, needs.HoldOut, needs.Known = true, true, holdOut, w.known
	return calib.Walk(ctx, w.m, w.o.Samples, needs, w.visit)
}
