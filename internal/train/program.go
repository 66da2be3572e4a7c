package train

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/distributed"
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
func compileProgram(b compute.Backend, name string, params []shapes.Shape, build func(in []*Node) []*Node) (*program, error) {
	return compileOn(b, nil, name, params, build)
}

// compileOn is compileProgram for the devices of a mesh together; nil is one device.
func compileOn(b compute.Backend, mesh *distributed.DeviceMesh, name string, params []shapes.Shape, build func(in []*Node) []*Node) (p *program, err error) {
	defer catch(name, &err)
	g := NewGraph(b, name)
	if mesh != nil {
		if err := g.SetSPMD(mesh); err != nil {
			return nil, fmt.Errorf("compiling %s: %w", name, err)
		}
	}
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

// run executes the graph. Donated inputs are gone afterwards. Inputs and outputs are those of the first device, then those of the next.
func (p *program) run(in []compute.Buffer, donate []bool) (out []compute.Buffer, err error) {
	defer catch(p.graph.Name(), &err)
	if donate == nil {
		donate = make([]bool, len(in))
	}
	tensors := p.graph.RunWithBuffers(in, donate, 0)
	each := len(tensors) / p.graph.NumDevices()
	for i, t := range tensors {
		b, err := t.DonateBuffer(p.backend, compute.DeviceNum(i/each))
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
