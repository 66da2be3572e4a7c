package runtime

import (
	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
)

// Mixtures of experts. The rows of a batch are gathered by the experts that they go to, several experts are multiplied in one pass over the
// cores, and what they make is added back in the order of the experts, whatever rows are beside it.

func (c *compiler) route(n *model.Node) {
	in := n.In[0]
	src := c.buf[in]
	if !c.output(n, in) {
		c.use(in)
	}
	dst, width, r := c.buf[n], n.Out.Size(), *n.Route
	c.rows("route", width, func(b *batch, t int) { routeRow(b.row(dst, width, t), b.row(src, width, t), r) })
}

// routeRow keeps the TopK largest of softmax(x), ties to the lower index, and zeroes the rest.
func routeRow(y, x []float32, r model.Route) {
	simd.Softmax(y, x)
	// The value and the place of the last one taken: what stands before it in the order of size is taken too.
	last, at, sum := float32(2), -1, float32(0)
	for range r.TopK {
		best, where := float32(-1), -1
		for i, v := range y {
			if v > best && (v < last || v == last && i > at) {
				best, where = v, i
			}
		}
		if where < 0 { // not a number
			break
		}
		last, at = best, where
		sum += best
	}
	if !r.Normalize {
		sum = 1
	}
	for i, v := range y {
		if y[i] = 0; v > last || v == last && i <= at {
			y[i] = v / sum
		}
	}
}

// roundRows is how many rows experts make together before they are multiplied: enough for all threads, few enough for the caches.
const roundRows = 128

// expertGroup is the rows that go to one expert: n from first on of those that a round gathered.
type expertGroup struct {
	expert, first, n int
	in, mid          activations // what gate and up read, and what down reads
}

// expertStep is what a step of experts is made of.
type expertStep struct {
	w, bias            [3]*model.Weight // gate, up, down
	width, ffn, hidden int
	count              int // experts
	act                func(y, x []float32)
	limit              float32
}

// mixture multiplies with experts. One serves all layers of an engine, which keeps its buffers.
type mixture struct {
	*expertStep
	b          *batch
	from       []float32 // the rows of the batch
	groups     []*expertGroup
	of, owner  []int // of each gathered row: its row in the batch, and its group
	x, g, u, d []float32
	mats       []int // those of w that are multiplied now
	step       int   // rows of a weight that make a task
	forms      simd.Form

	gatherRows, combineRows, multiplyTasks func(lo, hi int) // the methods, made once
}

func (c *compiler) experts(n *model.Node) {
	x, route := n.In[0], n.In[1]
	xb, rb := c.buf[x], c.buf[route]
	c.buf[n] = c.alloc(n.Out.Size())
	dst := c.buf[n]
	c.use(x)
	c.use(route)
	s := &expertStep{width: x.Out.Size(), ffn: n.Weight(0).Dims[1].Size(), hidden: n.Out.Size(), count: route.Out.Size(), act: activation(n.Act), limit: float32(n.Limit)}
	for i := range s.w {
		s.w[i], s.bias[i] = n.Weight(i), n.Weight(3+i)
	}
	m := &c.e.mixture
	if m.gatherRows == nil {
		m.gatherRows, m.combineRows, m.multiplyTasks = m.gather, m.combine, m.multiply
	}
	c.step("experts", func(b *batch) {
		in, weights, out := b.f(xb, s.width), b.f(rb, s.count), b.f(dst, s.hidden)
		if b.tap(x, in); b.over {
			return
		}
		clear(out)
		m.expertStep, m.b = s, b
		for e := 0; e < m.count; {
			m.groups, m.of, m.owner = m.groups[:0], m.of[:0], m.owner[:0]
			for ; e < m.count && len(m.of) < roundRows; e++ {
				m.take(e, weights)
			}
			if len(m.of) > 0 {
				m.round(in, weights, out)
			}
		}
		m.b = nil
	})
}

// take gathers the rows of an expert.
func (m *mixture) take(e int, weights []float32) {
	first := len(m.of)
	for t := range m.b.rows {
		if weights[t*m.count+e] != 0 {
			m.of, m.owner = append(m.of, t), append(m.owner, len(m.groups))
		}
	}
	if len(m.of) == first {
		return
	}
	if n := len(m.groups); n < cap(m.groups) {
		m.groups = m.groups[:n+1] // with the activations it had
	} else {
		m.groups = append(m.groups, nil)
	}
	last := &m.groups[len(m.groups)-1]
	if *last == nil {
		*last = new(expertGroup)
	}
	g := *last
	g.expert, g.first, g.n = e, first, len(m.of)-first
}

