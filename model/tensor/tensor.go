// Package tensor is a named matrix of weights that stays on disk until somebody reads rows of it.
//
// A Tensor knows its shape and its storage format; its bytes come from a Rows source: a range of an open file, a slice
// in memory, or a view of other tensors (a row range, a transposition, a selection of columns). Nothing is read on
// creation, so a checkpoint of any size opens at once and is never wholly in memory.
package tensor

import (
	"fmt"
	"io"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/codec"
)

// Tensor is a named array in row-major order, seen as Rows() rows of Cols() values.
type Tensor struct {
	Name  string
	Codec codec.Codec // storage format of every row
	Shape []int       // outermost first; the last is the row length. Empty for a scalar
	Src   Rows
}

// Rows gives the stored bytes of a range of rows. Implementations are safe for concurrent use.
type Rows interface {
	// ReadRows fills dst with rows [lo,hi) in the tensor's format; len(dst) is exactly their size.
	ReadRows(dst []byte, lo, hi int) error
}

// Rows returns the number of rows: the product of all dimensions but the last.
func (t *Tensor) Rows() int {
	n := 1
	for i := 0; i < len(t.Shape)-1; i++ {
		n *= t.Shape[i]
	}
	return n
}

// Cols returns the row length: the last dimension, 1 for a scalar.
func (t *Tensor) Cols() int {
	if len(t.Shape) == 0 {
		return 1
	}
	return t.Shape[len(t.Shape)-1]
}

// Len returns the number of values.
func (t *Tensor) Len() int { return t.Rows() * t.Cols() }

// RowBytes returns the stored bytes of one row.
func (t *Tensor) RowBytes() int {
	n, err := codec.RowBytes(t.Codec, t.Cols())
	if err != nil { // readers and views check this before they make a Tensor
		panic(fmt.Sprintf("tensor %s: %v", t.Name, err))
	}
	return n
}

// Bytes returns the stored bytes of the whole tensor.
func (t *Tensor) Bytes() int64 { return int64(t.Rows()) * int64(t.RowBytes()) }

// Check returns an error unless the shape is positive, its size fits and rows are whole blocks. Zero-sized
// dimensions are allowed.
func (t *Tensor) Check() error {
	f := make([]int64, 0, len(t.Shape)+1)
	for _, d := range t.Shape {
		f = append(f, int64(d))
	}
	if _, err := limits.Product(append(f, 8)...); err != nil {
		return err
	}
	_, err := codec.RowBytes(t.Codec, t.Cols())
	return err
}

// ReadRaw reads the stored bytes of rows [lo,hi).
func (t *Tensor) ReadRaw(lo, hi int) ([]byte, error) {
	b := make([]byte, (hi-lo)*t.RowBytes())
	return b, t.Src.ReadRows(b, lo, hi)
}

// ReadFloat32 decodes rows [lo,hi) into dst, which holds (hi-lo)*Cols() values.
func (t *Tensor) ReadFloat32(dst []float32, lo, hi int) error {
	rb, cols := t.RowBytes(), t.Cols()
	step := chunkRows(rb)
	buf := make([]byte, min(step, hi-lo)*rb)
	for r := lo; r < hi; r += step {
		e := min(r+step, hi)
		b := buf[:(e-r)*rb]
		if err := t.Src.ReadRows(b, r, e); err != nil {
			return err
		}
		t.Codec.Decode(dst[(r-lo)*cols:(e-lo)*cols], b)
	}
	return nil
}

// Float32 decodes the whole tensor.
func (t *Tensor) Float32() ([]float32, error) {
	dst := make([]float32, t.Len())
	return dst, t.ReadFloat32(dst, 0, t.Rows())
}

// chunkRows returns how many rows of rb bytes are worth one read: about 1 MiB.
func chunkRows(rb int) int { return max(1, 1<<20/max(rb, 1)) }

// WriteTo writes the stored bytes of all rows to w, about a megabyte at a time.
func (t *Tensor) WriteTo(w io.Writer) (int64, error) {
	rb, rows := t.RowBytes(), t.Rows()
	step := chunkRows(rb)
	buf := make([]byte, min(step, rows)*rb)
	var n int64
	for lo := 0; lo < rows; lo += step {
		hi := min(lo+step, rows)
		b := buf[:(hi-lo)*rb]
		if err := t.Src.ReadRows(b, lo, hi); err != nil {
			return n, err
		}
		k, err := w.Write(b)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// FromBytes returns a tensor over encoded rows in memory.
func FromBytes(name string, c codec.Codec, shape []int, data []byte) *Tensor {
	t := &Tensor{Name: name, Codec: c, Shape: shape}
	t.Src = memory{data, t.RowBytes()}
	return t
}

// FromFloat32 returns a tensor that holds values as f32. The values are copied.
func FromFloat32(name string, shape []int, values []float32) *Tensor {
	c, _ := codec.Lookup("f32")
	data := make([]byte, 4*len(values))
	c.Encode(data, values, nil)
	return FromBytes(name, c, shape, data)
}

type memory struct {
	data []byte
	row  int
}

func (m memory) ReadRows(dst []byte, lo, hi int) error {
	copy(dst, m.data[lo*m.row:hi*m.row])
	return nil
}

// FromFile returns a tensor whose rows lie at offset off of r. The caller has checked that they lie inside the file.
func FromFile(name string, c codec.Codec, shape []int, r io.ReaderAt, off int64) *Tensor {
	t := &Tensor{Name: name, Codec: c, Shape: shape}
	t.Src = &fileRows{r, off, int64(t.RowBytes()), name}
	return t
}

type fileRows struct {
	r    io.ReaderAt
	off  int64
	row  int64
	name string
}

func (f *fileRows) ReadRows(dst []byte, lo, hi int) error {
	if _, err := f.r.ReadAt(dst, f.off+int64(lo)*f.row); err != nil && len(dst) > 0 {
		file := ""
		if n, ok := f.r.(interface{ Name() string }); ok {
			file = n.Name()
		}
		field := fmt.Sprintf("tensor %q", f.name)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return Errorf(ErrCorrupt, file, field, "the file became shorter while it was open")
		}
		return fmt.Errorf("%s: %s: %w", file, field, err)
	}
	return nil
}
