package cpu

import "fmt"

// The methods that add nodes. Each says what it computes; the shapes are checked.

func check(ok bool, format string, args ...any) {
	if !ok {
		panic("cpu: " + fmt.Sprintf(format, args...))
	}
}

// Apply computes an elementwise function of one, two or three arrays of one shape. Names are those of Functions.
func (p *Program) Apply(name string, xs ...*Node) *Node {
	f, ok := fnByName[name]
	check(ok, "no function %q", name)
	return p.apply(f, xs...)
}

func (p *Program) apply(f fn, xs ...*Node) *Node {
	n := &Node{op: opUnary, fn: f, in: xs, shape: xs[0].shape}
	if f > lastUnary {
		n.op = opBinary
		check(len(xs) == 2 && xs[1].shape.Equal(xs[0].shape), "%s of %v", fnNames[f], shapesOf(xs))
	} else {
		check(len(xs) == 1, "%s of %v", fnNames[f], shapesOf(xs))
	}
	if f > lastBinary {
		n.op = opCompare
	}
	d := n.shape.DType
	float := d == Float32 || d == Float64
	arithmetic := f != fnNot && (f < fnAnd || f > lastBinary) && f != fnEq && f != fnNe
	check(!(f.floatOnly() && !float) && !(f.bitsOnly() && float) && !(d == Bool && arithmetic), "%s of %s", fnNames[f], d)
	check(!(d == Bool && (f == fnPopCount || f == fnLeadingZeros || f >= fnShiftLeft && f < lastBinary)), "%s of bool", fnNames[f])
	if f.yieldsBool() {
		n.shape = n.shape.with(Bool)
	}
	return p.add(n)
}

func shapesOf(xs []*Node) []Shape {
	s := make([]Shape, len(xs))
	for i, x := range xs {
		s[i] = x.shape
	}
	return s
}

// Where takes values of x where the bool array cond is true, else of y. All have the same sizes.
func (p *Program) Where(cond, x, y *Node) *Node {
	check(cond.shape.DType == Bool && x.shape.Equal(y.shape) && equalInts(cond.shape.Dims, x.shape.Dims),
		"where of %v", shapesOf([]*Node{cond, x, y}))
	return p.add(&Node{op: opWhere, shape: x.shape, in: []*Node{cond, x, y}})
}

// Convert converts values: floats to integers towards zero, to bool by "is not zero".
func (p *Program) Convert(x *Node, d DType) *Node {
	return p.add(&Node{op: opConvert, shape: x.shape.with(d), in: []*Node{x}})
}

// Bitcast reads the bits, little-endian, as another type. Where the sizes differ the last dimension makes up for it: values
// are cut into a new dimension, or those of the last dimension become one.
func (p *Program) Bitcast(x *Node, d DType) *Node {
	from, to := x.shape.DType.Size(), d.Size()
	dims := append([]int{}, x.shape.Dims...)
	if from > to {
		dims = append(dims, from/to)
	} else if from < to {
		last := len(dims) - 1
		check(last >= 0 && dims[last] == to/from, "bits of %s as %s", x.shape, d)
		dims = dims[:last]
	}
	check(d != Bool && x.shape.DType != Bool, "bits of %s as %s", x.shape, d)
	return p.add(&Node{op: opBitcast, shape: MakeShape(d, dims...), in: []*Node{x}})
}

// Reshape gives the values, in the same order, other dimensions.
func (p *Program) Reshape(x *Node, dims ...int) *Node {
	check(product(dims) == x.shape.Len(), "%s as %v", x.shape, dims)
	return p.add(&Node{op: opReshape, shape: MakeShape(x.shape.DType, dims...), in: []*Node{x}})
}

