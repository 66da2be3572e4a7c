package model

import (
	"encoding/json"

	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// The int-quantized and float-quantized layouts of compressed-tensors: a matrix X.weight [out, in] keeps its name and holds
// bytes, I8 or F8_E4M3, beside X.weight_scale F32 [out, 1]. Programs that load them round activations too, a scale for
// each token (W8A8, FP8).

// byteLayouts are the layouts by the codec of the matrix. Integers of eight bits are also stored packed, without rounded
// activations (W8A16): Model.Activations tells the two apart.
var byteLayouts = map[string]struct{ format, kind, element string }{
	"int8": {"int-quantized", "int", "i8"},
	"fp8":  {"float-quantized", "float", "f8_e4m3"},
}

// RoundActivations returns the model with eight-bit integer matrices meant for activations that are rounded to eight bits
// as well, a scale for each token: SaveHF then writes W8A8 instead of W8A16.
func (m *Model) RoundActivations() *Model {
	n := *m
	n.close = nil
	n.activations, n.tokenScales = true, true
	return &n
}

// RoundsActivations reports whether programs that load the checkpoint round the inputs of its eight-bit matrices as well, with a
// scale for each token.
func (m *Model) RoundsActivations() bool { return m.tokenScales }

// bytesTensor returns the two tensors of a matrix, as views; nil where its codec has no such layout.
func bytesTensor(t *tensor.Tensor, base string) ([]*tensor.Tensor, error) {
	l, ok := byteLayouts[t.Codec.Name()]
	if !ok {
		return nil, nil
	}
	element, err := codec.Lookup(l.element)
	if err != nil {
		return nil, err
	}
	f32, err := codec.Lookup("f32")
	if err != nil {
		return nil, err
	}
	return []*tensor.Tensor{
		{Name: base + ".weight", Codec: element, Shape: t.Shape, Src: &rowPart{t, 4, t.Cols()}},
		{Name: base + ".weight_scale", Codec: f32, Shape: []int{t.Shape[0], 1}, Src: &rowPart{t, 0, 4}},
	}, nil
}

// rowPart is some bytes of every row.
type rowPart struct {
	t       *tensor.Tensor
	from, n int
}

func (p *rowPart) ReadRows(dst []byte, lo, hi int) error {
	row := make([]byte, p.t.RowBytes())
	for r := lo; r < hi; r++ {
		if err := p.t.Src.ReadRows(row, r, r+1); err != nil {
			return err
		}
		copy(dst[(r-lo)*p.n:(r-lo+1)*p.n], row[p.from:])
	}
	return nil
}

// bytesConfig describes modules stored as bytes.
func bytesConfig(codecName string, ignore []string) json.RawMessage {
	l := byteLayouts[codecName]
	args := func(strategy string, dynamic bool) map[string]any {
		return map[string]any{"num_bits": 8, "type": l.kind, "symmetric": true, "strategy": strategy, "group_size": nil,
			"dynamic": dynamic, "actorder": nil, "block_structure": nil, "observer": "minmax", "observer_kwargs": map[string]any{}}
	}
	conf := &object{vals: map[string]json.RawMessage{}}
	conf.set("config_groups", map[string]any{"group_0": map[string]any{"targets": []string{"Linear"}, "weights": args("channel", false),
		"input_activations": args("token", true), "output_activations": nil}})
	conf.set("format", l.format)
	conf.set("global_compression_ratio", nil)
	conf.set("ignore", append([]string{}, ignore...))
	conf.set("kv_cache_scheme", nil)
	conf.set("quant_method", "compressed-tensors")
	conf.set("quantization_status", "compressed")
	return conf.bytes()
}

// byRow returns a matrix of bytes with one scale a row in the codec that holds just that, nil for other grids of scales.
func (u *compressed) byRow(name, base string, t, scale *tensor.Tensor) (*tensor.Tensor, error) {
	if _, zeros := u.get(base + ".weight_zero_point"); zeros || !sameShape(scale.Shape, []int{t.Shape[0], 1}) || t.Shape[1]%2 != 0 {
		return nil, nil
	}
	for codecName, l := range byteLayouts {
		if t.Codec.Name() != l.element {
			continue
		}
		c, err := codec.Lookup(codecName)
		if err != nil {
			return nil, err
		}
		flat, err := tensor.Reshape(scale.Name, scale, []int{t.Shape[0], 1})
		if err != nil {
			return nil, err
		}
		return &tensor.Tensor{Name: name, Codec: c, Shape: t.Shape, Src: &joinedRows{t, flat}}, nil
	}
	return nil, nil
}

// joinedRows puts scales before codes.
type joinedRows struct{ codes, scale *tensor.Tensor }

func (v *joinedRows) ReadRows(dst []byte, lo, hi int) error {
	n := v.codes.Cols()
	codes, scales := make([]byte, (hi-lo)*n), make([]float32, hi-lo)
	if err := v.codes.Src.ReadRows(codes, lo, hi); err != nil {
		return err
	}
	if err := v.scale.ReadFloat32(scales, lo, hi); err != nil {
		return err
	}
	f32, err := codec.Lookup("f32")
	if err != nil {
		return err
	}
	for r := range scales {
		row := dst[r*(n+4) : (r+1)*(n+4)]
		f32.Encode(row[:4], scales[r:r+1], nil)
		copy(row[4:], codes[r*n:(r+1)*n])
	}
	return nil
}

// roundsActivations reports whether quantization_config asks for rounded activations.
func (o *object) roundsActivations() bool {
	q := o.sub("quantization_config")
	if q == nil {
		return false
	}
	groups := q.sub("config_groups")
	if groups == nil {
		return false
	}
	for _, name := range groups.keys {
		if g := groups.sub(name); g != nil && g.raw("input_activations") != nil {
			return true
		}
	}
	return false
}
