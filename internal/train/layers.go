package train

import (
	"fmt"
	"math"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/parelm/pare/internal/train/cpu"
	"github.com/parelm/pare/model"
)

// The composites that models are drawn with. Each keeps for the backward pass what its inputs hold anyway and computes
// the rest again.

// over repeats a vector over the leading dimensions of like.
func over(v, like *Node) *Node {
	rank := like.Rank()
	axes := make([]int, 0, rank)
	for i := range rank - v.Rank() {
		axes = append(axes, i)
	}
	return ExpandAndBroadcast(v, like.Shape().Dimensions, axes)
}

// along repeats the value of each row over the last dimension of like.
func along(row, like *Node) *Node {
	return ExpandAndBroadcast(row, like.Shape().Dimensions, []int{like.Rank() - 1})
}

// leading returns all dimensions but the last n.
func leading(rank, n int) []int {
	axes := make([]int, rank-n)
	for i := range axes {
		axes[i] = i
	}
	return axes
}

// norm normalises the last dimension: (x - mean) / sqrt(mean of squares + eps), mean 0 for "rms", times weight plus bias
// where they are not nil.
func norm(x, weight, bias *Node, kind string, eps float64, plusOne bool) *Node {
	in := []*Node{x}
	if weight != nil {
		in = append(in, weight)
	}
	if bias != nil {
		in = append(in, bias)
	}
	center := kind == "layer"
	rank := x.Rank()
	width := float64(x.Shape().Dimensions[rank-1])
	// unit returns the normalised values and the factor of each row.
	unit := func(x *Node) (y, inv *Node) {
		if center {
			x = Sub(x, along(MulScalar(ReduceSum(x, rank-1), 1/width), x))
		}
		inv = Reciprocal(Sqrt(AddScalar(MulScalar(ReduceSum(Mul(x, x), rank-1), 1/width), eps)))
		return Mul(x, along(inv, x)), inv
	}
	scale := func(in []*Node, x *Node) *Node {
		w := in[1]
		if plusOne {
			w = AddScalar(w, 1)
		}
		return over(w, x)
	}
	c := &composite{
		name: fmt.Sprintf("norm %s %g %v %v %v", kind, eps, plusOne, weight != nil, bias != nil),
		forward: func(in []*Node) []*Node {
			y, _ := unit(in[0])
			if weight != nil {
				y = Mul(y, scale(in, y))
			}
			if bias != nil {
				y = Add(y, over(in[len(in)-1], y))
			}
			return []*Node{y}
		},
	}
	gradient := &composite{
		name: c.name + "'",
		forward: func(in []*Node) []*Node {
			dy := in[len(in)-1]
			u, inv := unit(in[0])
			out := []*Node{nil}
			du := dy
			if weight != nil {
				du = Mul(dy, scale(in, dy))
				out = append(out, ReduceSum(Mul(dy, u), leading(rank, 1)...))
			}
			if bias != nil {
				out = append(out, ReduceSum(dy, leading(rank, 1)...))
			}
			dx := Sub(du, Mul(u, along(MulScalar(ReduceSum(Mul(du, u), rank-1), 1/width), u)))
			if center {
				dx = Sub(dx, along(MulScalar(ReduceSum(du, rank-1), 1/width), dx))
			}
			out[0] = Mul(dx, along(inv, dx))
			return out
		},
	}
	c.vjp = func(in, _, dOut []*Node) []*Node { return gradient.apply(append(append([]*Node{}, in...), dOut...)...) }
	return c.apply(in...)[0]
}

// activation returns an activation and its derivative.
func activation(a model.Activation) (f, df func(x *Node) *Node) {
	switch a {
	case model.SiLU:
		return swish(1)
	case model.QuickGELU:
		return swish(1.702)
	case model.GELU:
		phi := func(x *Node) *Node { return MulScalar(AddScalar(Erf(MulScalar(x, math.Sqrt2/2)), 1), 0.5) }
		return func(x *Node) *Node { return Mul(x, phi(x)) },
			func(x *Node) *Node {
				density := MulScalar(Exp(MulScalar(Mul(x, x), -0.5)), 1/math.Sqrt(2*math.Pi))
				return Add(phi(x), Mul(x, density))
			}
	case model.GELUTanh:
		return geluTanh()
	case model.ReLU:
		return func(x *Node) *Node { return Max(x, ScalarZero(x.Graph(), x.DType())) },
			func(x *Node) *Node { return positive(x, OnesLike(x)) }
	case model.ReLUSquared:
		return func(x *Node) *Node { y := Max(x, ScalarZero(x.Graph(), x.DType())); return Mul(y, y) },
			func(x *Node) *Node { return positive(x, MulScalar(x, 2)) }
	case model.Sigmoid:
		return Logistic, func(x *Node) *Node { s := Logistic(x); return Mul(s, OneMinus(s)) }
	case model.Softplus:
		return func(x *Node) *Node { // max(x, 0) + log(1 + exp(-|x|))
			return Add(Max(x, ScalarZero(x.Graph(), x.DType())), Log1p(Exp(Neg(Abs(x)))))
		}, Logistic
	case model.Tanh:
		return Tanh, func(x *Node) *Node { y := Tanh(x); return OneMinus(Mul(y, y)) }
	}
	panic(fmt.Errorf("training knows no activation %q", a))
}

// positive takes values where x is above 0, else 0.
func positive(x, values *Node) *Node {
	zero := ScalarZero(x.Graph(), x.DType())
	return Where(GreaterThan(x, zero), values, zero)
}

