package cpu

import (
	"fmt"
	"strings"
)

// op is the kind of a node.
type op uint8

const (
	opParam op = iota
	opConst
	opUnary      // fn(x)
	opBinary     // fn(x, y), same type
	opCompare    // fn(x, y) as a bool
	opWhere      // in[0] ? in[1] : in[2]
	opConvert    // value conversion
	opBitcast    // same bits, same size
	opReshape    // same values in the same order
	opTranspose  // out dimension i is in dimension ints[i]
	opBroadcast  // in dimension i is out dimension ints[i]; the others repeat
	opIota       // place along dimension axis
	opSlice      // attr sliceAttr
	opReverse    // dimensions ints run backwards
	opPad        // in[1] around and between in[0]; attr padAttr
	opConcat     // along dimension axis
	opGather     // attr GatherSpec
	opScatter    // attr ScatterSpec; fn add, max, min
	opReduce     // fn add, mul, max, min, and, or, xor over dimensions ints
	opArg        // place of the largest (fn max) or smallest (fn min) along axis
	opDot        // attr DotSpec
	opDynSlice   // in[1:] scalar starts; shape is the window's
	opDynUpdate  // in[1] put into in[0] at in[2:]
	opRandom     // state -> new state, bits
	opKernel     // attr Kernel
	opCollective // attr *across
	opResult     // output axis of a node with several
	opBarrier    // in[0], computed after the others
)

var opNames = [...]string{"param", "const", "unary", "binary", "compare", "where", "convert", "bitcast", "reshape", "transpose",
	"broadcast", "iota", "slice", "reverse", "pad", "concat", "gather", "scatter", "reduce", "arg", "dot", "dynslice",
	"dynupdate", "random", "kernel", "allreduce", "result", "barrier"}

// Node is one array of a program.
type Node struct {
	id    int
	op    op
	fn    fn
	shape Shape
	in    []*Node
	ints  []int // dimensions; see the operations
	axis  int
	attr  any
	outs  []Shape // of nodes with several outputs, which opResult nodes select
	value *Buffer // opConst
}

// Shape returns the node's shape. A node with several outputs has none.
func (n *Node) Shape() Shape { return n.shape }

// String shows the node for error messages and dumps.
func (n *Node) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%%%d = %s", n.id, opNames[n.op])
	if n.fn != 0 {
		fmt.Fprintf(&b, ".%s", fnNames[n.fn])
	}
	for _, in := range n.in {
		fmt.Fprintf(&b, " %%%d", in.id)
	}
	if n.ints != nil {
		fmt.Fprintf(&b, " %v", n.ints)
	}
	if n.attr != nil {
		fmt.Fprintf(&b, " %+v", n.attr)
	}
	if n.outs != nil {
		fmt.Fprintf(&b, " : %v", n.outs)
	} else {
		fmt.Fprintf(&b, " : %s", n.shape)
	}
	return b.String()
}

// Program is a list of nodes, inputs before their readers. Its methods add nodes; each simplifies what it is asked for
// and returns an existing node when there is an equal one. Shapes that do not fit are programming errors and panic.
type Program struct {
	nodes  []*Node
	params []*Node
	equal  map[string]*Node // by key
	scope  int              // nodes of different scopes are never shared
	scopes int
}

// NewProgram returns an empty program.
func NewProgram() *Program { return &Program{equal: map[string]*Node{}} }

// Param adds the next input.
func (p *Program) Param(s Shape) *Node {
	n := p.push(&Node{op: opParam, shape: s, axis: len(p.params)})
	p.params = append(p.params, n)
	return n
}

// Const adds a constant. The buffer must not change afterwards.
func (p *Program) Const(b *Buffer) *Node {
	n := &Node{op: opConst, shape: b.Shape, value: b}
	if b.Shape.Len() > 16 {
		return p.push(n)
	}
	key := fmt.Sprintf("const %s %v", b.Shape, b.Data)
	if same := p.equal[key]; same != nil {
		return same
	}
	p.equal[key] = n
	return p.push(n)
}

// Inline adds the nodes that give the outputs of another program for these arguments. Nothing computed here is shared
// with nodes outside, so a program that recomputes a value does so.
func (p *Program) Inline(sub *Program, outputs []*Node, args []*Node) []*Node {
	outer := p.scope
	p.scopes++
	p.scope = p.scopes
	defer func() { p.scope = outer }()
	live := reachable(outputs)
	at := make(map[*Node]*Node, len(live))
	for _, n := range sub.nodes {
		switch {
		case n.op == opParam:
			at[n] = args[n.axis]
		case n.op == opConst && live[n]:
			at[n] = p.Const(n.value)
		case live[n]:
			c := *n
			c.in = make([]*Node, len(n.in))
			for i, in := range n.in {
				c.in[i] = at[in]
			}
			at[n] = p.add(&c)
		}
	}
	out := make([]*Node, len(outputs))
	for i, o := range outputs {
		out[i] = at[o]
	}
	return out
}

// reachable returns the nodes that the outputs depend on, themselves included.
func reachable(outputs []*Node) map[*Node]bool {
	live := map[*Node]bool{}
	stack := append([]*Node{}, outputs...)
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if live[n] {
			continue
		}
		live[n] = true
		stack = append(stack, n.in...)
	}
	return live
}

func (p *Program) push(n *Node) *Node {
	n.id = len(p.nodes)
	p.nodes = append(p.nodes, n)
	return n
}

// add gives the node that computes n: a simpler one, an equal one, a constant, or n itself.
func (p *Program) add(n *Node) *Node {
	if s := p.simplify(n); s != nil {
		return s
	}
	if n.op == opKernel || n.op == opCollective || n.op == opBarrier {
		return p.push(n)
	}
	if c := p.fold(n); c != nil {
		return c
	}
	key := p.key(n)
	if same := p.equal[key]; same != nil {
		return same
	}
	p.equal[key] = n
	return p.push(n)
}

func (p *Program) key(n *Node) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %d %d %s %v %d %+v", p.scope, n.op, n.fn, n.shape, n.ints, n.axis, n.attr)
	for _, in := range n.in {
		fmt.Fprintf(&b, " %d", in.id)
	}
	return b.String()
}

// Largest constants that folding makes: masks may be larger, as they are costly to recompute for every row.
const (
	foldLimit     = 1 << 14
	foldLimitBool = 1 << 20
)

// fold computes nodes whose inputs are constants.
func (p *Program) fold(n *Node) *Node {
	limit := foldLimit
	if n.shape.DType == Bool {
		limit = foldLimitBool
	}
	if n.outs != nil || n.shape.Len() > limit || n.op == opBroadcast && len(n.in[0].shape.Dims) == 0 {
		return nil
	}
	in := make([]*Buffer, len(n.in))
	for i, x := range n.in {
		for x.op == opBroadcast && x.in[0].op == opConst && x.shape.Len() <= limit {
			b := evalNode(x, []*Buffer{x.in[0].value})
			x = &Node{op: opConst, shape: x.shape, value: b[0]}
		}
		if x.op != opConst {
			return nil
		}
		in[i] = x.value
	}
	return p.Const(evalNode(n, in)[0])
}

// Params returns the shapes of the inputs.
func (p *Program) Params() []Shape { return shapesOf(p.params) }
