package runtime

import (
	"fmt"

	"github.com/parelm/pare/model"
)

// A plan is the graph compiled to steps over shared buffers. It is cut where the residual stream enters and leaves
// layers: segment 0 is what comes before the first layer, segment i+1 is layer i, the last is what follows. The stream
// crosses the cuts in buffer 0 and nothing else does, so that layers can also be run one at a time.
type plan struct {
	segments []segment
	widths   []int // of each buffer
	tail     []int // of each buffer of the last segment, which runs on few rows
	logits   int   // buffer of the logits
	hidden   int   // width of the stream
	caches   []cacheSpec
	states   []int // values of each recurrent state
}

type segment struct {
	steps   []step
	weights []*model.Weight
}

// step is one fused operation on a batch.
type step struct {
	name string
	run  func(b *batch)
}

// stream is the buffer of the residual stream.
const stream = 0

// compiler assigns buffers and emits steps.
type compiler struct {
	e       *Engine
	g       *model.Graph
	seg     *segment
	plan    *plan
	widths  *[]int // of the buffers in use: plan.widths or plan.tail
	buf     map[*model.Node]int
	uses    map[*model.Node]int // readers not yet emitted
	readers map[*model.Node][]*model.Node
	done    map[*model.Node]bool
	before  map[*model.Node]*rowwise // what makes the input of a linear step, done by that step
	free    []int
}

func compile(e *Engine, g *model.Graph) (*plan, error) {
	hidden := g.Entry[0].Out.Size()
	p := &plan{segments: make([]segment, g.Layers+2), hidden: hidden, widths: []int{hidden}, tail: []int{hidden}}
	c := &compiler{e: e, g: g, plan: p, widths: &p.widths, buf: map[*model.Node]int{}, uses: map[*model.Node]int{},
		readers: map[*model.Node][]*model.Node{}, done: map[*model.Node]bool{}, before: map[*model.Node]*rowwise{}}
	segOf := func(n *model.Node) int {
		switch {
		case n.ID <= g.Entry[0].ID:
			return 0
		case n.ID > g.Entry[g.Layers].ID:
			return g.Layers + 1
		}
		return n.Layer + 1
	}
	for _, n := range g.Nodes {
		for _, in := range n.In {
			c.uses[in]++
			c.readers[in] = append(c.readers[in], n)
			if s := segOf(n); segOf(in) != s && in != g.Entry[max(s-1, 0)] {
				return nil, fmt.Errorf("node %d (%s) reads node %d of another layer", n.ID, n.Op, in.ID)
			}
		}
	}
	at := 0
	for s := range p.segments {
		c.seg = &p.segments[s]
		if s == g.Layers+1 {
			c.widths = &p.tail
		}
		c.free = c.free[:0]
		for b := 1; b < len(*c.widths); b++ {
			c.free = append(c.free, b)
		}
		if s > 0 {
			c.buf[g.Entry[s-1]] = stream
			c.uses[g.Entry[s-1]] = 0 // count those of this segment alone
			for _, r := range c.readers[g.Entry[s-1]] {
				if segOf(r) == s {
					c.uses[g.Entry[s-1]]++
				}
			}
		}
		if s <= g.Layers {
			c.uses[g.Entry[s]]++ // the next segment
		}
		for ; at < len(g.Nodes) && segOf(g.Nodes[at]) == s; at++ {
			if err := c.emit(g.Nodes[at]); err != nil {
				return nil, err
			}
		}
		if s <= g.Layers {
			if b := c.buf[g.Entry[s]]; b != stream {
				w := g.Entry[s].Out.Size()
				c.step("move", func(t *batch) { copy(t.f(stream, w), t.f(b, w)) })
			}
		}
	}
	p.logits = c.buf[g.Logits]
	return p, nil
}

func (c *compiler) step(name string, run func(b *batch)) {
	c.seg.steps = append(c.seg.steps, step{name, run})
}

// alloc returns a free buffer that will hold width values a row: the narrowest that fits, else the widest.
func (c *compiler) alloc(width int) int {
	widths, best := *c.widths, -1
	for i, b := range c.free {
		if best < 0 {
			best = i
			continue
		}
		w, v := widths[b], widths[c.free[best]]
		if v < width && w > v || w >= width && w < v {
			best = i
		}
	}
	if best < 0 {
		*c.widths = append(widths, width)
		return len(widths)
	}
	b := c.free[best]
	c.free = append(c.free[:best], c.free[best+1:]...)
	widths[b] = max(widths[b], width)
	return b
}

