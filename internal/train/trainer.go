package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// Settings of a trainer. The zero value of a field means its default.
type Settings struct {
	Optimizer Optimizer
	Schedule  Schedule
	Seed      uint64
	// Train tells which weights are trained, by canonical name; nil means all. With LoRA it tells which matrices get one.
	Train func(name string) bool
	LoRA  *LoRA
	// DecayEmbeddings makes weight decay act on embeddings as well.
	DecayEmbeddings bool
	// EMA, when above 0, keeps a mean of the weights that forgets by this factor a step; it is what Tensors returns.
	EMA float64
	// Checkpoint keeps of a layer's activations its input alone and computes the others a second time when gradients need
	// them. Losses that read hidden states do not go with it.
	Checkpoint bool
	// Backend names what computes, as openBackend reads it: "" is $GOMLX_BACKEND, else pare's own.
	Backend string
	// Devices is how many of the backend's devices share a batch; 0 means 1.
	Devices int
}

// ErrNotFinite is the class of errors of a step whose loss or gradient is not a number. The state is that before the step.
var ErrNotFinite = errors.New("not finite")

// Trainer trains a model.
type Trainer struct {
	devices  devices
	student  *student
	settings Settings
	losses   []Loss
	inputs   []Input

	vars    []array // values of the variables
	trained []int   // which of them are trained
	moments [2][]array
	mean    []array // with EMA
	step    int     // steps done

	steps        map[stepKey]*program
	update, norm *program
}

type stepKey struct {
	batch, length         int // of one device
	accumulate, gradients bool
	sum                   bool // over the devices
}

// Batch is a number of sequences of one length with what should follow each token.
type Batch struct {
	Rows, Length int
	IDs          []int32 // [Rows*Length]
	Labels       []int32 // [Rows*Length]; negative where the loss does not count
	// Inputs are the arrays that losses declared, by name: []float32 or []int32 of Rows*Length*Width values.
	Inputs map[string]any
}

// counted returns the number of rows that count.
func (b *Batch) counted() int {
	n := 0
	for _, l := range b.Labels {
		if l >= 0 {
			n++
		}
	}
	return n
}

func (b *Batch) check(vocab int) error {
	if n := b.Rows * b.Length; n < 1 || len(b.IDs) != n || len(b.Labels) != n {
		return fmt.Errorf("batch of %dx%d has %d ids and %d labels", b.Rows, b.Length, len(b.IDs), len(b.Labels))
	}
	for i, id := range b.IDs {
		if id < 0 || int(id) >= vocab {
			return fmt.Errorf("token id %d at place %d, the vocabulary has %d", id, i, vocab)
		}
		if int(b.Labels[i]) >= vocab {
			return fmt.Errorf("label %d at place %d, the vocabulary has %d", b.Labels[i], i, vocab)
		}
	}
	return nil
}

// Metrics are what one step measured.
type Metrics struct {
	Loss   float64            // weighted sum of the losses, each averaged over the rows that count
	Losses map[string]float64 // by name
	Norm   float64            // of the gradient before clipping; 0 where none was computed
	Rate   float64            // learning rate
	Rows   int                // that counted
}

// New prepares to train a model. Its weights are read; the model itself is not changed.
func New(m *model.Model, losses []Loss, s Settings) (*Trainer, error) {
	if err := Trainable(m.Graph); err != nil {
		return nil, err
	}
	s.Optimizer = s.Optimizer.withDefaults()
	if err := errors.Join(s.Optimizer.check(), s.Schedule.check()); err != nil {
		return nil, err
	}
	if len(losses) == 0 {
		return nil, fmt.Errorf("no loss to train with")
	}
	for _, l := range losses {
		if s.Checkpoint && l.Whole {
			return nil, fmt.Errorf("loss %s reads what layers hold, which gradient checkpointing does not keep", l.Name)
		}
	}
	if !(s.EMA >= 0 && s.EMA < 1) {
		return nil, fmt.Errorf("EMA is %g, must be at least 0 and below 1", s.EMA)
	}
	if s.Devices = max(s.Devices, 1); s.Devices > MaxDevices {
		return nil, fmt.Errorf("%d devices, the limit is %d", s.Devices, MaxDevices)
	}
	inputs, err := inputsOf(losses)
	if err != nil {
		return nil, err
	}
	st, err := newStudent(m, &s, losses)
	if err != nil {
		return nil, err
	}
	b, err := openBackend(s.Backend, s.Devices)
	if err != nil {
		return nil, err
	}
	t := &Trainer{devices: devices{b, s.Devices}, student: st, settings: s, losses: losses, inputs: inputs, steps: map[stepKey]*program{}}
	for i, v := range st.variables {
		x, err := v.value()
		if err != nil {
			return nil, err
		}
		if err := t.addVariable(i, v, x); err != nil {
			return nil, err
		}
	}
	return t, t.compileUpdate()
}

