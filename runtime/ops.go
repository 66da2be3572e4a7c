package runtime

import (
	"math"
	"slices"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
)

// rowsGrain is how many values of rowwise work make one task.
const rowsGrain = 1 << 13

// rowwise is work on the rows of a batch that do not depend on each other.
type rowwise struct {
	name  string
	width int
	start func(b *batch)        // before the rows, if not nil
	row   func(b *batch, r int) // several at the same time
}

// grain is how many rows make a task.
func (w *rowwise) grain() int { return max(1, rowsGrain/max(w.width, 1)) }

// rows adds a step that runs f on all rows of a width, several rows a task.
func (c *compiler) rows(name string, width int, f func(b *batch, row int)) {
	c.rowStep(rowwise{name: name, width: width, row: f})
}

// rowStep adds a step of rowwise work. What it hands to the threads is made once, here, so that a token allocates nothing; engines run
// one batch at a time.
func (c *compiler) rowStep(w rowwise) {
	var b *batch
	loop := func(lo, hi int) {
		for r := lo; r < hi; r++ {
			w.row(b, r)
		}
	}
	c.step(w.name, func(x *batch) {
		b = x
		if w.start != nil {
			w.start(b)
		}
		par.For(b.rows, w.grain(), loop)
		b = nil
	})
}

// rowsOf adds a step of the rowwise work that makes node n, or leaves it to the linear step behind it where nobody else reads n: a row is
// rounded then while it is in the first cache, and the threads meet once.
func (c *compiler) rowsOf(n *model.Node, w rowwise) {
	next := n.ID + 1
	if next < len(c.g.Nodes) && c.g.Nodes[next].Op == model.OpLinear && c.g.Nodes[next].In[0] == n && c.oneStep(n) && !slices.Contains(c.g.Entry, n) {
		c.before[n] = &w
		return
	}
	c.rowStep(w)
}

// oneStep reports whether all that reads n is linear layers that linears joins.
func (c *compiler) oneStep(n *model.Node) bool {
	readers := c.readers[n]
	for _, r := range readers {
		if r.Op != model.OpLinear || r.Layer != readers[0].Layer || len(readers) > 1 && (len(c.readers[r]) == 1 && c.readers[r][0].Op == model.OpAdd) {
			return false
		}
	}
	return len(readers) > 0
}

func (c *compiler) embed(n *model.Node) {
	c.output(n, nil)
	w, dst, width := n.Weight(0), c.buf[n], n.Out.Size()
	c.rows("embed", width, func(b *batch, r int) {
		b.e.mats[w].Row(b.row(dst, width, r), int(b.ids[r]))
	})
}

func (c *compiler) position(n *model.Node) {
	c.output(n, nil)
	w, dst, width, offset := n.Weight(0), c.buf[n], n.Out.Size(), n.Offset
	c.step("position", func(b *batch) {
		y, table := b.f(dst, width), b.e.vecs[w]
		for _, p := range b.parts {
			for i := range p.n {
				at := p.pos + i + offset
				copy(y[(p.lo+i)*width:][:width], table[at*width:][:width])
			}
		}
	})
}

// task is a stretch of rows of one of the layers of a linear step.
type task struct{ out, lo, hi int }

// tasks splits the layers of a linear step into stretches of rows, as many as size says for a layer of so many.
func tasks(outs []linearOut, size func(rows int) int) []task {
	var ts []task
	for i, o := range outs {
		for lo, n := 0, size(o.width); lo < o.width; lo += n {
			ts = append(ts, task{i, lo, min(lo+n, o.width)})
		}
	}
	return ts
}

// of returns those of the layers [lo,hi), among tasks in the order of their layers.
func of(ts []task, lo, hi int) []task {
	for len(ts) > 0 && ts[0].out < lo {
		ts = ts[1:]
	}
	n := len(ts)
	for n > 0 && ts[n-1].out >= hi {
		n--
	}
	return ts[:n]
}

// narrowRows is how many rows of a weight make a task where one row of activations meets them: the four tiles that go side by
// side, or two of a small weight, since a thread that is done waits for the others' last tasks.
func narrowRows(rows int) int {
	if rows < 1024 {
		return 32
	}
	return 64
}

