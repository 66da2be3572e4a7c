package tensor

import (
	"fmt"
	"sync"

	"github.com/parelm/pare/model/codec"
)

// A view is a tensor made of rows or values of others. Views copy stored bytes and never decode, so they keep every
// bit; those that move single values (Transpose, SelectCols) need a format whose block is one value.

// Span is a run of consecutive rows.
type Span struct{ Lo, Hi int }

// RowSpans returns the tensor made of the given runs of t's rows, one after the other. shape must hold as many rows.
func RowSpans(name string, t *Tensor, shape []int, spans []Span) (*Tensor, error) {
	v := &Tensor{Name: name, Codec: t.Codec, Shape: shape}
	starts := make([]int, len(spans)+1)
	for i, s := range spans {
		if s.Lo < 0 || s.Hi < s.Lo || s.Hi > t.Rows() {
			return nil, fmt.Errorf("rows %d..%d of %s, which has %d", s.Lo, s.Hi, t.Name, t.Rows())
		}
		starts[i+1] = starts[i] + s.Hi - s.Lo
	}
	if v.Rows() != starts[len(spans)] || v.Cols() != t.Cols() {
		return nil, fmt.Errorf("%s: shape %v does not hold %d rows of %d", name, shape, starts[len(spans)], t.Cols())
	}
	v.Src = &spanRows{t, spans, starts}
	return v, nil
}

type spanRows struct {
	t      *Tensor
	spans  []Span
	starts []int // first row of the view that each span gives
}

func (v *spanRows) ReadRows(dst []byte, lo, hi int) error {
	rb := v.t.RowBytes()
	for i, s := range v.spans {
		a, b := max(lo, v.starts[i]), min(hi, v.starts[i+1])
		if a >= b {
			continue
		}
		src := s.Lo + a - v.starts[i]
		if err := v.t.Src.ReadRows(dst[(a-lo)*rb:(b-lo)*rb], src, src+b-a); err != nil {
			return err
		}
	}
	return nil
}

// Part names rows of one of several tensors.
type Part struct {
	T *Tensor
	Span
}

// Concat returns the tensor made of the given row runs of several tensors, all of one format and row length.
func Concat(name string, shape []int, parts []Part) (*Tensor, error) {
	if len(parts) == 0 {
		return nil, fmt.Errorf("%s: nothing to concatenate", name)
	}
	v := &Tensor{Name: name, Codec: parts[0].T.Codec, Shape: shape}
	starts := make([]int, len(parts)+1)
	for i, p := range parts {
		if p.T.Codec != v.Codec {
			return nil, fmt.Errorf("%s: %s is %s, %s is %s", name, parts[0].T.Name, v.Codec.Name(), p.T.Name, p.T.Codec.Name())
		}
		if p.T.Cols() != v.Cols() || p.Lo < 0 || p.Hi < p.Lo || p.Hi > p.T.Rows() {
			return nil, fmt.Errorf("%s: rows %d..%d of %s %v do not fit %v", name, p.Lo, p.Hi, p.T.Name, p.T.Shape, shape)
		}
		starts[i+1] = starts[i] + p.Hi - p.Lo
	}
	if v.Rows() != starts[len(parts)] {
		return nil, fmt.Errorf("%s: shape %v does not hold %d rows", name, shape, starts[len(parts)])
	}
	v.Src = &concatRows{parts, starts, v.RowBytes()}
	return v, nil
}

type concatRows struct {
	parts  []Part
	starts []int
	row    int
}

func (v *concatRows) ReadRows(dst []byte, lo, hi int) error {
	for i, p := range v.parts {
		a, b := max(lo, v.starts[i]), min(hi, v.starts[i+1])
		if a >= b {
			continue
		}
		src := p.Lo + a - v.starts[i]
		if err := p.T.Src.ReadRows(dst[(a-lo)*v.row:(b-lo)*v.row], src, src+b-a); err != nil {
			return err
		}
	}
	return nil
}

