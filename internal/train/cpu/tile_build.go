package cpu

// builder writes the tile program of a group.
type builder struct {
	c     *compiler
	g     *group
	key   int
	p     *tileProgram
	value map[*Node]int     // of members
	load  map[loadKey]int   // of what is read
	temps []int             // values computed, in order
	zero  map[spreadKey]int // values spread over a tile
	reads []*storage
	rows  bool // some member is a row value or reduces rows: tiles hold whole rows
}

type loadKey struct {
	from  *storage
	class class
	view  string
}

type spreadKey struct {
	value int
	to    class
}

// emitGroup adds the step of a group.
func (c *compiler) emitGroup(g *group) {
	b := &builder{c: c, g: g, key: 2 * g.id, p: &tileProgram{}, value: map[*Node]int{}, load: map[loadKey]int{}, zero: map[spreadKey]int{}}
	b.layout()
	for _, n := range g.members {
		b.member(n)
	}
	b.outputs()
	b.allocate()
	p := b.p
	s := &step{key: b.key, name: "tile", reads: b.reads, run: p.run}
	for _, o := range p.outputs {
		s.writes = append(s.writes, o.to)
	}
	for _, f := range p.folds {
		s.writes = append(s.writes, f.to)
	}
	s.inPlace = b.inPlace()
	s.flops = len(p.code) * p.rows * p.cols
	c.steps = append(c.steps, s)
}

// layout decides rows, columns and the size of a tile.
func (b *builder) layout() {
	p, g := b.p, b.g
	p.rows, p.cols = g.rows, g.cols
	if g.cols == 0 {
		p.rows, p.cols = 1, g.rows
		if cols := b.inner(); cols > 0 && g.rows%cols == 0 {
			p.rows, p.cols = g.rows/cols, cols
		}
	}
	for _, n := range g.members {
		b.rows = b.rows || b.class(n) == classRow || n.op == opReduce && reduceKind(n) != reduceAll
	}
	p.nr, p.nc, p.across = 1, p.cols, 1
	switch {
	case p.cols <= tileValues:
		p.nr = max(1, min(p.rows, tileValues/p.cols))
	case !b.rows:
		p.nc = tileValues
		p.across = (p.cols + p.nc - 1) / p.nc
	}
}

// inner returns the run of columns that suits the operands read through views, for a group that has no columns of its
// own; 0 when any will do.
func (b *builder) inner() int {
	cols := 0
	for _, n := range b.g.members {
		for i, x := range n.in {
			run, e := 0, b.c.read[n][i]
			switch {
			case e.how == relRow && x.shape.Len() == b.g.rows:
				run = e.cols
			case e.how == relOther && x.shape.Len() == b.g.rows:
				_, v := b.c.view(x)
				run = v.run()
			}
			if run >= 16 && (cols == 0 || run < cols) {
				cols = run
			}
		}
	}
	return cols
}

// run returns the length of the longest run of trailing dimensions that has one stride, 0 or 1.
func (v view) run() int {
	w := v.squeeze()
	if k := len(w.dims) - 1; k >= 0 && (w.strides[k] == 0 || w.strides[k] == 1) {
		return w.dims[k]
	}
	return 1
}

// class returns the class of a member's value.
func (b *builder) class(n *Node) class {
	switch length := n.shape.Len(); {
	case n.op == opReduce && reduceKind(n) != reduceRow:
		return classScalar // leaves the group
	case length == b.p.rows*b.p.cols:
		return classFull
	default:
		return classRow
	}
}

func (b *builder) newValue(c class) int {
	b.p.classes = append(b.p.classes, c)
	return len(b.p.classes) - 1
}

// Values of loads must be numbered before those of instructions, so instructions use provisional numbers from here on.
const temporary = 1 << 20

func (b *builder) emit(in instr, c class) int {
	in.dst = temporary + len(b.temps)
	b.temps = append(b.temps, int(c))
	b.p.code = append(b.p.code, in)
	return in.dst
}

func (b *builder) classOf(v int) class {
	if v >= temporary {
		return class(b.temps[v-temporary])
	}
	return b.p.classes[v]
}

// operand returns the value that a member reads as its i-th.
func (b *builder) operand(n *Node, i int, full bool) int {
	x, e := n.in[i], b.c.read[n][i]
	if e.how == relSame || e.how == relRow {
		if v, ok := b.value[e.reader]; ok && b.c.groupOf[e.reader] == b.g {
			return v
		}
	}
	want := classRow
	if full {
		want = classFull
	}
	switch e.how {
	case relSame:
		return b.newLoad(load{from: b.c.store(e.reader), class: want}, "")
	case relScalar:
		return b.newLoad(load{from: b.c.store(e.reader), class: classScalar}, "")
	}
	return b.loadView(x, want)
}

