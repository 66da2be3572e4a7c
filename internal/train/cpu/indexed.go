package cpu

import "math"

// Operations that move values by index: gather, scatter, pad, and the general reduction, arg and product.

// places walks over the index vectors of a gather or scatter. f gets the place of the window in the operand and the
// index of the batch dimensions.
func (s GatherSpec) places(indices *Buffer, rank int, f func(start, batch []int)) {
	dims := indices.Shape.Dims
	batch := make([]int, 0, len(dims))
	for i, d := range dims {
		if i != s.IndexAxis {
			batch = append(batch, d)
		}
	}
	step, length := 0, 1
	strides := denseStrides(dims)
	if s.IndexAxis < len(dims) {
		step, length = strides[s.IndexAxis], dims[s.IndexAxis]
	}
	rest := make([]int, 0, len(strides))
	for i, v := range strides {
		if i != s.IndexAxis {
			rest = append(rest, v)
		}
	}
	start, at := make([]int, rank), make([]int, len(batch))
	for range product(batch) {
		off := 0
		for i, v := range at {
			off += v * rest[i]
		}
		for i := range length {
			start[s.Map[i]] = int(number(indices.Data, off+i*step))
		}
		f(start, at)
		next(at, batch)
	}
}

// next moves an index to the next place in order.
func next(index, dims []int) {
	for d := len(dims) - 1; d >= 0; d-- {
		index[d]++
		if index[d] < dims[d] {
			return
		}
		index[d] = 0
	}
}

// layout splits the strides of the output (the updates) into those of the batch dimensions and, for every dimension of
// the operand, those inside the window (0 for collapsed ones).
func (s GatherSpec) layout(dims []int, rank int) (batch, window []int) {
	strides := denseStrides(dims)
	offset := make(map[int]bool, len(s.Offset))
	for _, a := range s.Offset {
		offset[a] = true
	}
	for i, v := range strides {
		if !offset[i] {
			batch = append(batch, v)
		}
	}
	window = make([]int, rank)
	collapsed := make(map[int]bool, len(s.Collapsed))
	for _, a := range s.Collapsed {
		collapsed[a] = true
	}
	k := 0
	for d := range rank {
		if !collapsed[d] {
			window[d] = strides[s.Offset[k]]
			k++
		}
	}
	return batch, window
}

func runGather(n *Node, out *Buffer, in []*Buffer) {
	s, x := n.attr.(GatherSpec), in[0]
	rank := len(x.Shape.Dims)
	batch, window := s.layout(out.Shape.Dims, rank)
	src := denseStrides(x.Shape.Dims)
	s.places(in[1], rank, func(start, at []int) {
		from := view{0, s.Sizes, src}
		to := view{0, s.Sizes, window}
		for d, v := range start {
			from.offset += min(max(v, 0), x.Shape.Dims[d]-s.Sizes[d]) * src[d]
		}
		for i, v := range at {
			to.offset += v * batch[i]
		}
		copyView(out.Data, to, x.Data, from)
	})
}

func runScatter(n *Node, out *Buffer, in []*Buffer) {
	copyData(out.Data, in[0].Data)
	switch o := out.Data.(type) {
	case []uint8:
		scatter(n, o, in[1], in[2].Data.([]uint8), in[2].Shape)
	case []int32:
		scatter(n, o, in[1], in[2].Data.([]int32), in[2].Shape)
	case []int64:
		scatter(n, o, in[1], in[2].Data.([]int64), in[2].Shape)
	case []uint32:
		scatter(n, o, in[1], in[2].Data.([]uint32), in[2].Shape)
	case []uint64:
		scatter(n, o, in[1], in[2].Data.([]uint64), in[2].Shape)
	case []float32:
		scatter(n, o, in[1], in[2].Data.([]float32), in[2].Shape)
	case []float64:
		scatter(n, o, in[1], in[2].Data.([]float64), in[2].Shape)
	default:
		panic("cpu: scatter of bool")
	}
}

