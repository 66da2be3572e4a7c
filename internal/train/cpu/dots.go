package cpu

import (
	"sort"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
)

// placement says how a matrix product (or a scatter by addition) writes: into the memory of `into`, which looks like
// `layout` to it, added to what is there when base is set.
type placement struct {
	into   *Node
	layout view // of into's memory, in the dimensions of the product
	base   *Node
}

// findProducts plans where products write. A product whose only reader transposes it writes transposed; one whose only
// reader adds it to an earlier value that nobody else reads is summed into that value's memory. So gradients of a weight
// that is used twice, and gradients accumulated over batches, need no memory and no pass of their own.
func (c *compiler) findProducts() {
	reader := c.soleReaders()
	for _, n := range c.live {
		sum := n.op == opScatter && n.fn == fnAdd && n.shape.DType == Float32
		if !sum && (n.op != opDot || n.shape.DType != Float32) {
			continue
		}
		p := &placement{into: n, layout: denseView(n.shape.Dims)}
		c.products[n] = p
		top := n // the node whose value the product gives so far
		if r := reader[n]; !sum && r != nil && r.op == opTranspose {
			if v := invert(r); layoutFits(n, v) {
				p.layout, top = v, r
				c.absorb(r, n)
			}
		}
		value := top
		for reader[value] != nil && reader[value].op == opReshape {
			value = reader[value]
		}
		add := reader[value]
		if add == nil || add.op != opBinary || add.fn != fnAdd || add.in[0] == add.in[1] {
			continue
		}
		if sum {
			if z, ok := uniform(n.in[0]); !ok || z != 0 {
				continue
			}
		}
		other := add.in[0]
		if other == value {
			other = add.in[1]
		}
		if !c.addable(other, n, reader) {
			continue
		}
		p.base = other
		c.absorb(add, n)
		if c.root(other).op != opParam {
			for other.op == opReshape && c.sameAs[other] == nil {
				other = other.in[0]
			}
			c.sameAs[n] = other
		}
	}
}

// absorb makes the value of a node appear in the memory of another.
func (c *compiler) absorb(n, into *Node) {
	c.sameAs[n] = into
	c.absorbed[n] = true
}

// root follows sums, folded transposes and reshapes to the node that owns the memory.
func (c *compiler) root(n *Node) *Node {
	for {
		switch {
		case c.sameAs[n] != nil:
			n = c.sameAs[n]
		case n.op == opReshape:
			n = n.in[0]
		default:
			return n
		}
	}
}

// addable reports whether a product may be summed into the memory of other: its value is ready before, is read by the
// sum alone, and lies dense.
func (c *compiler) addable(other, product *Node, reader map[*Node]*Node) bool {
	n := other
	for {
		ready := n
		for c.absorbed[ready] {
			ready = c.sameAs[ready]
		}
		if ready.id > product.id || reader[n] == nil && n.op != opParam {
			return false
		}
		if n.op != opReshape || c.sameAs[n] != nil {
			break
		}
		n = n.in[0]
	}
	root := c.root(n)
	return root.op == opParam || c.products[root] != nil || root.op == opResult && root.in[0].op == opKernel
}

// soleReaders maps nodes that one node alone reads, once, to that node.
func (c *compiler) soleReaders() map[*Node]*Node {
	reader := map[*Node]*Node{}
	for _, n := range c.live {
		for _, x := range n.in {
			if c.count[x] == 1 {
				reader[x] = n
			}
		}
	}
	return reader
}

// invert returns how the input of a transpose lies in its output's memory.
func invert(t *Node) view {
	s := denseStrides(t.shape.Dims)
	v := view{0, t.in[0].shape.Dims, make([]int, len(s))}
	for i, a := range t.ints {
		v.strides[a] = s[i]
	}
	return v
}

// layoutFits reports whether the rows and columns of a product can be written with that layout.
func layoutFits(n *Node, v view) bool {
	b, m := dotRanks(n)
	rs, rn, ok1 := merge(v.dims[b:b+m], v.strides[b:b+m])
	cs, cn, ok2 := merge(v.dims[b+m:], v.strides[b+m:])
	return ok1 && ok2 && (rs == 1 || cs == 1 || rn == 1 || cn == 1)
}

// dotRanks returns the numbers of batch dimensions and of left dimensions of a product's output.
func dotRanks(n *Node) (batch, left int) {
	s := n.attr.(DotSpec)
	return len(s.LBatch), len(n.in[0].shape.Dims) - len(s.LBatch) - len(s.LContract)
}

// operand is a matrix of a batch, seen through strides: value (i, l) of matrix b lies at offset + batch.at(b) + i*row + l*col.
type operand struct {
	from     *storage
	offset   int
	batch    view
	row, col int
	rows     int
	cols     int
}

// usable reports whether rows or columns run without gaps, as Gemm wants them.
func (o *operand) usable() bool {
	return (o.row == 1 || o.col == 1 || o.rows == 1 || o.cols == 1) && (o.row > 0 || o.rows == 1) && (o.col > 0 || o.cols == 1)
}

// operand finds how an input of a product can be read: free are its own dimensions, contract the summed ones in the
// order of both inputs.
func (c *compiler) operand(x *Node, batch, free, contract []int, key int) *operand {
	base, v := c.view(x)
	if o := c.tryOperand(base, v, batch, free, contract); o != nil {
		return o
	}
	perm := append(append(append([]int{}, batch...), free...), contract...)
	dims := make([]int, len(perm))
	order := make([]int, len(perm))
	for i, a := range perm {
		dims[i], order[i] = x.shape.Dims[a], i
	}
	t := c.newNode(Node{op: opTranspose, shape: MakeShape(Float32, dims...), in: []*Node{x}, ints: perm})
	c.copyOut(t, key-1)
	nb, nf := len(batch), len(free)
	return c.tryOperand(t, denseView(dims), order[:nb], order[nb:nb+nf], order[nb+nf:])
}

