package cpu

// Merging of groups: a group is computed together with one that reads its values, or with one that reads the same
// memory, when no other step must come between.

// Groups of equal operands are merged when they are this close in the program, so that nothing lives much longer.
const siblingDistance = 120

func (c *compiler) mergeGroups() {
	next := c.successors()
	for _, n := range c.live {
		a := c.groupOf[n]
		if a == nil {
			continue
		}
		for _, e := range c.readers[n] {
			b := c.groupOf[e.reader]
			if a = c.groupOf[n]; b == nil || a == b || e.how == relScalar || e.how == relOther {
				continue
			}
			if n.op == opReduce && reduceKind(n) != reduceRow {
				continue
			}
			if s, ok := c.united(a, b); ok && !c.between(next, a, b, true) {
				c.unite(a, b, s)
			}
		}
	}
	for _, n := range c.live {
		if n.shape.Len() < 4096 {
			continue
		}
		var last *group
		for _, e := range c.readers[n] {
			b := c.groupOf[e.reader]
			if e.how != relSame || b == nil || !e.fused {
				continue
			}
			if a := last; a != nil && a != b && near(a, b) {
				if s, ok := c.united(a, b); ok && !c.between(next, a, b, false) && !c.between(next, b, a, false) {
					c.unite(a, b, s)
				}
			}
			last = c.groupOf[e.reader]
		}
	}
}

// near reports whether two groups are close in the program.
func near(a, b *group) bool {
	for _, m := range a.members {
		for _, n := range b.members {
			if d := m.id - n.id; d < siblingDistance && d > -siblingDistance {
				return true
			}
		}
	}
	return false
}

// successors returns, for every producer, the nodes that need it.
func (c *compiler) successors() map[*Node][]*Node {
	next := map[*Node][]*Node{}
	for n, edges := range c.readers {
		for _, e := range edges {
			next[n] = append(next[n], e.reader)
		}
	}
	for n, p := range c.products {
		if p.base != nil {
			base, _ := c.view(p.base)
			next[base] = append(next[base], n)
		}
	}
	for n := range c.absorbed {
		next[c.sameAs[n]] = append(next[c.sameAs[n]], n)
	}
	return next
}

// between reports whether a step outside both groups must run after a and before b; with direct set, b may read a.
func (c *compiler) between(next map[*Node][]*Node, a, b *group, direct bool) bool {
	seenNode, seenGroup := map[*Node]bool{}, map[*group]bool{a: true}
	var stack []*Node
	found := false
	visit := func(n *Node, fromA bool) {
		for _, m := range next[n] {
			g := c.groupOf[m]
			switch {
			case g == b:
				found = found || !fromA || !direct
			case g != nil && !seenGroup[g]:
				seenGroup[g] = true
				stack = append(stack, g.members...)
			case g == nil && !seenNode[m]:
				seenNode[m] = true
				stack = append(stack, m)
			}
		}
	}
	for _, m := range a.members {
		visit(m, true)
	}
	for len(stack) > 0 && !found {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		visit(n, false)
	}
	return found
}

// united returns the shape of a group of the members of both.
func (c *compiler) united(a, b *group) (groupShape, bool) {
	s := groupShape{a.rows, a.cols}
	if s.cols == 0 && b.cols > 0 {
		s = groupShape{b.rows, b.cols}
	}
	if len(a.members)+len(b.members) > groupLimit {
		return s, false
	}
	inside := func(n *Node) bool { return c.groupOf[n] == a || c.groupOf[n] == b }
	for _, g := range []*group{a, b} {
		for _, m := range g.members {
			if !s.accepts(c, m, inside) || c.needsWhole(m, inside) {
				return s, false
			}
		}
	}
	for _, g := range []*group{a, b} {
		for _, m := range g.members {
			if !s.holds(m) {
				return s, false
			}
		}
	}
	return s, true
}

// needsWhole reports whether a reader inside of the group needs all of a member's value before it can begin.
func (c *compiler) needsWhole(n *Node, inside func(*Node) bool) bool {
	leaves := n.op == opReduce && reduceKind(n) != reduceRow
	for _, e := range c.readers[n] {
		if inside(e.reader) && (leaves || e.how == relScalar || e.how == relOther) {
			return true
		}
	}
	return false
}

func (c *compiler) unite(a, b *group, s groupShape) {
	for _, m := range b.members {
		c.groupOf[m] = a
	}
	a.members = append(a.members, b.members...)
	a.rows, a.cols = s.rows, s.cols
}