// round multiplies what was gathered and adds it to out.
func (m *mixture) round(in, weights, out []float32) {
	n, r := len(m.of), m.b.e.rounder
	m.x, m.g, m.u, m.d = sized(&m.x, n*m.width), sized(&m.g, n*m.ffn), sized(&m.u, n*m.ffn), sized(&m.d, n*m.hidden)
	m.from = in
	if r.codec(m.w[0]) == r.codec(m.w[1]) {
		m.products(0, 1)
	} else { // what they read is rounded in two ways
		m.products(0)
		m.products(1)
	}
	m.products(2)
	for i, t := range m.of { // in the order of the experts
		simd.Axpy(out[t*m.hidden:][:m.hidden], m.d[i*m.hidden:][:m.hidden], weights[t*m.count+m.groups[m.owner[i]].expert])
	}
	m.from = nil
}

// products multiplies with gate and up, or one of them, or down, the rows of all groups, made and rounded before.
func (m *mixture) products(mats ...int) {
	m.mats, m.forms = append(m.mats[:0], mats...), 0
	for _, k := range mats {
		m.forms |= m.b.e.mats[m.w[k]].Form(m.b.prompt)
	}
	rows, prepare := m.ffn, m.gatherRows
	for _, g := range m.groups {
		if mats[0] < 2 {
			g.in.begin(m.x[g.first*m.width:][:g.n*m.width], g.n, m.width, m.forms)
		} else {
			g.mid.begin(m.g[g.first*m.ffn:][:g.n*m.ffn], g.n, m.ffn, m.forms)
		}
	}
	if mats[0] == 2 {
		rows, prepare = m.hidden, m.combineRows
	}
	par.For(len(m.of), 1, prepare)
	if m.step = taskRows(rows); m.b.rows == 1 {
		m.step = narrowRows(rows)
	}
	tasks := len(m.groups) * len(mats) * ((rows + m.step - 1) / m.step)
	if m.b.rows == 1 {
		par.Runs(tasks, m.multiplyTasks)
	} else {
		par.For(tasks, 1, m.multiplyTasks)
	}
}

// gather copies rows of the batch and rounds them.
func (m *mixture) gather(lo, hi int) {
	for i := lo; i < hi; i++ {
		row, g := m.x[i*m.width:][:m.width], m.groups[m.owner[i]]
		copy(row, m.from[m.of[i]*m.width:])
		m.b.e.rounder.row(m.w[m.mats[0]], row)
		if m.forms != 0 {
			g.in.Quantize(i-g.first, i-g.first+1)
		}
	}
}

// combine multiplies the activation of gate with up and rounds the rows.
func (m *mixture) combine(lo, hi int) {
	for i := lo; i < hi; i++ {
		gate, up, g := m.g[i*m.ffn:][:m.ffn], m.u[i*m.ffn:][:m.ffn], m.groups[m.owner[i]]
		if l := m.limit; l != 0 {
			for j, v := range gate {
				gate[j], up[j] = min(v, l), 1+min(max(up[j], -l), l)
			}
		}
		m.act(gate, gate)
		simd.Mul(gate, gate, up)
		m.b.e.rounder.row(m.w[2], gate)
		if m.forms != 0 {
			g.mid.Quantize(i-g.first, i-g.first+1)
		}
	}
}

// multiply does tasks [i,end): stretches of rows of one matrix after the other, of one expert after the other.
func (m *mixture) multiply(i, end int) {
	for i < end {
		k := m.mats[0]
		rows, dst := m.ffn, m.g
		if k == 2 {
			rows, dst = m.hidden, m.d
		}
		n := (rows + m.step - 1) / m.step // tasks of a matrix
		which, first := i/n, i%n
		g := m.groups[which/len(m.mats)]
		if k = m.mats[which%len(m.mats)]; k == 1 {
			dst = m.u
		}
		in := &g.in
		if k == 2 {
			in = &g.mid
		}
		last := min(n, first+end-i)
		lo, hi := first*m.step, min(last*m.step, rows)
		dst = dst[g.first*rows:]
		mul(m.b.e.mats[m.w[k]], dst[lo:], rows, in, g.expert*rows+lo, g.expert*rows+hi, false)
		if w := m.bias[k]; w != nil {
			bias := m.b.e.vecs[w][g.expert*rows+lo : g.expert*rows+hi]
			for r := range g.n {
				row := dst[r*rows+lo:][:len(bias)]
				simd.Add(row, row, bias)
			}
		}
		i += last - first
	}
}
