package cpu

import "github.com/parelm/pare/internal/par"

// Rows of a matrix by index: the embedding lookup and its gradient.

// rowSpec reports whether a gather or scatter moves whole rows: the operand is [rows, ...], every index names one row.
func rowSpec(s GatherSpec, operand, rows []int) bool {
	if len(operand) < 2 || len(s.Map) != 1 || s.Map[0] != 0 || len(s.Collapsed) != 1 || s.Collapsed[0] != 0 {
		return false
	}
	for i, a := range s.Offset { // the window is the trailing dimensions of the output, in order
		if a != len(rows)-len(s.Offset)+i || rows[a] != operand[i+1] {
			return false
		}
	}
	return true
}

// fastPlain returns a faster way to compute a plain node, or nil.
func fastPlain(n *Node) func(out, in []*Buffer) {
	if n.op != opGather || n.shape.DType != Float32 {
		return nil
	}
	s := n.attr.(GatherSpec)
	dims := n.in[0].shape.Dims
	if !rowSpec(s, dims, n.shape.Dims) || s.Sizes[0] != 1 || !equalInts(s.Sizes[1:], dims[1:]) {
		return nil
	}
	width := product(dims[1:])
	return func(out, in []*Buffer) {
		y, x := out[0].Data.([]float32), in[0].Data.([]float32)
		par.For(len(y)/max(width, 1), max(1, 1<<13/max(width, 1)), func(lo, hi int) {
			for i := lo; i < hi; i++ {
				r := min(max(int(number(in[1].Data, i)), 0), dims[0]-1)
				copy(y[i*width:(i+1)*width], x[r*width:(r+1)*width])
			}
		})
	}
}

// emitScatter adds the step of a scatter by addition that may be summed into base.
func (c *compiler) emitScatter(n *Node, st *step, base *storage) {
	key := st.key - 1
	var operand *storage
	z, zero := uniform(n.in[0])
	zero = zero && z == 0
	if !zero {
		operand = c.dense(n.in[0], key)
		st.reads = append(st.reads, operand)
	}
	index, updates := c.dense(n.in[1], key), c.dense(n.in[2], key)
	st.reads = append(st.reads, index, updates)
	dst := st.writes[0]
	rows := rowSpec(n.attr.(GatherSpec), n.shape.Dims, n.in[2].shape.Dims)
	st.run = func(r *run) {
		y := r.data(dst).([]float32)
		switch {
		case base != nil:
			copyUnlessSame(y, r.data(base).([]float32))
		case zero:
			clear(y)
		default:
			copy(y, r.data(operand).([]float32))
		}
		at := &Buffer{n.in[1].shape, r.data(index)}
		if rows {
			addRows(y, at.Data, r.data(updates).([]float32), n.shape.Dims)
			return
		}
		scatter(n, y, at, r.data(updates).([]float32), n.in[2].shape)
	}
	c.steps = append(c.steps, st)
}

// addRows adds row i of updates to row index[i] of y, in order for every value. Threads share the columns.
func addRows(y []float32, index any, updates []float32, dims []int) {
	width := product(dims[1:])
	if width == 0 {
		return
	}
	count := len(updates) / width
	at := make([]int, count)
	for i := range at {
		at[i] = int(number(index, i))
	}
	par.For(width, max(32, 1<<14/max(count, 1)), func(lo, hi int) {
		for i, r := range at {
			if r >= 0 && r < dims[0] {
				addTo(y[r*width+lo:r*width+hi], updates[i*width+lo:i*width+hi])
			}
		}
	})
}
