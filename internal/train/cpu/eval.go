package cpu

import "fmt"

// Eval computes the outputs of a program from the definition of each operation, node by node. It is the slow twin of
// Compile: every value is kept, nothing is fused.
func Eval(p *Program, outputs []*Node, inputs []*Buffer) ([]*Buffer, error) {
	if err := checkInputs(p, inputs); err != nil {
		return nil, err
	}
	live := reachable(outputs)
	values := make(map[*Node][]*Buffer, len(live))
	for _, n := range p.nodes {
		switch {
		case !live[n]:
		case n.op == opParam:
			values[n] = []*Buffer{inputs[n.axis]}
		case n.op == opConst:
			values[n] = []*Buffer{n.value}
		case n.op == opResult:
			values[n] = values[n.in[0]][n.axis : n.axis+1]
		default:
			in := make([]*Buffer, len(n.in))
			for i, x := range n.in {
				in[i] = values[x][0]
			}
			values[n] = evalNode(n, in)
		}
	}
	out := make([]*Buffer, len(outputs))
	for i, o := range outputs {
		out[i] = values[o][0]
	}
	return out, nil
}

func checkInputs(p *Program, inputs []*Buffer) error {
	if len(inputs) != len(p.params) {
		return fmt.Errorf("cpu: %d inputs for %d parameters", len(inputs), len(p.params))
	}
	for i, b := range inputs {
		if !b.Shape.Equal(p.params[i].shape) {
			return fmt.Errorf("cpu: input %d is %s, the parameter is %s", i, b.Shape, p.params[i].shape)
		}
	}
	return nil
}

// evalNode computes one node into new buffers.
func evalNode(n *Node, in []*Buffer) []*Buffer {
	outs := n.outs
	if outs == nil {
		outs = []Shape{n.shape}
	}
	out := make([]*Buffer, len(outs))
	for i, s := range outs {
		out[i] = NewBuffer(s)
	}
	runNode(n, out, in)
	return out
}

// runNode computes one node into given buffers, whatever they held.
func runNode(n *Node, out, in []*Buffer) {
	o := out[0]
	switch n.op {
	case opUnary, opBinary, opCompare, opWhere:
		elementwise(n, o, in)
	case opConvert:
		convertData(o.Data, in[0].Data)
	case opBitcast:
		bitcastData(o.Data, in[0].Data)
	case opReshape, opBarrier:
		copyData(o.Data, in[0].Data)
	case opTranspose, opBroadcast, opSlice, opReverse:
		v := denseView(n.in[0].shape.Dims).apply(n)
		copyView(o.Data, denseView(n.shape.Dims), in[0].Data, v)
	case opIota:
		for i := range n.shape.Len() {
			setNumber(o.Data, i, float64(i))
		}
	case opPad:
		runPad(n, o, in)
	case opConcat:
		at := 0
		for i, x := range n.in {
			v := denseView(n.shape.Dims)
			v.offset, v.dims = at*v.strides[n.axis], x.shape.Dims
			copyView(o.Data, v, in[i].Data, denseView(x.shape.Dims))
			at += x.shape.Dims[n.axis]
		}
	case opGather:
		runGather(n, o, in)
	case opScatter:
		runScatter(n, o, in)
	case opReduce:
		runReduce(n, o, in[0])
	case opArg:
		runArg(n, o, in[0])
	case opDot:
		runDot(n, o, in[0], in[1])
	case opDynSlice:
		v := denseView(n.in[0].shape.Dims).window(in[1:], n.shape.Dims)
		copyView(o.Data, denseView(n.shape.Dims), in[0].Data, v)
	case opDynUpdate:
		copyData(o.Data, in[0].Data)
		v := denseView(n.shape.Dims).window(in[2:], n.in[1].shape.Dims)
		copyView(o.Data, v, in[1].Data, denseView(n.in[1].shape.Dims))
	case opRandom:
		runRandom(out, in[0])
	case opKernel:
		n.attr.(Kernel).Run(out, in)
	default:
		panic("cpu: cannot compute " + n.String())
	}
}

// view is a way to walk over an array: place i of dimension d lies strides[d]*i further.
type view struct {
	offset  int
	dims    []int
	strides []int
}

func denseView(dims []int) view { return view{0, dims, denseStrides(dims)} }

// apply returns the view that a transpose, broadcast, slice or reverse gives of an array seen through v.
func (v view) apply(n *Node) view {
	out := view{v.offset, n.shape.Dims, make([]int, len(n.shape.Dims))}
	switch n.op {
	case opTranspose:
		for i, a := range n.ints {
			out.strides[i] = v.strides[a]
		}
	case opBroadcast:
		for i, a := range n.ints {
			out.strides[a] = v.strides[i]
		}
	case opSlice:
		a := n.attr.(sliceAttr)
		for i := range out.strides {
			out.offset += a.start[i] * v.strides[i]
			out.strides[i] = a.stride[i] * v.strides[i]
		}
	case opReverse:
		copy(out.strides, v.strides)
		for _, a := range n.ints {
			if v.dims[a] > 0 {
				out.offset += (v.dims[a] - 1) * v.strides[a]
			}
			out.strides[a] = -v.strides[a]
		}
	default:
		panic("cpu: not a view: " + n.String())
	}
	return out
}

// window returns the view of a window at scalar starts, moved inside.
func (v view) window(starts []*Buffer, sizes []int) view {
	w := view{v.offset, sizes, v.strides}
	for i, s := range starts {
		at := min(max(int(number(s.Data, 0)), 0), v.dims[i]-sizes[i])
		w.offset += at * v.strides[i]
	}
	return w
}

// copyView copies values between two views of the same sizes.
func copyView(dst any, dv view, src any, sv view) {
	switch d := dst.(type) {
	case []bool:
		copyStrided(d, dv, src.([]bool), sv)
	case []uint8:
		copyStrided(d, dv, src.([]uint8), sv)
	case []int32:
		copyStrided(d, dv, src.([]int32), sv)
	case []int64:
		copyStrided(d, dv, src.([]int64), sv)
	case []uint32:
		copyStrided(d, dv, src.([]uint32), sv)
	case []uint64:
		copyStrided(d, dv, src.([]uint64), sv)
	case []float32:
		copyStrided(d, dv, src.([]float32), sv)
	case []float64:
		copyStrided(d, dv, src.([]float64), sv)
	}
}

func copyStrided[T any](dst []T, dv view, src []T, sv view) {
	rank := len(dv.dims)
	if rank == 0 {
		dst[dv.offset] = src[sv.offset]
		return
	}
	inner, ds, ss := dv.dims[rank-1], dv.strides[rank-1], sv.strides[rank-1]
	walk2(dv, sv, rank-1, func(d, s int) {
		if ds == 1 && ss == 1 {
			copy(dst[d:d+inner], src[s:s+inner])
			return
		}
		for range inner {
			dst[d] = src[s]
			d, s = d+ds, s+ss
		}
	})
}

// walk2 calls f with the offsets in both views of every index of the first n dimensions, in order.
func walk2(a, b view, n int, f func(i, j int)) {
	for _, d := range a.dims {
		if d == 0 {
			return
		}
	}
	index := make([]int, n)
	i, j := a.offset, b.offset
	for {
		f(i, j)
		d := n - 1
		for ; d >= 0; d-- {
			index[d]++
			i, j = i+a.strides[d], j+b.strides[d]
			if index[d] < a.dims[d] {
				break
			}
			i, j = i-a.strides[d]*index[d], j-b.strides[d]*index[d]
			index[d] = 0
		}
		if d < 0 {
			return
		}
	}
}
