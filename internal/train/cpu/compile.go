package cpu

import (
	"fmt"
	"sort"
)

// Compilation, in order:
//
//  1. analyse: which nodes are live, who reads them, which reshapes, transposes, slices and broadcasts are only ways to
//     look at memory (views.go);
//  2. matrix products take their operands through strides, write transposed where the reader wants that, and sum into
//     one another (dots.go);
//  3. elementwise chains and reductions are grouped into loops (fuse.go), written as tile programs (tile_build.go);
//  4. steps are ordered, buffers placed by lifetime (plan.go).

// compiler holds what is known of a program while it is compiled.
type compiler struct {
	live    []*Node          // in order
	readers map[*Node][]edge // by producer: who reads it, and how
	read    map[*Node][]edge // by fused reader: the same edges, for every operand; reader is the producer here
	forced  map[*Node]bool   // views that must be copied out
	must    map[*Node]bool   // producers whose value must be in memory
	outputs []*Node
	count   map[*Node]int // direct readers of a node, outputs included

	products map[*Node]*placement // by dot or scatter node
	sameAs   map[*Node]*Node      // nodes whose value appears in the memory of another: sums into it, folded transposes
	absorbed map[*Node]bool       // nodes that need no step of their own
	groupOf  map[*Node]*group

	devices int // that collectives are among; 0 without any

	steps  []*step
	where  map[*Node]*storage // producers in memory
	stores []*storage
	nextID int
}

// storage is a buffer of the compiled program.
type storage struct {
	id    int
	shape Shape
	param int     // 1 + parameter that it is
	out   int     // 1 + output that it is
	value *Buffer // constant

	first, last int      // steps that write it first and read it last
	shares      *storage // takes this storage's memory, which dies where this one is born
	offset      int      // in the arena of its type
}

// step is one unit of work. Its reads are complete before it begins.
type step struct {
	key    int // place in the program: steps that may run run by this
	name   string
	reads  []*storage
	writes []*storage
	// inPlace lists pairs: output i may use the memory of the storage if nobody reads it later.
	inPlace []inPlace
	flops   int
	run     func(r *run)
	meet    func(runs []*run) // instead, of a step that all devices make together

	deps    int // not yet done
	readers []*step
}

type inPlace struct{ out, in *storage }

// Compile prepares a program for running. Outputs may repeat and may be parameters.
func Compile(p *Program, outputs []*Node) (*Exec, error) {
	c := &compiler{
		readers: map[*Node][]edge{}, read: map[*Node][]edge{}, forced: map[*Node]bool{}, must: map[*Node]bool{}, count: map[*Node]int{}, outputs: outputs,
		products: map[*Node]*placement{}, sameAs: map[*Node]*Node{}, absorbed: map[*Node]bool{}, groupOf: map[*Node]*group{},
		where: map[*Node]*storage{}, nextID: len(p.nodes),
	}
	for _, o := range outputs {
		if o.outs != nil {
			return nil, fmt.Errorf("cpu: output %s has several values", o)
		}
	}
	c.analyse(p)
	c.findProducts()
	c.findReaders()
	c.fuse()
	c.emit()
	if err := c.order(); err != nil {
		return nil, err
	}
	return c.plan(p), nil
}

// analyse lists the live nodes and counts their readers.
func (c *compiler) analyse(p *Program) {
	live := reachable(c.outputs)
	for _, n := range p.nodes {
		if live[n] {
			c.live = append(c.live, n)
			for _, in := range n.in {
				c.count[in]++
			}
		}
	}
	for _, o := range c.outputs {
		c.count[o]++
	}
}

// newNode makes a node that the program does not have, to be computed just before another.
func (c *compiler) newNode(n Node) *Node {
	n.id = c.nextID
	c.nextID++
	return &n
}

// store returns the storage of a producer's value, made on first use.
func (c *compiler) store(n *Node) *storage {
	for c.sameAs[n] != nil {
		n = c.sameAs[n]
	}
	if s := c.where[n]; s != nil {
		return s
	}
	s := &storage{id: len(c.stores), shape: n.shape, offset: -1}
	switch n.op {
	case opParam:
		s.param = n.axis + 1
	case opConst:
		s.value = n.value
	}
	c.where[n] = s
	c.stores = append(c.stores, s)
	return s
}

// emit makes the steps: first those of producers that must be in memory, then copies for the outputs.
func (c *compiler) emit() {
	for _, n := range c.live {
		switch {
		case c.products[n] != nil:
			c.emitProduct(n, c.products[n])
		case c.absorbed[n] || c.groupOf[n] != nil:
		case isView(n) || n.op == opParam || n.op == opConst || n.op == opResult:
		case n.op == opCollective:
			c.emitCollective(n)
		case n.op == opKernel || n.op == opRandom:
			c.emitMulti(n)
		default:
			c.emitPlain(n)
		}
	}
	for _, g := range c.groups() {
		c.emitGroup(g)
	}
	for i, o := range c.outputs {
		c.emitOutput(i, o)
	}
}

// dense returns the storage in which n lies dense from the start, copying it out of a view where it does not.
func (c *compiler) dense(n *Node, key int) *storage {
	base, v := c.view(n)
	if v.dense() && v.offset == 0 && product(v.dims) == base.shape.Len() {
		return c.store(base)
	}
	return c.copyOut(n, key)
}

// copyOut makes a view a producer: a step copies it.
func (c *compiler) copyOut(n *Node, key int) *storage {
	if c.forced[n] {
		return c.store(n)
	}
	base, v := c.view(n)
	c.forced[n], c.must[base] = true, true
	c.readers[base] = append(c.readers[base], edge{reader: n})
	to, from := c.store(n), c.store(base)
	c.steps = append(c.steps, &step{key: key, name: "copy", reads: []*storage{from}, writes: []*storage{to},
		run: func(r *run) { parallelCopy(r.data(to), r.data(from), v) }})
	return to
}