func (t *Trainer) addVariable(i int, v *variable, x []float32) error {
	for _, f := range x {
		if f-f != 0 {
			return fmt.Errorf("weight %s holds %g: %w", v.name, f, ErrNotFinite)
		}
	}
	b, err := t.devices.replicate(x, v.dims...)
	if err != nil {
		return err
	}
	t.vars = append(t.vars, b)
	if !v.trained {
		return nil
	}
	t.trained = append(t.trained, i)
	for k := range t.moments {
		z, err := t.devices.replicate(make([]float32, len(x)), v.dims...)
		if err != nil {
			return err
		}
		t.moments[k] = append(t.moments[k], z)
	}
	if t.settings.EMA > 0 {
		e, err := t.devices.replicate(x, v.dims...)
		if err != nil {
			return err
		}
		t.mean = append(t.mean, e)
	}
	return nil
}

// trainedVariables lists the variables that are trained.
func (t *Trainer) trainedVariables() []*variable {
	list := make([]*variable, len(t.trained))
	for k, i := range t.trained {
		list[k] = t.student.variables[i]
	}
	return list
}

func (t *Trainer) compileUpdate() error {
	list := t.trainedVariables()
	params, build := updateGraph(list, &t.settings.Optimizer, t.settings.EMA > 0)
	var err error
	if t.update, err = t.devices.compile("update", params, build); err != nil {
		return err
	}
	params, build = normGraph(list)
	t.norm, err = compileProgram(t.devices.backend, "gradient norm", params, build)
	return err
}

// program returns the step graph for a batch, compiled on first use.
func (t *Trainer) program(k stepKey) (*program, error) {
	if p := t.steps[k]; p != nil {
		return p, nil
	}
	s := &stepGraph{student: t.student, losses: t.losses, batch: k.batch, length: k.length, accumulate: k.accumulate, gradients: k.gradients,
		checkpoint: t.settings.Checkpoint, sum: k.sum}
	p, err := t.devices.compile("training step", s.params(t.inputs), func(in []*Node) []*Node { return s.build(in, t.inputs) })
	if err != nil {
		return nil, err
	}
	t.steps[k] = p
	return p, nil
}

// Steps returns the number of steps done.
func (t *Trainer) Steps() int { return t.step }

// Step does one step on one or more batches whose gradients are added up. When the loss or the gradient is not finite it
// returns an error of class ErrNotFinite and changes nothing.
func (t *Trainer) Step(ctx context.Context, batches []*Batch) (*Metrics, error) {
	m, grads, err := t.gradients(ctx, batches)
	if err != nil {
		return nil, fmt.Errorf("step %d: %w", t.step+1, err)
	}
	m.Rate = t.settings.Optimizer.Rate * t.settings.Schedule.at(t.step)
	if err := t.apply(grads, m); err != nil {
		return nil, fmt.Errorf("step %d: %w", t.step+1, err)
	}
	t.step++
	return m, nil
}

// gradients computes losses and gradients over all batches.
func (t *Trainer) gradients(ctx context.Context, batches []*Batch) (*Metrics, []array, error) {
	m := t.newMetrics(batches)
	var grads []array
	var err error
	for i, b := range batches {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		last := i == len(batches)-1
		out, err := t.evaluate(b, grads, m, true, last && t.devices.n > 1)
		if err != nil {
			return nil, nil, fmt.Errorf("batch %d: %w", i, err)
		}
		grads = out
	}
	if math.IsNaN(m.Loss) || math.IsInf(m.Loss, 0) {
		return nil, nil, fmt.Errorf("loss is %g: %w", m.Loss, ErrNotFinite)
	}
	m.Norm, err = t.gradientNorm(grads)
	return m, grads, err
}

// gradientNorm returns the length of a gradient, which is the same on all devices.
func (t *Trainer) gradientNorm(grads []array) (float64, error) {
	first := make([]compute.Buffer, len(grads))
	for k, g := range grads {
		first[k] = g[0]
	}
	out, err := t.norm.run(first, nil)
	if err != nil {
		return 0, err
	}
	squares, err := download(out[0])
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for k, s := range squares {
		if s-s != 0 {
			return 0, fmt.Errorf("gradient of %s is %w", t.trainedVariables()[k].name, ErrNotFinite)
		}
		sum += float64(s)
	}
	return math.Sqrt(sum), nil
}

