package model

import (
	"fmt"
	"sync"

	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// Checkpoints that other programs quantized. Each layout is one file that finds the tensors of a matrix and gives it back
// in a format of pare's own: a group format where the codes are groups of a row, so that nothing is rounded and the matrix
// stays small, float32 where they are not. Nothing is read before somebody reads rows.

// prequantized opens the matrices of a quantized checkpoint.
type prequantized interface {
	// open returns a stored matrix by the name it would have unquantized, or false where the checkpoint has it plain.
	open(name string) (*tensor.Tensor, bool, error)
}

type lookup func(name string) (*tensor.Tensor, bool)

// layouts are the methods of quantization_config that pare reads.
var layouts = map[string]func(o, q *object, get lookup) (prequantized, error){}

// refused are known methods that it does not, with what they are.
var refused = map[string]string{
	"bitsandbytes": "bitsandbytes", "exl2": "EXL2", "exl3": "EXL3", "hqq": "HQQ", "fbgemm_fp8": "FBGEMM FP8", "aqlm": "AQLM", "quip": "QuIP#",
	"quanto": "Quanto", "torchao": "torchao", "eetq": "EETQ", "higgs": "HIGGS", "vptq": "VPTQ", "spqr": "SpQR",
	"bitnet": "BitNet", "auto-round": "AutoRound's own layout", "modelopt": "ModelOpt", "quark": "Quark", "marlin": "Marlin", "sinq": "SINQ",
}

// quantization reads quantization_config: nil where the checkpoint is not quantized, an error where pare cannot read it.
func (o *object) quantization(get lookup) (prequantized, error) {
	q := o.sub("quantization_config")
	if q == nil {
		q = o.sub("compression_config") // of older compressed-tensors
	}
	if q == nil {
		return nil, o.err
	}
	method := q.text("quant_method")
	if method == "" && (q.has("load_in_4bit") || q.has("load_in_8bit")) {
		method = "bitsandbytes"
	}
	if f := layouts[method]; f != nil {
		u, err := f(o, q, get)
		if err == nil {
			err = q.err
		}
		return u, err
	}
	what, known := refused[method]
	if !known {
		what = fmt.Sprintf("a method called %s", quoted(method))
	}
	return nil, tensor.Errorf(ErrUnsupported, o.file, `key "quantization_config"`,
		"the weights are quantized by %s, which pare does not read; it reads compressed-tensors, gptq, awq, fp8 and mxfp4: start from the unquantized checkpoint", what)
}

// matrix is one quantized matrix of a layout: what pare makes of it, made as a whole when a row is first wanted, because the
// layouts keep the codes of one row far apart.
type matrixRows struct {
	shared *slab
	row    int // bytes
	rows   int
	make   func() ([]byte, error) // all rows
}

func (m *matrixRows) ReadRows(dst []byte, lo, hi int) error {
	data, err := m.shared.get(m)
	if err != nil {
		return err
	}
	copy(dst, data[lo*m.row:hi*m.row])
	return nil
}

// slab keeps the matrix that was read last, for all matrices of a checkpoint: readers go through them one after another.
type slab struct {
	mu   sync.Mutex
	of   *matrixRows
	data []byte
}

func (s *slab) get(m *matrixRows) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == m {
		return s.data, nil
	}
	s.of, s.data = nil, nil
	data, err := m.make()
	if err != nil {
		return nil, err
	}
	s.of, s.data = m, data
	return data, nil
}

// groups is a matrix in the terms that all integer layouts share: x[r][c] = scale[r][g] * (code[r][c] - zero[r][g]) where g is the
// group of column c.
type groups struct {
	name       string
	rows, cols int
	n          int // groups of a row
	bits       int // of the group format that holds the codes: 4 or 8
	group      func(c int) int
	inOrder    bool                    // group(c) is c / (cols/n)
	codes      func(q []uint8) error   // all codes, [rows, cols]
	scales     func(s []float32) error // [rows, n]
	zeros      func(z []float32) error // [rows, n]
}

// tensor returns the matrix: in a group format where the groups are runs of columns, else in float32.
func (g *groups) tensor(shared *slab) (*tensor.Tensor, error) {
	f := codec.Group{Bits: g.bits, Size: g.cols / g.n, Zero: true}
	name := f.Name()
	if !g.inOrder {
		name = "f32"
	}
	c, err := codec.Lookup(name)
	if err != nil {
		return nil, err
	}
	t := &tensor.Tensor{Name: g.name, Codec: c, Shape: []int{g.rows, g.cols}}
	t.Src = &matrixRows{shared: shared, row: t.RowBytes(), rows: g.rows, make: func() ([]byte, error) {
		q, s, z := make([]uint8, g.rows*g.cols), make([]float32, g.rows*g.n), make([]float32, g.rows*g.n)
		for _, err := range []error{g.codes(q), g.scales(s), g.zeros(z)} {
			if err != nil {
				return nil, err
			}
		}
		out := make([]byte, t.Bytes())
		if g.inOrder {
			g.blocks(out, f, q, s, z)
			return out, nil
		}
		x := make([]float32, g.cols)
		for r := range g.rows {
			for c := range x {
				k := r*g.n + g.group(c)
				x[c] = s[k] * (float32(q[r*g.cols+c]) - z[k])
			}
			t.Codec.Encode(out[4*r*g.cols:4*(r+1)*g.cols], x, nil)
		}
		return out, nil
	}}
	return t, nil
}

// blocks writes all rows as blocks of a group format.
func (g *groups) blocks(out []byte, f codec.Group, q []uint8, s, z []float32) {
	size := g.cols / g.n
	block, codes := f.Bytes(size), make([]int16, size)
	for k := range g.rows * g.n {
		for i := range codes {
			codes[i] = int16(q[k*size+i])
		}
		f.Put(out[k*block:(k+1)*block], s[k], z[k], codes)
	}
}

// words reads a tensor of packed integers.
func words(t *tensor.Tensor) ([]uint32, error) {
	raw, err := t.ReadRaw(0, t.Rows())
	if err != nil {
		return nil, err
	}
	w := make([]uint32, len(raw)/4)
	for i := range w {
		w[i] = uint32(raw[4*i]) | uint32(raw[4*i+1])<<8 | uint32(raw[4*i+2])<<16 | uint32(raw[4*i+3])<<24
	}
	return w, nil
}

// isShape reports whether a tensor has a type and a shape.
func isShape(t *tensor.Tensor, format string, shape ...int) bool {
	if t == nil || t.Codec.Name() != format || len(t.Shape) != len(shape) {
		return false
	}
	for i, n := range shape {
		if t.Shape[i] != n {
			return false
		}
	}
	return true
}

// floats reads a matrix of scales, transposed if asked: [a, b] becomes [b, a].
func floats(t *tensor.Tensor, dst []float32, transpose bool) error {
	v, err := t.Float32()
	if err != nil {
		return err
	}
	if !transpose {
		copy(dst, v)
		return nil
	}
	a, b := t.Shape[0], t.Shape[1]
	for i := range a {
		for j := range b {
			dst[j*a+i] = v[i*b+j]
		}
	}
	return nil
}