// use takes one reader off a node and frees its buffer after the last.
func (c *compiler) use(n *model.Node) {
	if c.uses[n]--; c.uses[n] == 0 && c.buf[n] != stream {
		c.free = append(c.free, c.buf[n])
	}
}

// output gives node n a buffer: that of in where n is in's last reader and may overwrite it, else a new one. It reports
// whether the two are one.
func (c *compiler) output(n, in *model.Node) bool {
	if in != nil && c.uses[in] == 1 && in.Out.Size() >= n.Out.Size() {
		c.uses[in] = 0
		c.buf[n] = c.buf[in]
		return true
	}
	c.buf[n] = c.alloc(n.Out.Size())
	return false
}

// own notes the weights of the segment.
func (c *compiler) own(ws ...*model.Weight) {
	for _, w := range ws {
		if w != nil {
			c.seg.weights = append(c.seg.weights, w)
		}
	}
}

// emit adds the steps of a node unless an earlier one took it along.
func (c *compiler) emit(n *model.Node) error {
	if c.done[n] {
		return nil
	}
	c.done[n] = true
	c.own(n.Weights...)
	switch n.Op {
	case model.OpEmbed:
		c.embed(n)
	case model.OpPosition:
		c.position(n)
	case model.OpLinear:
		c.linears(n)
	case model.OpNorm:
		c.norm(n)
	case model.OpRope:
		c.rope(n)
	case model.OpAttention:
		return c.attention(n)
	case model.OpAct:
		c.act(n)
	case model.OpAdd:
		c.add(n)
	case model.OpMul:
		c.mul(n)
	case model.OpScale, model.OpSoftcap, model.OpClamp:
		c.unary(n)
	case model.OpRoute:
		c.route(n)
	case model.OpExperts:
		c.experts(n)
	case model.OpConv:
		c.conv(n)
	case model.OpScan:
		c.scan(n)
	case model.OpDelta:
		c.delta(n)
	case model.OpShift:
		c.shift(n)
	case model.OpWKV:
		c.wkv(n)
	default:
		return fmt.Errorf("the runtime has no operation %s", n.Op)
	}
	return nil
}

// linears emits n together with the other linear layers that read the same input, as one step: a single pass over the
// cores serves q, k and v, or gate and up. A layer whose only reader adds it to the residual stream accumulates there.
func (c *compiler) linears(n *model.Node) {
	in := n.In[0]
	group := []*model.Node{n}
	if c.residual(n) == nil {
		for _, r := range c.readers[in] {
			if r != n && r.Op == model.OpLinear && !c.done[r] && r.Layer == n.Layer && c.residual(r) == nil {
				group = append(group, r)
				c.done[r] = true
				c.own(r.Weights...)
			}
		}
	}
	var outs []linearOut
	for _, l := range group {
		o := linearOut{w: l.Weight(0), bias: l.Weight(1), width: l.Out.Size()}
		if a := c.residual(l); a != nil {
			x := a.In[0]
			if x == l {
				x = a.In[1]
			}
			o.add = true
			c.done[a] = true
			c.buf[a], c.uses[x] = c.buf[x], 0
			o.buf = c.buf[a]
		} else {
			c.buf[l] = c.alloc(o.width)
			o.buf = c.buf[l]
		}
		outs = append(outs, o)
	}
	c.linearStep(in, n.Site, outs)
	for range group {
		c.use(in)
	}
}

// residual returns the addition that l can accumulate into, or nil: l's only reader adds it to a value that is already
// there and that nobody reads later.
func (c *compiler) residual(l *model.Node) *model.Node {
	if r := c.readers[l]; len(r) == 1 && r[0].Op == model.OpAdd && r[0].In[0] != r[0].In[1] {
		x := r[0].In[0]
		if x == l {
			x = r[0].In[1]
		}
		if _, there := c.buf[x]; there && c.uses[x] == 1 {
			return r[0]
		}
	}
	return nil
}

// linearOut is one of the layers of a linear step.
type linearOut struct {
	w, bias *model.Weight
	buf     int
	width   int
	add     bool
}