func (t *Trainer) newMetrics(batches []*Batch) *Metrics {
	m := &Metrics{Losses: map[string]float64{}}
	for _, b := range batches {
		m.Rows += b.counted()
	}
	return m
}

// Evaluate returns the losses over batches without training.
func (t *Trainer) Evaluate(ctx context.Context, batches []*Batch) (*Metrics, error) {
	m := t.newMetrics(batches)
	for i, b := range batches {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, err := t.evaluate(b, nil, m, false, false); err != nil {
			return nil, fmt.Errorf("batch %d: %w", i, err)
		}
	}
	return m, nil
}

// evaluate runs the step graph on one batch and adds its part to the metrics. It returns the gradients, added to the sums, of every device
// alone or, with sum, of all devices.
func (t *Trainer) evaluate(b *Batch, sums []array, m *Metrics, gradients, sum bool) ([]array, error) {
	if err := b.check(t.student.model.Config.Vocab); err != nil {
		return nil, err
	}
	p, err := t.program(stepKey{t.devices.rowsEach(b.Rows), b.Length, sums != nil, gradients, sum})
	if err != nil {
		return nil, err
	}
	in := append(slices.Clone(t.vars), sums...)
	donate := make([]bool, len(in), len(in)+8)
	for i := range sums {
		donate[len(t.vars)+i] = true
	}
	data, err := t.arrays(b, m.Rows)
	if err != nil {
		return nil, err
	}
	in = append(in, data...)
	donate = append(donate, make([]bool, len(data))...)
	out, err := t.devices.run(p, in, donate)
	if err != nil {
		return nil, err
	}
	for _, part := range out[len(out)-1] {
		values, err := download(part)
		if err != nil {
			return nil, err
		}
		m.Loss += float64(values[0])
		for i, l := range t.losses {
			m.Losses[l.Name] += float64(values[1+i])
		}
	}
	return out[:len(out)-1], nil
}

// arrays puts what comes with a batch on the devices, each its part. Where sequences cannot be shared evenly, some devices see the
// first one again, with no weight.
func (t *Trainer) arrays(b *Batch, counted int) ([]array, error) {
	each := t.devices.rowsEach(b.Rows)
	places := each * t.devices.n
	rows := each * b.Length
	weights := make([]float32, places*b.Length)
	for i, l := range b.Labels {
		if l >= 0 {
			weights[i] = float32(1 / float64(counted))
		}
	}
	var out []array
	add := func(name string, values any, dims ...int) error {
		x, err := t.devices.shard(values, dims...)
		if err != nil {
			return fmt.Errorf("input %s: %w", name, err)
		}
		out = append(out, x)
		return nil
	}
	if err := errors.Join(add("ids", padded(b.IDs, b.Rows, places), each, b.Length), add("labels", padded(b.Labels, b.Rows, places), rows),
		add("weights", weights, rows)); err != nil {
		return nil, err
	}
	for _, in := range t.inputs {
		values, ok := b.Inputs[in.Name]
		if !ok {
			return nil, fmt.Errorf("the batch lacks input %q", in.Name)
		}
		if err := add(in.Name, padded(values, b.Rows, places), in.dims(rows)...); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// apply updates variables and moments.
func (t *Trainer) apply(grads []array, m *Metrics) error {
	o := &t.settings.Optimizer
	s, err := t.devices.replicate(o.scalars(t.step+1, m.Rate, m.Norm, t.settings.EMA), scalarCount)
	if err != nil {
		return err
	}
	var in []array
	for _, i := range t.trained {
		in = append(in, t.vars[i])
	}
	in = append(append(append(append(in, t.moments[0]...), t.moments[1]...), t.mean...), grads...)
	in = append(in, s)
	donate := make([]bool, len(in))
	for i := range donate {
		donate[i] = true
	}
	out, err := t.devices.run(t.update, in, donate)
	if err != nil {
		return err
	}
	n := len(t.trained)
	for k, i := range t.trained {
		t.vars[i] = out[k]
	}
	t.moments[0], t.moments[1] = out[n:2*n], out[2*n:3*n]
	if t.mean != nil {
		t.mean = out[3*n:]
	}
	return nil
}

// Tensors returns the weights that were trained: their mean with EMA, and with LoRA the matrices added in. The latter read the model that
// New was given.
func (t *Trainer) Tensors() (map[*model.Weight]*tensor.Tensor, error) {
	place := map[int]int{}
	for k, i := range t.trained {
		place[i] = k
	}
	return t.student.tensors(func(i int) ([]float32, error) {
		if k, ok := place[i]; ok && t.mean != nil {
			return download(t.mean[k][0])
		}
		return download(t.vars[i][0])
	})
}
