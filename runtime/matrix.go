package runtime

import (
	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model/codec"
)

// matrix is a weight [rows, cols] in the form its kernels want. Most are *simd.Matrix as they are.
type matrix interface {
	Size() (rows, cols int)
	Bytes() int64
	// Form returns the form of the activations that Mul reads beside float32, of a prompt's or of others.
	Form(prompt bool) simd.Form
	// Read loads what a product with rows [lo,hi) reads and does nothing with it.
	Read(lo, hi int)
	// Row decodes one row.
	Row(dst []float32, r int)
	// Kernel names the code that multiplies.
	Kernel() string
}

// activations is rows of a value on their way into linear layers.
type activations struct {
	simd.Acts
	x        []float32
	rows     int
	quantize func(lo, hi int) // Acts.Quantize, made once
}

// reset takes the rows in, and makes the forms that the matrices read.
func (a *activations) reset(x []float32, rows, cols int, forms simd.Form) {
	a.begin(x, rows, cols, forms)
	if forms != 0 {
		if a.quantize == nil {
			a.quantize = a.Quantize
		}
		par.For(rows, max(1, rowsGrain/cols), a.quantize)
	}
}

// begin is reset but for making the forms, which the caller does row by row.
func (a *activations) begin(x []float32, rows, cols int, forms simd.Form) {
	a.x, a.rows = x, rows
	a.Acts.Reset(x, rows, cols)
	a.Want(forms)
}

// mul computes dst[t*ld+r-lo] = W[r]·x[t], or adds it, for rows [lo,hi) of the weight. The result for a row of x depends
// neither on the others nor on the borders.
func mul(m matrix, dst []float32, ld int, a *activations, lo, hi int, add bool) {
	switch m := m.(type) {
	case *simd.Matrix:
		m.Mul(dst, ld, &a.Acts, lo, hi, add)
	case *coded:
		m.mul(dst, ld, a, lo, hi, add)
	case *filed:
		m.mul(dst, ld, a, lo, hi, add)
	}
}

// coded keeps the stored blocks of a format without kernels and decodes a few rows at a time.
type coded struct {
	data       []byte
	codec      codec.Codec
	rows, cols int
	rb         int
}

func (m *coded) Size() (int, int) { return m.rows, m.cols }
func (m *coded) Bytes() int64     { return int64(len(m.data)) }
func (m *coded) Kernel() string   { return "decode " + m.codec.Name() }
func (m *coded) Read(lo, hi int)  { simd.Read(m.data[lo*m.rb : hi*m.rb]) }

// Form implements matrix: rows are decoded to float32.
func (m *coded) Form(bool) simd.Form { return 0 }

func (m *coded) Row(dst []float32, r int) {
	m.codec.Decode(dst, m.data[r*m.rb:(r+1)*m.rb])
}

func (m *coded) mul(dst []float32, ld int, a *activations, lo, hi int, add bool) {
	rows := make([]float32, (hi-lo)*m.cols)
	for r := lo; r < hi; r++ {
		m.Row(rows[(r-lo)*m.cols:(r-lo+1)*m.cols], r)
	}
	p := simd.PackB(rows, m.cols, true, hi-lo, m.cols)
	simd.GemmPacked(dst, ld, a.x, m.cols, false, p, a.rows, add)
}

// taskRows splits rows of a weight into about 32 stretches of pairs of tiles of 16.
func taskRows(rows int) int { return max(32, (rows/32+31)&^31) }
