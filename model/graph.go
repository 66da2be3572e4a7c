package model

import (
	"fmt"
	"strings"
)

// Node is one operation of the drawing. Its value is a matrix [tokens, Out.Size()].
type Node struct {
	ID      int     // place in Graph.Nodes; inputs come before
	Op      Op      // what it does; see the constants for weights and attributes
	Site    string  // where it stands, "layers.3.attn.q"; empty for unnamed steps
	Layer   int     // -1 outside of the layers
	In      []*Node // operands
	Out     Dim     // width
	Weights []*Weight

	Norm   *Norm      // OpNorm
	Rope   *Rope      // OpRope
	Attn   *Attention // OpAttention
	Route  *Route     // OpRoute
	Delta  *Delta     // OpDelta
	Act    Activation // OpAct, OpExperts
	Limit  float64    // OpExperts: if not 0, act(min(gate x, Limit)) * (1 + up x limited to ±Limit) (gpt-oss)
	C      float64    // OpScale, OpSoftcap, OpClamp
	Offset int        // OpPosition
}

// Weight returns the i-th weight, or nil where the node has none there.
func (n *Node) Weight(i int) *Weight {
	if i < len(n.Weights) {
		return n.Weights[i]
	}
	return nil
}

// Graph is the drawing of a model: nodes in an order in which every input comes before its readers.
type Graph struct {
	Nodes   []*Node
	Logits  *Node     // the last node, [tokens, vocab]
	Layers  int       // number of layers
	Entry   []*Node   // Entry[i] is the residual stream that enters layer i; Entry[Layers] leaves the last
	Weights []*Weight // every weight once, in drawing order
	Axes    []*Axis   // every axis once, in drawing order

	byName map[string]*Weight
}

// Weight returns the weight of that canonical name, or nil.
func (g *Graph) Weight(name string) *Weight { return g.byName[name] }

// Parameters returns the number of values of all weights, tied ones counted once.
func (g *Graph) Parameters() int64 {
	var n int64
	for _, w := range g.Weights {
		n += int64(w.Len())
	}
	return n
}

// Axis returns the axis of that name, or nil.
func (g *Graph) Axis(name string) *Axis {
	for _, a := range g.Axes {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// Recurrent reports whether the model keeps a state other than keys and values.
func (g *Graph) Recurrent() bool {
	for _, n := range g.Nodes {
		switch n.Op {
		case OpConv, OpScan, OpDelta, OpShift, OpWKV:
			return true
		}
	}
	return false
}

// String lists the nodes, one a line, for tests and for `pare inspect --graph`.
func (g *Graph) String() string {
	var b strings.Builder
	for _, n := range g.Nodes {
		fmt.Fprintf(&b, "%3d %-9s", n.ID, n.Op)
		for _, in := range n.In {
			fmt.Fprintf(&b, " %%%d", in.ID)
		}
		fmt.Fprintf(&b, " -> %s", n.Out)
		if n.Site != "" {
			fmt.Fprintf(&b, "  %s", n.Site)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
