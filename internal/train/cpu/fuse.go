package cpu

import "sort"

// Fusion: elementwise operations, broadcasts of row values and reductions are computed together by loops over tiles of
// a matrix [rows, cols], so that what passes between them never leaves the first-level cache. A group has values of two
// sizes: full ones of rows*cols values and row ones of rows values, which row reductions make and which are spread over
// the columns again. Reductions over all rows leave the group.
//
// First every operation joins the group of its readers when one group holds all of them, from the last operation to
// the first. Then groups that read one another or the same memory are merged where nothing must happen between them.

// relation says how a fused operation reads a producer's value.
type relation uint8

const (
	relSame   relation = iota // value i for value i
	relRow                    // value i/cols for value i
	relScalar                 // one value
	relOther                  // through a view
)

// edge is one reading of a producer.
type edge struct {
	reader *Node
	how    relation
	cols   int // relRow
	fused  bool
}

// group is a loop.
type group struct {
	id      int
	rows    int // with cols 0: the number of values of all members
	cols    int // 0 while rows have no meaning
	members []*Node
}

const groupLimit = 128 // members of a group

// fusible reports whether an operation can be computed by a tile loop.
func fusible(n *Node) bool {
	tiled := func(d DType) bool { return d == Float32 || d == Bool }
	switch n.op {
	case opUnary, opBinary, opCompare, opWhere:
		for _, x := range n.in {
			if !tiled(x.shape.DType) {
				return false
			}
		}
		return tiled(n.shape.DType) && n.shape.Len() > 0 && n.fn < fnTotalEq
	case opConvert:
		from := n.in[0].shape.DType
		return tiled(n.shape.DType) && (tiled(from) || from == Int32 || from == Uint8) && n.shape.Len() > 0
	case opReduce:
		return n.shape.DType == Float32 && reduceKind(n) != reduceNone
	}
	return false
}

// The kinds of reductions.
type reduction uint8

const (
	reduceNone reduction = iota
	reduceRow            // over the trailing dimensions
	reduceCol            // over the leading dimensions
	reduceAll
)

func reduceKind(n *Node) reduction {
	dims := n.in[0].shape.Dims
	if n.in[0].shape.Len() == 0 {
		return reduceNone
	}
	changes, last := 0, false
	first := true
	var leads bool
	for i, d := range dims {
		if d == 1 {
			continue
		}
		r := contains(n.ints, i)
		if first {
			leads, first = r, false
		} else if r != last {
			changes++
		}
		last = r
	}
	switch {
	case changes == 0 && leads:
		return reduceAll
	case changes == 1 && last:
		return reduceRow
	case changes == 1 && leads && n.fn == fnAdd:
		return reduceCol
	}
	return reduceNone
}

// reads tells how a fused operation reads an operand: which producer, and in which relation.
func (c *compiler) reads(x *Node) (src *Node, how relation, cols int) {
	for isView(x) && !c.forced[x] && c.sameAs[x] == nil {
		switch x.op {
		case opReshape, opBarrier:
			x = x.in[0]
			continue
		case opBroadcast:
			if len(x.ints) == 0 {
				src, how, _ := c.reads(x.in[0])
				if how == relOther {
					return src, relOther, 0
				}
				return src, relScalar, 0
			}
			if prefix(x) {
				if src, how, _ := c.reads(x.in[0]); how == relSame {
					return src, relRow, x.shape.Len() / src.shape.Len()
				}
			}
		}
		base, _ := c.view(x)
		return base, relOther, 0
	}
	return x, relSame, 0
}

// prefix reports whether a broadcast repeats each value of its input over trailing dimensions.
func prefix(x *Node) bool {
	k := 0
	for i, d := range x.shape.Dims {
		if d == 1 {
			continue
		}
		if k < len(x.ints) {
			if x.ints[k] != i {
				return false
			}
			k++
		}
	}
	return true
}

// findReaders notes who reads which producer, and which producers must be in memory.
func (c *compiler) findReaders() {
	for _, n := range c.live {
		if isView(n) || c.absorbed[n] {
			continue
		}
		fused := fusible(n)
		for _, x := range n.in {
			if !fused {
				base, _ := c.view(x)
				c.must[base] = true
				c.readers[base] = append(c.readers[base], edge{reader: n})
				continue
			}
			src, how, cols := c.reads(x)
			if how == relScalar || how == relOther {
				c.must[src] = true
			}
			c.readers[src] = append(c.readers[src], edge{n, how, cols, true})
			c.read[n] = append(c.read[n], edge{src, how, cols, true})
		}
	}
	for _, o := range c.outputs {
		base, _ := c.view(o)
		c.must[base] = true
	}
}

