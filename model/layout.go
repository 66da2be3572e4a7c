package model

import (
	"fmt"

	"github.com/parelm/pare/model/tensor"
)

// A slot is one stored tensor; these functions turn it into the weights it holds and weights into it. Both directions
// are views: bytes move, values stay.

// shape returns the shape of the stored tensor.
func (s *slot) shape() []int {
	w := s.weights[0]
	if s.expert >= 0 {
		return w.Shape()[1:]
	}
	shape, first := w.Shape(), s.first()
	for _, p := range s.weights[1:] {
		shape[first] += p.Shape()[first]
	}
	if s.Transposed && len(shape) == first+2 {
		shape[first], shape[first+1] = shape[first+1], shape[first]
	}
	return s.spread(shape)
}

// first is the place of a part's rows among the dimensions: behind the experts where the tensor holds all.
func (s *slot) first() int {
	if s.Stacked {
		return 1
	}
	return 0
}

// unit is the dimension of a part's rows: of one expert's where the tensor holds all.
func (s *slot) unit(w *Weight) Dim { return w.Dims[s.first()] }

// slabs is how many experts the tensor holds, 1 where it is none of experts.
func (s *slot) slabs() int {
	if s.Stacked {
		return s.weights[0].Dims[0].Size()
	}
	return 1
}

// matrix reports whether parts are matrices, not vectors.
func (s *slot) matrix() bool { return len(s.weights[0].Dims) > s.first()+1 }

// spread puts the dimensions of one into a shape that the dialect writes with more of them: Dims {0,1,0} makes
// [64,4] into [64,1,4].
func (s *slot) spread(shape []int) []int {
	ones := 0
	for _, d := range s.Dims {
		ones += d
	}
	if len(shape)+ones != len(s.Dims) || ones == 0 {
		return shape
	}
	out, i := make([]int, len(s.Dims)), 0
	for j, d := range s.Dims {
		if out[j] = d; d == 0 {
			out[j] = shape[i]
			i++
		}
	}
	return out
}

// rowShape returns the stored matrix as [out, in], with vectors as columns so that their values are rows too.
func (s *slot) rowShape() []int {
	rows := 0
	for _, w := range s.weights {
		rows += s.unit(w).Size()
	}
	cols := 1
	if w := s.weights[0]; s.matrix() {
		cols = w.Shape()[len(w.Dims)-1]
	}
	return []int{s.slabs() * rows, cols}
}

// plain reports whether the slot is one weight stored as it is.
func (s *slot) plain() bool {
	return len(s.weights) == 1 && !s.permuted() && !s.Transposed && !s.Tiled
}

// tiled reports whether heads of a dimension are stored in another order than the weight's.
func (s *slot) tiled(d Dim) bool { return s.Tiled && d.Axis.tiles > 0 && d.Axis.tiles < d.Axis.Size }

// sideBySide returns the stored place of each entry of a dimension whose heads the weight has in turns.
func sideBySide(d Dim) []int {
	places, each := make([]int, d.Size()), d.Axis.Size/d.Axis.tiles
	for i := range places {
		h := i / d.Block
		places[i] = (h%d.Axis.tiles*each+h/d.Axis.tiles)*d.Block + i%d.Block
	}
	return places
}

func (s *slot) permuted() bool { return s.permute > 0 }