// Transpose makes dimension perm[i] of x the i-th.
func (p *Program) Transpose(x *Node, perm ...int) *Node {
	dims := make([]int, len(perm))
	seen := make([]bool, len(perm))
	check(len(perm) == len(x.shape.Dims), "transpose %v of %s", perm, x.shape)
	for i, a := range perm {
		check(a >= 0 && a < len(perm) && !seen[a], "transpose %v", perm)
		seen[a], dims[i] = true, x.shape.Dims[a]
	}
	return p.add(&Node{op: opTranspose, shape: MakeShape(x.shape.DType, dims...), in: []*Node{x}, ints: append([]int{}, perm...)})
}

// Broadcast repeats x: its dimension i becomes dimension axes[i] of dims, which is as large unless x's is 1. axes grow.
func (p *Program) Broadcast(x *Node, dims, axes []int) *Node {
	check(len(axes) == len(x.shape.Dims), "broadcast %v of %s", axes, x.shape)
	var kept, at []int
	last := -1
	for i, a := range axes {
		check(a > last && a < len(dims) && (x.shape.Dims[i] == dims[a] || x.shape.Dims[i] == 1), "broadcast %s to %v by %v", x.shape, dims, axes)
		last = a
		if x.shape.Dims[i] != 1 {
			kept, at = append(kept, dims[a]), append(at, a)
		}
	}
	x = p.Reshape(x, kept...)
	return p.add(&Node{op: opBroadcast, shape: MakeShape(x.shape.DType, dims...), in: []*Node{x}, ints: at})
}

// Splat repeats one value over the sizes.
func (p *Program) Splat(x *Node, dims ...int) *Node { return p.Broadcast(x, dims, []int{}) }

// Iota counts from 0 along dimension axis.
func (p *Program) Iota(s Shape, axis int) *Node {
	check(axis >= 0 && axis < len(s.Dims) && s.DType != Bool, "iota of %s along %d", s, axis)
	line := p.Const(evalNode(&Node{op: opIota, shape: MakeShape(s.DType, s.Dims[axis])}, nil)[0])
	if len(s.Dims) == 1 {
		return line
	}
	return p.Broadcast(line, s.Dims, []int{axis})
}

type sliceAttr struct{ start, stride []int }

// Slice takes places start, start+stride... below limit of every dimension.
func (p *Program) Slice(x *Node, start, limit, stride []int) *Node {
	dims := make([]int, len(start))
	check(len(start) == len(x.shape.Dims) && len(limit) == len(start) && len(stride) == len(start), "slice of %s", x.shape)
	for i := range start {
		check(start[i] >= 0 && limit[i] >= start[i] && limit[i] <= x.shape.Dims[i] && stride[i] > 0, "slice %v to %v of %s", start, limit, x.shape)
		dims[i] = (limit[i] - start[i] + stride[i] - 1) / stride[i]
	}
	a := sliceAttr{append([]int{}, start...), append([]int{}, stride...)}
	return p.add(&Node{op: opSlice, shape: MakeShape(x.shape.DType, dims...), in: []*Node{x}, attr: a})
}

// Reverse runs the given dimensions backwards.
func (p *Program) Reverse(x *Node, axes ...int) *Node {
	return p.add(&Node{op: opReverse, shape: x.shape, in: []*Node{x}, ints: append([]int{}, axes...)})
}

type padAttr struct{ lo, hi, inner []int }

// Pad puts lo values before, hi behind and inner between those of every dimension. Negative lo and hi take away.
func (p *Program) Pad(x, fill *Node, lo, hi, inner []int) *Node {
	dims := make([]int, len(lo))
	for i, d := range x.shape.Dims {
		dims[i] = lo[i] + d + max(d-1, 0)*inner[i] + hi[i]
		check(dims[i] >= 0 && inner[i] >= 0, "pad %v %v %v of %s", lo, hi, inner, x.shape)
	}
	a := padAttr{append([]int{}, lo...), append([]int{}, hi...), append([]int{}, inner...)}
	return p.add(&Node{op: opPad, shape: MakeShape(x.shape.DType, dims...), in: []*Node{x, fill}, attr: a})
}

