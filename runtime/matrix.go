package runtime

import (
	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// matrix is a weight [rows, cols] in the form its kernels want.
type matrix interface {
	size() (rows, cols int)
	bytes() int64
	// mul computes dst[t*ld+r-lo] = x[t]·W[r], or adds it where add is set, for the n rows of x and rows [lo,hi) of the
	// weight, on all cores. The result for a row of x does not depend on n.
	mul(dst []float32, ld int, x []float32, n, lo, hi int, add bool)
	// row decodes one row.
	row(dst []float32, r int)
	// kernel names the code that multiplies, for `pare bench`.
	kernel() string
}

// newMatrix reads a tensor. Stacked experts become one matrix of experts x rows.
func newMatrix(t *tensor.Tensor) (matrix, error) {
	if t.Codec.Name() == "f32" {
		v, err := t.Float32()
		return &dense{v, t.Rows(), t.Cols()}, err
	}
	data, err := t.ReadRaw(0, t.Rows())
	return &coded{data, t.Codec, t.Rows(), t.Cols(), t.RowBytes()}, err
}

// dense is float32.
type dense struct {
	v          []float32
	rows, cols int
}

func (m *dense) size() (int, int) { return m.rows, m.cols }
func (m *dense) bytes() int64     { return int64(4 * len(m.v)) }
func (m *dense) kernel() string   { return "f32" }
func (m *dense) row(dst []float32, r int) {
	copy(dst, m.v[r*m.cols:(r+1)*m.cols])
}

func (m *dense) mul(dst []float32, ld int, x []float32, n, lo, hi int, add bool) {
	parRows(lo, hi, func(a, b int) {
		mulRows(dst[a-lo:], ld, x, n, m.v[a*m.cols:b*m.cols], m.cols, b-a, add)
	})
}

// mulRows multiplies with rows given as float32. A few rows of x at a time pass over the weights, so that those are read
// from memory once.
func mulRows(dst []float32, ld int, x []float32, n int, w []float32, cols, rows int, add bool) {
	p := simd.PackB(w, cols, true, rows, cols)
	simd.GemmPacked(dst, ld, x, cols, false, p, n, add)
}

// coded keeps the stored blocks and decodes a few rows at a time.
type coded struct {
	data       []byte
	codec      codec.Codec
	rows, cols int
	rb         int
}

func (m *coded) size() (int, int) { return m.rows, m.cols }
func (m *coded) bytes() int64     { return int64(len(m.data)) }
func (m *coded) kernel() string   { return "decode " + m.codec.Name() }
func (m *coded) row(dst []float32, r int) {
	m.codec.Decode(dst, m.data[r*m.rb:(r+1)*m.rb])
}

func (m *coded) mul(dst []float32, ld int, x []float32, n, lo, hi int, add bool) {
	parRows(lo, hi, func(a, b int) {
		rows := make([]float32, (b-a)*m.cols)
		m.codec.Decode(rows, m.data[a*m.rb:b*m.rb])
		mulRows(dst[a-lo:], ld, x, n, rows, m.cols, b-a, add)
	})
}

// parRows splits rows of a weight into tasks with fixed borders.
func parRows(lo, hi int, f func(a, b int)) {
	par.For(hi-lo, grain(hi-lo), func(a, b int) { f(lo+a, lo+b) })
}

// grain splits rows into about 32 tasks of whole tiles.
func grain(rows int) int { return max(16, (rows/32+15)&^15) }