// emitPlain computes a node by its definition.
func (c *compiler) emitPlain(n *Node) {
	s := &step{key: 2 * n.id, name: opNames[n.op], writes: []*storage{c.store(n)}}
	for _, x := range n.in {
		s.reads = append(s.reads, c.dense(x, s.key-1))
	}
	shaped := func(r *run, list []*storage, shapes []Shape) []*Buffer {
		b := make([]*Buffer, len(list))
		for i, st := range list {
			b[i] = &Buffer{shapes[i], r.data(st)}
		}
		return b
	}
	ins, outs := shapesOf(n.in), []Shape{n.shape}
	s.run = func(r *run) { runNode(n, shaped(r, s.writes, outs), shaped(r, s.reads, ins)) }
	if fast := fastPlain(n); fast != nil {
		s.run = func(r *run) { fast(shaped(r, s.writes, outs), shaped(r, s.reads, ins)) }
	}
	c.steps = append(c.steps, s)
}

// emitMulti computes a node with several outputs.
func (c *compiler) emitMulti(n *Node) {
	s := &step{key: 2 * n.id, name: opNames[n.op]}
	if k, ok := n.attr.(Kernel); ok {
		s.name = kernelName(k)
		if f, ok := k.(interface{ Flops() int }); ok {
			s.flops = f.Flops()
		}
	}
	s.writes = c.outputsOf(n)
	for _, x := range n.in {
		s.reads = append(s.reads, c.dense(x, s.key-1))
	}
	if k, ok := n.attr.(interface{ InPlace() [][2]int }); ok {
		for _, pair := range k.InPlace() {
			s.inPlace = append(s.inPlace, inPlace{s.writes[pair[0]], s.reads[pair[1]]})
		}
	}
	ins := shapesOf(n.in)
	s.run = func(r *run) {
		out, in := make([]*Buffer, len(s.writes)), make([]*Buffer, len(s.reads))
		for i, st := range s.writes {
			out[i] = &Buffer{n.outs[i], r.data(st)}
		}
		for i, st := range s.reads {
			in[i] = &Buffer{ins[i], r.data(st)}
		}
		runNode(n, out, in)
	}
	c.steps = append(c.steps, s)
}

// outputsOf returns the storages of a node's outputs, also of those that nobody reads.
func (c *compiler) outputsOf(n *Node) []*storage {
	results := map[int]*Node{}
	for _, m := range c.live {
		if m.op == opResult && m.in[0] == n {
			results[m.axis] = m
		}
	}
	var list []*storage
	for i, shape := range n.outs {
		if results[i] != nil {
			list = append(list, c.store(results[i]))
			continue
		}
		unread := &storage{id: len(c.stores), shape: shape, offset: -1}
		c.stores = append(c.stores, unread)
		list = append(list, unread)
	}
	return list
}

// emitOutput makes sure that output i has a buffer of its own.
func (c *compiler) emitOutput(i int, o *Node) {
	st := c.dense(o, 2*c.nextID)
	if st.param == 0 && st.value == nil && st.out == 0 {
		st.out = i + 1
		return
	}
	to := &storage{id: len(c.stores), shape: o.shape, offset: -1, out: i + 1}
	c.stores = append(c.stores, to)
	c.steps = append(c.steps, &step{key: 2*c.nextID + 1, name: "copy", reads: []*storage{st}, writes: []*storage{to},
		inPlace: []inPlace{{to, st}}, run: func(r *run) {
			if x, ok := r.data(to).([]float32); ok {
				copyUnlessSame(x, r.data(st).([]float32))
				return
			}
			copyData(r.data(to), r.data(st))
		}})
}

// order sorts the steps so that every step follows those that write what it reads; among those that may run, the one
// that comes first in the program runs.
func (c *compiler) order() error {
	writer := map[*storage][]*step{}
	for _, s := range c.steps {
		for _, w := range s.writes {
			writer[w] = append(writer[w], s)
		}
	}
	for _, s := range c.steps {
		seen := map[*step]bool{s: true}
		follow := func(w *step) {
			if !seen[w] {
				seen[w] = true
				s.deps++
				w.readers = append(w.readers, s)
			}
		}
		for _, r := range s.reads {
			for _, w := range writer[r] {
				follow(w)
			}
		}
		for _, o := range s.writes { // those who add to what another wrote
			for _, w := range writer[o] {
				if w.key < s.key {
					follow(w)
				}
			}
		}
	}
	var ready heap
	for _, s := range c.steps {
		if s.deps == 0 {
			ready.push(s)
		}
	}
	sorted := make([]*step, 0, len(c.steps))
	for len(ready) > 0 {
		s := ready.pop()
		sorted = append(sorted, s)
		for _, r := range s.readers {
			if r.deps--; r.deps == 0 {
				ready.push(r)
			}
		}
	}
	if len(sorted) != len(c.steps) {
		return fmt.Errorf("cpu: %d of %d steps wait for one another", len(c.steps)-len(sorted), len(c.steps))
	}
	c.steps = sorted
	return nil
}

// heap keeps steps sorted by key, the last first out.
type heap []*step

func (h *heap) push(s *step) {
	i := sort.Search(len(*h), func(i int) bool { return (*h)[i].key <= s.key })
	*h = append(*h, nil)
	copy((*h)[i+1:], (*h)[i:])
	(*h)[i] = s
}

func (h *heap) pop() *step {
	s := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return s
}

// kernelName names a kernel in profiles.
func kernelName(k Kernel) string {
	if s, ok := k.(fmt.Stringer); ok {
		return s.String()
	}
	return fmt.Sprintf("%T", k)
}
