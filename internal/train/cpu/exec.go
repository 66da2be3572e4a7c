package cpu

import (
	"fmt"
	"time"
)

// Exec is a compiled program. It may be run from several goroutines; runs follow one another.
type Exec struct {
	inputs, outputs []Shape
	steps           []*step
	stores          []*storage
	arena           map[DType]int
	donor           []int // parameter whose memory an output may take; -1 for none

	// Observe, when set, is told of every step of a run: its kind, time and operations.
	Observe func(name string, took time.Duration, flops int)

	devices int      // that collectives are among; 0 without any
	work    []*Arena // one for each device
}

// Inputs returns the shapes of the parameters.
func (e *Exec) Inputs() []Shape { return e.inputs }

// Outputs returns the shapes of the outputs.
func (e *Exec) Outputs() []Shape { return e.outputs }

// Memory returns the bytes of working memory, inputs and outputs not counted.
func (e *Exec) Memory() int {
	n := 0
	for d, size := range e.arena {
		n += size * d.Size()
	}
	return n
}

// Flops returns the operations of one run, counting a multiplication and an addition of a matrix product as two.
func (e *Exec) Flops() int {
	n := 0
	for _, s := range e.steps {
		n += s.flops
	}
	return n
}

// Share makes a program that has not run yet take its working memory from arenas, one for each device that it is to run on.
func (e *Exec) Share(a ...*Arena) { e.work = a }

// Release frees the working memory, also that of programs that share it. The next run takes it anew.
func (e *Exec) Release() {
	for _, a := range e.work {
		a.release()
	}
}

// run is one execution on one device.
type run struct {
	work  *Arena
	table []any // by storage
}

func (r *run) data(s *storage) any { return r.table[s.id] }

// scratch returns memory that holds anything.
func (r *run) scratch(n int) []float32 {
	a := r.work
	for i, b := range a.pool {
		if len(b) >= n {
			a.pool = append(a.pool[:i], a.pool[i+1:]...)
			return b
		}
	}
	return make([]float32, n)
}

func (r *run) release(b []float32) { r.work.pool = append(r.work.pool, b) }

// copyUnlessSame copies values unless both are the same memory.
func copyUnlessSame(dst, src []float32) {
	if len(dst) > 0 && &dst[0] != &src[0] {
		copy(dst, src)
	}
}

// Run computes the outputs. Inputs are those of the first device, then those of the second, and so on, and so are the outputs.
// Inputs whose donate flag is set belong to Run, which may return their memory as outputs; donate may be nil. The outputs are the
// caller's.
func (e *Exec) Run(inputs []*Buffer, donate []bool) ([]*Buffer, error) {
	n := len(e.inputs)
	if len(inputs) != n*len(e.work) {
		return nil, fmt.Errorf("cpu: %d inputs for %d parameters on %d devices", len(inputs), n, len(e.work))
	}
	for i, b := range inputs {
		if !b.Shape.Equal(e.inputs[i%n]) {
			return nil, fmt.Errorf("cpu: input %d is %s, the parameter is %s", i, b.Shape, e.inputs[i%n])
		}
	}
	if err := e.checkDevices(); err != nil {
		return nil, err
	}
	if donate == nil {
		donate = make([]bool, len(inputs))
	}
	runs := make([]*run, len(e.work))
	var outputs []*Buffer
	for d, a := range e.work {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.reserve(e.arena)
		runs[d] = &run{a, make([]any, len(e.stores))}
		outputs = append(outputs, e.bind(runs[d], inputs[d*n:(d+1)*n], donate[d*n:(d+1)*n])...)
	}
	e.execute(runs)
	for d, a := range e.work {
		k := len(e.outputs)
		a.recycle(inputs[d*n:(d+1)*n], donate[d*n:(d+1)*n], outputs[d*k:(d+1)*k])
	}
	return outputs, nil
}

// execute makes the steps: each device those up to the next at which all meet.
func (e *Exec) execute(runs []*run) {
	for lo := 0; lo < len(e.steps); {
		hi := lo
		for hi < len(e.steps) && e.steps[hi].meet == nil {
			hi++
		}
		for _, r := range runs {
			for _, s := range e.steps[lo:hi] {
				e.observe(s, func() { s.run(r) })
			}
		}
		if hi < len(e.steps) {
			s := e.steps[hi]
			e.observe(s, func() { s.meet(runs) })
			hi++
		}
		lo = hi
	}
}

// observe makes a step and tells Observe.
func (e *Exec) observe(s *step, run func()) {
	if e.Observe == nil {
		run()
		return
	}
	start := time.Now()
	run()
	e.Observe(s.name, time.Since(start), s.flops)
}

// bind gives every storage its memory.
func (e *Exec) bind(r *run, inputs []*Buffer, donate []bool) []*Buffer {
	outputs := make([]*Buffer, len(e.outputs))
	for i, s := range e.outputs {
		if d := e.donor[i]; d >= 0 && donate[d] {
			outputs[i] = &Buffer{s, inputs[d].Data}
			continue
		}
		outputs[i] = r.work.output(s)
	}
	for _, s := range e.stores {
		o := s.root()
		switch {
		case o.out > 0:
			r.table[s.id] = outputs[o.out-1].Data
		case o.param > 0:
			r.table[s.id] = inputs[o.param-1].Data
		case o.value != nil:
			r.table[s.id] = o.value.Data
		case o.offset >= 0:
			r.table[s.id] = sliceData(r.work.memory[o.shape.DType], o.offset, o.offset+o.shape.Len())
		}
	}
	return outputs
}
