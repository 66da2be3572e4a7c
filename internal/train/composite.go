package train

import (
	"fmt"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/parelm/pare/internal/train/cpu"
)

// composite is an operation of several steps with a gradient of its own. On pare's backend it is a call of a function
// known by name: the backend runs a kernel for it, or inlines the definition, and the gradient is drawn by vjp. On other
// backends the definition is drawn in place and differentiated by GoMLX. So the same graph runs everywhere, and one way
// checks the other.
type composite struct {
	name string // what it is, attributes included: equal names with equal input shapes are one function
	// forward is the definition.
	forward func(in []*Node) []*Node
	// kernel, when not nil, computes the outputs, whose shapes are outs, in float32.
	kernel cpu.Kernel
	outs   []shapes.Shape
	// vjp returns the gradients of the inputs, nil for those that have none, from the gradients of the outputs.
	vjp func(in, out, dOut []*Node) []*Node
}

// definition is what a backend knows of a composite.
type definition struct {
	kernel  cpu.Kernel
	program *cpu.Program // where there is no kernel
	outputs []*cpu.Node
	shapes  []shapes.Shape
}

// composites is what a graph remembers of its composites.
type composites struct {
	functions map[string]*Function
	calls     map[string]*composite // by function name
	results   map[NodeId][]*Node    // of a call, by its node
}

type compositesKey struct{}

func init() {
	// GoMLX does not differentiate calls; composites say how theirs are.
	VJPRegistration[NodeTypeCall] = callGradient
}

// apply adds the composite to the graph.
func (c *composite) apply(in ...*Node) []*Node {
	g := in[0].Graph()
	b, own := g.Backend().(*backend)
	if !own {
		return c.forward(in)
	}
	s, ok := g.State(compositesKey{}).(*composites)
	if !ok {
		s = &composites{map[string]*Function{}, map[string]*composite{}, map[NodeId][]*Node{}}
		g.AttachState(compositesKey{}, s)
	}
	var name strings.Builder
	name.WriteString(c.name)
	for _, x := range in {
		fmt.Fprintf(&name, " %s", x.Shape())
	}
	key := strings.ReplaceAll(name.String(), ",", "") // the name must be readable out of "Call(name, inputs)"
	f := s.functions[key]
	if f == nil {
		f = c.stub(g, key, b.define(key, c, in), in)
		s.functions[key], s.calls[key] = f, c
	}
	out := f.Call(in...)
	node := out[0]
	if len(out) > 1 {
		node = out[0].Inputs()[0]
	}
	s.results[node.Id()] = out
	return out
}

// stub declares the function in the graph. Its body says no more than the shapes: the backend knows it by name. (GoMLX
// shares scalar constants between the functions of a graph, so that a real body could not be drawn there.)
func (c *composite) stub(g *Graph, key string, d *definition, in []*Node) *Function {
	return NewFunction(g, key, func(g *Graph) []*Node {
		for i, x := range in {
			Parameter(g, fmt.Sprintf("%s.%d", key, i), x.Shape())
		}
		out := make([]*Node, len(d.shapes))
		for i, s := range d.shapes {
			out[i] = BroadcastToDims(Const(g, shapes.CastAsDType(0, s.DType)), s.Dimensions...)
		}
		return out
	})
}

// define makes a composite known to the backend.
func (b *backend) define(key string, c *composite, in []*Node) *definition {
	b.mu.Lock()
	d := b.definitions[key]
	b.mu.Unlock()
	if d != nil {
		return d
	}
	d = &definition{}
	if c.kernel != nil && in[0].DType() == dtypes.Float32 {
		d.kernel, d.shapes = c.kernel, c.outs
	} else {
		g := NewGraph(b, bodyPrefix+key)
		params := make([]*Node, len(in))
		for i, x := range in {
			params[i] = Parameter(g, fmt.Sprint("in", i), x.Shape())
		}
		out := c.forward(params)
		for _, o := range out {
			d.shapes = append(d.shapes, o.Shape())
		}
		g.CurrentFunc().Return(out, nil)
		b.mu.Lock()
		main := b.bodies[bodyPrefix+key].main
		delete(b.bodies, bodyPrefix+key)
		b.mu.Unlock()
		d.program, d.outputs = main.program, main.outputs
		g.Finalize()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if same := b.definitions[key]; same != nil {
		return same
	}
	b.definitions[key] = d
	return d
}

// bodyPrefix marks graphs that define composites.
const bodyPrefix = "composite "

// callComposite adds the nodes of a composite to a program.
func (f *function) callComposite(d *definition, in []*cpu.Node) ([]*cpu.Node, error) {
	if d.kernel == nil {
		return f.program.Inline(d.program, d.outputs, in), nil
	}
	outs := make([]cpu.Shape, len(d.shapes))
	for i, s := range d.shapes {
		var err error
		if outs[i], err = cpuShape(s); err != nil {
			return nil, err
		}
	}
	return f.program.Kernel(d.kernel, outs, in...), nil
}

// callGradient is the gradient of every call.
func callGradient(node *Node, dOut []*Node, _ shapes.Shape) []*Node {
	s, ok := node.Graph().State(compositesKey{}).(*composites)
	if !ok {
		panic(fmt.Errorf("no gradient is known for %s: %w", node, compute.ErrNotImplemented))
	}
	_, name, _ := strings.Cut(node.String(), "Call(")
	name, _, _ = strings.Cut(name, ",")
	c := s.calls[name]
	if c == nil || c.vjp == nil || s.results[node.Id()] == nil {
		panic(fmt.Errorf("no gradient is known for %s: %w", node, compute.ErrNotImplemented))
	}
	return c.vjp(node.Inputs(), s.results[node.Id()], dOut)
}
