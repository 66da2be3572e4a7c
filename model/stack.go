package model

import (
	"fmt"

	"github.com/parelm/pare/model/tensor"
)

// Tensors that hold a matrix of every expert one behind the other. Blocks of a quantized format lie along a row, so whoever stores
// such a format stores matrices upright, whatever he does with single values.

// standUp makes the slot one of upright matrices where the format has blocks.
func (s *slot) standUp(t *tensor.Tensor) {
	if s.Stacked && !isFloat(t.Codec) {
		s.Transposed = false
	}
}

// transposeEach returns [experts, a, b] as [experts, b, a]. A matrix is turned over as a whole when a row of it is first wanted: for each
// stretch of its rows all of the other side would have to be read.
func transposeEach(t *tensor.Tensor) (*tensor.Tensor, error) {
	values, size := t.Codec.Block()
	if values != 1 || len(t.Shape) != 3 {
		return nil, fmt.Errorf("%s: cannot transpose %s %v", t.Name, t.Codec.Name(), t.Shape)
	}
	experts, a, b := t.Shape[0], t.Shape[1], t.Shape[2]
	var shared slab
	var parts []tensor.Part
	for e := range experts {
		v := &tensor.Tensor{Name: t.Name, Codec: t.Codec, Shape: []int{b, a}}
		v.Src = &matrixRows{shared: &shared, row: v.RowBytes(), rows: b, make: func() ([]byte, error) {
			raw, err := t.ReadRaw(e*a, (e+1)*a)
			if err != nil {
				return nil, err
			}
			out := make([]byte, len(raw))
			const square = 32 // rows and columns that stay in the first cache
			for i := 0; i < a; i += square {
				for j := range b {
					for k := i; k < min(i+square, a); k++ {
						to, from := (j*a+k)*size, (k*b+j)*size
						for n := range size { // faster than copy for two or four bytes
							out[to+n] = raw[from+n]
						}
					}
				}
			}
			return out, nil
		}}
		parts = append(parts, tensor.Part{T: v, Span: tensor.Span{Lo: 0, Hi: b}})
	}
	return tensor.Concat(t.Name, []int{experts, b, a}, parts)
}
