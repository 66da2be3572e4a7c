package train

import (
	"fmt"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/parelm/pare/internal/train/cpu"
	"github.com/parelm/pare/model"
)

// attention is causal attention of q [batch, length, heads*dim] over k and v [batch, length, kvHeads*dim]. sinks [heads] may be nil.
func attention(q, k, v, sinks *Node, a *model.Attention) *Node {
	d := q.Shape().Dimensions
	if sinks != nil { // the kernel has none
		o, _ := attend(q, k, v, sinks, a, alibi(a, d[1]))
		return o
	}
	kernel := cpu.Attention{
		Batch: d[0], Length: d[1], Heads: a.Heads, KVHeads: a.KVHeads, Dim: a.HeadDim, ValueDim: a.ValueDim,
		Scale: float32(a.Scale), Window: a.Window, Softcap: float32(a.Softcap), Bias: alibi(a, d[1]),
	}
	var slopes any
	if a.Alibi != nil {
		slopes = *a.Alibi
	}
	flat := *a
	flat.Alibi = nil
	name := fmt.Sprintf("attention %+v %+v", flat, slopes)
	gradient := &composite{name: name + "'", kernel: &cpu.AttentionGrad{Attention: kernel},
		outs: []shapes.Shape{q.Shape(), k.Shape(), v.Shape()}, forward: func(in []*Node) []*Node {
			o, _ := attend(in[0], in[1], in[2], nil, a, kernel.Bias)
			return Gradient(ReduceAllSum(Mul(o, in[5])), in[0], in[1], in[2])
		}}
	outs := []shapes.Shape{shapes.Make(q.DType(), d[0], d[1], a.Heads*a.ValueDim), shapes.Make(q.DType(), d[0], a.Heads, d[1])}
	c := &composite{name: name, kernel: &kernel, outs: outs, forward: func(in []*Node) []*Node {
		o, lse := attend(in[0], in[1], in[2], nil, a, kernel.Bias)
		return []*Node{o, lse}
	}}
	c.vjp = func(in, out, dOut []*Node) []*Node {
		return gradient.apply(in[0], in[1], in[2], out[0], out[1], dOut[0])
	}
	return c.apply(q, k, v)[0]
}

// alibi returns the bias of every head and key position, nil where there is none.
func alibi(a *model.Attention, length int) [][]float32 {
	if a.Alibi == nil {
		return nil
	}
	bias := make([][]float32, a.Heads)
	for h := range bias {
		bias[h] = make([]float32, length)
		for i := range bias[h] {
			bias[h][i] = float32(a.Alibi.Bias(h, i))
		}
	}
	return bias
}

// attend is the definition of attention: the output and, for every head and query, the log of the sum of exponentials.
func attend(q, k, v, sinks *Node, a *model.Attention, bias [][]float32) (o, lse *Node) {
	d := q.Shape().Dimensions
	batch, length := d[0], d[1]
	s := scores(q, k, a, bias)
	e, sum, top := exponentials(s, sinks)
	p := Div(e, along(sum, e))
	v = Reshape(v, batch, length, a.KVHeads, a.ValueDim)
	// [batch, kv heads, query, group, value dim]
	o = DotGeneral(p, []int{4}, []int{0, 1}, v, []int{1}, []int{0, 2})
	o = Reshape(TransposeAllAxes(o, 0, 2, 1, 3, 4), batch, length, a.Heads*a.ValueDim)
	lse = Reshape(TransposeAllAxes(Add(Log(sum), top), 0, 1, 3, 2), batch, a.Heads, length)
	return o, lse
}

// probabilities returns the attention probabilities, [batch, kv heads, query, group, key].
func probabilities(q, k, sinks *Node, a *model.Attention, bias [][]float32) *Node {
	e, sum, _ := exponentials(scores(q, k, a, bias), sinks)
	return Div(e, along(sum, e))
}

// exponentials returns e^(s - top of the row), their sums and the tops, with those of sinks [heads] where there are any.
func exponentials(s, sinks *Node) (e, sum, top *Node) {
	top = ReduceMax(s, s.Rank()-1)
	if sinks != nil {
		d := s.Shape().Dimensions
		sinks = ExpandAndBroadcast(Reshape(sinks, d[1], d[3]), top.Shape().Dimensions, []int{0, 2})
		top = Max(top, sinks)
	}
	top = StopGradient(top)
	e = Exp(Sub(s, along(top, s)))
	if sum = ReduceSum(e, s.Rank()-1); sinks != nil {
		sum = Add(sum, Exp(Sub(sinks, top)))
	}
	return e, sum, top
}

