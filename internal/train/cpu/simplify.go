package cpu

// Simplification on the spot: every rule keeps the values of float32 arithmetic bit for bit but for the sign of zeros.

// simplify returns a node that has n's value at less cost, or nil.
func (p *Program) simplify(n *Node) *Node {
	switch n.op {
	case opUnary:
		if n.fn == fnNeg && n.in[0].op == opUnary && n.in[0].fn == fnNeg {
			return n.in[0].in[0]
		}
		return p.hoist(n)
	case opBinary:
		if s := p.identities(n); s != nil {
			return s
		}
		if n.fn.commutes() && n.in[0].id > n.in[1].id {
			n.in = []*Node{n.in[1], n.in[0]}
		}
		return p.hoist(n)
	case opCompare:
		return p.hoist(n)
	case opWhere:
		if c, ok := uniform(n.in[0]); ok {
			return n.in[2-int(c)]
		}
		return p.hoist(n)
	case opConvert:
		if n.in[0].shape.DType == n.shape.DType {
			return n.in[0]
		}
		return p.hoist(n)
	case opBitcast:
		if n.in[0].shape.DType == n.shape.DType {
			return n.in[0]
		}
	case opReshape:
		return p.simplifyReshape(n)
	case opTranspose:
		return p.simplifyTranspose(n)
	case opBroadcast:
		return p.simplifyBroadcast(n)
	case opSlice:
		return p.simplifySlice(n)
	case opReduce:
		return p.simplifyReduce(n)
	case opReverse:
		if len(n.ints) == 0 || scalarBroadcast(n.in[0]) {
			return n.in[0]
		}
	case opPad:
		a := n.attr.(padAttr)
		if zeros(a.lo) && zeros(a.hi) && zeros(a.inner) {
			return n.in[0]
		}
	}
	return nil
}

func zeros(v []int) bool {
	for _, x := range v {
		if x != 0 {
			return false
		}
	}
	return true
}

func scalarBroadcast(n *Node) bool { return n.op == opBroadcast && len(n.ints) == 0 }

