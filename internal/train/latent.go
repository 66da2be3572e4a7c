package train

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// Training through a storage format. The forward pass sees weights as they will be stored; what the optimizer changes stands
// behind them: the scales of a block format whose codes are fixed, or the weights before rounding. Rounding has no useful
// derivative, so gradients pass through it as if it were not there (the straight-through estimator, Bengio, Léonard &
// Courville 2013, arXiv:1308.3432).

// Latent is what stands behind a weight.
type Latent interface {
	// Initial returns the parameters to start from.
	Initial() ([]float32, error)
	// Encode returns the weight for parameters, in the format that it will be stored in.
	Encode(p []float32) (*tensor.Tensor, error)
	// Pull turns the gradient of the weight's values into that of the parameters.
	Pull(p, grad []float32) []float32
}

// Tuner is a Trainer whose weights follow from latent parameters.
type Tuner struct {
	front   *Trainer // computes losses and gradients of the weights
	back    *Trainer // holds the parameters, their moments and mean, and changes them
	latents []Latent // of the trained variables; nil where a variable is its own parameter
	scratch []float32
}

// NewTuner prepares to train a model. Weights without a latent are trained as they are, unless s.Train leaves them out.
func NewTuner(m *model.Model, losses []Loss, s Settings, latents map[*model.Weight]Latent) (*Tuner, error) {
	if s.LoRA != nil {
		return nil, fmt.Errorf("LoRA matrices stand beside weights that are not rounded")
	}
	front, err := New(m, losses, s)
	if err != nil {
		return nil, err
	}
	front.moments, front.mean = [2][]array{}, nil // the parameters have their own
	t := &Tuner{front: front, back: &Trainer{devices: front.devices, settings: front.settings, steps: map[stepKey]*program{}}}
	t.back.student = &student{model: m, place: map[string]int{}, adapted: map[*model.Weight]bool{}}
	for _, i := range front.trained {
		v := *front.student.variables[i]
		l := latents[m.Graph.Weight(v.name)]
		t.latents = append(t.latents, l)
		values, err := v.value()
		if l != nil {
			if values, err = l.Initial(); err == nil && len(values) != v.shape().Size() {
				v.dims = []int{len(values)}
			}
		}
		if err != nil {
			return nil, err
		}
		t.back.student.add(&v)
		if err := t.back.addVariable(len(t.back.vars), &v, values); err != nil {
			return nil, err
		}
	}
	if err := t.back.compileUpdate(); err != nil {
		return nil, err
	}
	return t, t.show()
}

// show puts the weights that follow from the parameters where the forward pass sees them.
func (t *Tuner) show() error {
	for k, i := range t.front.trained {
		v := t.front.student.variables[i]
		values, err := download(t.back.vars[k][0])
		if err != nil {
			return err
		}
		if l := t.latents[k]; l != nil {
			w, err := l.Encode(values)
			if err != nil {
				return fmt.Errorf("weight %s: %w", v.name, err)
			}
			values = t.room(v.shape().Size())
			if err := w.ReadFloat32(values, 0, w.Rows()); err != nil {
				return err
			}
		}
		if err := t.front.devices.refill(t.front.vars[i], values, v.dims...); err != nil {
			return err
		}
	}
	return nil
}

// room returns memory for the values of a weight, good until the next call.
func (t *Tuner) room(n int) []float32 {
	if len(t.scratch) < n {
		t.scratch = make([]float32, n)
	}
	return t.scratch[:n]
}

// Steps returns the number of steps done.
func (t *Tuner) Steps() int { return t.back.Steps() }

// Step is that of a Trainer, on the parameters.
func (t *Tuner) Step(ctx context.Context, batches []*Batch) (*Metrics, error) {
	m, err := t.step(ctx, batches)
	if err != nil {
		return nil, fmt.Errorf("step %d: %w", t.Steps()+1, err)
	}
	return m, nil
}

func (t *Tuner) step(ctx context.Context, batches []*Batch) (*Metrics, error) {
	m, grads, err := t.front.gradients(ctx, batches)
	if err != nil {
		return nil, err
	}
	for k, l := range t.latents {
		if l == nil {
			continue
		}
		g := t.room(t.front.student.variables[t.front.trained[k]].shape().Size())
		if err := errors.Join(grads[k][0].ToFlatData(g), grads[k].finalize()); err != nil {
			return nil, err
		}
		p, err := download(t.back.vars[k][0])
		if err != nil {
			return nil, err
		}
		if grads[k], err = t.back.devices.replicate(l.Pull(p, g), t.back.student.variables[k].dims...); err != nil {
			return nil, err
		}
	}
	if m.Norm, err = t.back.gradientNorm(grads); err != nil {
		return nil, err
	}
	m.Rate = t.back.settings.Optimizer.Rate * t.back.settings.Schedule.at(t.Steps())
	if err := t.back.apply(grads, m); err != nil {
		return nil, err
	}
	t.back.step++
	return m, t.show()
}

// Evaluate returns the losses over batches without training.
func (t *Tuner) Evaluate(ctx context.Context, batches []*Batch) (*Metrics, error) {
	return t.front.Evaluate(ctx, batches)
}

// Tensors returns the trained weights as they will be stored; of the parameters' mean with EMA.
func (t *Tuner) Tensors() (map[*model.Weight]*tensor.Tensor, error) {
	from := t.back.vars
	if t.back.mean != nil {
		from = t.back.mean
	}
	out := map[*model.Weight]*tensor.Tensor{}
	for k, v := range t.back.student.variables {
		w := t.front.student.model.Graph.Weight(v.name)
		if w == nil { // a parameter of a loss
			continue
		}
		values, err := download(from[k][0])
		if err != nil {
			return nil, err
		}
		if l := t.latents[k]; l == nil {
			out[w] = tensor.FromFloat32(w.Name, w.Shape(), values)
		} else if out[w], err = l.Encode(values); err != nil {
			return nil, fmt.Errorf("weight %s: %w", w.Name, err)
		}
	}
	return out, nil
}

// Save writes the state, as that of a Trainer.
func (t *Tuner) Save(w io.Writer) error { return t.back.Save(w) }

// Load reads a state that Save wrote.
func (t *Tuner) Load(r io.Reader) error {
	if err := t.back.Load(r); err != nil {
		return err
	}
	return t.show()
}
