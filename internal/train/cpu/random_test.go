package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// generator makes random programs.
type generator struct {
	*rand.Rand
	p     *Program
	nodes []*Node
	dims  [][]int
}

// TestRandomPrograms compares compiled programs with their definition.
func TestRandomPrograms(t *testing.T) {
	count := 400
	if testing.Short() {
		count = 50
	}
	for seed := range count {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { randomProgram(t, uint64(seed)) })
	}
}

// FuzzPrograms does the same for any seed.
func FuzzPrograms(f *testing.F) {
	f.Add(uint64(5300))
	f.Fuzz(func(t *testing.T, seed uint64) { randomProgram(t, seed) })
}

func randomProgram(t *testing.T, seed uint64) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 7)), p: NewProgram()}
	sizes := []int{1, 2, 3, 5, 8, 17, 40}
	a, b, c := sizes[g.IntN(7)], sizes[g.IntN(7)], sizes[g.IntN(7)]
	g.dims = [][]int{{a, b, c}, {a, b}, {b, c}, {c}, {a}, {a * b, c}, {a, 1, c}, {}, {c, b}, {a, b * c}, {c, a, b}}
	for range 2 + g.IntN(4) {
		g.keep(g.p.Param(MakeShape(Float32, g.dims[g.IntN(len(g.dims))]...)))
	}
	g.keep(g.p.Param(MakeShape(Int32, a, b)))
	for range 5 + g.IntN(60) {
		g.grow()
	}
	var in []*Buffer
	for _, n := range g.p.params {
		in = append(in, randomBuffer(g.Rand, n.shape))
	}
	var out []*Node
	for range 1 + g.IntN(6) {
		out = append(out, g.nodes[g.IntN(len(g.nodes))])
	}
	out = append(out, g.nodes[len(g.nodes)-1])
	defer func() {
		if t.Failed() {
			for _, n := range g.p.nodes {
				t.Log(n)
			}
		}
	}()
	runBoth(t, g.p, out, in)
}

func (g *generator) keep(n *Node) *Node {
	g.nodes = append(g.nodes, n)
	return n
}

// any returns a node of that type, late ones more often.
func (g *generator) any(d DType) *Node {
	for {
		i := len(g.nodes) - 1 - min(g.IntN(len(g.nodes)), g.IntN(len(g.nodes)))
		if n := g.nodes[i]; n.shape.DType == d {
			return n
		}
	}
}

// to gives a node the wanted sizes by what fits: broadcast, reshape, reduction, slice and pad.
func (g *generator) to(n *Node, dims []int) *Node {
	p := g.p
	if equalInts(n.shape.Dims, dims) {
		return n
	}
	if product(dims) == n.shape.Len() {
		return p.Reshape(n, dims...)
	}
	for axes := range 1 << len(dims) { // as some of the wanted dimensions
		var pick, at []int
		for i, d := range dims {
			if axes>>i&1 == 1 {
				pick, at = append(pick, d), append(at, i)
			}
		}
		if product(pick) == n.shape.Len() {
			return p.Broadcast(p.Reshape(n, pick...), dims, at)
		}
	}
	for len(n.shape.Dims) > 0 {
		n = p.Reduce([]string{"add", "max", "min"}[g.IntN(3)], n, g.IntN(len(n.shape.Dims)))
		if product(dims) == n.shape.Len() {
			return p.Reshape(n, dims...)
		}
	}
	return p.Splat(n, dims...)
}

// tame keeps values in a range in which float32 and float64 do not drift apart.
func (g *generator) tame(n *Node) *Node { return g.p.Apply("tanh", n) }

func (g *generator) grow() {
	p := g.p
	x := g.any(Float32)
	switch g.IntN(16) {
	case 0:
		names := []string{"abs", "neg", "exp", "logistic", "tanh", "erf", "sign", "floor", "sin", "cos", "round", "ceil", "expm1"}
		g.keep(p.Apply(names[g.IntN(len(names))], g.tame(x)))
	case 1:
		g.keep(p.Apply("sqrt", p.Apply("abs", x)))
	case 2, 3, 4:
		names := []string{"add", "sub", "mul", "max", "min"}
		g.keep(p.Apply(names[g.IntN(len(names))], g.tame(x), g.tame(g.to(g.any(Float32), x.shape.Dims))))
	case 5:
		d := p.Apply("add", p.Apply("abs", g.to(g.any(Float32), x.shape.Dims)), g.number(0.5, x.shape.Dims))
		g.keep(p.Apply("div", x, d))
	case 6:
		names := []string{"lt", "le", "gt", "ge", "eq", "ne"}
		c := p.Apply(names[g.IntN(len(names))], x, g.to(g.any(Float32), x.shape.Dims))
		if g.IntN(2) == 0 {
			c = p.Apply("not", c)
		}
		c = p.Apply([]string{"and", "or", "xor"}[g.IntN(3)], c, p.Apply("isfinite", x))
		g.keep(p.Where(c, x, g.to(g.any(Float32), x.shape.Dims)))
		if g.IntN(3) == 0 {
			g.keep(p.Convert(c, Float32))
		}
	case 7:
		g.reduce(x)
	case 8:
		g.keep(p.Transpose(x, g.Perm(len(x.shape.Dims))...))
	case 9:
		g.keep(g.to(x, g.dims[g.IntN(len(g.dims))]))
	case 10, 11:
		g.dot()
	case 12:
		g.window(x)
	case 13:
		if n := len(x.shape.Dims); n > 0 {
			a := g.IntN(n)
			g.keep(p.Concat(a, x, g.tame(x), g.to(g.any(Float32), x.shape.Dims)))
		}
	case 14:
		g.rows(x)
	case 15:
		i := g.any(Int32)
		g.keep(p.Convert(p.Apply("mul", i, p.Iota(i.shape, len(i.shape.Dims)-1)), Float32))
		g.keep(p.Barrier(x, i))
	}
}

