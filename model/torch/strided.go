package torch

import (
	"errors"
	"fmt"
	"io"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// end returns the number of elements from the beginning of the storage to the last that the view reaches.
func (s *strided) end() (int64, error) {
	last := s.offset
	for i, d := range s.shape {
		if d == 0 {
			return 0, nil
		}
		step, err := limits.Product(d-1, s.stride[i])
		if err != nil {
			return 0, err
		}
		if last, err = limits.Sum(last, step); err != nil {
			return 0, err
		}
	}
	return limits.Sum(last, 1)
}

// compact returns the strides of the shape without gaps.
func compact(shape []int) []int64 {
	out := make([]int64, len(shape))
	n := int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		out[i] = n
		n *= int64(shape[i])
	}
	return out
}

// open makes the tensor over a storage that begins at base. Rows must be consecutive elements, or the view must be the
// transposition of a matrix whose rows are; what else torch can express is refused.
func (s *strided) open(name string, c codec.Codec, shape []int, r io.ReaderAt, base int64) (*tensor.Tensor, error) {
	_, size := c.Block()
	base += s.offset * int64(size)
	t := &tensor.Tensor{Name: name, Codec: c, Shape: shape}
	if t.Len() == 0 {
		return tensor.FromBytes(name, c, shape, nil), nil
	}
	plain := compact(shape)
	isPlain, rows := true, true
	for i, d := range shape {
		if d > 1 && s.stride[i] != plain[i] {
			isPlain = false
			rows = rows && i < len(shape)-1
		}
	}
	switch n := len(shape); {
	case isPlain:
		return tensor.FromFile(name, c, shape, r, base), nil
	case rows:
		t.Src = &pitched{r, base, shape[:n-1], s.stride[:n-1], size, t.RowBytes(), name}
		return t, nil
	case n == 2 && (s.stride[0] == 1 || shape[0] == 1):
		back := &strided{s.storage, s.dtype, 0, []int64{s.shape[1], s.shape[0]}, []int64{s.stride[1], s.stride[0]}}
		m, err := back.open(name, c, []int{shape[1], shape[0]}, r, base)
		if err != nil {
			return nil, err
		}
		return tensor.Transpose(name, m)
	}
	return nil, fmt.Errorf("shape %v with strides %v is neither made of whole rows nor transposed: call .contiguous() before saving", s.shape, s.stride)
}

// pitched reads rows that lie anywhere in a file, each in one piece.
type pitched struct {
	r      io.ReaderAt
	base   int64
	outer  []int   // all dimensions but the last
	stride []int64 // of them, in elements
	size   int     // bytes of an element
	row    int     // bytes of a row
	name   string
}

// ReadRows implements tensor.Rows.
func (p *pitched) ReadRows(dst []byte, lo, hi int) error {
	for i := lo; i < hi; i++ {
		at, rest := int64(0), i
		for d := len(p.outer) - 1; d >= 0; d-- {
			at += int64(rest%p.outer[d]) * p.stride[d]
			rest /= p.outer[d]
		}
		row := dst[(i-lo)*p.row : (i-lo+1)*p.row]
		if _, err := p.r.ReadAt(row, p.base+at*int64(p.size)); err != nil {
			return shorter(p.name, err)
		}
	}
	return nil
}

// shorter is the error of a read that the file's size at opening had promised to work.
func shorter(name string, err error) error {
	field := fmt.Sprintf("tensor %q", name)
	if errors.Is(err, io.EOF) {
		return tensor.Errorf(tensor.ErrCorrupt, "", field, "the file became shorter while it was open")
	}
	return fmt.Errorf("%s: %w", field, err)
}