// Transpose returns the tensor with its two dimensions exchanged. The format's block must be one value.
func Transpose(name string, t *Tensor) (*Tensor, error) {
	values, size := t.Codec.Block()
	if values != 1 || len(t.Shape) != 2 {
		return nil, fmt.Errorf("%s: cannot transpose %s %v", name, t.Codec.Name(), t.Shape)
	}
	return &Tensor{Name: name, Codec: t.Codec, Shape: []int{t.Shape[1], t.Shape[0]}, Src: &transposed{t, size}}, nil
}

type transposed struct {
	t    *Tensor
	size int
}

func (v *transposed) ReadRows(dst []byte, lo, hi int) error {
	rows, rb, size := v.t.Rows(), v.t.RowBytes(), v.size
	step := chunkRows(rb)
	buf := make([]byte, min(step, rows)*rb)
	for r := 0; r < rows; r += step {
		e := min(r+step, rows)
		b := buf[:(e-r)*rb]
		if err := v.t.Src.ReadRows(b, r, e); err != nil {
			return err
		}
		for i := r; i < e; i++ {
			src := b[(i-r)*rb:]
			for j := lo; j < hi; j++ {
				copy(dst[((j-lo)*rows+i)*size:][:size], src[j*size:])
			}
		}
	}
	return nil
}

// SelectCols returns the tensor that keeps the values of each row at the given places. Blocks of more than one value must be taken whole.
func SelectCols(name string, t *Tensor, cols []int) (*Tensor, error) {
	values, size := t.Codec.Block()
	if values == 0 { // one block is a whole row
		return nil, fmt.Errorf("%s: cannot take columns out of %s, which has a scale for each row", name, t.Codec.Name())
	}
	for i, c := range cols {
		if c < 0 || c >= t.Cols() {
			return nil, fmt.Errorf("%s: column %d of %d", name, c, t.Cols())
		}
		if first := i - i%values; values > 1 && (c%values != i%values || c-cols[first] != i-first || first+values > len(cols)) {
			return nil, fmt.Errorf("%s: cannot take single columns out of %s blocks of %d", name, t.Codec.Name(), values)
		}
	}
	shape := append([]int(nil), t.Shape...)
	shape[len(shape)-1] = len(cols)
	blocks := cols
	if values > 1 {
		blocks = make([]int, len(cols)/values)
		for i := range blocks {
			blocks[i] = cols[i*values] / values
		}
	}
	return &Tensor{Name: name, Codec: t.Codec, Shape: shape, Src: &selected{t, blocks, size}}, nil
}

type selected struct {
	t    *Tensor
	cols []int // or blocks
	size int   // bytes of one
}

func (v *selected) ReadRows(dst []byte, lo, hi int) error {
	rb, size := v.t.RowBytes(), v.size
	step := chunkRows(rb)
	buf := make([]byte, min(step, hi-lo)*rb)
	out := 0
	for r := lo; r < hi; r += step {
		e := min(r+step, hi)
		b := buf[:(e-r)*rb]
		if err := v.t.Src.ReadRows(b, r, e); err != nil {
			return err
		}
		for i := range e - r {
			src := b[i*rb:]
			for _, c := range v.cols {
				out += copy(dst[out:], src[c*size:(c+1)*size])
			}
		}
	}
	return nil
}

// Map returns the tensor whose values are f of t's, stored as format c. f sees whole rows and changes them in place.
func Map(name string, t *Tensor, c codec.Codec, f func(row []float32)) *Tensor {
	return &Tensor{Name: name, Codec: c, Shape: t.Shape, Src: &mapped{t, c, f}}
}

type mapped struct {
	t *Tensor
	c codec.Codec
	f func(row []float32)
}

func (v *mapped) ReadRows(dst []byte, lo, hi int) error {
	cols := v.t.Cols()
	row := make([]float32, cols)
	rb := len(dst) / max(hi-lo, 1)
	for r := lo; r < hi; r++ {
		if err := v.t.ReadFloat32(row, r, r+1); err != nil {
			return err
		}
		if v.f != nil {
			v.f(row)
		}
		v.c.Encode(dst[(r-lo)*rb:(r-lo+1)*rb], row, nil)
	}
	return nil
}

