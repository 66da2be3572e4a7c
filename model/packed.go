package model

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// The pack-quantized layout of compressed-tensors, which vLLM and transformers load. A matrix X.weight [out, in] becomes
//
//	X.weight_packed     I32 [out, in*bits/32]   codes plus 2^(bits-1), the first in the lowest bits
//	X.weight_scale      F32 [out, groups]
//	X.weight_zero_point I32 [out*bits/32, groups]  asymmetric only: packed down the rows
//	X.weight_shape      I64 [2]
//
// and config.json says so. The codes lie as in pare's own group formats, so nothing is rounded on the way.

// packed replaces quantized tensors by those of the layout and describes them in the configuration.
func packed(ts []*tensor.Tensor, conf *object, activations bool) ([]*tensor.Tensor, error) {
	var out []*tensor.Tensor
	modules := map[codec.Group][]string{}
	var plain []string
	bytes, experts := "", false // the codec of modules stored as bytes; whether experts are stored as MXFP4
	for _, t := range ts {
		g, ok := codec.GroupOf(t.Codec)
		base, matrix := strings.CutSuffix(t.Name, ".weight")
		if matrix && len(t.Shape) == 2 && (activations || !ok) {
			p, err := bytesTensor(t, base)
			if err != nil {
				return nil, err
			}
			if p != nil {
				out, bytes = append(out, p...), t.Codec.Name()
				continue
			}
		}
		switch {
		case len(t.Shape) == 3 && t.Codec.Name() == "mxfp4":
			p, err := mxfp4Tensors(t)
			if err != nil {
				return nil, err
			}
			out, experts = append(out, p...), true
			continue
		case ok && matrix && len(t.Shape) == 2:
			p, err := packTensor(t, base, g)
			if err != nil {
				return nil, err
			}
			out = append(out, p...)
			modules[g] = append(modules[g], base)
			continue
		case !isFloat(t.Codec) && len(t.Shape) == 3:
			return nil, tensor.Errorf(ErrUnsupported, "", fmt.Sprintf("tensor %q", t.Name),
				"is %s %v: a tensor of all experts is stored plain or as mxfp4 in safetensors; write a GGUF file", t.Codec.Name(), t.Shape)
		case !isFloat(t.Codec):
			return nil, tensor.Errorf(ErrUnsupported, "", fmt.Sprintf("tensor %q", t.Name), "is %s %v, which safetensors checkpoints do not hold",
				t.Codec.Name(), t.Shape)
		case matrix && len(t.Shape) == 2 && !strings.Contains(base, "embed") && !strings.Contains(base, "norm"):
			plain = append(plain, base)
		}
		out = append(out, t)
	}
	switch {
	case experts && (bytes != "" || len(modules) > 0):
		return nil, tensor.Errorf(ErrUnsupported, "", "", "a checkpoint cannot hold experts in MXFP4 and other matrices quantized otherwise")
	case experts:
		conf.set("quantization_config", mxfp4Config())
	case bytes != "" && len(modules) > 0:
		return nil, tensor.Errorf(ErrUnsupported, "", "", "a checkpoint cannot hold matrices of bytes (%s) and packed ones together", bytes)
	case bytes != "":
		conf.set("quantization_config", bytesConfig(bytes, plain))
	case len(modules) > 0:
		conf.set("quantization_config", quantizationConfig(modules, plain))
	default:
		conf.delete("quantization_config")
	}
	return out, nil
}

// quantizationConfig describes which modules are stored how. The format of most is that of all linear layers; others are
// named.
func quantizationConfig(modules map[codec.Group][]string, ignore []string) json.RawMessage {
	var groups []codec.Group
	for g := range modules {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b codec.Group) int {
		if d := len(modules[b]) - len(modules[a]); d != 0 {
			return d
		}
		return strings.Compare(a.Name(), b.Name())
	})
	conf := &object{vals: map[string]json.RawMessage{}}
	config := &object{vals: map[string]json.RawMessage{}}
	for i, g := range groups {
		targets := modules[g]
		if i == 0 {
			targets = []string{"Linear"}
		}
		strategy, size := "group", any(g.Size)
		if g.Size == 0 {
			strategy, size = "channel", nil
		}
		config.set(fmt.Sprintf("group_%d", i), map[string]any{"targets": targets, "input_activations": nil, "output_activations": nil,
			"weights": map[string]any{"num_bits": g.Bits, "type": "int", "symmetric": !g.Zero, "strategy": strategy, "group_size": size,
				"dynamic": false, "actorder": nil, "block_structure": nil, "observer": "minmax", "observer_kwargs": map[string]any{}}})
	}
	conf.set("config_groups", json.RawMessage(config.bytes()))
	conf.set("format", "pack-quantized")
	conf.set("global_compression_ratio", nil)
	conf.set("ignore", append([]string{}, ignore...))
	conf.set("kv_cache_scheme", nil)
	conf.set("quant_method", "compressed-tensors")
	conf.set("quantization_status", "compressed")
	return conf.bytes()
}

