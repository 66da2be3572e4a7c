package train

import (
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/parelm/pare/model"
)

// Gradient checkpointing (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"), a layer at a time: of the way
// up only the residual stream that enters each layer stays in memory. On the way down a layer is drawn a second time from
// there, once the gradient of its output is known, and differentiated alone. That is one more forward pass, a third more
// work, for activations of one layer instead of all.

// cuts returns the values between which a model can be taken apart, lowest first: streams that enter layers, where nothing
// above reads another value from below.
func cuts(m *model.Graph, top *model.Node) []*model.Node {
	lowest := make([]int, top.ID+1) // the first value that nodes from here on read
	low := top.ID
	for i := top.ID; i >= 0; i-- {
		for _, in := range m.Nodes[i].In {
			low = min(low, in.ID)
		}
		lowest[i] = low
	}
	var list []*model.Node
	for _, n := range m.Entry {
		if n.ID < top.ID && lowest[n.ID+1] >= n.ID && (len(list) == 0 || list[len(list)-1] != n) {
			list = append(list, n)
		}
	}
	return list
}

// byLayer adds the gradients of all trained weights below the head, given that of the last hidden state.
func (d *stepDrawing) byLayer(dHidden *Node) {
	m := d.whole.model
	top := headOf(m).In[0]
	dOut := StopGradient(Reshape(dHidden, d.whole.values[top].Shape().Dimensions...))
	list := cuts(m, top)
	for i := len(list) - 1; i >= 0; i-- {
		from := list[i]
		x := SchedulingBarrier(StopGradient(d.whole.values[from]), dOut)
		again := &drawing{m: m, weight: d.weight, thin: d.beside, values: map[*model.Node]*Node{from: x}, readers: readersOf(m)}
		for _, n := range m.Nodes[from.ID+1 : top.ID+1] {
			again.node(n)
		}
		g := Gradient(ReduceAllSum(Mul(again.values[top], dOut)), append([]*Node{x}, d.trained...)...)
		d.addGradients(g[1:])
		top, dOut = from, StopGradient(g[0])
	}
	d.addGradients(Gradient(ReduceAllSum(Mul(d.whole.values[top], dOut)), d.trained...))
}