// Convert returns t stored in format c: t itself when it is already, else a view that decodes and encodes each row.
func Convert(t *Tensor, c codec.Codec) (*Tensor, error) {
	if t.Codec == c {
		return t, nil
	}
	if _, err := codec.RowBytes(c, t.Cols()); err != nil {
		return nil, fmt.Errorf("%s: %w", t.Name, err)
	}
	return Map(t.Name, t, c, nil), nil
}

// GatherRows returns the tensor whose row i is row idx[i] of t. shape must hold len(idx) rows.
func GatherRows(name string, t *Tensor, shape []int, idx []int) (*Tensor, error) {
	for _, r := range idx {
		if r < 0 || r >= t.Rows() {
			return nil, fmt.Errorf("%s: row %d of %d", name, r, t.Rows())
		}
	}
	v := &Tensor{Name: name, Codec: t.Codec, Shape: shape, Src: &gathered{t, idx}}
	if v.Rows() != len(idx) || v.Cols() != t.Cols() {
		return nil, fmt.Errorf("%s: shape %v does not hold %d rows of %d", name, shape, len(idx), t.Cols())
	}
	return v, nil
}

type gathered struct {
	t   *Tensor
	idx []int
}

// ReadRows reads the window of source rows that a stretch of rows needs where the window is dense, as it is for
// permutations within a head, and row by row where it is not.
func (v *gathered) ReadRows(dst []byte, lo, hi int) error {
	rb := v.t.RowBytes()
	step := chunkRows(rb)
	for a := lo; a < hi; a += step {
		b := min(a+step, hi)
		first, last := v.idx[a], v.idx[a]
		for _, r := range v.idx[a:b] {
			first, last = min(first, r), max(last, r)
		}
		out := dst[(a-lo)*rb : (b-lo)*rb]
		if last-first+1 <= 2*(b-a) {
			if err := v.window(out, v.idx[a:b], first, last+1); err != nil {
				return err
			}
			continue
		}
		for i, r := range v.idx[a:b] {
			if err := v.t.Src.ReadRows(out[i*rb:(i+1)*rb], r, r+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// windows holds buffers: while a model is loaded, garbage would add to the memory of its weights.
var windows = sync.Pool{New: func() any { return new([]byte) }}

// window fills out with rows idx, all of [lo,hi), from one read of those.
func (v *gathered) window(out []byte, idx []int, lo, hi int) error {
	rb := v.t.RowBytes()
	buf := windows.Get().(*[]byte)
	defer windows.Put(buf)
	if n := (hi - lo) * rb; cap(*buf) < n {
		*buf = make([]byte, n)
	}
	rows := (*buf)[:(hi-lo)*rb]
	if err := v.t.Src.ReadRows(rows, lo, hi); err != nil {
		return err
	}
	for i, r := range idx {
		copy(out[i*rb:(i+1)*rb], rows[(r-lo)*rb:])
	}
	return nil
}

// Reshape returns t's values under another shape. A new row length needs a format whose block is one value.
func Reshape(name string, t *Tensor, shape []int) (*Tensor, error) {
	v := &Tensor{Name: name, Codec: t.Codec, Shape: shape, Src: t.Src}
	if v.Len() != t.Len() {
		return nil, fmt.Errorf("%s: %v does not hold the %d values of %v", name, shape, t.Len(), t.Shape)
	}
	if v.Cols() == t.Cols() {
		return v, nil
	}
	if values, _ := t.Codec.Block(); values != 1 {
		return nil, fmt.Errorf("%s: cannot change the row length of %s blocks", name, t.Codec.Name())
	}
	v.Src = &reshaped{t, v.RowBytes()}
	return v, nil
}

type reshaped struct {
	t   *Tensor
	row int
}

func (v *reshaped) ReadRows(dst []byte, lo, hi int) error {
	rb := v.t.RowBytes()
	if rb == 0 || len(dst) == 0 {
		return nil
	}
	first, last := lo*v.row/rb, (hi*v.row+rb-1)/rb
	buf := make([]byte, (last-first)*rb)
	if err := v.t.Src.ReadRows(buf, first, last); err != nil {
		return err
	}
	copy(dst, buf[lo*v.row-first*rb:])
	return nil
}