func scatter[T integer | float](n *Node, out []T, indices *Buffer, updates []T, us Shape) {
	s, dims := n.attr.(GatherSpec), n.shape.Dims
	batch, window := s.layout(us.Dims, len(dims))
	dst := denseStrides(dims)
	sizes := make([]int, len(dims)) // of the window: those of the updates, 1 where collapsed
	k := 0
	for d := range sizes {
		sizes[d] = 1
		if !contains(s.Collapsed, d) {
			sizes[d] = us.Dims[s.Offset[k]]
			k++
		}
	}
	s.places(indices, len(dims), func(start, at []int) {
		to, from := view{0, sizes, dst}, view{0, sizes, window}
		for d, v := range start {
			if v < 0 || v+sizes[d] > dims[d] {
				return
			}
			to.offset += v * dst[d]
		}
		for i, v := range at {
			from.offset += v * batch[i]
		}
		walk2(to, from, len(dims), func(i, j int) { out[i] = combine(n.fn, out[i], updates[j]) })
	})
}

func contains(list []int, x int) bool {
	for _, v := range list {
		if v == x {
			return true
		}
	}
	return false
}

func combine[T integer | float](f fn, x, y T) T {
	switch f {
	case fnAdd:
		return x + y
	case fnMul:
		return x * y
	case fnMax:
		return max(x, y)
	case fnMin:
		return min(x, y)
	}
	panic("cpu: combining by " + fnNames[f])
}

func runPad(n *Node, out *Buffer, in []*Buffer) {
	a, x := n.attr.(padAttr), in[0]
	copyView(out.Data, denseView(n.shape.Dims), in[1].Data, view{0, n.shape.Dims, make([]int, len(n.shape.Dims))})
	dst, src := denseView(n.shape.Dims), denseView(x.Shape.Dims)
	to, from := view{0, make([]int, len(dst.dims)), make([]int, len(dst.dims))}, view{0, make([]int, len(dst.dims)), src.strides}
	for d, size := range x.Shape.Dims {
		step := a.inner[d] + 1
		first, last := 0, size // places of x that stay
		for first < last && a.lo[d]+first*step < 0 {
			first++
		}
		for last > first && a.lo[d]+(last-1)*step >= n.shape.Dims[d] {
			last--
		}
		to.dims[d], from.dims[d] = last-first, last-first
		to.strides[d] = dst.strides[d] * step
		to.offset += (a.lo[d] + first*step) * dst.strides[d]
		from.offset += first * src.strides[d]
	}
	if product(to.dims) > 0 {
		copyView(out.Data, to, x.Data, from)
	}
}

func runReduce(n *Node, out, x *Buffer) {
	switch d := x.Data.(type) {
	case []bool:
		reduceBool(n, out.Data.([]bool), d, x.Shape.Dims)
	case []uint8:
		reduceInt(n, out.Data.([]uint8), d, x.Shape.Dims)
	case []int32:
		reduceInt(n, out.Data.([]int32), d, x.Shape.Dims)
	case []int64:
		reduceInt(n, out.Data.([]int64), d, x.Shape.Dims)
	case []uint32:
		reduceInt(n, out.Data.([]uint32), d, x.Shape.Dims)
	case []uint64:
		reduceInt(n, out.Data.([]uint64), d, x.Shape.Dims)
	case []float32:
		reduceFloat(n, out.Data.([]float32), d, x.Shape.Dims)
	case []float64:
		reduceFloat(n, out.Data.([]float64), d, x.Shape.Dims)
	}
}

// reduceWalk calls f with the place of every value of x and that of the output it belongs to, in order.
func reduceWalk(n *Node, dims []int, f func(to, from int)) {
	to := view{0, dims, make([]int, len(dims))}
	for i, a := range others(len(dims), n.ints, nil) {
		to.strides[a] = denseStrides(n.shape.Dims)[i]
	}
	walk2(denseView(dims), to, len(dims), func(i, j int) { f(j, i) })
}

func reduceBool(n *Node, out, x []bool, dims []int) {
	for i := range out {
		out[i] = n.fn == fnAnd
	}
	reduceWalk(n, dims, func(to, from int) {
		switch n.fn {
		case fnAnd:
			out[to] = out[to] && x[from]
		case fnOr:
			out[to] = out[to] || x[from]
		case fnXor:
			out[to] = out[to] != x[from]
		}
	})
}

