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

	work *Arena
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

// Share makes a program that has not run yet take its working memory from an arena.
func (e *Exec) Share(a *Arena) { e.work = a }

// Release frees the working memory, also that of programs that share it. The next run takes it anew.
func (e *Exec) Release() { e.work.release() }

// run is one execution.
type run struct {
	e     *Exec
	table []any // by storage
}

func (r *run) data(s *storage) any { return r.table[s.id] }

// scratch returns memory that holds anything.
func (r *run) scratch(n int) []float32 {
	a := r.e.work
	for i, b := range a.pool {
		if len(b) >= n {
			a.pool = append(a.pool[:i], a.pool[i+1:]...)
			return b
		}
	}
	return make([]float32, n)
}

func (r *run) release(b []float32) { r.e.work.pool = append(r.e.work.pool, b) }

// copyUnlessSame copies values unless both are the same memory.
func copyUnlessSame(dst, src []float32) {
	if len(dst) > 0 && &dst[0] != &src[0] {
		copy(dst, src)
	}
}

// Run computes the outputs. Inputs whose donate flag is set belong to Run, which may return their memory as outputs;
// donate may be nil. The outputs are the caller's.
func (e *Exec) Run(inputs []*Buffer, donate []bool) ([]*Buffer, error) {
	if len(inputs) != len(e.inputs) {
		return nil, fmt.Errorf("cpu: %d inputs for %d parameters", len(inputs), len(e.inputs))
	}
	for i, b := range inputs {
		if !b.Shape.Equal(e.inputs[i]) {
			return nil, fmt.Errorf("cpu: input %d is %s, the parameter is %s", i, b.Shape, e.inputs[i])
		}
	}
	e.work.mu.Lock()
	defer e.work.mu.Unlock()
	e.work.reserve(e.arena)
	r := &run{e, make([]any, len(e.stores))}
	outputs := e.bind(r, inputs, donate)
	for _, s := range e.steps {
		if e.Observe == nil {
			s.run(r)
			continue
		}
		start := time.Now()
		s.run(r)
		e.Observe(s.name, time.Since(start), s.flops)
	}
	e.work.recycle(inputs, donate, outputs)
	return outputs, nil
}

// bind gives every storage its memory.
func (e *Exec) bind(r *run, inputs []*Buffer, donate []bool) []*Buffer {
	outputs := make([]*Buffer, len(e.outputs))
	for i, s := range e.outputs {
		if d := e.donor[i]; d >= 0 && donate != nil && donate[d] {
			outputs[i] = &Buffer{s, inputs[d].Data}
			continue
		}
		outputs[i] = e.work.output(s)
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
			r.table[s.id] = sliceData(e.work.memory[o.shape.DType], o.offset, o.offset+o.shape.Len())
		}
	}
	return outputs
}
