package cpu

import (
	"sort"
)

// plan computes lifetimes, lets outputs of steps take the memory of inputs that die there, and places everything else
// in the arena.
func (c *compiler) plan(p *Program) *Exec {
	for _, s := range c.stores {
		s.first, s.last = len(c.steps), -1
	}
	for i, st := range c.steps {
		for _, s := range st.reads {
			s.last = max(s.last, i)
		}
		for _, s := range st.writes {
			s.first, s.last = min(s.first, i), max(s.last, i)
		}
	}
	for _, o := range c.stores {
		if o.out > 0 {
			o.last = len(c.steps)
		}
	}
	e := &Exec{steps: c.steps, stores: c.stores, donor: make([]int, len(c.outputs)), devices: c.devices, work: []*Arena{NewArena()}}
	for i := range e.donor {
		e.donor[i] = -1
	}
	c.share(e)
	e.arena = place(c.stores)
	for _, n := range p.params {
		e.inputs = append(e.inputs, n.shape)
	}
	for _, o := range c.outputs {
		e.outputs = append(e.outputs, o.shape)
	}
	return e
}

// share pairs outputs of steps with inputs that die there.
func (c *compiler) share(e *Exec) {
	taken := map[*storage]bool{}
	for i, st := range c.steps {
		for _, pair := range st.inPlace {
			to, from := pair.out, pair.in
			if to.shares != nil || to.first != i || from.last != i || taken[from] || to == from ||
				to.shape.DType != from.shape.DType || to.shape.Len() != from.shape.Len() || from.value != nil || from.out > 0 {
				continue
			}
			if from.param > 0 {
				if to.out > 0 && e.donor[to.out-1] < 0 {
					e.donor[to.out-1] = from.param - 1
					taken[from] = true
				}
				continue
			}
			if to.out > 0 && (hasOutput(from) || e.donor[to.out-1] >= 0) {
				continue
			}
			taken[from] = true
			to.shares = from
			if to.out > 0 { // what became the output was one all along
				r := from.root()
				r.out, to.out = to.out, 0
			}
		}
	}
}

func hasOutput(s *storage) bool { return s.root().out > 0 }

// root returns the storage that owns the memory.
func (s *storage) root() *storage {
	for s.shares != nil {
		s = s.shares
	}
	return s
}

// block is memory for storages that share it.
type block struct {
	s           *storage
	first, last int
	size        int
	offset      int
}

// place gives every block of the arena an offset so that blocks that live at the same time do not overlap: the largest
// first, each at the lowest place that is free. It returns the size of the arena of each type.
func place(stores []*storage) map[DType]int {
	blocks := map[*storage]*block{}
	var list []*block
	for _, s := range stores {
		r := s.root()
		if r.param > 0 || r.value != nil || r.out > 0 || s.last < 0 {
			continue
		}
		b := blocks[r]
		if b == nil {
			b = &block{s: r, first: s.first, last: s.last, size: (s.shape.Len() + 15) &^ 15}
			blocks[r] = b
			list = append(list, b)
		}
		b.first, b.last = min(b.first, s.first), max(b.last, s.last)
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].size > list[j].size })
	size := map[DType]int{}
	placed := map[DType][]*block{}
	for _, b := range list {
		d := b.s.shape.DType
		var busy []*block
		for _, o := range placed[d] {
			if o.first <= b.last && b.first <= o.last {
				busy = append(busy, o)
			}
		}
		sort.Slice(busy, func(i, j int) bool { return busy[i].offset < busy[j].offset })
		for _, o := range busy {
			if o.offset >= b.offset+b.size {
				break
			}
			b.offset = max(b.offset, o.offset+o.size)
		}
		b.s.offset = b.offset
		placed[d] = append(placed[d], b)
		size[d] = max(size[d], b.offset+b.size)
	}
	return size
}
