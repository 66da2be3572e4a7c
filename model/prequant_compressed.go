package model

import (
	"fmt"
	"strings"

	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// The other layouts of compressed-tensors, beside pack-quantized: int-quantized keeps signed bytes under the matrix's own
// name, float-quantized eight-bit floats, both with X.weight_scale of one value, one a row, one a group of a row or one a
// block of the matrix, and the former perhaps with X.weight_zero_point. A matrix quantized in the order of its activations has
// X.weight_g_idx. DeepSeek's "fp8" is float-quantized with scales of blocks under the name X.weight_scale_inv.

func init() {
	layouts["compressed-tensors"] = func(o, q *object, get lookup) (prequantized, error) {
		u := &compressed{file: o.file, get: get, shared: &slab{}, scale: ".weight_scale"}
		var err error
		format := q.text("format")
		switch format {
		case "pack-quantized":
			u.packed, err = o.packing(get)
		case "int-quantized", "float-quantized", "naive-quantized":
			u.rounds = format == "int-quantized"
		default:
			err = tensor.Errorf(ErrUnsupported, o.file, `key "quantization_config"`,
				"compressed-tensors format %s: pack-quantized, int-quantized, float-quantized and naive-quantized are read", quoted(format))
		}
		return u, err
	}
	layouts["fp8"] = func(o, _ *object, get lookup) (prequantized, error) {
		return &compressed{file: o.file, get: get, shared: &slab{}, scale: ".weight_scale_inv"}, nil
	}
}

type compressed struct {
	file   string
	get    lookup
	scale  string
	packed *unpacker
	shared *slab
	rounds bool // activations are rounded too
}

func (u *compressed) open(name string) (*tensor.Tensor, bool, error) {
	base, ok := strings.CutSuffix(name, ".weight")
	if !ok {
		return nil, false, nil
	}
	if u.packed != nil {
		if index, ok := u.get(base + ".weight_g_idx"); ok {
			return u.ordered(name, base, index)
		}
		return u.packed.open(name)
	}
	t, ok := u.get(name)
	if !ok || len(t.Shape) != 2 {
		return nil, false, nil
	}
	float := t.Codec.Name() == "f8_e4m3" || t.Codec.Name() == "f8_e5m2"
	if !float && t.Codec.Name() != "i8" {
		return nil, false, nil // left as it was
	}
	bad := func(format string, args ...any) (*tensor.Tensor, bool, error) {
		return nil, false, tensor.Errorf(ErrCorrupt, u.file, fmt.Sprintf("tensor %q", name), format, args...)
	}
	scale, ok := u.get(base + u.scale)
	if !ok {
		return bad("is %s and has no %s%s", t.Codec.Name(), base, u.scale)
	}
	a, b, err := grid(scale, t.Shape)
	if err != nil {
		return bad("%v", err)
	}
	if out, err := u.byRow(name, base, t, scale); out != nil || err != nil {
		return out, err == nil, err
	}
	if float {
		out, err := u.scaled(name, t, scale, a, b)
		return out, err == nil, err
	}
	if a != t.Shape[0] && a != 1 || t.Shape[1]%b != 0 || t.Shape[1]/b%2 != 0 {
		return bad("has scales %v, which bytes of %v do not go with", scale.Shape, t.Shape)
	}
	out, err := u.bytes(name, t, scale, a, b)
	return out, err == nil, err
}

// grid returns how many blocks down and across the scales make of a matrix.
func grid(scale *tensor.Tensor, shape []int) (down, across int, err error) {
	s := scale.Shape
	switch {
	case scale.Len() == 1:
		return 1, 1, nil
	case len(s) == 1:
		down, across = s[0], 1
	case len(s) == 2:
		down, across = s[0], s[1]
	}
	if down < 1 || across < 1 || down > shape[0] || across > shape[1] {
		return 0, 0, fmt.Errorf("has scales %v for a matrix %v", s, shape)
	}
	return down, across, nil
}

// scaled returns a matrix of small floats times its scales, as float32.
func (u *compressed) scaled(name string, t, scale *tensor.Tensor, down, across int) (*tensor.Tensor, error) {
	f32, err := codec.Lookup("f32")
	if err != nil {
		return nil, err
	}
	return &tensor.Tensor{Name: name, Codec: f32, Shape: t.Shape, Src: &scaledRows{t: t, scale: scale, down: down, across: across, f32: f32}}, nil
}

type scaledRows struct {
	t, scale     *tensor.Tensor
	down, across int
	f32          codec.Codec
}

func (v *scaledRows) ReadRows(dst []byte, lo, hi int) error {
	s, err := v.scale.Float32()
	if err != nil {
		return err
	}
	rows, cols := v.t.Shape[0], v.t.Shape[1]
	// Blocks have one size but for the last, which may be smaller.
	high, wide := blockSize(rows, v.down), blockSize(cols, v.across)
	x := make([]float32, cols)
	for r := lo; r < hi; r++ {
		if err := v.t.ReadFloat32(x, r, r+1); err != nil {
			return err
		}
		for c := range x {
			x[c] *= s[r/high*v.across+c/wide]
		}
		v.f32.Encode(dst[4*(r-lo)*cols:4*(r-lo+1)*cols], x, nil)
	}
	return nil
}

// blockSize returns the size of n blocks of a dimension: the usual 128 where that makes as many, else equal parts.
func blockSize(size, n int) int {
	if n > 1 && (size+127)/128 == n {
		return 128
	}
	return (size + n - 1) / n
}

// bytes returns a matrix of signed bytes in a group format.
func (u *compressed) bytes(name string, t, scale *tensor.Tensor, down, across int) (*tensor.Tensor, error) {
	zero, zeroed := u.get(strings.TrimSuffix(name, ".weight") + ".weight_zero_point")
	if zeroed && zero.Len() != scale.Len() {
		return nil, tensor.Errorf(ErrCorrupt, u.file, fmt.Sprintf("tensor %q", name), "has %d zero points and %d scales", zero.Len(), scale.Len())
	}
	g := &groups{name: name, rows: t.Shape[0], cols: t.Shape[1], n: across, bits: 8, inOrder: true}
	spread := func(dst []float32, from *tensor.Tensor, add float32) error {
		v, err := from.Float32()
		if err != nil {
			return err
		}
		for r := range g.rows {
			for k := range across {
				dst[r*across+k] = v[r*down/g.rows*across+k] + add
			}
		}
		return nil
	}
	g.scales = func(s []float32) error { return spread(s, scale, 0) }
	g.zeros = func(z []float32) error { // codes are signed here and unsigned in the format
		if zeroed {
			return spread(z, zero, 128)
		}
		for i := range z {
			z[i] = 128
		}
		return nil
	}
	g.codes = func(q []uint8) error {
		raw, err := t.ReadRaw(0, t.Rows())
		for i, b := range raw {
			q[i] = b ^ 0x80
		}
		return err
	}
	return g.tensor(u.shared)
}

// ordered returns a packed matrix whose columns are grouped in another order than they stand: as float32.
func (u *compressed) ordered(name, base string, index *tensor.Tensor) (*tensor.Tensor, bool, error) {
	inner := *u.packed
	inner.lookup = func(n string) (*tensor.Tensor, bool) {
		if strings.HasSuffix(n, ".weight_g_idx") {
			return nil, false
		}
		return u.get(n)
	}
	t, ok, err := inner.open(name)
	if !ok || err != nil {
		return t, ok, err
	}
	f, _ := codec.GroupOf(t.Codec)
	rows, cols := t.Shape[0], t.Shape[1]
	field := fmt.Sprintf("tensor %q", base+".weight_g_idx")
	if !isShape(index, "i32", cols) {
		return nil, false, tensor.Errorf(ErrCorrupt, u.file, field, "is %s %v, must be I32 [%d]", index.Codec.Name(), index.Shape, cols)
	}
	w, err := words(index)
	if err != nil {
		return nil, false, err
	}
	n := cols / f.Size
	for c, k := range w {
		if int64(k) >= int64(n) {
			return nil, false, tensor.Errorf(ErrCorrupt, u.file, field, "column %d is in group %d of %d", c, int32(k), n)
		}
	}
	f32, err := codec.Lookup("f32")
	if err != nil {
		return nil, false, err
	}
	return &tensor.Tensor{Name: name, Codec: f32, Shape: []int{rows, cols}, Src: &orderedRows{t: t, f: f, index: w, f32: f32}}, true, nil
}

// orderedRows reads codes from where they stand and scales from the group that the index names.
type orderedRows struct {
	t     *tensor.Tensor
	f     codec.Group
	index []uint32
	f32   codec.Codec
}

func (v *orderedRows) ReadRows(dst []byte, lo, hi int) error {
	cols := v.t.Shape[1]
	n, block := cols/v.f.Size, v.f.Bytes(v.f.Size)
	codes, scales, zeros, x := make([]int16, cols), make([]float32, n), make([]float32, n), make([]float32, cols)
	for r := lo; r < hi; r++ {
		raw, err := v.t.ReadRaw(r, r+1)
		if err != nil {
			return err
		}
		for k := range n {
			scales[k], zeros[k] = v.f.Get(raw[k*block:(k+1)*block], codes[k*v.f.Size:(k+1)*v.f.Size])
		}
		for c := range x {
			k := v.index[c]
			x[c] = scales[k] * (float32(codes[c]) - zeros[k])
		}
		v.f32.Encode(dst[4*(r-lo)*cols:4*(r-lo+1)*cols], x, nil)
	}
	return nil
}
