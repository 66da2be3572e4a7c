package model

import (
	"fmt"

	"github.com/parelm/pare/model/tensor"
)

// Tensors that hold a matrix of every expert one behind the other, in parts or transposed. Blocks of a quantized format lie along
// a row, so whoever stores such a format stores matrices upright, whatever he does with single values.

// standUp makes the slot one of upright matrices where the format has blocks.
func (s *slot) standUp(t *tensor.Tensor) {
	if s.Stacked && !isFloat(t.Codec) {
		s.Transposed = false
	}
}

// splitStack is split of a stacked tensor.
func (s *slot) splitStack(t *tensor.Tensor) ([]*tensor.Tensor, error) {
	experts, shape := s.weights[0].Shape()[0], s.rowShape()
	rows, cols := shape[0], shape[1]
	var out []*tensor.Tensor
	for i, w := range s.weights {
		idx := s.rows(i)
		var v *tensor.Tensor
		var err error
		if s.Transposed {
			v, err = s.turn(w.Name, experts, len(idx), cols, t, func(slab, dst []byte, size int) {
				for k, r := range idx {
					for j := range cols {
						copy(dst[(k*cols+j)*size:][:size], slab[(j*rows+r)*size:])
					}
				}
			})
		} else {
			v, err = tensor.Reshape(t.Name, t, []int{experts * rows, cols})
			if err != nil {
				return nil, err
			}
			all := make([]int, 0, experts*len(idx))
			for e := range experts {
				for _, r := range idx {
					all = append(all, e*rows+r)
				}
			}
			v, err = tensor.GatherRows(w.Name, v, []int{len(all), cols}, all)
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

// joinStack is join of a stacked tensor.
func (s *slot) joinStack(ws []*tensor.Tensor) (*tensor.Tensor, error) {
	s.standUp(ws[0])
	experts, shape := s.weights[0].Shape()[0], s.rowShape()
	rows, cols := shape[0], shape[1]
	var parts []tensor.Part
	from := make([]int, experts*rows) // stored row -> row of the concatenation of the weights
	base := 0
	for i, w := range ws {
		idx := s.rows(i)
		v, err := tensor.Reshape(w.Name, w, []int{experts * len(idx), cols})
		if err != nil {
			return nil, err
		}
		parts = append(parts, tensor.Part{T: v, Span: tensor.Span{Lo: 0, Hi: v.Rows()}})
		for e := range experts {
			for r, stored := range idx {
				from[e*rows+stored] = base + e*len(idx) + r
			}
		}
		base += v.Rows()
	}
	t, err := tensor.Concat(s.name, []int{experts * rows, cols}, parts)
	if err != nil {
		return nil, err
	}
	if t, err = tensor.GatherRows(s.name, t, t.Shape, from); err != nil {
		return nil, err
	}
	if s.Transposed {
		if t, err = s.turn(s.name, experts, cols, rows, t, func(slab, dst []byte, size int) {
			for r := range rows {
				for j := range cols {
					copy(dst[(j*rows+r)*size:][:size], slab[(r*cols+j)*size:])
				}
			}
		}); err != nil {
			return nil, err
		}
	}
	return tensor.Reshape(s.name, t, s.shape())
}

// turn returns the tensor [experts*rows, cols] that f makes of t slab by slab: of all values of an expert at once, since what lies side by
// side on one side lies far apart on the other.
func (s *slot) turn(name string, experts, rows, cols int, t *tensor.Tensor, f func(slab, dst []byte, size int)) (*tensor.Tensor, error) {
	values, size := t.Codec.Block()
	if values != 1 {
		return nil, fmt.Errorf("is %s, whose blocks cannot be turned over", t.Codec.Name())
	}
	per := t.Len() / experts
	flat, err := tensor.Reshape(name, t, []int{t.Len() / t.Cols(), t.Cols()})
	if err != nil {
		return nil, err
	}
	step := per / t.Cols()
	var shared slab
	var parts []tensor.Part
	for e := range experts {
		v := &tensor.Tensor{Name: name, Codec: t.Codec, Shape: []int{rows, cols}}
		v.Src = &matrixRows{shared: &shared, row: v.RowBytes(), rows: rows, make: func() ([]byte, error) {
			raw, err := flat.ReadRaw(e*step, (e+1)*step)
			if err != nil {
				return nil, err
			}
			out := make([]byte, rows*cols*size)
			f(raw, out, size)
			return out, nil
		}}
		parts = append(parts, tensor.Part{T: v, Span: tensor.Span{Lo: 0, Hi: rows}})
	}
	return tensor.Concat(name, []int{experts * rows, cols}, parts)
}