// uniform returns the one value that all places of a constant have. Numbers that float64 does not hold are not told.
func uniform(n *Node) (float64, bool) {
	for n.op == opBroadcast || n.op == opReshape {
		n = n.in[0]
	}
	if n.op != opConst || n.shape.Len() == 0 || n.shape.Len() > 1024 {
		return 0, false
	}
	switch v := n.value.Data.(type) {
	case []float32:
		return sameValue(v)
	case []float64:
		return sameValue(v)
	case []int32:
		return sameValue(v)
	case []bool:
		for _, b := range v {
			if b != v[0] {
				return 0, false
			}
		}
		if v[0] {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

func sameValue[T int32 | float32 | float64](v []T) (float64, bool) {
	for _, x := range v {
		if x != v[0] {
			return 0, false
		}
	}
	return float64(v[0]), true
}

// identities knows neutral elements and small powers.
func (p *Program) identities(n *Node) *Node {
	if n.shape.DType == Bool {
		return nil
	}
	x, y := n.in[0], n.in[1]
	if n.fn.commutes() {
		if _, ok := uniform(x); ok {
			x, y = y, x
		}
	}
	c, constant := uniform(y)
	switch n.fn {
	case fnAdd:
		if constant && c == 0 {
			return x
		}
		if y.op == opUnary && y.fn == fnNeg {
			return p.apply(fnSub, x, y.in[0])
		}
		if x.op == opUnary && x.fn == fnNeg {
			return p.apply(fnSub, y, x.in[0])
		}
	case fnSub:
		if constant && c == 0 {
			return x
		}
		if y.op == opUnary && y.fn == fnNeg {
			return p.apply(fnAdd, x, y.in[0])
		}
	case fnMul:
		if constant && c == 1 {
			return x
		}
		if constant && c == -1 {
			return p.apply(fnNeg, x)
		}
	case fnDiv:
		if constant && c == 1 {
			return x
		}
	case fnPow:
		return p.power(x, c, constant)
	}
	return nil
}

func (p *Program) power(x *Node, c float64, constant bool) *Node {
	float := x.shape.DType == Float32 || x.shape.DType == Float64
	switch {
	case !constant:
		return nil
	case c == 1:
		return x
	case c == 2:
		return p.apply(fnMul, x, x)
	case c == -1 && float:
		one := NewBuffer(MakeShape(x.shape.DType))
		setNumber(one.Data, 0, 1)
		return p.apply(fnDiv, p.Splat(p.Const(one), x.shape.Dims...), x)
	}
	return nil
}

// hoist moves an elementwise operation in front of the broadcast of its operands, where it has fewer values to compute.
func (p *Program) hoist(n *Node) *Node {
	var wide *Node // the operand whose source is largest
	for _, x := range n.in {
		if x.op != opBroadcast || x.shape.Len() == x.in[0].shape.Len() {
			return nil
		}
		if wide == nil || len(x.ints) > len(wide.ints) {
			wide = x
		}
	}
	source := wide.in[0].shape.Dims
	c := *n
	c.in = make([]*Node, len(n.in))
	for i, x := range n.in {
		switch {
		case equalInts(x.ints, wide.ints):
			c.in[i] = x.in[0]
		case scalarBroadcast(x):
			c.in[i] = p.Splat(x.in[0], source...)
		default:
			return nil
		}
	}
	c.shape = MakeShape(n.shape.DType, source...)
	return p.Broadcast(p.add(&c), n.shape.Dims, wide.ints)
}

func (p *Program) simplifyReshape(n *Node) *Node {
	x, dims := n.in[0], n.shape.Dims
	if equalInts(x.shape.Dims, dims) {
		return x
	}
	switch x.op {
	case opReshape:
		return p.Reshape(x.in[0], dims...)
	case opConst:
		return p.Const(&Buffer{n.shape, x.value.Data})
	case opBroadcast:
		if scalarBroadcast(x) {
			return p.Splat(x.in[0], dims...)
		}
		return p.reshapeBroadcast(x, dims)
	}
	return nil
}

// reshapeBroadcast reshapes a broadcast by one of a reshape, where the new sizes differ by ones alone.
func (p *Program) reshapeBroadcast(x *Node, dims []int) *Node {
	var from, to []int // dimensions above one
	for i, d := range x.shape.Dims {
		if d != 1 {
			from = append(from, i)
		}
	}
	for i, d := range dims {
		if d != 1 {
			to = append(to, i)
		}
	}
	if len(from) != len(to) {
		return nil
	}
	place := map[int]int{}
	for i, a := range from {
		if x.shape.Dims[a] != dims[to[i]] {
			return nil
		}
		place[a] = to[i]
	}
	axes := make([]int, len(x.ints))
	for i, a := range x.ints {
		axes[i] = place[a]
	}
	return p.Broadcast(x.in[0], dims, axes)
}

func (p *Program) simplifyTranspose(n *Node) *Node {
	x := n.in[0]
	if x.op == opTranspose {
		perm := make([]int, len(n.ints))
		for i, a := range n.ints {
			perm[i] = x.ints[a]
		}
		return p.Transpose(x.in[0], perm...)
	}
	if scalarBroadcast(x) {
		return p.Splat(x.in[0], n.shape.Dims...)
	}
	last := -1 // a permutation that moves dimensions of one value alone is a reshape
	for _, a := range n.ints {
		if x.shape.Dims[a] == 1 {
			continue
		}
		if a < last {
			return nil
		}
		last = a
	}
	return p.Reshape(x, n.shape.Dims...)
}

func (p *Program) simplifyBroadcast(n *Node) *Node {
	x := n.in[0]
	if x.shape.Len() == n.shape.Len() {
		return p.Reshape(x, n.shape.Dims...)
	}
	if x.op == opBroadcast {
		axes := make([]int, len(x.ints))
		for i, a := range x.ints {
			axes[i] = n.ints[a]
		}
		return p.Broadcast(x.in[0], n.shape.Dims, axes)
	}
	return nil
}

func (p *Program) simplifySlice(n *Node) *Node {
	x, a := n.in[0], n.attr.(sliceAttr)
	if equalInts(x.shape.Dims, n.shape.Dims) && zeros(a.start) {
		return x
	}
	if scalarBroadcast(x) {
		return p.Splat(x.in[0], n.shape.Dims...)
	}
	if x.op == opSlice {
		b := x.attr.(sliceAttr)
		start, stride := make([]int, len(a.start)), make([]int, len(a.start))
		for i := range start {
			start[i], stride[i] = b.start[i]+a.start[i]*b.stride[i], a.stride[i]*b.stride[i]
		}
		return p.add(&Node{op: opSlice, shape: n.shape, in: x.in, attr: sliceAttr{start, stride}})
	}
	return nil
}

func (p *Program) simplifyReduce(n *Node) *Node {
	x := n.in[0]
	for _, a := range n.ints {
		if x.shape.Dims[a] != 1 {
			return nil
		}
	}
	return p.Reshape(x, n.shape.Dims...)
}