// linearStep adds a step that multiplies in with every matrix of the group in one pass over the cores.
func (c *compiler) linearStep(in *model.Node, site string, outs []linearOut) {
	src, width := c.buf[in], in.Out.Size()
	wide, narrow := tasks(outs, taskRows), tasks(outs, narrowRows)
	var ts []task
	var b *batch
	loop := func(i, end int) {
		for i < end {
			first := ts[i]
			for i++; i < end && ts[i].out == first.out; i++ {
			}
			b.linear(&outs[first.out], first.lo, ts[i-1].hi)
		}
	}
	made := c.before[in]
	var rounds bool // with the work before it
	before := func(lo, hi int) {
		for r := lo; r < hi; r++ {
			if made.row(b, r); rounds {
				b.e.acts.Quantize(r, r+1)
			}
		}
	}
	c.step("linear "+site, func(x *batch) {
		b = x
		v := b.f(src, width)
		if made != nil {
			if made.start != nil {
				made.start(b)
			}
			forms := b.forms(outs)
			if rounds = b.e.tap == nil && b.e.rounder == nil && forms != 0; rounds {
				b.e.acts.begin(v, b.rows, width, forms)
			}
			par.For(b.rows, made.grain(), before)
		}
		if b.tap(in, v); b.over {
			return
		}
		all := wide
		if b.rows == 1 {
			all = narrow
		}
		for lo, hi := 0, 0; lo < len(outs); lo = hi { // layers that want what they read rounded alike
			for hi = lo; hi < len(outs) && b.e.rounder.codec(outs[hi].w) == b.e.rounder.codec(outs[lo].w); hi++ {
			}
			if made == nil || !rounds {
				b.e.acts.reset(b.e.rounder.round(outs[lo].w, v, b.rows, width), b.rows, width, b.forms(outs[lo:hi]))
			}
			if ts = of(all, lo, hi); b.rows == 1 {
				par.Runs(len(ts), loop)
			} else {
				par.For(len(ts), 1, loop)
			}
		}
		b = nil
	})
}

// forms returns the forms of their input that the layers read.
func (b *batch) forms(outs []linearOut) (all simd.Form) {
	for i := range outs {
		all |= b.e.mats[outs[i].w].Form(b.prompt)
	}
	return all
}

// linear computes rows [lo,hi) of one layer's weight.
func (b *batch) linear(o *linearOut, lo, hi int) {
	y := b.f(o.buf, o.width)
	mul(b.e.mats[o.w], y[lo:], o.width, &b.e.acts, lo, hi, o.add)
	if o.bias == nil {
		return
	}
	bias := b.e.vecs[o.bias][lo:hi]
	for r := range b.rows {
		row := y[r*o.width+lo:][:len(bias)]
		simd.Add(row, row, bias)
	}
}

func (c *compiler) norm(n *model.Node) {
	in := n.In[0]
	src, width, spec := c.buf[in], n.Out.Size(), *n.Norm
	if !c.output(n, in) { // a part is read before it is written
		c.use(in)
	}
	dst, w, bias := c.buf[n], n.Weight(0), n.Weight(1)
	part := width / spec.Groups
	c.rowsOf(n, rowwise{"norm " + n.Site, width, func(b *batch) { b.e.affine(n, w, bias, part) }, func(b *batch, r int) {
		x, y, v := b.row(src, width, r), b.row(dst, width, r), b.e.norms[n]
		for g := range spec.Groups {
			at := g * part
			k := at % len(v.scale) // one scale for all parts, or one each
			scale, shift := v.scale[k:k+part], v.shift[k:k+part]
			if spec.Kind == "layer" {
				simd.LayerNorm(y[at:at+part], x[at:at+part], scale, shift, spec.Eps)
				continue
			}
			simd.RMSNorm(y[at:at+part], x[at:at+part], scale, spec.Eps)
			if bias != nil {
				simd.Add(y[at:at+part], y[at:at+part], shift)
			}
		}
	}})
}

// vec returns the values of a vector, or nil for no weight.
func (e *Engine) vec(w *model.Weight) []float32 {
	if w == nil {
		return nil
	}
	return e.vecs[w]
}

// affine is the scale and shift of a norm as the kernels want them: always there, of equal length, with the one added
// that some models leave out.
type affine struct{ scale, shift []float32 }

func (e *Engine) affine(n *model.Node, w, bias *model.Weight, part int) affine {
	if v, ok := e.norms[n]; ok {
		return v
	}
	size := part
	for _, x := range []*model.Weight{w, bias} {
		if x != nil {
			size = x.Len()
		}
	}
	v := affine{make([]float32, size), make([]float32, size)}
	for i := range v.scale {
		switch {
		case w == nil:
			v.scale[i] = 1
		case n.Norm.PlusOne:
			v.scale[i] = 1 + e.vecs[w][i]
		default:
			v.scale[i] = e.vecs[w][i]
		}
		if bias != nil {
			v.shift[i] = e.vecs[bias][i]
		}
	}
	e.norms[n] = v
	return v
}

// act applies an activation; where its only reader is a product, the product takes it along.
func (c *compiler) act(n *model.Node) {
	if r := c.readers[n]; len(r) == 1 && r[0].Op == model.OpMul && r[0].In[0].Out.Size() == r[0].In[1].Out.Size() && r[0].In[0] != r[0].In[1] {
		c.buf[n] = c.buf[n.In[0]] // the input waits
		return
	}
	c.unary(n)
}

