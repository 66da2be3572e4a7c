package train

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/notimplemented"
	"github.com/gomlx/compute/shapes"

	"github.com/parelm/pare/internal/train/cpu"
)

// graphBuilder implements compute.Builder: a main function, and others that it calls.
type graphBuilder struct {
	notimplemented.Builder
	backend  *backend
	name     string
	main     *function
	named    map[string]*function
	spmd     bool                // runs on all assigned devices, which meet in collectives
	assigned []compute.DeviceNum // by replica; nil for a program that runs on any device
	compiled bool
}

func (b *backend) Builder(name string) compute.Builder {
	g := &graphBuilder{backend: b, name: name, named: map[string]*function{}}
	g.main = g.newFunction(compute.MainName)
	if strings.HasPrefix(name, bodyPrefix) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.bodies[name] = g
	}
	return g
}

func (g *graphBuilder) newFunction(name string) *function {
	f := &function{builder: g, name: name, program: cpu.NewProgram()}
	f.ErrFn = func(op compute.OpType) error {
		return fmt.Errorf("backend %s, %s: %w", backendName, op, compute.ErrNotImplemented)
	}
	return f
}

func (g *graphBuilder) Name() string           { return g.name }
func (g *graphBuilder) Main() compute.Function { return g.main }

func (g *graphBuilder) NewFunction(name string) (compute.Function, error) {
	if name == "" || name == compute.MainName || g.named[name] != nil {
		return nil, fmt.Errorf("function name %q is empty or taken", name)
	}
	f := g.newFunction(name)
	g.named[name] = f
	return f, nil
}

func (g *graphBuilder) OpShape(v compute.Value) (shapes.Shape, error) {
	x, ok := v.(*value)
	if !ok {
		return shapes.Invalid(), fmt.Errorf("value of type %T is not of backend %s", v, backendName)
	}
	return gomlxShape(x.n.Shape()), nil
}

// DistributedSPMD makes the graph a program that several devices run together, by default the first ones.
func (g *graphBuilder) DistributedSPMD(n int) error {
	if n < 1 || n > g.backend.NumDevices() || g.compiled {
		return fmt.Errorf("graph %q for %d devices, backend %s has %d", g.name, n, backendName, g.backend.NumDevices())
	}
	g.spmd, g.assigned = true, nil
	for d := range n {
		g.assigned = append(g.assigned, compute.DeviceNum(d))
	}
	return nil
}

// DeviceAssignment says which devices run the graph.
func (g *graphBuilder) DeviceAssignment(devices ...compute.DeviceNum) error {
	if want := max(1, len(g.assigned)); len(devices) != want {
		return fmt.Errorf("graph %q runs on %d devices, %d were assigned", g.name, want, len(devices))
	}
	for i, d := range devices {
		if err := g.backend.checkDevice(d); err != nil {
			return err
		}
		if slices.Contains(devices[:i], d) {
			return fmt.Errorf("graph %q: device %d was assigned twice", g.name, d)
		}
	}
	g.assigned = slices.Clone(devices)
	return nil
}

// Compile makes the main function executable.
func (g *graphBuilder) Compile() (compute.Executable, error) {
	if g.compiled {
		return nil, errors.New("graph is compiled already")
	}
	if !g.main.returned {
		return nil, fmt.Errorf("main function of graph %q returns nothing", g.name)
	}
	g.compiled = true
	e, err := cpu.Compile(g.main.program, g.main.outputs)
	if err != nil {
		return nil, err
	}
	g.backend.mu.Lock()
	defer g.backend.mu.Unlock()
	x := &executable{backend: g.backend, name: g.name, exec: e, names: g.main.names, assigned: g.assigned}
	if x.assigned == nil {
		e.Share(g.backend.arenas[0])
	} else {
		arenas := make([]*cpu.Arena, len(x.assigned))
		for i, d := range x.assigned {
			arenas[i] = g.backend.arenas[d]
		}
		e.Share(arenas...)
	}
	g.backend.last = e
	return x, nil
}

// executable implements compute.Executable.
type executable struct {
	backend  *backend
	name     string
	exec     *cpu.Exec
	names    []string
	assigned []compute.DeviceNum // by replica; nil where the caller chooses one
}

func (e *executable) Finalize() { e.exec.Release() }

func (e *executable) Inputs() ([]string, []shapes.Shape) {
	return e.names, gomlxShapes(e.exec.Inputs())
}

func (e *executable) Outputs() []shapes.Shape { return gomlxShapes(e.exec.Outputs()) }

func gomlxShapes(list []cpu.Shape) []shapes.Shape {
	out := make([]shapes.Shape, len(list))
	for i, s := range list {
		out[i] = gomlxShape(s)
	}
	return out
}