// fuse forms the groups.
func (c *compiler) fuse() {
	for i := len(c.live) - 1; i >= 0; i-- {
		n := c.live[i]
		if !fusible(n) || c.absorbed[n] {
			continue
		}
		if g := c.commonGroup(n); g != nil && len(g.members) < groupLimit && c.join(g, n) {
			g.members = append(g.members, n)
			c.groupOf[n] = g
			continue
		}
		c.groupOf[n] = newGroup(n)
	}
	c.mergeGroups()
}

func newGroup(n *Node) *group {
	g := &group{id: n.id, members: []*Node{n}, rows: n.shape.Len()}
	if n.op == opReduce {
		switch reduceKind(n) {
		case reduceRow:
			g.cols = n.in[0].shape.Len() / n.shape.Len()
		case reduceCol:
			g.rows, g.cols = n.in[0].shape.Len()/n.shape.Len(), n.shape.Len()
		case reduceAll:
			g.rows = n.in[0].shape.Len()
		}
	}
	return g
}

// commonGroup returns the one group that all readers of n are in, or nil.
func (c *compiler) commonGroup(n *Node) *group {
	if c.must[n] {
		return nil
	}
	if n.op == opReduce && reduceKind(n) != reduceRow {
		return nil
	}
	var g *group
	for _, e := range c.readers[n] {
		h := c.groupOf[e.reader]
		if h == nil || g != nil && h != g {
			return nil
		}
		g = h
	}
	return g
}

// shape is the size of a group while it is matched against others.
type groupShape struct{ rows, cols int }

// fit makes a group's shape hold values of both lengths, full and row; row 0 means that only full is known.
func (s *groupShape) fit(full, row int) bool {
	if row == 0 {
		return s.cols == 0 && full == s.rows || s.cols > 0 && (full == s.rows*s.cols || full == s.rows)
	}
	if s.cols > 0 {
		return full == s.rows*s.cols && row == s.rows
	}
	if s.rows != full && s.rows != row {
		return false
	}
	s.rows, s.cols = row, full/row
	return true
}

// reduces returns the lengths that a reduction asks of its group: full and row as fit takes them.
func reduces(n *Node) (full, row int) {
	in, out := n.in[0].shape.Len(), n.shape.Len()
	switch reduceKind(n) {
	case reduceRow:
		return in, out
	case reduceCol:
		return in, in / out
	}
	return in, 0
}

// accepts makes the shape fit a member's operands and readers within the group.
func (s *groupShape) accepts(c *compiler, n *Node, inside func(*Node) bool) bool {
	if n.op == opReduce {
		full, row := reduces(n)
		if !s.fit(full, row) {
			return false
		}
	} else if !s.fit(n.shape.Len(), 0) {
		return false
	}
	for _, e := range c.readers[n] {
		if e.how != relRow || !inside(e.reader) {
			continue
		}
		if !s.fit(e.reader.shape.Len(), n.shape.Len()) {
			return false
		}
	}
	return true
}

// join makes a group fit another member that its members alone read.
func (c *compiler) join(g *group, n *Node) bool {
	s := groupShape{g.rows, g.cols}
	for _, e := range c.readers[n] {
		if e.how == relSame && e.reader.op == opReduce {
			if full, row := reduces(e.reader); row > 0 && !s.fit(full, row) {
				return false
			}
		}
	}
	if !s.accepts(c, n, func(m *Node) bool { return c.groupOf[m] == g }) {
		return false
	}
	// Everything must still be one of the two sizes.
	for _, m := range g.members {
		if !s.holds(m) {
			return false
		}
	}
	g.rows, g.cols = s.rows, s.cols
	return true
}

func (s *groupShape) holds(n *Node) bool {
	length := n.shape.Len()
	if n.op == opReduce {
		full, row := reduces(n)
		if row > 0 {
			return s.cols > 0 && full == s.rows*s.cols && row == s.rows
		}
		length = full
	}
	return length == s.rows || s.cols > 0 && length == s.rows*s.cols
}

// groups lists the groups in the order of their last members.
func (c *compiler) groups() []*group {
	var list []*group
	seen := map[*group]bool{}
	for _, n := range c.live {
		if g := c.groupOf[n]; g != nil && !seen[g] {
			seen[g] = true
			list = append(list, g)
		}
	}
	for _, g := range list {
		sort.Slice(g.members, func(i, j int) bool { return g.members[i].id < g.members[j].id })
		g.id = g.members[len(g.members)-1].id
	}
	sort.Slice(list, func(i, j int) bool { return list[i].id < list[j].id })
	return list
}
