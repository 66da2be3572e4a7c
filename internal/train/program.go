package train

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/parelm/pare/internal/train/cpu"
)

// program is a compiled graph over device buffers.
type program struct {
	backend compute.Backend
	graph   *Graph
	exec    *cpu.Exec // on pare's own backend
}

// compileProgram draws and compiles a graph with the given parameters. GoMLX panics where something is wrong with a
// graph; here it becomes an error.
func compileProgram(b compute.Backend, name string, params []shapes.Shape, build func(in []*Node) []*Node) (p *program, err error) {
	defer catch(name, &err)
	g := NewGraph(b, name)
	in := make([]*Node, len(params))
	for i, s := range params {
		in[i] = Parameter(g, fmt.Sprint("p", i), s)
	}
	if err := g.Compile(build(in)...); err != nil {
		return nil, fmt.Errorf("compiling %s: %w", name, err)
	}
	p = &program{backend: b, graph: g}
	if own, ok := b.(*backend); ok {
		p.exec = own.compiled()
	}
	return p, nil
}

// run executes the graph. Donated inputs are gone afterwards.
func (p *program) run(in []compute.Buffer, donate []bool) (out []compute.Buffer, err error) {
	defer catch(p.graph.Name(), &err)
	if donate == nil {
		donate = make([]bool, len(in))
	}
	for _, t := range p.graph.RunWithBuffers(in, donate, 0) {
		b, err := t.DonateBuffer(p.backend, 0)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// catch turns a panic into an error.
func catch(what string, err *error) {
	switch r := recover().(type) {
	case nil:
	case error:
		*err = fmt.Errorf("%s: %w", what, r)
	default:
		*err = fmt.Errorf("%s: %v", what, r)
	}
}

// upload makes a buffer of values.
func upload(b compute.Backend, values any, dims ...int) (compute.Buffer, error) {
	s, err := shapeOf(values, dims)
	if err != nil {
		return nil, err
	}
	return b.BufferFromFlatData(0, values, s)
}

// shapeOf returns the shape of a slice of float32 or int32 values.
func shapeOf(values any, dims []int) (shapes.Shape, error) {
	var s shapes.Shape
	n := 0
	switch v := values.(type) {
	case []float32:
		s, n = shapes.Make(f32Type, dims...), len(v)
	case []int32:
		s, n = shapes.Make(i32Type, dims...), len(v)
	default:
		return s, fmt.Errorf("values of type %T", values)
	}
	if s.Size() != n {
		return s, fmt.Errorf("%d values for dimensions %v", n, dims)
	}
	return s, nil
}

// download copies float32 values out of a buffer.
func download(b compute.Buffer) ([]float32, error) {
	s, err := b.Shape()
	if err != nil {
		return nil, err
	}
	out := make([]float32, s.Size())
	return out, b.ToFlatData(out)
}
