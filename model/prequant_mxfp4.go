package model

import (
	"encoding/json"
	"fmt"

	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// The layout of gpt-oss. A tensor X of the matrices of all experts is
//
//	X_blocks U8 [experts, out, in/32, 16]  four-bit floats, of each two neighbours the first in the lower half
//	X_scales U8 [experts, out, in/32]      exponents of two plus 127
//
// upright, though X itself would be [experts, in, out]. In pare's blocks, which are ggml's, a byte holds values 16 apart.

func init() {
	layouts["mxfp4"] = func(o, _ *object, get lookup) (prequantized, error) { return &mxfp4Layout{o.file, get}, nil }
}

type mxfp4Layout struct {
	file string
	get  lookup
}

func (l *mxfp4Layout) open(name string) (*tensor.Tensor, bool, error) {
	blocks, ok := l.get(name + "_blocks")
	if !ok {
		return nil, false, nil
	}
	bad := func(format string, args ...any) (*tensor.Tensor, bool, error) {
		return nil, false, tensor.Errorf(ErrCorrupt, l.file, fmt.Sprintf("tensor %q", name+"_blocks"), format, args...)
	}
	if blocks.Codec.Name() != "u8" || len(blocks.Shape) != 4 || blocks.Shape[3] != 16 {
		return bad("is %s %v, must be U8 [experts, out, in/32, 16]", blocks.Codec.Name(), blocks.Shape)
	}
	n := blocks.Shape[2]
	scales, ok := l.get(name + "_scales")
	if !ok {
		return bad("has no scales: tensor %q is missing", name+"_scales")
	}
	if !isShape(scales, "u8", blocks.Shape[:3]...) {
		return bad("has scales of %s %v, must be U8 %v", scales.Codec.Name(), scales.Shape, blocks.Shape[:3])
	}
	c, err := codec.Lookup("mxfp4")
	if err != nil {
		return nil, false, err
	}
	return &tensor.Tensor{Name: name, Codec: c, Shape: []int{blocks.Shape[0], blocks.Shape[1], 32 * n}, Src: &mxfp4Rows{blocks, scales, n}}, true, nil
}

// mxfp4Rows puts scales before nibbles; n blocks make a row.
type mxfp4Rows struct {
	blocks, scales *tensor.Tensor
	n              int
}

// ReadRows implements tensor.Rows: blocks of pare's format, rows [lo,hi) of the matrices of all experts.
func (v *mxfp4Rows) ReadRows(dst []byte, lo, hi int) error {
	codes, scales := make([]byte, (hi-lo)*v.n*16), make([]byte, (hi-lo)*v.n)
	if err := v.blocks.Src.ReadRows(codes, lo*v.n, hi*v.n); err != nil {
		return err
	}
	if err := v.scales.Src.ReadRows(scales, lo, hi); err != nil {
		return err
	}
	for i, e := range scales {
		in, out := codes[16*i:16*i+16], dst[17*i:17*i+17]
		out[0] = e
		for j := range 8 {
			a, b := in[j], in[j+8] // values 2j and 2j+1, 16+2j and 17+2j
			out[1+2*j], out[2+2*j] = a&15|b<<4, a>>4|b&0xf0
		}
	}
	return nil
}

// mxfp4Tensors returns the two tensors of the matrices of all experts, as views.
func mxfp4Tensors(t *tensor.Tensor) ([]*tensor.Tensor, error) {
	u8, err := codec.Lookup("u8")
	if err != nil {
		return nil, err
	}
	n := t.Shape[2] / 32
	shape := []int{t.Shape[0], t.Shape[1], n, 16}
	return []*tensor.Tensor{
		{Name: t.Name + "_blocks", Codec: u8, Shape: shape, Src: &mxfp4Codes{t, n}},
		{Name: t.Name + "_scales", Codec: u8, Shape: shape[:3], Src: &mxfp4Scales{t}},
	}, nil
}

// mxfp4Codes is the nibbles of blocks, one block a row.
type mxfp4Codes struct {
	t *tensor.Tensor
	n int
}

// ReadRows implements tensor.Rows: 16 bytes of nibbles a block, blocks [lo,hi).
func (v *mxfp4Codes) ReadRows(dst []byte, lo, hi int) error {
	first, last := lo/v.n, (hi+v.n-1)/v.n
	raw, err := v.t.ReadRaw(first, last)
	if err != nil {
		return err
	}
	for i := range hi - lo {
		in, out := raw[17*(lo-first*v.n+i)+1:][:16], dst[16*i:16*i+16]
		for j := range 8 {
			a, b := in[2*j], in[2*j+1]
			out[j], out[j+8] = a&15|b<<4, a>>4|b&0xf0
		}
	}
	return nil
}

// mxfp4Scales is their exponents.
type mxfp4Scales struct{ t *tensor.Tensor }

// ReadRows implements tensor.Rows: a byte a block, rows [lo,hi).
func (v *mxfp4Scales) ReadRows(dst []byte, lo, hi int) error {
	raw, err := v.t.ReadRaw(lo, hi)
	for i := range len(raw) / 17 {
		dst[i] = raw[17*i]
	}
	return err
}

// mxfp4Config describes a checkpoint whose experts are stored so.
func mxfp4Config() json.RawMessage {
	conf := &object{vals: map[string]json.RawMessage{}}
	conf.set("modules_to_not_convert", []string{"model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"})
	conf.set("quant_method", "mxfp4")
	return conf.bytes()
}