// Execute runs the program on its devices, or on the one that is given. Inputs are those of the first device, then those of the second, and
// so on, and so are the outputs. A panic of a kernel becomes an error.
func (e *executable) Execute(inputs []compute.Buffer, donate []bool, device compute.DeviceNum) (out []compute.Buffer, err error) {
	assigned := e.assigned
	if assigned == nil {
		if err := e.backend.checkDevice(device); err != nil {
			return nil, err
		}
		assigned = []compute.DeviceNum{device}
	}
	if n := len(e.names) * len(assigned); len(inputs) != n || donate != nil && len(donate) != n {
		return nil, fmt.Errorf("graph %q has %d parameters on %d devices: %d inputs, %d of them said to be donated or not", e.name, len(e.names), len(assigned), len(inputs), len(donate))
	}
	in := make([]*cpu.Buffer, len(inputs))
	for i, x := range inputs {
		b, ok := x.(*buffer)
		if !ok || b == nil {
			return nil, fmt.Errorf("input %d of graph %q is a buffer of type %T, not of backend %s", i, e.name, x, backendName)
		}
		if err := b.valid(); err != nil {
			return nil, fmt.Errorf("input %d of graph %q: %w", i, e.name, err)
		}
		if d := assigned[i/len(e.names)]; b.device != d {
			return nil, fmt.Errorf("input %d of graph %q is on device %d, not on %d", i, e.name, b.device, d)
		}
		in[i] = b.b
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("graph %q: %v", e.name, p)
		}
	}()
	results, err := e.exec.Run(in, donate)
	if err != nil {
		return nil, fmt.Errorf("graph %q: %w", e.name, err)
	}
	for i, d := range donate {
		if d {
			inputs[i].(*buffer).b = nil
		}
	}
	out = make([]compute.Buffer, len(results))
	for i, r := range results {
		out[i] = &buffer{e.backend, assigned[i/(len(results)/len(assigned))], r}
	}
	return out, nil
}

// function implements compute.Function: a program under construction.
type function struct {
	notimplemented.Function
	builder  *graphBuilder
	name     string
	program  *cpu.Program
	names    []string
	outputs  []*cpu.Node
	returned bool
}

// value implements compute.Value.
type value struct {
	f *function
	n *cpu.Node
}

func (f *function) Name() string             { return f.name }
func (f *function) Builder() compute.Builder { return f.builder }
func (f *function) Parent() compute.Function { return nil }

// nodes checks that values belong to this function and unwraps them.
func (f *function) nodes(values ...compute.Value) ([]*cpu.Node, error) {
	if f.returned {
		return nil, fmt.Errorf("function %q has returned", f.name)
	}
	out := make([]*cpu.Node, len(values))
	for i, v := range values {
		x, ok := v.(*value)
		if !ok || x == nil {
			return nil, fmt.Errorf("operand %d is a %T, not a value of backend %s", i, v, backendName)
		}
		if x.f != f {
			return nil, fmt.Errorf("operand %d belongs to function %q, not to %q", i, x.f.name, f.name)
		}
		out[i] = x.n
	}
	return out, nil
}

func (f *function) Shape(v compute.Value) (shapes.Shape, error) { return f.builder.OpShape(v) }

func (f *function) Parameter(name string, shape shapes.Shape, sharding *compute.ShardingSpec) (compute.Value, error) {
	if sharding != nil {
		return nil, fmt.Errorf("backend %s does not shard: %w", backendName, compute.ErrNotImplemented)
	}
	if _, err := f.nodes(); err != nil {
		return nil, err
	}
	s, err := cpuShape(shape)
	if err != nil {
		return nil, err
	}
	f.names = append(f.names, name)
	return &value{f, f.program.Param(s)}, nil
}

func (f *function) Constant(flat any, dims ...int) (compute.Value, error) {
	if _, err := f.nodes(); err != nil {
		return nil, err
	}
	b, err := cpu.BufferOf(flat, dims...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", compute.ErrNotImplemented, err)
	}
	c := cpu.NewBuffer(b.Shape)
	if err := cpu.CopyData(c.Data, flat); err != nil {
		return nil, err
	}
	return &value{f, f.program.Const(c)}, nil
}

func (f *function) Return(outputs []compute.Value, shardings []*compute.ShardingSpec) error {
	for _, s := range shardings {
		if s != nil {
			return fmt.Errorf("backend %s does not shard: %w", backendName, compute.ErrNotImplemented)
		}
	}
	nodes, err := f.nodes(outputs...)
	if err != nil {
		return err
	}
	f.outputs, f.returned = nodes, true
	return nil
}

// Call inlines a function, or what the backend knows under its name.
func (f *function) Call(target compute.Function, inputs ...compute.Value) ([]compute.Value, error) {
	nodes, err := f.nodes(inputs...)
	if err != nil {
		return nil, err
	}
	t, ok := target.(*function)
	if !ok || t.builder != f.builder || !t.returned {
		return nil, fmt.Errorf("call of a function that is not of this graph or has not returned")
	}
	params := t.program.Params()
	if len(params) != len(nodes) {
		return nil, fmt.Errorf("function %q takes %d values, not %d", t.name, len(params), len(nodes))
	}
	for i, p := range params {
		if !p.Equal(nodes[i].Shape()) {
			return nil, fmt.Errorf("function %q: value %d is %s, not %s", t.name, i, nodes[i].Shape(), p)
		}
	}
	f.builder.backend.mu.Lock()
	d := f.builder.backend.definitions[t.name]
	f.builder.backend.mu.Unlock()
	var results []*cpu.Node
	if d == nil {
		results = f.program.Inline(t.program, t.outputs, nodes)
	} else if results, err = f.callComposite(d, nodes); err != nil {
		return nil, err
	}
	out := make([]compute.Value, len(results))
	for i, r := range results {
		out[i] = &value{f, r}
	}
	return out, nil
}