func reduceInt[T integer](n *Node, out, x []T, dims []int) {
	var start T
	switch n.fn {
	case fnMul:
		start = 1
	case fnAnd:
		start = ^T(0)
	case fnMax, fnMin:
		lo, hi := T(0), ^T(0)
		if hi < 0 { // signed
			width := uint(8*sizeOf(hi) - 1)
			lo = T(1) << width
			hi = ^lo
		}
		start = lo
		if n.fn == fnMin {
			start = hi
		}
	}
	for i := range out {
		out[i] = start
	}
	reduceWalk(n, dims, func(to, from int) { out[to] = binaryInt(n.fn, out[to], x[from]) })
}

// reduceFloat sums in float64.
func reduceFloat[T float](n *Node, out, x []T, dims []int) {
	start := 0.0
	switch n.fn {
	case fnMul:
		start = 1
	case fnMax:
		start = math.Inf(-1)
	case fnMin:
		start = math.Inf(1)
	}
	sum := make([]float64, len(out))
	for i := range sum {
		sum[i] = start
	}
	reduceWalk(n, dims, func(to, from int) { sum[to] = binaryFloat(n.fn, sum[to], float64(x[from])) })
	for i, v := range sum {
		out[i] = T(v)
	}
}

func runArg(n *Node, out, x *Buffer) {
	dims := x.Shape.Dims
	inner := product(dims[n.axis+1:])
	outer := product(dims[:n.axis])
	for o := range outer {
		for i := range inner {
			best, at := math.NaN(), 0
			for k := range dims[n.axis] {
				v := number(x.Data, (o*dims[n.axis]+k)*inner+i)
				if k == 0 || !math.IsNaN(best) && (math.IsNaN(v) || n.fn == fnMax && v > best || n.fn == fnMin && v < best) {
					best, at = v, k
				}
			}
			setNumber(out.Data, o*inner+i, float64(at))
		}
	}
}

func runDot(n *Node, out, x, y *Buffer) {
	switch a := x.Data.(type) {
	case []uint8:
		dot[uint8, uint8](n, out, a, y.Data.([]uint8), x.Shape, y.Shape)
	case []int32:
		dot[int32, int32](n, out, a, y.Data.([]int32), x.Shape, y.Shape)
	case []int64:
		dot[int64, int64](n, out, a, y.Data.([]int64), x.Shape, y.Shape)
	case []uint32:
		dot[uint32, uint32](n, out, a, y.Data.([]uint32), x.Shape, y.Shape)
	case []uint64:
		dot[uint64, uint64](n, out, a, y.Data.([]uint64), x.Shape, y.Shape)
	case []float32:
		dot[float32, float64](n, out, a, y.Data.([]float32), x.Shape, y.Shape)
	case []float64:
		dot[float64, float64](n, out, a, y.Data.([]float64), x.Shape, y.Shape)
	}
}

// dot sums products of T in type S.
func dot[T, S integer | float](n *Node, out *Buffer, x, y []T, xs, ys Shape) {
	s := n.attr.(DotSpec)
	xStr, yStr := denseStrides(xs.Dims), denseStrides(ys.Dims)
	xv, yv := view{dims: n.shape.Dims}, view{dims: n.shape.Dims}
	for i, a := range s.LBatch {
		xv.strides, yv.strides = append(xv.strides, xStr[a]), append(yv.strides, yStr[s.RBatch[i]])
	}
	for _, a := range others(len(xs.Dims), s.LContract, s.LBatch) {
		xv.strides, yv.strides = append(xv.strides, xStr[a]), append(yv.strides, 0)
	}
	for _, a := range others(len(ys.Dims), s.RContract, s.RBatch) {
		xv.strides, yv.strides = append(xv.strides, 0), append(yv.strides, yStr[a])
	}
	var xk, yk view
	for i, a := range s.LContract {
		xk.dims, xk.strides = append(xk.dims, xs.Dims[a]), append(xk.strides, xStr[a])
		yk.dims, yk.strides = append(yk.dims, xs.Dims[a]), append(yk.strides, yStr[s.RContract[i]])
	}
	o, at := out.Data.([]T), 0
	walk2(xv, yv, len(xv.dims), func(i, j int) {
		var sum S
		xk.offset, yk.offset = i, j
		walk2(xk, yk, len(xk.dims), func(a, b int) { sum += S(x[a]) * S(y[b]) })
		o[at] = T(sum)
		at++
	})
}