// Concat puts arrays one after the other along a dimension.
func (p *Program) Concat(axis int, xs ...*Node) *Node {
	if len(xs) == 1 {
		return xs[0]
	}
	s := MakeShape(xs[0].shape.DType, xs[0].shape.Dims...)
	s.Dims[axis] = 0
	for _, x := range xs {
		check(x.shape.DType == s.DType && len(x.shape.Dims) == len(s.Dims), "concat of %v", shapesOf(xs))
		for i, d := range x.shape.Dims {
			if i == axis {
				s.Dims[i] += d
			} else {
				check(d == s.Dims[i], "concat of %v", shapesOf(xs))
			}
		}
	}
	return p.add(&Node{op: opConcat, shape: s, in: xs, axis: axis})
}

// GatherSpec says how Gather and Scatter map places, in StableHLO's terms.
type GatherSpec struct {
	IndexAxis int   // dimension of the indices that holds one index vector; one past the last: every index is a vector of one
	Offset    []int // dimensions of the output (of the updates) that run inside the window
	Collapsed []int // dimensions of the operand whose window size is 1 and that the output (the updates) lacks
	Map       []int // Map[i] is the operand's dimension that the i-th value of an index vector addresses
	Sizes     []int // window sizes, one for each dimension of the operand (Gather only)
}

// Gather takes windows out of x at the places that the indices name; out-of-range places move to the border.
func (p *Program) Gather(x, indices *Node, spec GatherSpec, out Shape) *Node {
	return p.add(&Node{op: opGather, shape: out, in: []*Node{x, indices}, attr: spec})
}

// Scatter combines windows of updates into x at the places that the indices name, in order, by "add", "max" or "min".
// Windows that do not fit are left out.
func (p *Program) Scatter(kind string, x, indices, updates *Node, spec GatherSpec) *Node {
	f := fnByName[kind]
	check(f == fnAdd || f == fnMax || f == fnMin, "scatter by %q", kind)
	return p.add(&Node{op: opScatter, fn: f, shape: x.shape, in: []*Node{x, indices, updates}, attr: spec})
}

// Reduce combines all values along the dimensions by "add", "mul", "max", "min", "and", "or" or "xor".
func (p *Program) Reduce(kind string, x *Node, axes ...int) *Node {
	f := fnByName[kind]
	n := &Node{op: opReduce, fn: f, shape: Shape{DType: x.shape.DType, Dims: []int{}}, in: []*Node{x}}
	reduced := make([]bool, len(x.shape.Dims))
	for _, a := range axes {
		check(a >= 0 && a < len(reduced) && !reduced[a], "reduction of %s over %v", x.shape, axes)
		reduced[a] = true
	}
	for i, d := range x.shape.Dims {
		if reduced[i] {
			n.ints = append(n.ints, i)
		} else {
			n.shape.Dims = append(n.shape.Dims, d)
		}
	}
	bits := f == fnAnd || f == fnOr || f == fnXor
	check(bits || f == fnAdd || f == fnMul || f == fnMax || f == fnMin, "reduction by %q", kind)
	check(!(bits && (x.shape.DType == Float32 || x.shape.DType == Float64)) && !(!bits && x.shape.DType == Bool),
		"reduction of %s by %q", x.shape, kind)
	return p.add(n)
}

// Arg returns the first place along a dimension that holds the largest (smallest when least is set) value; a NaN wins.
func (p *Program) Arg(x *Node, axis int, least bool, d DType) *Node {
	n := &Node{op: opArg, fn: fnMax, shape: Shape{DType: d, Dims: []int{}}, in: []*Node{x}, axis: axis}
	if least {
		n.fn = fnMin
	}
	for i, size := range x.shape.Dims {
		if i != axis {
			n.shape.Dims = append(n.shape.Dims, size)
		}
	}
	return p.add(n)
}

// DotSpec lists the dimensions that a product pairs: contracted ones are summed over, batch ones are aligned. The
// output has the batch dimensions, then the others of the left, then those of the right operand.
type DotSpec struct{ LContract, LBatch, RContract, RBatch []int }