// loadView reads an operand through its view, or from a copy where the view does not fit the loop.
func (b *builder) loadView(x *Node, want class) int {
	c := b.c
	base, v := c.view(x)
	if product(v.dims) == 1 {
		return b.newLoad(load{from: c.store(base), class: classScalar, outer: view{offset: v.offset}}, viewKey(v))
	}
	if want == classRow {
		return b.newLoad(load{from: c.store(base), class: classRow, viewed: true, outer: v}, viewKey(v))
	}
	outer, inner, ok := v.split(b.p.cols)
	if ok {
		stride, size, merged := merge(inner.dims, inner.strides)
		o := outer.squeeze()
		switch {
		case !merged:
		case size > 1 && stride == 0 && len(o.dims) == 1 && o.strides[0] == 1 && o.offset == 0 && base.shape.Len() == b.p.rows:
			return b.newLoad(load{from: c.store(base), class: classRow}, "")
		case size > 1 && stride == 0:
			return b.newLoad(load{from: c.store(base), class: classRow, viewed: true, outer: o}, viewKey(o))
		case stride == 1 && still(o):
			return b.newLoad(load{from: c.store(base), class: classCol, outer: view{offset: o.offset}}, viewKey(o))
		case stride == 1:
			whole := len(o.dims) == 0 || len(o.dims) == 1 && o.strides[0] == b.p.cols
			return b.newLoad(load{from: c.store(base), class: classFull, viewed: true, outer: o, dense: whole}, viewKey(o))
		}
	}
	return b.newLoad(load{from: c.copyOut(x, b.key-1), class: classFull}, "")
}

// still reports whether a view of rows stays where it is.
func still(v view) bool {
	for _, s := range v.strides {
		if s != 0 {
			return false
		}
	}
	return true
}

func viewKey(v view) string {
	return Shape{Float32, v.dims}.String() + Shape{Float32, v.strides}.String() + Shape{Float32, []int{v.offset}}.String()
}

func (b *builder) newLoad(l load, view string) int {
	k := loadKey{l.from, l.class, view}
	if v, ok := b.load[k]; ok {
		return v
	}
	v := b.newValue(l.class)
	b.load[k] = v
	b.p.loads = append(b.p.loads, l)
	b.reads = append(b.reads, l.from)
	return v
}

// as returns the value spread to a class where it is narrower.
func (b *builder) as(v int, c class) int {
	if b.classOf(v) == c {
		return v
	}
	k := spreadKey{v, c}
	if s, ok := b.zero[k]; ok {
		return s
	}
	s := b.emit(instr{op: tileSpread, a: v}, c)
	b.zero[k] = s
	return s
}

// member writes the instructions of a member.
func (b *builder) member(n *Node) {
	cl := b.class(n)
	if n.op == opReduce {
		b.reduce(n)
		return
	}
	in := make([]int, len(n.in))
	for i := range n.in {
		in[i] = b.operand(n, i, cl == classFull)
	}
	switch n.op {
	case opUnary:
		b.value[n] = b.emit(instr{op: tileUnary, fn: n.fn, a: b.as(in[0], cl)}, cl)
	case opConvert:
		v := b.as(in[0], cl)
		if n.shape.DType == Bool && n.in[0].shape.DType != Bool {
			v = b.emit(instr{op: tileUnary, fn: fnNot, a: v}, cl)
			v = b.emit(instr{op: tileUnary, fn: fnNot, a: v}, cl)
		}
		b.value[n] = v
	case opWhere:
		b.value[n] = b.emit(instr{op: tileSelect, a: b.as(in[0], cl), b: b.as(in[1], cl), c: b.as(in[2], cl)}, cl)
	default:
		b.value[n] = b.binary(n.fn, in[0], in[1], cl)
	}
}

// binary writes an operation of two operands, narrower ones as they are where a kernel takes them so.
func (b *builder) binary(f fn, x, y int, c class) int {
	cx, cy := b.classOf(x), b.classOf(y)
	if cx != c && cy == c && f.commutes() {
		x, y, cx, cy = y, x, cy, cx
	}
	k := &binaryKernels[f]
	op := tileVV
	switch {
	case cx == c && cy == classScalar && k.vs != nil:
		op = tileVS
	case cx == classScalar && cy == c && k.sv != nil:
		op = tileSV
	case c == classFull && cx == c && cy == classRow && k.vs != nil:
		op = tileVR
	case c == classFull && cx == classRow && cy == c && k.sv != nil:
		op = tileRV
	case c == classFull && cx == c && cy == classCol:
		op = tileVC
	case c == classFull && cx == classCol && cy == c:
		op = tileCV
	default:
		x, y = b.as(x, c), b.as(y, c)
	}
	return b.emit(instr{op: op, fn: f, a: x, b: y}, c)
}

func (b *builder) reduce(n *Node) {
	kind := reduceKind(n)
	full := n.in[0].shape.Len() == b.p.rows*b.p.cols
	cl := classRow
	if full {
		cl = classFull
	}
	v := b.as(b.operand(n, 0, full), cl)
	switch kind {
	case reduceRow:
		b.value[n] = b.emit(instr{op: tileReduce, fn: n.fn, a: v}, classRow)
		return
	case reduceCol:
		b.p.code = append(b.p.code, instr{op: tileCols, fn: n.fn, dst: -1, a: v, b: len(b.p.folds)})
	case reduceAll:
		b.p.code = append(b.p.code, instr{op: tileAll, fn: n.fn, dst: -1, a: v, b: len(b.p.folds)})
	}
	b.p.folds = append(b.p.folds, fold{fn: n.fn, cols: kind == reduceCol, to: b.c.store(n), size: n.shape.Len()})
}

