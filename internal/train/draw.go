package train

import (
	"fmt"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/parelm/pare/model"
)

// drawing turns the nodes of a model's graph into nodes of a GoMLX graph, for a batch of sequences of one length. The
// value of every node is [batch, length, width].
type drawing struct {
	m       *model.Graph
	ids     *Node                       // i32 [batch, length]
	weight  func(w *model.Weight) *Node // shaped as the weight
	thin    func(w *model.Weight) *thin // what stands beside a weight; nil, or nil for a weight, for nothing
	values  map[*model.Node]*Node       // drawn so far
	readers map[*model.Node][]*model.Node
}

// draw draws all nodes of the model's graph. weight gives the graph's node for a weight, the same node
// every time. It panics, as GoMLX graph functions do, with an error for graphs that cannot be trained.
func draw(m *model.Graph, ids *Node, weight func(w *model.Weight) *Node, beside func(w *model.Weight) *thin) *drawing {
	d := &drawing{m: m, ids: ids, weight: weight, thin: beside, values: map[*model.Node]*Node{}, readers: readersOf(m)}
	for _, n := range m.Nodes {
		d.node(n)
	}
	return d
}

// thin is a pair of LoRA matrices: a [rank, in], b [out, rank].
type thin struct {
	a, b  *Node
	scale float64
}

// beside applies them: scale * (x·aᵀ)·bᵀ. The product b·a, as large as the matrix they stand beside, is never made, nor is a
// gradient of that size.
func (t *thin) beside(x *Node) *Node {
	return MulScalar(linear(linear(x, t.a, nil), t.b, nil), t.scale)
}

func readersOf(m *model.Graph) map[*model.Node][]*model.Node {
	r := map[*model.Node][]*model.Node{}
	for _, n := range m.Nodes {
		for _, in := range n.In {
			r[in] = append(r[in], n)
		}
	}
	return r
}

// Trainable returns an error when a model holds an operation that the training graph does not have: recurrent layers.
func Trainable(m *model.Graph) error {
	for _, n := range m.Nodes {
		switch n.Op {
		case model.OpScan, model.OpDelta, model.OpShift, model.OpWKV:
			return fmt.Errorf("%s: training recurrent layers (%s) is not supported: %w", n.Site, n.Op, model.ErrUnsupported)
		}
	}
	return nil
}

// in returns the value of an operand.
func (d *drawing) in(n *model.Node, i int) *Node { return d.values[n.In[i]] }

// opt returns a weight of a node, nil where it has none.
func (d *drawing) opt(n *model.Node, i int) *Node {
	if w := n.Weight(i); w != nil {
		return d.weight(w)
	}
	return nil
}

func (d *drawing) node(n *model.Node) {
	if d.values[n] != nil {
		return
	}
	d.values[n] = d.value(n)
}

func (d *drawing) value(n *model.Node) *Node {
	switch n.Op {
	case model.OpEmbed:
		b := d.ids.Shape().Dimensions
		return Gather(d.opt(n, 0), Reshape(d.ids, b[0], b[1], 1))
	case model.OpPosition:
		b := d.ids.Shape().Dimensions
		rows := SliceAxis(d.opt(n, 0), 0, AxisRange(n.Offset, n.Offset+b[1]))
		return ExpandAndBroadcast(rows, []int{b[0], b[1], n.Out.Size()}, []int{0})
	case model.OpLinear:
		y := linear(d.in(n, 0), d.opt(n, 0), d.opt(n, 1))
		if d.thin != nil {
			if t := d.thin(n.Weight(0)); t != nil {
				y = Add(y, t.beside(d.in(n, 0)))
			}
		}
		return y
	case model.OpNorm:
		return d.norm(n)
	case model.OpRope:
		return rope(d.in(n, 0), n.Rope, n.Out.Block)
	case model.OpAttention:
		return attention(d.in(n, 0), d.in(n, 1), d.in(n, 2), d.opt(n, 0), n.Attn)
	case model.OpAct:
		if d.gate(n) {
			return d.in(n, 0) // the multiplication that follows applies it
		}
		return act(d.in(n, 0), n.Act)
	case model.OpAdd:
		return Add(d.in(n, 0), d.in(n, 1))
	case model.OpMul:
		return d.mul(n)
	case model.OpScale:
		return MulScalar(d.in(n, 0), n.C)
	case model.OpSoftcap:
		return softcap(d.in(n, 0), n.C)
	case model.OpClamp:
		return ClipScalar(d.in(n, 0), -n.C, n.C)
	case model.OpRoute:
		return route(d.in(n, 0), n.Route)
	case model.OpExperts:
		return d.experts(n)
	case model.OpConv:
		return conv(d.in(n, 0), d.opt(n, 0), d.opt(n, 1))
	}
	panic(Trainable(d.m))
}

// linear multiplies by w [out, in] and adds a bias where there is one.
func linear(x, w, bias *Node) *Node {
	y := DotGeneral(x, []int{x.Rank() - 1}, nil, w, []int{1}, nil)
	if bias != nil {
		y = Add(y, over(bias, y))
	}
	return y
}