// Dot is the general matrix product.
func (p *Program) Dot(x, y *Node, spec DotSpec) *Node {
	check(x.shape.DType == y.shape.DType && x.shape.DType != Bool && len(spec.LContract) == len(spec.RContract) &&
		len(spec.LBatch) == len(spec.RBatch), "product of %s and %s", x.shape, y.shape)
	s := Shape{DType: x.shape.DType, Dims: []int{}}
	for i, a := range spec.LBatch {
		check(x.shape.Dims[a] == y.shape.Dims[spec.RBatch[i]], "product of %s and %s by %+v", x.shape, y.shape, spec)
		s.Dims = append(s.Dims, x.shape.Dims[a])
	}
	for i, a := range spec.LContract {
		check(x.shape.Dims[a] == y.shape.Dims[spec.RContract[i]], "product of %s and %s by %+v", x.shape, y.shape, spec)
	}
	for _, a := range others(len(x.shape.Dims), spec.LContract, spec.LBatch) {
		s.Dims = append(s.Dims, x.shape.Dims[a])
	}
	for _, a := range others(len(y.shape.Dims), spec.RContract, spec.RBatch) {
		s.Dims = append(s.Dims, y.shape.Dims[a])
	}
	return p.add(&Node{op: opDot, shape: s, in: []*Node{x, y}, attr: spec})
}

// others returns the dimensions below rank that are in neither list, in order.
func others(rank int, a, b []int) []int {
	used := make([]bool, rank)
	for _, i := range a {
		used[i] = true
	}
	for _, i := range b {
		used[i] = true
	}
	var out []int
	for i, u := range used {
		if !u {
			out = append(out, i)
		}
	}
	return out
}

// DynamicSlice takes a window of the given sizes at scalar starts, moved so that it lies inside.
func (p *Program) DynamicSlice(x *Node, starts []*Node, sizes []int) *Node {
	check(len(starts) == len(x.shape.Dims) && len(sizes) == len(starts), "dynamic slice of %s", x.shape)
	return p.add(&Node{op: opDynSlice, shape: MakeShape(x.shape.DType, sizes...), in: append([]*Node{x}, starts...)})
}

// DynamicUpdate returns x with a window replaced, at scalar starts moved so that it lies inside.
func (p *Program) DynamicUpdate(x, update *Node, starts []*Node) *Node {
	check(len(starts) == len(x.shape.Dims), "dynamic update of %s", x.shape)
	return p.add(&Node{op: opDynUpdate, shape: x.shape, in: append([]*Node{x, update}, starts...)})
}

// Random fills s with random bits from a state of three u64 and returns the next state with them. The generator is PCG
// of math/rand/v2 seeded with the first two, as in GoMLX's own backend.
func (p *Program) Random(state *Node, s Shape) (next, bits *Node) {
	check(state.shape.Equal(MakeShape(Uint64, 3)) && s.DType != Bool, "random bits %s from %s", s, state.shape)
	r := p.results(p.add(&Node{op: opRandom, in: []*Node{state}, outs: []Shape{state.shape, s}}))
	return r[0], r[1]
}

// Kernel is an operation with its own code. The buffers it is given have the shapes it was added with; out is not
// cleared. Work is spread with package par. A kernel must not keep buffers.
type Kernel interface {
	Run(out, in []*Buffer)
}

// Kernel adds a kernel node and returns its outputs.
func (p *Program) Kernel(k Kernel, outs []Shape, xs ...*Node) []*Node {
	return p.results(p.add(&Node{op: opKernel, in: xs, outs: outs, attr: k}))
}

func (p *Program) results(n *Node) []*Node {
	out := make([]*Node, len(n.outs))
	for i, s := range n.outs {
		out[i] = p.add(&Node{op: opResult, shape: s, in: []*Node{n}, axis: i})
	}
	return out
}

// Barrier returns x as a value that equals no other node, so that what is computed from it is computed anew, and not
// before the dependencies.
func (p *Program) Barrier(x *Node, dependencies ...*Node) *Node {
	return p.add(&Node{op: opBarrier, shape: x.shape, in: append([]*Node{x}, dependencies...)})
}
