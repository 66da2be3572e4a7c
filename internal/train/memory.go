package train

import (
	"fmt"

	. "github.com/gomlx/gomlx/core/graph"

	"github.com/parelm/pare/model"
)

// Forecast is what training keeps in memory on pare's own backend: of each device, for all of them hold everything but the batch.
type Forecast struct {
	Devices int
	Values  int64 // of all variables
	Trained int64 // of those that are trained
	Result  int64 // of the weights that come out: with LoRA whole matrices
	Arena   int64 // bytes of working memory of a step: activations, their gradients, a piece of logits
	Inputs  int64 // bytes that come with a device's part of a batch
}

// Bytes returns the memory that one device needs for weights, gradients, two moments, with ema their mean, a batch, and a step's work.
func (f *Forecast) Bytes(ema bool) int64 {
	copies := int64(3)
	if ema {
		copies++
	}
	return 4*f.Values + 4*copies*f.Trained + f.Arena + f.Inputs
}

// Foresee draws and places the step of a model on batches of some sequences of one length, and runs nothing: values of weights
// are not read.
func Foresee(m *model.Model, losses []Loss, s Settings, batch, length int) (*Forecast, error) {
	if err := Trainable(m.Graph); err != nil {
		return nil, err
	}
	inputs, err := inputsOf(losses)
	if err != nil {
		return nil, err
	}
	st, err := newStudent(m, &s, losses)
	if err != nil {
		return nil, err
	}
	d := devices{newBackend(max(s.Devices, 1)), max(s.Devices, 1)}
	f := &Forecast{Devices: d.n}
	for _, v := range st.variables {
		f.Values += int64(v.shape().Size())
		if v.trained {
			f.Trained += int64(v.shape().Size())
		}
	}
	for _, w := range m.Graph.Weights {
		if st.adapted[w] || st.variables[st.place[w.Name]].trained {
			f.Result += int64(w.Len())
		}
	}
	g := &stepGraph{student: st, losses: losses, batch: d.rowsEach(batch), length: length, gradients: true, checkpoint: s.Checkpoint, sum: d.n > 1}
	params := g.params(inputs)
	for _, p := range params[len(st.variables):] {
		f.Inputs += int64(p.ByteSize())
	}
	p, err := d.compile("training step", params, func(in []*Node) []*Node { return g.build(in, inputs) })
	if err != nil {
		return nil, fmt.Errorf("planning: %w", err)
	}
	f.Arena = int64(p.exec.Memory())
	return f, nil
}