// outputs lists the members whose value others read.
func (b *builder) outputs() {
	for _, n := range b.g.members {
		v, ok := b.value[n]
		if !ok {
			continue
		}
		need := b.c.must[n]
		for _, e := range b.c.readers[n] {
			need = need || b.c.groupOf[e.reader] != b.g
		}
		if need {
			b.p.outputs = append(b.p.outputs, output{value: v, to: b.c.store(n), class: b.class(n), bools: n.shape.DType == Bool})
		}
	}
}

// allocate renumbers the values, finds which outputs are computed in place and gives the others scratch slots.
func (b *builder) allocate() {
	p := b.p
	loads := len(p.loads)
	at := func(v int) int {
		if v >= temporary {
			return v - temporary + loads
		}
		return v
	}
	for _, c := range b.temps {
		p.classes = append(p.classes, class(c))
	}
	for i := range p.code {
		in := &p.code[i]
		if in.dst >= 0 {
			in.dst = at(in.dst)
		}
		in.a = at(in.a)
		if in.op != tileCols && in.op != tileAll {
			in.b, in.c = at(in.b), at(in.c)
		}
	}
	direct := map[int]bool{}
	for i := range p.outputs {
		o := &p.outputs[i]
		o.value = at(o.value)
		if o.value >= loads && !o.bools && !direct[o.value] && o.class == p.classes[o.value] {
			o.direct, direct[o.value] = true, true
		}
	}
	b.slots(direct)
}

// slots gives scratch memory to loads that are copied and to values computed, each from its first to its last use.
func (b *builder) slots(direct map[int]bool) {
	p := b.p
	last := make([]int, len(p.classes))
	for i, in := range p.code {
		last[in.a] = i
		if in.op != tileCols && in.op != tileAll {
			last[in.b], last[in.c] = max(last[in.b], b.use(in, in.b, i)), max(last[in.c], b.use(in, in.c, i))
		}
		if in.dst >= 0 {
			last[in.dst] = max(last[in.dst], i)
		}
	}
	for _, o := range p.outputs {
		last[o.value] = len(p.code)
	}
	p.slot, p.loadSlot = make([]int, len(p.classes)), make([]int, len(p.loads))
	used := [2][]int{} // step at which each slot becomes free, full and row
	take := func(c class, from, until int) int {
		k := 0
		if c == classRow {
			k = 1
		}
		for s, free := range used[k] {
			if free < from {
				used[k][s] = until
				return s
			}
		}
		used[k] = append(used[k], until)
		return len(used[k]) - 1
	}
	for i, l := range p.loads {
		c := l.class
		direct := l.from.shape.DType == Float32 && (c == classScalar || c == classCol || !l.viewed || c == classFull && (l.dense || p.nr == 1))
		if p.loadSlot[i] = -1; direct {
			continue
		}
		switch c {
		case classScalar:
			c = classRow
		case classCol:
			c = classFull
		}
		p.loadSlot[i] = take(c, -1, last[i])
	}
	for i, in := range p.code {
		if in.dst < 0 || direct[in.dst] {
			continue
		}
		p.slot[in.dst] = take(p.classes[in.dst], i, last[in.dst])
	}
	for v := range direct {
		p.slot[v] = -1
	}
	p.full, p.row = len(used[0]), len(used[1])
}

// use returns i where an instruction really reads operand v, else 0.
func (b *builder) use(in instr, v, i int) int {
	switch in.op {
	case tileUnary, tileSpread, tileReduce:
		return 0
	case tileSelect:
		return i
	}
	if v == in.b {
		return i
	}
	return 0
}

// inPlace lists which outputs may take the memory of a load: dense full ones that no later instruction reads.
func (b *builder) inPlace() []inPlace {
	p := b.p
	times := map[*storage]int{}
	for _, l := range p.loads {
		times[l.from]++
	}
	var list []inPlace
	for _, o := range p.outputs {
		if o.class != classFull || o.bools {
			continue
		}
		defined := len(p.code) // values that are copied out are written last
		if o.direct {
			for i, in := range p.code {
				if in.dst == o.value {
					defined = i
				}
			}
		}
		for v, l := range p.loads {
			if l.class != classFull || l.viewed || times[l.from] != 1 || l.from.shape.DType != Float32 || l.from.shape.Len() != o.to.shape.Len() {
				continue
			}
			after := false
			for _, in := range p.code[min(defined+1, len(p.code)):] {
				reads := in.a == v
				if in.op != tileCols && in.op != tileAll {
					reads = reads || in.op != tileUnary && in.op != tileSpread && in.op != tileReduce && (in.b == v || in.op == tileSelect && in.c == v)
				}
				after = after || reads
			}
			if !after {
				list = append(list, inPlace{o.to, l.from})
			}
		}
	}
	return list
}