func (c *compiler) tryOperand(base *Node, v view, batch, free, contract []int) *operand {
	pick := func(axes []int) (dims, strides []int) {
		for _, a := range axes {
			dims, strides = append(dims, v.dims[a]), append(strides, v.strides[a])
		}
		return dims, strides
	}
	o := &operand{offset: v.offset}
	o.batch.dims, o.batch.strides = pick(batch)
	var ok bool
	d, s := pick(free)
	if o.row, o.rows, ok = merge(d, s); !ok {
		return nil
	}
	d, s = pick(contract)
	if o.col, o.cols, ok = merge(d, s); !ok || !o.usable() {
		return nil
	}
	o.from = c.store(base)
	return o
}

// emitProduct adds the step of a product.
func (c *compiler) emitProduct(n *Node, p *placement) {
	key := 2 * n.id
	st := &step{key: key, name: opNames[n.op], writes: []*storage{c.store(n)}}
	var base *storage
	if p.base != nil {
		if base = c.dense(p.base, key-1); base != st.writes[0] {
			st.reads = append(st.reads, base)
			st.inPlace = append(st.inPlace, inPlace{st.writes[0], base})
		}
	}
	if n.op == opScatter {
		c.emitScatter(n, st, base)
		return
	}
	a, b := c.operands(n, key)
	st.reads = append(st.reads, a.from, b.from)
	nb, nl := dotRanks(n)
	v := p.layout
	out := &operand{offset: v.offset, batch: view{0, v.dims[:nb], v.strides[:nb]}}
	out.row, out.rows, _ = merge(v.dims[nb:nb+nl], v.strides[nb:nb+nl])
	out.col, out.cols, _ = merge(v.dims[nb+nl:], v.strides[nb+nl:])
	g := gemm{a: *a, b: *b, c: *out, m: out.rows, n: out.cols, k: a.cols, count: product(v.dims[:nb]), accumulate: base != nil}
	st.flops = 2 * g.m * g.n * g.k * g.count
	dst := st.writes[0]
	st.run = func(r *run) {
		y := r.data(dst).([]float32)
		if base != nil {
			copyUnlessSame(y, r.data(base).([]float32))
		}
		g.run(y, r.data(g.a.from).([]float32), r.data(g.b.from).([]float32))
	}
	c.steps = append(c.steps, st)
}

// operands returns both inputs of a product, the summed dimensions in an order that suits both where there is one.
func (c *compiler) operands(n *Node, key int) (a, b *operand) {
	s, x, y := n.attr.(DotSpec), n.in[0], n.in[1]
	_, xv := c.view(x)
	order := make([]int, len(s.LContract))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(i, j int) bool {
		return xv.strides[s.LContract[order[i]]] > xv.strides[s.LContract[order[j]]]
	})
	lc, rc := make([]int, len(order)), make([]int, len(order))
	for i, o := range order {
		lc[i], rc[i] = s.LContract[o], s.RContract[o]
	}
	a = c.operand(x, s.LBatch, others(len(x.shape.Dims), s.LContract, s.LBatch), lc, key)
	b = c.operand(y, s.RBatch, others(len(y.shape.Dims), s.RContract, s.RBatch), rc, key)
	return a, b
}

// gemm is a batch of products C = A·Bᵀ: A [m,k], B [n,k], C [m,n], each seen through strides.
type gemm struct {
	a, b, c        operand
	m, n, k, count int
	accumulate     bool
}

func (g *gemm) run(c, a, b []float32) {
	if g.m == 0 || g.n == 0 {
		return
	}
	if g.k == 0 {
		if !g.accumulate {
			clear(c)
		}
		return
	}
	if g.count == 1 {
		g.one(0, c, a, b)
		return
	}
	par.For(g.count, 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			g.one(i, c, a, b)
		}
	})
}

// one computes the i-th product of the batch.
func (g *gemm) one(i int, c, a, b []float32) {
	c, a, b = c[g.c.offset+g.c.batch.at(i):], a[g.a.offset+g.a.batch.at(i):], b[g.b.offset+g.b.batch.at(i):]
	lda, aT := leading(g.a.row, g.a.col, g.m, g.k)
	ldb, bT := leading(g.b.row, g.b.col, g.n, g.k)
	ldc, swap := leading(g.c.row, g.c.col, g.m, g.n)
	if swap { // the memory holds Cᵀ = B·Aᵀ
		simd.Gemm(c, ldc, b, ldb, bT, a, lda, !aT, g.n, g.m, g.k, g.accumulate)
		return
	}
	simd.Gemm(c, ldc, a, lda, aT, b, ldb, !bT, g.m, g.n, g.k, g.accumulate)
}

// leading returns the distance between the runs of a matrix of rows x cols, and whether the runs are its columns.
func leading(row, col, rows, cols int) (ld int, columns bool) {
	switch {
	case cols == 1 && rows > 1: // one value a row
		return row, false
	case (col == 1 || cols == 1) && rows == 1:
		return cols, false
	case col == 1 && row >= cols:
		return row, false
	}
	return col, true
}
