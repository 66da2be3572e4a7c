package train

import (
	"fmt"
	"math/rand/v2"
	"testing"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/parelm/pare/model"
)

// gradients builds a loss out of outputs that weighs every value differently, and returns outputs and gradients.
func gradients(outputs []*Node, wrt ...*Node) []*Node {
	var loss *Node
	for i, o := range outputs {
		w := Sin(AddScalar(MulScalar(IotaFull(o.Graph(), o.Shape()), 0.37), float64(i)))
		l := ReduceAllSum(Mul(o, w))
		if loss == nil {
			loss = l
		} else {
			loss = Add(loss, l)
		}
	}
	return append(append([]*Node{}, outputs...), Gradient(loss, wrt...)...)
}

// The tests below compare composites, kernels and gradients of their own, with their definition differentiated by GoMLX
// on its Go backend.

func TestNorm(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, kind := range []string{"rms", "layer"} {
		for _, plusOne := range []bool{false, true} {
			t.Run(fmt.Sprint(kind, plusOne), func(t *testing.T) {
				agree(t, 2e-5, func(_ *Graph, in []*Node) []*Node {
					x, w, b := in[0], in[1], in[2]
					out := []*Node{norm(x, w, b, kind, 1e-5, plusOne), norm(x, w, nil, kind, 1e-5, plusOne)}
					return gradients(out, x, w, b)
				}, random(r, f32, 3, 5, 33), random(r, f32, 33), random(r, f32, 33))
				agree(t, 2e-5, func(_ *Graph, in []*Node) []*Node {
					return gradients([]*Node{norm(in[0], nil, nil, kind, 1e-5, false)}, in[0])
				}, random(r, f32, 70, 900))
			})
		}
	}
}

func TestActivations(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for _, a := range []model.Activation{model.SiLU, model.GELU, model.GELUTanh, model.QuickGELU, model.ReLU, model.ReLUSquared,
		model.Sigmoid, model.Softplus, model.Tanh} {
		t.Run(string(a), func(t *testing.T) {
			agree(t, 1e-5, func(_ *Graph, in []*Node) []*Node {
				return gradients([]*Node{act(in[0], a), gated(in[0], in[1], a)}, in[0], in[1])
			}, random(r, f32, 3, 40, 67), random(r, f32, 3, 40, 67))
		})
	}
}

func TestRope(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 2))
	for _, interleaved := range []bool{false, true} {
		for _, dim := range []int{8, 6} {
			agree(t, 1e-5, func(_ *Graph, in []*Node) []*Node {
				return gradients([]*Node{rope(in[0], &model.Rope{Dim: dim, Theta: 100, Interleaved: interleaved}, 8)}, in[0])
			}, random(r, f32, 2, 7, 24))
		}
	}
}

func TestAttention(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	cases := map[string]model.Attention{
		"plain":   {Heads: 4, KVHeads: 4, HeadDim: 8, ValueDim: 8},
		"grouped": {Heads: 6, KVHeads: 2, HeadDim: 8, ValueDim: 8},
		"wide":    {Heads: 2, KVHeads: 1, HeadDim: 8, ValueDim: 12},
		"window":  {Heads: 2, KVHeads: 2, HeadDim: 8, ValueDim: 8, Window: 5},
		"softcap": {Heads: 2, KVHeads: 1, HeadDim: 8, ValueDim: 8, Softcap: 1.5},
		"alibi":   {Heads: 4, KVHeads: 2, HeadDim: 8, ValueDim: 8, Alibi: &model.Alibi{Slopes: []float64{0.5, 0.25, 0.125, 0.0625}}},
		"all": {Heads: 4, KVHeads: 2, HeadDim: 8, ValueDim: 4, Softcap: 2, Window: 20,
			Alibi: &model.Alibi{Slopes: []float64{0.5, 0.25, 0.125, 0.0625}, Scale: 0.5, BF16: true}},
	}
	for name, a := range cases {
		for _, length := range []int{1, 9, 70, 230} { // a row; part of a block; blocks; several tasks
			t.Run(fmt.Sprint(name, length), func(t *testing.T) {
				a.Scale = 0.4
				agree(t, 3e-5, func(_ *Graph, in []*Node) []*Node {
					return gradients([]*Node{attention(in[0], in[1], in[2], nil, &a)}, in...)
				}, random(r, f32, 2, length, a.Heads*a.HeadDim), random(r, f32, 2, length, a.KVHeads*a.HeadDim),
					random(r, f32, 2, length, a.KVHeads*a.ValueDim))
			})
		}
	}
}

func TestPick(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 2))
	indices := tensors.FromValue([][]int32{{0, 3}, {-100, 16}, {5, 4}, {-1, -1}, {2, 99}})
	agree(t, 1e-5, func(_ *Graph, in []*Node) []*Node {
		kept, rest := pick(in[0], in[1])
		return gradients([]*Node{kept, rest}, in[0])
	}, random(r, f32, 5, 17), indices)
}
