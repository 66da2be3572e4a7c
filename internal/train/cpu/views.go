package cpu

import "github.com/parelm/pare/internal/par"

// isView reports whether a node is only another way to look at its first input's memory.
func isView(n *Node) bool {
	switch n.op {
	case opReshape, opTranspose, opBroadcast, opSlice, opReverse, opBarrier:
		return true
	}
	return false
}

// view returns the producer that n looks at, and how.
func (c *compiler) view(n *Node) (*Node, view) {
	if !isView(n) || c.forced[n] || c.sameAs[n] != nil {
		return n, denseView(n.shape.Dims)
	}
	base, v := c.view(n.in[0])
	switch n.op {
	case opBarrier:
		return base, v
	case opReshape:
		if w, ok := v.reshape(n.shape.Dims); ok {
			return base, w
		}
		// The operand is copied out, so that it can be looked at in the new shape.
		c.copyOut(n.in[0], 2*n.id-1)
		return n.in[0], denseView(n.shape.Dims)
	}
	return base, v.apply(n)
}

// dense reports whether the view walks over consecutive values in order.
func (v view) dense() bool {
	n := 1
	for i := len(v.dims) - 1; i >= 0; i-- {
		if v.dims[i] != 1 && v.strides[i] != n {
			return false
		}
		n *= v.dims[i]
	}
	return true
}

// reshape looks at the same values in the same order through other dimensions, where strides can express that.
func (v view) reshape(dims []int) (view, bool) {
	w := view{v.offset, dims, make([]int, len(dims))}
	if product(dims) == 0 {
		return w, true
	}
	i, j := 0, 0 // match runs of dimensions of equal size
	for i < len(v.dims) || j < len(dims) {
		si, sj := i, j
		a, b := 1, 1
		if i < len(v.dims) {
			a, i = v.dims[i], i+1
		}
		if j < len(dims) {
			b, j = dims[j], j+1
		}
		for a != b {
			if a < b {
				a, i = a*v.dims[i], i+1
			} else {
				b, j = b*dims[j], j+1
			}
		}
		stride, _, ok := merge(v.dims[si:i], v.strides[si:i])
		if !ok {
			return w, false
		}
		for k := j - 1; k >= sj; k-- {
			w.strides[k] = stride
			stride *= dims[k]
		}
	}
	return w, true
}

// merge returns the stride and size of the one dimension that a run of dimensions amounts to.
func merge(dims, strides []int) (stride, size int, ok bool) {
	size = 1
	for i := len(dims) - 1; i >= 0; i-- {
		if dims[i] == 1 {
			continue
		}
		if size == 1 {
			stride = strides[i]
		} else if strides[i] != stride*size {
			return 0, 0, false
		}
		size *= dims[i]
	}
	return stride, size, true
}

// split cuts the dimensions in two: the trailing ones hold cols values. ok is false when no border fits.
func (v view) split(cols int) (outer view, inner view, ok bool) {
	n, i := 1, len(v.dims)
	for n < cols && i > 0 {
		i--
		n *= v.dims[i]
	}
	if n != cols {
		return view{}, view{}, false
	}
	return view{v.offset, v.dims[:i], v.strides[:i]}, view{0, v.dims[i:], v.strides[i:]}, true
}

// squeeze returns the view without dimensions of one value and with neighbours merged where strides allow.
func (v view) squeeze() view {
	w := view{offset: v.offset}
	for i, d := range v.dims {
		if d == 1 {
			continue
		}
		if k := len(w.dims) - 1; k >= 0 && w.strides[k] == v.strides[i]*d {
			w.dims[k] *= d
			w.strides[k] = v.strides[i]
			continue
		}
		w.dims, w.strides = append(w.dims, d), append(w.strides, v.strides[i])
	}
	return w
}

// parallelCopy copies the values seen through v to a dense array, the first dimension on several threads.
func parallelCopy(dst, src any, v view) {
	n := product(v.dims)
	w := v.squeeze()
	if n < 1<<15 || len(w.dims) == 0 {
		copyView(dst, denseView(v.dims), src, v)
		return
	}
	if d, ok := dst.([]float32); ok && len(w.dims) >= 2 && w.strides[len(w.dims)-1] != 1 {
		if transposeCopy(d, src.([]float32), w) {
			return
		}
	}
	rest := n / w.dims[0]
	par.For(w.dims[0], max(1, 1<<14/rest), func(lo, hi int) {
		part := view{w.offset + lo*w.strides[0], append([]int{hi - lo}, w.dims[1:]...), w.strides}
		copyView(sliceData(dst, lo*rest, hi*rest), denseView(part.dims), src, part)
	})
}

// transposeCopy copies a view whose last dimension strides while the one before runs, in blocks that use whole cache
// lines of both sides.
func transposeCopy(dst, src []float32, v view) bool {
	k := len(v.dims) - 1
	rows, cols := v.dims[k-1], v.dims[k]
	if v.strides[k-1] != 1 || rows < 8 || cols < 8 {
		return false
	}
	outer := view{v.offset, v.dims[:k-1], v.strides[:k-1]}
	count := product(outer.dims)
	strips := (rows + 15) / 16
	stride := v.strides[k]
	par.For(count*strips, max(1, 1<<14/(16*cols)), func(lo, hi int) {
		for u := lo; u < hi; u++ {
			base := outer.at(u / strips)
			to := dst[u/strips*rows*cols : (u/strips+1)*rows*cols]
			r0 := u % strips * 16
			r1 := min(r0+16, rows)
			for j := range cols {
				line := src[base+j*stride+r0 : base+j*stride+r1]
				for i, x := range line {
					to[(r0+i)*cols+j] = x
				}
			}
		}
	})
	return true
}

// at returns the offset of the i-th index in order.
func (v view) at(i int) int {
	off := v.offset
	for d := len(v.dims) - 1; d >= 0; d-- {
		off += i % v.dims[d] * v.strides[d]
		i /= v.dims[d]
	}
	return off
}