// split returns the weights of a stored tensor, in the order of s.weights.
func (s *slot) split(t *tensor.Tensor) ([]*tensor.Tensor, error) {
	if s.plain() {
		w := s.weights[0]
		shape := w.Shape()
		if s.expert >= 0 {
			shape = shape[1:]
		}
		v, err := tensor.Reshape(w.Name, t, shape)
		return []*tensor.Tensor{v}, err
	}
	t, err := s.turned(t, s.shape())
	if err != nil {
		return nil, err
	}
	if t, err = tensor.Reshape(t.Name, t, s.rowShape()); err != nil {
		return nil, err
	}
	var out []*tensor.Tensor
	for i, w := range s.weights {
		idx := s.rows(i)
		v, err := tensor.GatherRows(w.Name, t, []int{len(idx), t.Cols()}, idx)
		if last := w.Dims[len(w.Dims)-1]; err == nil && len(w.Dims) > 1 && s.tiled(last) {
			v, err = tensor.SelectCols(w.Name, v, sideBySide(last))
		}
		if err == nil {
			v, err = tensor.Reshape(w.Name, v, w.Shape())
		}
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// join returns the stored tensor made of the weights, given in the order of s.weights.
func (s *slot) join(ws []*tensor.Tensor) (*tensor.Tensor, error) {
	if s.expert >= 0 {
		w := ws[0]
		n := w.Rows() / w.Shape[0]
		return tensor.RowSpans(s.name, w, s.shape(), []tensor.Span{{Lo: s.expert * n, Hi: (s.expert + 1) * n}})
	}
	s.standUp(ws[0])
	if s.plain() {
		return tensor.Reshape(s.name, ws[0], s.shape())
	}
	shape := s.rowShape()
	var parts []tensor.Part
	from := make([]int, shape[0]) // stored row -> row of the concatenation of the weights
	base := 0
	for i, w := range ws {
		idx := s.rows(i)
		v, err := tensor.Reshape(w.Name, w, []int{len(idx), shape[1]})
		if dims := s.weights[i].Dims; err == nil && len(dims) > 1 && s.tiled(dims[len(dims)-1]) {
			back := make([]int, shape[1])
			for j, stored := range sideBySide(dims[len(dims)-1]) {
				back[stored] = j
			}
			v, err = tensor.SelectCols(w.Name, v, back)
		}
		if err != nil {
			return nil, err
		}
		parts = append(parts, tensor.Part{T: v, Span: tensor.Span{Lo: 0, Hi: v.Rows()}})
		for r, stored := range idx {
			from[stored] = base + r
		}
		base += v.Rows()
	}
	t, err := tensor.Concat(s.name, shape, parts)
	if err != nil {
		return nil, err
	}
	if t, err = tensor.GatherRows(s.name, t, shape, from); err != nil {
		return nil, err
	}
	if s.Stacked {
		shape = []int{s.slabs(), shape[0] / s.slabs(), shape[1]}
	}
	if t, err = s.turned(t, shape); err != nil {
		return nil, err
	}
	return tensor.Reshape(s.name, t, s.shape())
}

// turned exchanges rows and columns of t, which is of that shape, where the dialect stores matrices transposed.
func (s *slot) turned(t *tensor.Tensor, shape []int) (*tensor.Tensor, error) {
	if !s.Transposed || !s.matrix() {
		return t, nil
	}
	t, err := tensor.Reshape(t.Name, t, shape)
	if err != nil {
		return nil, err
	}
	if s.Stacked {
		return transposeEach(t)
	}
	return tensor.Transpose(t.Name, t)
}

// rows returns the stored row of each row of part i, expert after expert.
func (s *slot) rows(i int) []int {
	groups, stride, offset := 1, 0, 0
	if s.Grouped {
		groups = s.groups
	}
	for j, w := range s.weights {
		n := s.unit(w).Size() / groups
		stride += n
		if j < i {
			offset += n
		}
	}
	n := s.unit(s.weights[i]).Size()
	per := n / groups
	idx := make([]int, n)
	if d := s.unit(s.weights[i]); s.tiled(d) {
		copy(idx, sideBySide(d))
	} else {
		for r := range idx {
			idx[r] = r
		}
	}
	for at, r := range idx {
		idx[at] = r/per*stride + offset + r%per
		if d := s.permute; d > 0 { // GGUF keeps pair (j, j+d/2) of each head side by side
			h, j := at/d, at%d
			idx[at] = h*d + j%(d/2)*2 + j/(d/2)
		}
	}
	slab := groups * stride // rows of an expert
	for e := 1; e < s.slabs(); e++ {
		for _, r := range idx[:n] {
			idx = append(idx, e*slab+r)
		}
	}
	return idx
}

// check returns an error unless the stored tensor has the slot's shape up to dimensions of one.
func (s *slot) check(t *tensor.Tensor) error {
	want := s.shape()
	if !sameShape(want, t.Shape) {
		return fmt.Errorf("has shape %v, the configuration makes it %v", t.Shape, want)
	}
	switch name := t.Codec.Name(); name {
	case "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "bool":
		return fmt.Errorf("is stored as %s: weights are floating-point numbers, or integers with scales in a layout that config.json declares", name)
	}
	return nil
}

// sameShape compares shapes without dimensions of one.
func sameShape(a, b []int) bool {
	strip := func(s []int) (out []int) {
		for _, d := range s {
			if d != 1 {
				out = append(out, d)
			}
		}
		return out
	}
	a, b = strip(a), strip(b)
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