// swish is x * sigmoid(beta x).
func swish(beta float64) (f, df func(x *Node) *Node) {
	gate := func(x *Node) *Node {
		if beta != 1 {
			x = MulScalar(x, beta)
		}
		return Logistic(x)
	}
	return func(x *Node) *Node { return Mul(x, gate(x)) },
		func(x *Node) *Node {
			s := gate(x)
			slope := Mul(MulScalar(x, beta), OneMinus(s))
			return Mul(s, AddScalar(slope, 1))
		}
}

// geluTanh is x/2 (1 + tanh(k (x + c x³))).
func geluTanh() (f, df func(x *Node) *Node) {
	k, c := math.Sqrt(2/math.Pi), 0.044715
	inner := func(x *Node) *Node {
		return Tanh(MulScalar(Mul(x, AddScalar(MulScalar(Mul(x, x), c), 1)), k))
	}
	return func(x *Node) *Node { return Mul(MulScalar(x, 0.5), AddScalar(inner(x), 1)) },
		func(x *Node) *Node {
			t := inner(x)
			slope := MulScalar(AddScalar(MulScalar(Mul(x, x), 3*c), 1), k)
			return MulScalar(Add(AddScalar(t, 1), Mul(Mul(x, slope), OneMinus(Mul(t, t)))), 0.5)
		}
}

// act applies an activation.
func act(x *Node, a model.Activation) *Node {
	f, df := activation(a)
	gradient := &composite{name: "act' " + string(a), forward: func(in []*Node) []*Node { return []*Node{Mul(in[1], df(in[0]))} }}
	c := &composite{name: "act " + string(a), forward: func(in []*Node) []*Node { return []*Node{f(in[0])} }}
	c.vjp = func(in, _, dOut []*Node) []*Node { return gradient.apply(in[0], dOut[0]) }
	return c.apply(x)[0]
}

// gated multiplies an activation of gate with up: SwiGLU and its kin (Shazeer 2020).
func gated(gate, up *Node, a model.Activation) *Node {
	f, df := activation(a)
	gradient := &composite{name: "gated' " + string(a), forward: func(in []*Node) []*Node {
		gate, up, dy := in[0], in[1], in[2]
		return []*Node{Mul(Mul(dy, up), df(gate)), Mul(dy, f(gate))}
	}}
	c := &composite{name: "gated " + string(a), forward: func(in []*Node) []*Node { return []*Node{Mul(f(in[0]), in[1])} }}
	c.vjp = func(in, _, dOut []*Node) []*Node { return gradient.apply(in[0], in[1], dOut[0]) }
	return c.apply(gate, up)[0]
}

// rope rotates the heads of x [batch, length, heads*dim].
func rope(x *Node, r *model.Rope, dim int) *Node {
	d := x.Shape().Dimensions
	length, heads := d[1], d[2]/dim
	freq, magnitude := r.Frequencies(length)
	cos, sin := make([][]float32, length), make([][]float32, length)
	minus := make([][]float32, length)
	for i := range length {
		magnitude := magnitude * r.Grown(i)
		for _, f := range freq {
			s, c := math.Sincos(float64(float32(i) * float32(f))) // tables are float32 everywhere
			cos[i], sin[i] = append(cos[i], float32(c*magnitude)), append(sin[i], float32(s*magnitude))
			minus[i] = append(minus[i], float32(-s*magnitude))
		}
	}
	name := fmt.Sprintf("rope %d %+v", dim, *r)
	kernel := cpu.Rotate{Batch: d[0], Length: length, Heads: heads, Dim: dim, Interleaved: r.Interleaved, Cos: cos, Sin: sin}
	back := kernel
	back.Sin = minus
	gradient := &composite{name: name + "'", kernel: &back, outs: []shapes.Shape{x.Shape()}, forward: func(in []*Node) []*Node {
		return []*Node{rotate(in[0], dim, r.Interleaved, cos, minus)}
	}}
	c := &composite{name: name, kernel: &kernel, outs: []shapes.Shape{x.Shape()}, forward: func(in []*Node) []*Node {
		return []*Node{rotate(in[0], dim, r.Interleaved, cos, sin)}
	}}
	c.vjp = func(_, _, dOut []*Node) []*Node { return gradient.apply(dOut[0]) }
	return c.apply(x)[0]
}

// rotate is the definition of the rotation.
func rotate(x *Node, dim int, interleaved bool, cos, sin [][]float32) *Node {
	g, d := x.Graph(), x.Shape().Dimensions
	n := len(cos[0])
	h := Reshape(x, d[0], d[1], d[2]/dim, dim)
	turned := SliceAxis(h, 3, AxisRange(0, 2*n))
	var a, b *Node
	if interleaved {
		p := Reshape(turned, d[0], d[1], d[2]/dim, n, 2)
		a, b = Squeeze(SliceAxis(p, 4, AxisElem(0)), 4), Squeeze(SliceAxis(p, 4, AxisElem(1)), 4)
	} else {
		a, b = SliceAxis(turned, 3, AxisRange(0, n)), SliceAxis(turned, 3, AxisRange(n, 2*n))
	}
	c := ConvertDType(ExpandAndBroadcast(Const(g, cos), a.Shape().Dimensions, []int{0, 2}), x.DType())
	s := ConvertDType(ExpandAndBroadcast(Const(g, sin), a.Shape().Dimensions, []int{0, 2}), x.DType())
	first, second := Sub(Mul(a, c), Mul(b, s)), Add(Mul(a, s), Mul(b, c))
	if interleaved {
		turned = Reshape(Stack([]*Node{first, second}, 4), d[0], d[1], d[2]/dim, 2*n)
	} else {
		turned = Concatenate([]*Node{first, second}, 3)
	}
	if 2*n < dim { // XLA refuses a slice of nothing
		turned = Concatenate([]*Node{turned, SliceAxis(h, 3, AxisRange(2*n, dim))}, 3)
	}
	return Reshape(turned, d...)
}