// packTensor returns the tensors of one matrix, as views.
func packTensor(t *tensor.Tensor, base string, g codec.Group) ([]*tensor.Tensor, error) {
	rows, cols := t.Shape[0], t.Shape[1]
	per := 32 / g.Bits
	if cols%per != 0 {
		return nil, tensor.Errorf(ErrUnsupported, "", fmt.Sprintf("tensor %q", t.Name), "has rows of %d values; packing needs a multiple of %d", cols, per)
	}
	size := g.Size
	if size == 0 {
		size = cols
	}
	n := cols / size
	f32, err := codec.Lookup("f32")
	if err != nil {
		return nil, err
	}
	i32, err := codec.Lookup("i32")
	if err != nil {
		return nil, err
	}
	i64, err := codec.Lookup("i64")
	if err != nil {
		return nil, err
	}
	p := packedRows{t: t, g: g, size: size, n: n}
	shape := make([]byte, 16)
	binary.LittleEndian.PutUint64(shape, uint64(rows))
	binary.LittleEndian.PutUint64(shape[8:], uint64(cols))
	out := []*tensor.Tensor{
		{Name: base + ".weight_packed", Codec: i32, Shape: []int{rows, cols / per}, Src: &p},
		{Name: base + ".weight_scale", Codec: f32, Shape: []int{rows, n}, Src: &packedScales{p}},
	}
	if g.Zero {
		out = append(out, &tensor.Tensor{Name: base + ".weight_zero_point", Codec: i32, Shape: []int{(rows + per - 1) / per, n}, Src: &packedZeros{p}})
	}
	return append(out, tensor.FromBytes(base+".weight_shape", i64, []int{2}, shape)), nil
}

// packedRows is the codes of a group format without the scales.
type packedRows struct {
	t       *tensor.Tensor
	g       codec.Group
	size, n int // values in a group, groups in a row
}

func (p *packedRows) ReadRows(dst []byte, lo, hi int) error {
	block := p.g.Bytes(p.size)
	data := p.size * p.g.Bits / 8
	row := make([]byte, p.t.RowBytes())
	for r := lo; r < hi; r++ {
		if err := p.t.Src.ReadRows(row, r, r+1); err != nil {
			return err
		}
		for k := range p.n {
			b := row[k*block : (k+1)*block]
			out := dst[((r-lo)*p.n+k)*data:][:data]
			copy(out, b[block-data:])
			if p.g.Bits == 8 && !p.g.Zero { // signed bytes become codes plus 128
				for i := range out {
					out[i] ^= 0x80
				}
			}
		}
	}
	return nil
}

// packedScales is the scales of a group format.
type packedScales struct{ packedRows }

func (p *packedScales) ReadRows(dst []byte, lo, hi int) error {
	return p.heads(lo, hi, func(i int, head []byte) { copy(dst[4*i:], head[:4]) })
}

// heads calls f with what stands before the codes of every group of some rows.
func (p *packedRows) heads(lo, hi int, f func(i int, head []byte)) error {
	block := p.g.Bytes(p.size)
	row := make([]byte, p.t.RowBytes())
	for r := lo; r < hi; r++ {
		if err := p.t.Src.ReadRows(row, r, r+1); err != nil {
			return err
		}
		for k := range p.n {
			f((r-lo)*p.n+k, row[k*block:])
		}
	}
	return nil
}

// packedZeros is the zero points of a group format, packed down the rows.
type packedZeros struct{ packedRows }

func (p *packedZeros) ReadRows(dst []byte, lo, hi int) error {
	per := 32 / p.g.Bits
	clear(dst)
	return p.heads(lo*per, min(hi*per, p.t.Shape[0]), func(i int, head []byte) {
		r, k := i/p.n, i%p.n
		zero := uint32(math.Float32frombits(binary.LittleEndian.Uint32(head[4:])))
		word := dst[4*(r/per*p.n+k):]
		binary.LittleEndian.PutUint32(word, binary.LittleEndian.Uint32(word)|zero<<(r%per*p.g.Bits))
	})
}

// unpacker opens the matrices of a packed checkpoint.
type unpacker struct {
	file   string
	lookup func(name string) (*tensor.Tensor, bool)
	bits   map[string]int // by module; "" for all others
}

// packing reads quantization_config: nil where the checkpoint is not quantized, an error where pare cannot read it.
func (o *object) packing(lookup func(name string) (*tensor.Tensor, bool)) (*unpacker, error) {
	q := o.sub("quantization_config")
	if q == nil {
		return nil, o.err
	}
	method, format := q.text("quant_method"), q.text("format")
	if method != "compressed-tensors" || format != "pack-quantized" {
		return nil, tensor.Errorf(ErrUnsupported, o.file, `key "quantization_config"`,
			"the checkpoint is quantized by %s (%s); pare reads compressed-tensors pack-quantized", quoted(method), quoted(format))
	}
	u := &unpacker{file: o.file, lookup: lookup, bits: map[string]int{}}
	groups := q.sub("config_groups")
	if groups == nil {
		return nil, tensor.Errorf(ErrCorrupt, o.file, `key "quantization_config"`, "has no config_groups")
	}
	for _, name := range groups.keys {
		g := groups.sub(name)
		var w *object
		if g != nil {
			w = g.sub("weights")
		}
		if w == nil || w.text("type") != "int" || w.num("num_bits") != 4 && w.num("num_bits") != 8 {
			return nil, tensor.Errorf(ErrUnsupported, o.file, fmt.Sprintf("key %q", name), "weights must be int of 4 or 8 bits")
		}
		for _, t := range g.texts("targets") {
			if t == "Linear" {
				t = ""
			}
			u.bits[t] = w.num("num_bits")
		}
	}
	return u, nil
}

