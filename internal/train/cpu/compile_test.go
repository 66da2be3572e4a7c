package cpu

import (
	"math/rand/v2"
	"testing"
)

// TestNetwork compiles what a layer looks like: a norm, products in all layouts, a softmax, their gradients by hand.
func TestNetwork(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	p := NewProgram()
	x := p.Param(MakeShape(Float32, 3, 5, 8))
	w := p.Param(MakeShape(Float32, 7, 8))
	g := p.Param(MakeShape(Float32, 8))
	one := func(v float32) *Node { b, _ := BufferOf([]float32{v}); return p.Const(b) }
	mean := p.Apply("mul", p.Reduce("add", p.Apply("mul", x, x), 2), p.Splat(one(1.0/8), 3, 5))
	inv := p.Apply("rsqrt", p.Apply("add", mean, p.Splat(one(1e-5), 3, 5)))
	y := p.Apply("mul", x, p.Broadcast(p.Reshape(inv, 3, 5, 1), []int{3, 5, 8}, []int{0, 1, 2}))
	y = p.Apply("mul", y, p.Broadcast(g, []int{3, 5, 8}, []int{2}))
	z := p.Dot(y, w, DotSpec{LContract: []int{2}, RContract: []int{1}})
	top := p.Reduce("max", z, 2)
	wide := func(n *Node) *Node { return p.Broadcast(n, []int{3, 5, 7}, []int{0, 1}) }
	ex := p.Apply("exp", p.Apply("sub", z, wide(top)))
	soft := p.Apply("div", ex, wide(p.Reduce("add", ex, 2)))
	dw := p.Transpose(p.Dot(y, soft, DotSpec{LContract: []int{0, 1}, RContract: []int{0, 1}}), 1, 0)
	dy := p.Dot(soft, w, DotSpec{LContract: []int{2}, RContract: []int{0}})
	dg := p.Reduce("add", p.Apply("mul", dy, y), 0, 1)
	loss := p.Reduce("add", p.Apply("mul", soft, z), 0, 1, 2)
	w2 := p.Apply("sub", w, p.Apply("mul", dw, p.Splat(one(0.1), 7, 8)))
	sum := p.Apply("add", dy, p.Dot(soft, w2, DotSpec{LContract: []int{2}, RContract: []int{0}}))
	var in []*Buffer
	for _, n := range p.params {
		in = append(in, randomBuffer(r, n.shape))
	}
	runBoth(t, p, []*Node{soft, dw, dg, loss, w2, sum, x}, in)
}
