package model

import (
	"fmt"
	"slices"

	"github.com/parelm/pare/model/tensor"
)

// Rotation says what has to change when the residual stream, and the values of each attention head, are seen in another
// basis: with Q orthogonal, what writes the stream is multiplied by Q, what reads it by Qᵀ, and norms between must do the
// same to Qx as to x. They do once their scales have moved into their readers; a LayerNorm only if Q leaves the mean.
type Rotation struct {
	Width int
	Mean  bool // some norm subtracts the mean: Q must take the vector of ones to itself
	// Columns are weights whose last dimension is the stream: embeddings, positions, and matrices that read it.
	Columns []*Weight
	// Rows are weights whose dimension before the last, or only one, is the stream: matrices and biases that write it.
	Rows []*Weight
	// Norms are those with a scale, which must move into the readers.
	Norms []ScaledNorm
	// Heads are the values of attention layers that can be turned head by head.
	Heads []ValueHeads
	// Tied is set where the embedding is the head as well and a scale before the head has to move into that alone: Untied
	// makes a model whose Rotation does not have it.
	Tied bool
}

// ScaledNorm is a norm on the stream with the matrices that read it and nothing else.
type ScaledNorm struct {
	Norm    *Node
	Readers []*Weight
}

// ValueHeads is a value projection whose heads go through attention into one output projection.
type ValueHeads struct {
	Dim    int       // of a head
	Before []*Weight // rows: the value projection and its bias
	After  *Weight   // columns: the output projection
}

// Rotation returns what turning the stream changes, or an error that names what forbids it.
func (g *Graph) Rotation() (*Rotation, error) {
	r := &Rotation{Width: g.Entry[0].Out.Size()}
	s := &streams{g: g, r: r, hidden: g.Entry[0].Out.Axis, readers: map[*Node][]*Node{}, uses: map[*Weight]int{}}
	for _, n := range g.Nodes {
		for _, in := range n.In {
			s.readers[in] = append(s.readers[in], n)
		}
		for _, w := range present(n.Weights) {
			s.uses[w]++
		}
	}
	for _, n := range g.Nodes {
		if err := s.node(n); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// streams is a walk over the graph that gathers a Rotation.
type streams struct {
	g       *Graph
	r       *Rotation
	hidden  *Axis
	readers map[*Node][]*Node
	uses    map[*Weight]int
}

func (s *streams) on(n *Node) bool { return n.Out.Axis == s.hidden }

// node takes in one operation.
func (s *streams) node(n *Node) error {
	reads := slices.ContainsFunc(n.In, s.on)
	if n.Op == OpAttention {
		s.heads(n)
	}
	if !reads && !s.on(n) {
		return nil
	}
	columns := func(w *Weight) { s.r.Columns = add(s.r.Columns, w) }
	rows := func(ws ...*Weight) {
		for _, w := range present(ws) {
			s.r.Rows = add(s.r.Rows, w)
		}
	}
	switch n.Op {
	case OpEmbed, OpPosition:
		columns(n.Weight(0))
	case OpLinear:
		if reads {
			columns(n.Weight(0))
		}
		if s.on(n) {
			rows(n.Weights...)
		}
	case OpExperts:
		if !s.on(n.In[0]) || !s.on(n) {
			return forbids(n, "experts that do not lie between the stream and itself")
		}
		columns(n.Weight(0))
		columns(n.Weight(1))
		rows(n.Weight(2))
		if w := n.Weight(5); w != nil { // a bias of each expert is a row of the stream
			columns(w)
		}
	case OpNorm:
		return s.norm(n)
	case OpAdd, OpScale:
	case OpMul:
		if n.In[1].Out.Size() != 1 && n.In[0].Out.Size() != 1 {
			return forbids(n, "the stream is multiplied channel by channel")
		}
	default:
		return forbids(n, "works on the channels of the stream one by one")
	}
	return nil
}

// norm takes in a norm on the stream.
func (s *streams) norm(n *Node) error {
	if n.Norm.Groups != 1 {
		return forbids(n, "normalises parts of the stream")
	}
	s.r.Mean = s.r.Mean || n.Norm.Kind == "layer"
	if len(present(n.Weights)) == 0 {
		return nil
	}
	x := ScaledNorm{Norm: n}
	for _, r := range s.readers[n] {
		switch {
		case r.Op == OpLinear:
			x.Readers = add(x.Readers, r.Weight(0))
		case r.Op == OpExperts && r.In[0] == n:
			x.Readers = add(add(x.Readers, r.Weight(0)), r.Weight(1))
		default:
			return forbids(n, fmt.Sprintf("its scale goes into the stream by way of an operation (%s) that cannot take it", r.Op))
		}
	}
	for _, w := range x.Readers {
		if s.uses[w] > 1 && w.Role == RoleEmbed {
			s.r.Tied = true
		} else if s.uses[w] > 1 {
			return forbids(n, fmt.Sprintf("%s, which reads it, is used elsewhere too", w.Name))
		}
	}
	s.r.Norms = append(s.r.Norms, x)
	return nil
}

// heads takes in the values of an attention layer, where nothing but the two projections sees them.
func (s *streams) heads(n *Node) {
	v := n.In[2]
	out := s.readers[n]
	if v.Op != OpLinear || len(s.readers[v]) != 1 || len(out) != 1 || out[0].Op != OpLinear || s.uses[v.Weight(0)] != 1 || s.uses[out[0].Weight(0)] != 1 {
		return
	}
	s.r.Heads = append(s.r.Heads, ValueHeads{Dim: n.Attn.ValueDim, Before: present(v.Weights), After: out[0].Weight(0)})
}

func forbids(n *Node, why string) error {
	name := n.Site
	if name == "" {
		name = fmt.Sprintf("operation %d (%s)", n.ID, n.Op)
	}
	return tensor.Errorf(ErrUnsupported, "", name, "%s", why)
}

func add(ws []*Weight, w *Weight) []*Weight {
	if slices.Contains(ws, w) {
		return ws
	}
	return append(ws, w)
}

// Untied returns the model with a head of its own that holds what the embedding holds.
func (m *Model) Untied() (*Model, error) {
	c := m.Config.Clone()
	c.Tied = false
	c.hf.set("tie_word_embeddings", false)
	n, err := m.redraw(c, func(w *Weight) (*Weight, string) {
		if w.Name == "head" {
			return m.Graph.Weight("embed"), "embed"
		}
		return m.Graph.Weight(w.Name), w.Name
	}, nil)
	if err != nil {
		return nil, err
	}
	n.Path, n.activations, n.tokenScales = m.Path, m.activations, m.tokenScales
	return n, nil
}