func (c *compiler) unary(n *model.Node) {
	in := n.In[0]
	src := c.buf[in]
	if !c.output(n, in) {
		c.use(in)
	}
	dst, width := c.buf[n], n.Out.Size()
	f := unaryFunc(n)
	c.rows(n.Op.String(), width, func(b *batch, r int) { f(b.row(dst, width, r), b.row(src, width, r)) })
}

func unaryFunc(n *model.Node) func(y, x []float32) {
	k := float32(n.C)
	switch n.Op {
	case model.OpScale:
		return func(y, x []float32) { simd.Scale(y, x, k) }
	case model.OpSoftcap:
		return func(y, x []float32) {
			for i, v := range x {
				y[i] = k * float32(math.Tanh(float64(v/k)))
			}
		}
	case model.OpClamp:
		return func(y, x []float32) {
			for i, v := range x {
				y[i] = min(max(v, -k), k)
			}
		}
	}
	return activation(n.Act)
}

// activation returns the function y = act(x) on rows.
func activation(a model.Activation) func(y, x []float32) {
	each := func(f func(float64) float64) func(y, x []float32) {
		return func(y, x []float32) {
			for i, v := range x {
				y[i] = float32(f(float64(v)))
			}
		}
	}
	switch a {
	case model.SiLU:
		return simd.SiLU
	case model.GELU:
		return simd.GELU
	case model.GELUTanh:
		return simd.GELUTanh
	case model.QuickGELU:
		return func(y, x []float32) { // x sigmoid(cx) is silu(cx) / c
			simd.Scale(y, x, 1.702)
			simd.SiLU(y, y)
			simd.Scale(y, y, 1/float32(1.702))
		}
	case model.ReLU:
		return each(func(v float64) float64 { return max(v, 0) })
	case model.ReLUSquared:
		return each(func(v float64) float64 { return max(v, 0) * max(v, 0) })
	case model.Sigmoid:
		return simd.Sigmoid
	case model.Softplus:
		return each(func(v float64) float64 { return max(v, 0) + math.Log1p(math.Exp(-math.Abs(v))) })
	case model.Tanh:
		return simd.Tanh
	}
	panic("runtime: activation " + string(a))
}

func (c *compiler) add(n *model.Node) {
	x, y := n.In[0], n.In[1]
	xb, yb := c.buf[x], c.buf[y]
	if c.output(n, x) {
		c.use(y)
	} else {
		c.use(x)
		c.use(y)
	}
	dst, width := c.buf[n], n.Out.Size()
	c.rows("add", width, func(b *batch, r int) {
		simd.Add(b.row(dst, width, r), b.row(xb, width, r), b.row(yb, width, r))
	})
}

// mul multiplies, with the activation of an operand fused in: act(gate) * up.
func (c *compiler) mul(n *model.Node) {
	x, y := n.In[0], n.In[1]
	var act func(y, x []float32)
	if c.fusedAct(x, n) {
		act = activation(x.Act)
		x = x.In[0]
	} else if c.fusedAct(y, n) {
		act = activation(y.Act)
		x, y = y.In[0], x
	}
	xb, yb, narrow := c.buf[x], c.buf[y], y.Out.Size()
	if c.output(n, x) {
		c.use(y)
	} else {
		c.use(x)
		c.use(y)
	}
	dst, width := c.buf[n], n.Out.Size()
	c.rowsOf(n, rowwise{"mul", width, nil, func(b *batch, r int) {
		p, o := b.row(xb, width, r), b.row(dst, width, r)
		if act != nil {
			act(o, p)
			p = o
		}
		q := b.row(yb, narrow, r)
		if narrow == 1 && width != 1 {
			for i, v := range p {
				o[i] = v * q[0]
			}
			return
		}
		simd.Mul(o, p, q)
	}})
}

// fusedAct reports whether act() left node a to its reader n.
func (c *compiler) fusedAct(a, n *model.Node) bool {
	return a.Op == model.OpAct && len(c.readers[a]) == 1 && n.In[0].Out.Size() == n.In[1].Out.Size() && n.In[0] != n.In[1]
}

func (c *compiler) rope(n *model.Node) {
	in := n.In[0]
	src := c.buf[in]
	inPlace := c.output(n, in)
	if !inPlace {
		c.use(in)
	}
	dst, width, head, r := c.buf[n], n.Out.Size(), n.Out.Block, n.Rope
	var y []float32
	var t *ropeTable
	var p part
	loop := func(lo, hi int) {
		for i := lo; i < hi; i++ {
			t.rotate(y[(p.lo+i)*width:][:width], head, p.pos+i)
		}
	}
	c.step("rope", func(b *batch) {
		y = b.f(dst, width)
		if !inPlace {
			copy(y, b.f(src, width))
		}
		for _, p = range b.parts {
			t = b.e.table(r, p.total)
			par.For(p.n, max(1, rowsGrain/width), loop)
		}
		y, t, p = nil, nil, part{}
	})
}