func (g *generator) number(v float32, dims []int) *Node {
	b, err := BufferOf([]float32{v})
	if err != nil {
		panic(err)
	}
	return g.p.Splat(g.p.Const(b), dims...)
}

func (g *generator) reduce(x *Node) {
	if len(x.shape.Dims) == 0 {
		return
	}
	var axes []int
	for i := range x.shape.Dims {
		if g.IntN(2) == 0 {
			axes = append(axes, i)
		}
	}
	g.keep(g.p.Reduce([]string{"add", "add", "max", "min", "mul"}[g.IntN(5)], g.tame(x), axes...))
	if g.IntN(3) == 0 {
		g.keep(g.p.Convert(g.p.Arg(x, g.IntN(len(x.shape.Dims)), g.IntN(2) == 0, Int32), Float32))
	}
}

// dot multiplies arrays over a random choice of dimensions.
func (g *generator) dot() {
	x := g.tame(g.any(Float32))
	var s DotSpec
	var dims []int
	for i, d := range x.shape.Dims {
		switch g.IntN(3) {
		case 0:
			s.LContract = append(s.LContract, i)
			dims = append(dims, d)
		case 1:
			s.LBatch = append(s.LBatch, i)
			dims = append(dims, d)
		}
	}
	dims = append(dims, 1+g.IntN(4))
	perm := g.Perm(len(dims)) // dimension i of the other operand is dims[perm[i]]
	other := make([]int, len(dims))
	place := make([]int, len(dims))
	for i, k := range perm {
		other[i], place[k] = dims[k], i
	}
	k := 0
	for i := range x.shape.Dims {
		if contains(s.LContract, i) {
			s.RContract = append(s.RContract, place[k])
			k++
		} else if contains(s.LBatch, i) {
			s.RBatch = append(s.RBatch, place[k])
			k++
		}
	}
	y := g.tame(g.to(g.any(Float32), other))
	if x.shape.Len()*product(other) > 1<<16 {
		return
	}
	d := g.p.Dot(x, y, s)
	if d.shape.Len() > 1<<12 {
		return
	}
	d2 := g.p.Dot(x, g.tame(y), s)
	if g.IntN(2) == 0 {
		perm := g.Perm(len(d.shape.Dims))
		d, d2 = g.p.Transpose(d, perm...), g.p.Transpose(d2, perm...)
	}
	switch g.IntN(3) { // sums of products
	case 0:
		d = g.p.Apply("add", d, g.to(g.any(Float32), d.shape.Dims))
	case 1:
		d = g.p.Apply("add", d, d2)
	}
	g.keep(d)
}

// window slices, reverses, pads and takes dynamic windows.
func (g *generator) window(x *Node) {
	n := len(x.shape.Dims)
	if n == 0 {
		return
	}
	start, limit, stride := make([]int, n), make([]int, n), make([]int, n)
	lo, hi, inner := make([]int, n), make([]int, n), make([]int, n)
	for i, d := range x.shape.Dims {
		start[i] = g.IntN(d)
		limit[i] = start[i] + 1 + g.IntN(d-start[i])
		stride[i] = 1 + g.IntN(2)
		lo[i], hi[i], inner[i] = g.IntN(3), g.IntN(3)-1, g.IntN(2)
		if d == 1 {
			hi[i] = 0
		}
	}
	switch g.IntN(4) {
	case 0:
		g.keep(g.p.Slice(x, start, limit, stride))
	case 1:
		g.keep(g.p.Reverse(x, g.IntN(n)))
	case 2:
		if x.shape.Len() < 2000 {
			g.keep(g.p.Pad(x, g.number(0.25, nil), lo, hi, inner))
		}
	case 3:
		at := make([]*Node, n)
		sizes := make([]int, n)
		for i, d := range x.shape.Dims {
			b, err := BufferOf([]int32{int32(g.IntN(d+2) - 1)})
			if err != nil {
				panic(err)
			}
			at[i], sizes[i] = g.p.Const(b), 1+g.IntN(d)
		}
		for i := range at {
			at[i] = g.p.Reshape(at[i])
		}
		w := g.keep(g.p.DynamicSlice(x, at, sizes))
		g.keep(g.p.DynamicUpdate(x, g.tame(w), at))
	}
}

// rows gathers rows and scatters them back.
func (g *generator) rows(x *Node) {
	if len(x.shape.Dims) != 2 {
		return
	}
	i := g.any(Int32)
	i = g.p.Reshape(i, i.shape.Len(), 1)
	n, width := i.shape.Dims[0], x.shape.Dims[1]
	spec := GatherSpec{IndexAxis: 1, Offset: []int{1}, Collapsed: []int{0}, Map: []int{0}, Sizes: []int{1, width}}
	if n*width > 4000 {
		return
	}
	rows := g.keep(g.p.Gather(x, i, spec, MakeShape(Float32, n, width)))
	base := x
	if g.IntN(2) == 0 {
		base = g.number(0, x.shape.Dims)
	}
	s := g.p.Scatter("add", base, i, g.tame(rows), spec)
	if g.IntN(2) == 0 {
		s = g.p.Apply("add", s, g.to(g.any(Float32), s.shape.Dims))
	}
	g.keep(s)
}
