package train

import (
	"fmt"
	"sort"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/parelm/pare/model"
)

// The graph of one step, on one device or several. It takes, in order: the variables; the sums of gradients so far, where there are any; ids and
// labels i32 [batch, length], the weight of every row f32 [rows], the inputs of the losses. It gives the gradients of
// the trained variables, then the losses: their weighted sum first.
//
// The head and the losses on logits are drawn for some rows at a time, and differentiated at once: what reaches the
// layers below is the gradient of the last hidden state, and no more than one piece of logits is in memory.

// stepGraph says which step graph to draw.
type stepGraph struct {
	student       *student
	losses        []Loss
	batch, length int
	accumulate    bool // add to given sums of gradients
	gradients     bool // else losses alone
	sum           bool // add up the gradients of all devices
	checkpoint    bool // keep the inputs of layers alone and compute the rest twice
}

// logitsInMemory bounds the values of one piece of logits.
const logitsInMemory = 1 << 21

// inputsOf lists the inputs of the losses, each once, by name.
func inputsOf(losses []Loss) ([]Input, error) {
	known := map[string]Input{}
	var list []Input
	for _, l := range losses {
		for _, in := range l.Inputs {
			if same, ok := known[in.Name]; ok {
				if same != in {
					return nil, fmt.Errorf("losses disagree about input %q: %+v and %+v", in.Name, same, in)
				}
				continue
			}
			known[in.Name] = in
			list = append(list, in)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, nil
}

func (in Input) dims(rows int) []int {
	if in.Width == 0 {
		return []int{rows}
	}
	return []int{rows, in.Width}
}

// params returns the shapes of the graph's parameters.
func (s *stepGraph) params(inputs []Input) []shapes.Shape {
	var p []shapes.Shape
	for _, v := range s.student.variables {
		p = append(p, v.shape())
	}
	if s.accumulate {
		for _, v := range s.student.variables {
			if v.trained {
				p = append(p, v.shape())
			}
		}
	}
	rows := s.batch * s.length
	p = append(p, shapes.Make(i32Type, s.batch, s.length), shapes.Make(i32Type, rows), shapes.Make(f32Type, rows))
	for _, in := range inputs {
		d := f32Type
		if in.Int {
			d = i32Type
		}
		p = append(p, shapes.Make(d, in.dims(rows)...))
	}
	return p
}

// stepDrawing is a step graph while it is drawn.
type stepDrawing struct {
	*stepGraph
	in      []*Node // variables
	trained []*Node // those of them that are trained
	labels  *Node
	weights *Node // of rows
	inputs  map[string]*Node
	params  map[string]*Node
	whole   *whole
	weight  func(w *model.Weight) *Node
	beside  func(w *model.Weight) *thin

	grads  []*Node // of the trained variables; nil where none came yet
	totals []*Node // of each loss
}

// build draws the graph.
func (s *stepGraph) build(in []*Node, inputs []Input) []*Node {
	d := &stepDrawing{stepGraph: s, inputs: map[string]*Node{}, params: map[string]*Node{}, totals: make([]*Node, len(s.losses))}
	d.in, in = in[:len(s.student.variables)], in[len(s.student.variables):]
	for i, v := range s.student.variables {
		if v.trained {
			d.trained = append(d.trained, d.in[i])
		}
		d.params[v.name] = d.in[i]
	}
	var sums []*Node
	if s.accumulate {
		sums, in = in[:len(d.trained)], in[len(d.trained):]
	}
	ids := in[0]
	d.labels, d.weights = in[1], in[2]
	for i, x := range inputs {
		d.inputs[x.Name] = in[3+i]
	}
	d.grads = make([]*Node, len(d.trained))
	d.weight, d.beside = s.student.weights(d.in)
	m := s.student.model.Graph
	d.whole = &whole{m, draw(headless(m), ids, d.weight, d.beside)}
	d.draw()
	out := d.grads
	if !s.gradients {
		out = nil
	}
	for i := range out {
		if out[i] == nil {
			out[i] = ZerosLike(d.trained[i])
		}
		if sums != nil {
			out[i] = Add(sums[i], out[i])
		}
	}
	if s.sum {
		out = sumOver(out)
	}
	return append(out, d.metrics())
}

// headless returns the model's graph without the head.
func headless(m *model.Graph) *model.Graph {
	g := *m
	g.Nodes = g.Nodes[:headOf(m).ID]
	return &g
}

// headOf returns the node of the output matrix; what follows works on logits.
func headOf(m *model.Graph) *model.Node {
	n := m.Logits
	for n.Op != model.OpLinear {
		n = n.In[0]
	}
	return n
}

// head draws the logits of some rows of the last hidden state.
func (d *stepDrawing) head(x *Node) *Node {
	m := d.whole.model
	first := headOf(m)
	values := map[*model.Node]*Node{first.In[0]: ExpandAxes(x, 0)}
	h := &drawing{m: m, weight: d.weight, thin: d.beside, values: values, readers: readersOf(m)}
	for _, n := range m.Nodes[first.ID:] {
		h.node(n)
	}
	return Squeeze(values[m.Logits], 0)
}

// draw draws all losses and gradients.
func (d *stepDrawing) draw() {
	hidden := rowsOf(d.whole.values[headOf(d.whole.model).In[0]])
	var below *Node // what remains to be differentiated: its gradients are those of the layers
	dHidden := d.pieces(hidden)
	if d.checkpoint && d.gradients && dHidden != nil {
		d.byLayer(dHidden)
		return
	}
	if dHidden != nil {
		below = ReduceAllSum(Mul(hidden, StopGradient(dHidden)))
	}
	for i, l := range d.losses {
		if !l.Whole {
			continue
		}
		t := &Tape{rows: [2]int{0, d.batch * d.length}, labels: d.labels, inputs: d.inputs, params: d.params, whole: d.whole}
		d.totals[i] = d.total(l, t, d.weights)
		term := MulScalar(d.totals[i], l.Weight)
		if below == nil {
			below = term
		} else {
			below = Add(below, term)
		}
	}
	if d.gradients && below != nil {
		d.addGradients(Gradient(below, d.trained...))
	}
}

// total returns the weighted sum of a loss over rows.
func (d *stepDrawing) total(l Loss, t *Tape, weights *Node) *Node {
	v := l.Draw(t).n
	if !v.Shape().Equal(weights.Shape()) {
		panic(fmt.Errorf("loss %s is %s, must be a number for each row, %s", l.Name, v.Shape(), weights.Shape()))
	}
	return ReduceAllSum(Mul(v, weights))
}

// pieces draws the losses on logits piece by piece and returns the gradient of the last hidden state.
func (d *stepDrawing) pieces(hidden *Node) *Node {
	some := false
	for _, l := range d.losses {
		some = some || !l.Whole
	}
	if !some {
		return nil
	}
	rows := d.batch * d.length
	vocab := d.whole.model.Logits.Out.Size()
	piece := min(rows, max(128, logitsInMemory/vocab))
	fixed := StopGradient(hidden)
	var parts []*Node
	for lo := 0; lo < rows; lo += piece {
		hi := min(lo+piece, rows)
		x := SliceAxis(fixed, 0, AxisRange(lo, hi))
		cut := func(n *Node) *Node { return SliceAxis(n, 0, AxisRange(lo, hi)) }
		inputs := map[string]*Node{}
		for name, n := range d.inputs {
			inputs[name] = cut(n)
		}
		t := &Tape{rows: [2]int{lo, hi}, logits: d.head(x), labels: cut(d.labels), inputs: inputs, params: d.params}
		var sum *Node
		for i, l := range d.losses {
			if l.Whole {
				continue
			}
			total := d.total(l, t, cut(d.weights))
			d.totals[i] = plus(d.totals[i], total)
			sum = plus(sum, MulScalar(total, l.Weight))
		}
		if d.gradients {
			g := Gradient(sum, append([]*Node{x}, d.trained...)...)
			parts = append(parts, g[0])
			d.addGradients(g[1:])
		}
	}
	if !d.gradients {
		return nil
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return Concatenate(parts, 0)
}

// plus adds to a sum that may not have begun.
func plus(sum, x *Node) *Node {
	if sum == nil {
		return x
	}
	return Add(sum, x)
}

func (d *stepDrawing) addGradients(g []*Node) {
	for i, x := range g {
		d.grads[i] = plus(d.grads[i], x) // zeros where a loss does not depend on a variable: the backend leaves them out
	}
}

// metrics returns the total loss, then each loss.
func (d *stepDrawing) metrics() *Node {
	var sum *Node
	list := []*Node{nil}
	for i, l := range d.losses {
		sum = plus(sum, MulScalar(d.totals[i], l.Weight))
		list = append(list, Reshape(d.totals[i], 1))
	}
	list[0] = Reshape(sum, 1)
	return Concatenate(list, 0)
}