func quoted(s string) string {
	if s == "" {
		return "no name"
	}
	return clip(s)
}

// open returns the matrix of a module, or false where the checkpoint does not have it packed.
func (u *unpacker) open(name string) (*tensor.Tensor, bool, error) {
	base, ok := strings.CutSuffix(name, ".weight")
	if !ok {
		return nil, false, nil
	}
	codes, ok := u.lookup(base + ".weight_packed")
	if !ok {
		return nil, false, nil
	}
	bad := func(format string, args ...any) (*tensor.Tensor, bool, error) {
		return nil, false, tensor.Errorf(ErrCorrupt, u.file, fmt.Sprintf("tensor %q", base+".weight_packed"), format, args...)
	}
	bits, ok := u.bits[base]
	if !ok {
		if bits, ok = u.bits[""]; !ok {
			return bad("config_groups does not say how many bits it has")
		}
	}
	scale, ok := u.lookup(base + ".weight_scale")
	if !ok || codes.Codec.Name() != "i32" || len(codes.Shape) != 2 || len(scale.Shape) != 2 || scale.Shape[0] != codes.Shape[0] || scale.Shape[1] == 0 {
		return bad("needs I32 codes [out, in/%d] and a scale [out, groups]", 32/bits)
	}
	if _, ok := u.lookup(base + ".weight_g_idx"); ok {
		return nil, false, tensor.Errorf(ErrUnsupported, u.file, fmt.Sprintf("tensor %q", base+".weight_g_idx"), "groups in another order than the columns are not supported")
	}
	rows, cols, n := codes.Shape[0], codes.Shape[1]*32/bits, scale.Shape[1]
	if cols%n != 0 || cols/n%2 != 0 {
		return bad("%d columns do not make %d groups", cols, n)
	}
	g := codec.Group{Bits: bits, Size: cols / n}
	v := &unpackedRows{codes: codes, scale: scale, g: g, n: n}
	if zero, ok := u.lookup(base + ".weight_zero_point"); ok {
		per := 32 / bits
		if zero.Codec.Name() != "i32" || !slices.Equal(zero.Shape, []int{(rows + per - 1) / per, n}) {
			return bad("zero points are %s %v", zero.Codec.Name(), zero.Shape)
		}
		v.g.Zero = true
		v.zero = zero
	}
	c, err := codec.Lookup(v.g.Name())
	if err != nil {
		return bad("%v", err)
	}
	return &tensor.Tensor{Name: name, Codec: c, Shape: []int{rows, cols}, Src: v}, true, nil
}

// unpackedRows puts scales, zero points and codes together.
type unpackedRows struct {
	codes, scale, zero *tensor.Tensor
	g                  codec.Group
	n                  int
}

func (v *unpackedRows) ReadRows(dst []byte, lo, hi int) error {
	per := 32 / v.g.Bits
	data := v.g.Size * v.g.Bits / 8
	block := v.g.Bytes(v.g.Size)
	codes := make([]byte, (hi-lo)*v.n*data)
	if err := v.codes.Src.ReadRows(codes, lo, hi); err != nil {
		return err
	}
	scales := make([]float32, (hi-lo)*v.n)
	if err := v.scale.ReadFloat32(scales, lo, hi); err != nil {
		return err
	}
	var zeros []byte
	if v.zero != nil {
		zeros = make([]byte, 4*v.n*((hi+per-1)/per-lo/per))
		if err := v.zero.Src.ReadRows(zeros, lo/per, (hi+per-1)/per); err != nil {
			return err
		}
	}
	for i, s := range scales {
		b, in := dst[i*block:(i+1)*block], codes[i*data:(i+1)*data]
		binary.LittleEndian.PutUint32(b, math.Float32bits(s))
		if zeros != nil {
			r, k := lo+i/v.n, i%v.n
			word := binary.LittleEndian.Uint32(zeros[4*((r/per-lo/per)*v.n+k):])
			z := word >> (r % per * v.g.Bits) & (1<<v.g.Bits - 1)
			binary.LittleEndian.PutUint32(b[4:], math.Float32bits(float32(z)))
		}
		out := b[block-data:]
		copy(out, in)
		if v.g.Bits == 8 && !v.g.Zero {
			for j := range out {
				out[j] ^= 0x80
			}
		}
	}
	return nil
}