// conv is the causal depthwise convolution of x [batch, length, width] with w [width, taps], and a bias where there is one: each tap
// multiplies what stood so many positions before.
func conv(x, w, bias *Node) *Node {
	d, taps := x.Shape().Dimensions, w.Shape().Dimensions[1]
	var sum *Node
	for t := range taps {
		back, y := taps-1-t, x
		if back >= d[1] {
			continue
		}
		if back > 0 {
			nothing := Zeros(x.Graph(), shapes.Make(x.DType(), d[0], back, d[2]))
			y = Concatenate([]*Node{nothing, SliceAxis(x, 1, AxisRange(0, d[1]-back))}, 1)
		}
		y = Mul(y, over(Reshape(SliceAxis(w, 1, AxisElem(t)), d[2]), y))
		if sum == nil {
			sum = y
		} else {
			sum = Add(sum, y)
		}
	}
	if bias != nil {
		sum = Add(sum, over(bias, sum))
	}
	return sum
}

// norm normalises each of the node's groups of channels.
func (d *drawing) norm(n *model.Node) *Node {
	x, w, b := d.in(n, 0), d.opt(n, 0), d.opt(n, 1)
	if n.Norm.Groups == 1 {
		return norm(x, w, b, n.Norm.Kind, n.Norm.Eps, n.Norm.PlusOne)
	}
	s := x.Shape().Dimensions
	part := s[2] / n.Norm.Groups
	h := Reshape(x, s[0], s[1], n.Norm.Groups, part)
	if (w == nil || w.Shape().Size() == part) && (b == nil || b.Shape().Size() == part) {
		return Reshape(norm(h, flat(w), flat(b), n.Norm.Kind, n.Norm.Eps, n.Norm.PlusOne), s...)
	}
	y := Reshape(norm(h, nil, nil, n.Norm.Kind, n.Norm.Eps, false), s...)
	whole := func(v *Node) *Node { // a scale of one part serves all
		if v = flat(v); v.Shape().Size() == part {
			v = Reshape(ExpandAndBroadcast(v, []int{n.Norm.Groups, part}, []int{0}), s[2])
		}
		return over(v, y)
	}
	if w != nil {
		scale := whole(w)
		if n.Norm.PlusOne {
			scale = AddScalar(scale, 1)
		}
		y = Mul(y, scale)
	}
	if b != nil {
		y = Add(y, whole(b))
	}
	return y
}

// flat gives a vector weight one dimension.
func flat(v *Node) *Node {
	if v == nil || v.Rank() == 1 {
		return v
	}
	return Reshape(v, v.Shape().Size())
}

// gate reports whether an activation is read by one multiplication alone, which then computes both.
func (d *drawing) gate(n *model.Node) bool {
	r := d.readers[n]
	return len(r) == 1 && r[0].Op == model.OpMul && r[0].In[0] == n && r[0].In[1] != n && r[0].In[1].Out.Size() == n.Out.Size()
}

func (d *drawing) mul(n *model.Node) *Node {
	x, y := d.in(n, 0), d.in(n, 1)
	if n.In[0].Op == model.OpAct && d.gate(n.In[0]) {
		return gated(x, y, n.In[0].Act)
	}
	return Mul(x, y) // an operand of width 1 is repeated
}

// route chooses experts: softmax over all, the largest stay, ties to the lower index, divided by their sum if asked.
func route(logits *Node, r *model.Route) *Node {
	p := Softmax(logits, -1)
	dims := p.Shape().Dimensions
	n := dims[2]
	wide := []int{dims[0], dims[1], n, n}
	mine, other := ExpandAndBroadcast(p, wide, []int{3}), ExpandAndBroadcast(p, wide, []int{2})
	first := Const(p.Graph(), lowerIndex(n))
	ahead := LogicalOr(GreaterThan(other, mine), LogicalAnd(Equal(other, mine), ExpandAndBroadcast(first, wide, []int{0, 1})))
	rank := ReduceSum(ConvertDType(ahead, p.DType()), 3)
	chosen := Where(LessThan(rank, Scalar(p.Graph(), p.DType(), r.TopK)), p, ZerosLike(p))
	if r.Normalize {
		chosen = Div(chosen, along(ReduceSum(chosen, 2), chosen))
	}
	return chosen
}

// lowerIndex is true at [i][j] where j < i.
func lowerIndex(n int) [][]bool {
	m := make([][]bool, n)
	for i := range m {
		m[i] = make([]bool, n)
		for j := range i {
			m[i][j] = true
		}
	}
	return m
}

// experts sums the outputs of all experts, weighted by the route [batch, length, experts]. Every expert computes every token, so the
// gradient is exact for the chosen ones and zero for the others at the price of the work of all.
func (d *drawing) experts(n *model.Node) *Node {
	x, route := d.in(n, 0), d.in(n, 1)
	var sum *Node
	for e := range n.In[1].Out.Size() {
		times := func(x *Node, i int) *Node { // matrix i of the expert and its bias
			pick := func(w *Node) *Node {
				if w == nil {
					return nil
				}
				return Squeeze(SliceAxis(w, 0, AxisElem(e)), 0)
			}
			return linear(x, pick(d.opt(n, i)), pick(d.opt(n, 3+i)))
		}
		gate, up := times(x, 0), times(x, 1)
		if l := n.Limit; l != 0 {
			gate, up = MinScalar(gate, l), AddScalar(ClipScalar(up, -l, l), 1)
		}
		y := Mul(times(gated(gate, up, n.Act), 2), SliceAxis(route, 2, AxisElem(e)))
		if sum == nil {
			sum = y
		} else {
			sum = Add(sum, y)
		}
	}
	return sum
}
