package train

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/parelm/pare/model"
)

// Maps computes the attention probabilities of a model that is not trained, such as a teacher: one layer at a time, from the
// residual stream that enters it. It holds the weights that make queries and keys of the layers that were asked for, in float32.
type Maps struct {
	backend  compute.Backend
	model    *model.Model
	weights  map[*model.Weight]compute.Buffer
	programs map[mapsKey]*program
}

type mapsKey struct {
	layer, batch, length int
	mean                 bool
}

// NewMaps prepares to compute attention probabilities of a model, on pare's own backend.
func NewMaps(m *model.Model) *Maps {
	return &Maps{backend: newBackend(1), model: m, weights: map[*model.Weight]compute.Buffer{}, programs: map[mapsKey]*program{}}
}

// attentionOf returns the attention node of a layer, nil where it has none.
func attentionOf(g *model.Graph, layer int) *model.Node {
	for _, n := range g.Nodes {
		if n.Op == model.OpAttention && n.Layer == layer {
			return n
		}
	}
	return nil
}

// AttentionHeads returns the number of query heads of a layer, 0 where it has no attention.
func AttentionHeads(g *model.Graph, layer int) int {
	if n := attentionOf(g, layer); n != nil {
		return n.Attn.Heads
	}
	return 0
}

// Of returns the attention probabilities of a layer for the stream x [batch*length, width] that enters it: for every row and
// head the weights of all positions, [batch*length, heads*length], or with mean their average over the heads,
// [batch*length, length]. A layer without attention, and one whose queries do not follow from that stream, is an error.
func (m *Maps) Of(layer, batch, length int, x []float32, mean bool) ([]float32, error) {
	g := m.model.Graph
	att := attentionOf(g, layer)
	if att == nil {
		return nil, fmt.Errorf("layer %d has no attention: %w", layer, model.ErrUnsupported)
	}
	nodes, err := between(g.Entry[layer], att.In[0], att.In[1])
	if err != nil {
		return nil, err
	}
	var weights []*model.Weight
	for _, n := range append(slices.Clip(nodes), att) {
		for _, w := range n.Weights {
			if w != nil && !slices.Contains(weights, w) {
				weights = append(weights, w)
			}
		}
	}
	params := []shapes.Shape{shapes.Make(f32Type, batch, length, g.Entry[layer].Out.Size())}
	in := []compute.Buffer{nil}
	for _, w := range weights {
		b, err := m.weight(w)
		if err != nil {
			return nil, err
		}
		params, in = append(params, shapes.Make(f32Type, w.Shape()...)), append(in, b)
	}
	key := mapsKey{layer, batch, length, mean}
	p := m.programs[key]
	if p == nil {
		build := func(in []*Node) []*Node { return []*Node{m.draw(att, nodes, weights, in, mean)} }
		if p, err = compileProgram(m.backend, fmt.Sprintf("attention of layer %d", layer), params, build); err != nil {
			return nil, err
		}
		m.programs[key] = p
	}
	if in[0], err = upload(m.backend, x, params[0].Dimensions...); err != nil {
		return nil, err
	}
	out, err := p.run(in, nil)
	if err != nil {
		return nil, err
	}
	return download(out[0])
}

// draw draws the probabilities of an attention node from the stream that enters its layer and the weights that the nodes need.
func (m *Maps) draw(att *model.Node, nodes []*model.Node, weights []*model.Weight, in []*Node, mean bool) *Node {
	g := m.model.Graph
	d := &drawing{m: g, readers: readersOf(g), values: map[*model.Node]*Node{g.Entry[att.Layer]: in[0]}}
	d.weight = func(w *model.Weight) *Node { return in[1+slices.Index(weights, w)] }
	for _, n := range nodes {
		d.node(n)
	}
	p := (&whole{g, d}).attention(att)
	if mean {
		p = Value{p}.MeanGroups(att.Attn.Heads).n
	}
	return p
}

// weight returns a weight's values in a buffer that stays.
func (m *Maps) weight(w *model.Weight) (compute.Buffer, error) {
	if b := m.weights[w]; b != nil {
		return b, nil
	}
	v, err := m.model.Tensor(w).Float32()
	if err != nil {
		return nil, err
	}
	b, err := upload(m.backend, v, w.Shape()...)
	if err == nil {
		m.weights[w] = b
	}
	return b, err
}

// between lists the nodes that lead from one value to others, without it, in the order of the graph.
func between(from *model.Node, to ...*model.Node) ([]*model.Node, error) {
	var list []*model.Node
	for len(to) > 0 {
		n := to[len(to)-1]
		to = to[:len(to)-1]
		if n == from || slices.Contains(list, n) {
			continue
		}
		if n.ID < from.ID {
			return nil, fmt.Errorf("%s: its queries and keys do not follow from what enters the layer: %w", n.Site, model.ErrUnsupported)
		}
		list, to = append(list, n), append(to, n.In...)
	}
	slices.SortFunc(list, func(a, b *model.Node) int { return a.ID - b.ID })
	return list, nil
}