// scores returns the scores of all queries and keys, -Inf where a query does not see a key, [batch, kv heads, query, group,
// key].
func scores(q, k *Node, a *model.Attention, bias [][]float32) *Node {
	g, d := q.Graph(), q.Shape().Dimensions
	batch, length, group := d[0], d[1], a.Heads/a.KVHeads
	q = Reshape(q, batch, length, a.KVHeads, group, a.HeadDim)
	k = Reshape(k, batch, length, a.KVHeads, a.HeadDim)
	s := DotGeneral(q, []int{4}, []int{0, 2}, k, []int{3}, []int{0, 2})
	s = softcap(MulScalar(s, a.Scale), a.Softcap)
	dims := s.Shape().Dimensions
	if bias != nil {
		b := Reshape(ConvertDType(Const(g, bias), s.DType()), a.KVHeads, group, length)
		s = Add(s, ExpandAndBroadcast(b, dims, []int{0, 2}))
	}
	seen := make([][]bool, length)
	for i := range seen {
		seen[i] = make([]bool, length)
		for j := range i + 1 {
			seen[i][j] = a.Window == 0 || i-j < a.Window
		}
	}
	mask := ExpandAndBroadcast(Const(g, seen), dims, []int{0, 1, 3})
	return Where(mask, s, Infinity(g, s.DType(), -1))
}

// softcap limits to ±c smoothly; 0 means no limit.
func softcap(x *Node, c float64) *Node {
	if c == 0 {
		return x
	}
	return MulScalar(Tanh(MulScalar(x, 1/c)), c)
}

// pick splits the logits [rows, classes] of each row in those that indices i32 [rows, kept] name and the log of the sum of
// exponentials of the rest. See cpu.Pick for indices that name nothing.
func pick(logits, indices *Node) (kept, rest *Node) {
	d, n := logits.Shape().Dimensions, indices.Shape().Dimensions[1]
	kernel := cpu.Pick{Rows: d[0], Classes: d[1], Kept: n}
	gradient := &composite{name: "pick'", kernel: &cpu.PickGrad{Pick: kernel}, outs: []shapes.Shape{logits.Shape()}, forward: func(in []*Node) []*Node {
		kept, rest := split(in[0], in[1])
		return Gradient(Add(ReduceAllSum(Mul(kept, in[3])), ReduceAllSum(Mul(rest, in[4]))), in[0])
	}}
	outs := []shapes.Shape{shapes.Make(logits.DType(), d[0], n), shapes.Make(logits.DType(), d[0])}
	c := &composite{name: "pick", kernel: &kernel, outs: outs, forward: func(in []*Node) []*Node {
		kept, rest := split(in[0], in[1])
		return []*Node{kept, rest}
	}}
	c.vjp = func(in, out, dOut []*Node) []*Node {
		return append(gradient.apply(in[0], in[1], out[1], dOut[0], dOut[1]), nil)
	}
	out := c.apply(logits, indices)
	return out[0], out[1]
}

// split is the definition of pick.
func split(logits, indices *Node) (kept, rest *Node) {
	g, d := logits.Graph(), logits.Shape().Dimensions
	n := indices.Shape().Dimensions[1]
	// named [rows, kept, classes]
	dims := []int{d[0], n, d[1]}
	class := ExpandAndBroadcast(Iota(g, shapes.Make(indices.DType(), d[1]), 0), dims, []int{0, 1})
	named := Equal(class, ExpandAndBroadcast(indices, dims, []int{2}))
	wide := ExpandAndBroadcast(logits, dims, []int{1})
	kept = ReduceSum(Where(named, wide, ZerosLike(wide)), 2)
	any := ReduceMax(ConvertDType(named, logits.DType()), 1)
	masked := Where(GreaterThan(any, ScalarZero(g, any.DType())), Infinity(g, logits.DType(), -1), logits)
	top := StopGradient(ReduceMax(masked, 1))
	return kept, Add(Log(ReduceSum(Exp(Sub(masked, along(top, masked))), 1)), top)
}
