package model

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// Writing the layout of AutoGPTQ, which prequant_gptq.go describes: checkpoint_format gptq, the first version, which every
// program reads. Its scales are float16 and a zero point is at least 1, since one less is stored: the group formats with
// Half keep to that, so that nothing is rounded on the way.

// PackGPTQ returns the model with packed integer matrices meant for the layout of AutoGPTQ: SaveHF then writes that
// instead of compressed-tensors.
func (m *Model) PackGPTQ() *Model {
	n := *m
	n.close = nil
	n.gptq = true
	return &n
}

// gptqPacked replaces quantized tensors by those of the layout and describes them in the configuration.
func gptqPacked(ts []*tensor.Tensor, conf *object) ([]*tensor.Tensor, error) {
	var out []*tensor.Tensor
	var first *codec.Group
	var plain []string
	shared := &slab{}
	for _, t := range ts {
		base, matrix := strings.CutSuffix(t.Name, ".weight")
		matrix = matrix && len(t.Shape) == 2
		g, ok := codec.GroupOf(t.Codec)
		switch {
		case ok && matrix:
			if first == nil {
				first = &g
			}
			if g != *first {
				return nil, tensor.Errorf(ErrUnsupported, "", fmt.Sprintf("tensor %q", t.Name), "is %s and others are %s: the layout of AutoGPTQ has one format for all",
					g.Name(), first.Name())
			}
			p, err := gptqTensors(t, base, g, shared)
			if err != nil {
				return nil, err
			}
			out = append(out, p...)
			continue
		case !isFloat(t.Codec):
			return nil, tensor.Errorf(ErrUnsupported, "", fmt.Sprintf("tensor %q", t.Name), "is %s %v, which the layout of AutoGPTQ does not hold",
				t.Codec.Name(), t.Shape)
		case matrix && !strings.Contains(base, "embed") && !strings.Contains(base, "norm") && base != "lm_head":
			plain = append(plain, base)
		}
		out = append(out, t)
	}
	conf.delete("quantization_config")
	if first != nil {
		conf.set("quantization_config", gptqConfig(*first, plain))
	}
	return out, nil
}

// gptqConfig describes the layout. Matrices that are not quantized are named as GPTQModel and vLLM read it.
func gptqConfig(g codec.Group, plain []string) json.RawMessage {
	size := g.Size
	if size == 0 {
		size = -1
	}
	conf := &object{vals: map[string]json.RawMessage{}}
	for _, kv := range []struct {
		key   string
		value any
	}{{"quant_method", "gptq"}, {"bits", g.Bits}, {"group_size", size}, {"sym", !g.Zero}, {"desc_act", false}, {"static_groups", false},
		{"true_sequential", true}, {"damp_percent", 0.01}, {"lm_head", false}, {"checkpoint_format", "gptq"}} {
		conf.set(kv.key, kv.value)
	}
	if len(plain) > 0 {
		skip := map[string]any{}
		for _, name := range plain {
			skip["-:^"+regexp.QuoteMeta(name)+"$"] = map[string]any{}
		}
		conf.set("dynamic", skip)
	}
	return conf.bytes()
}

// gptqMatrix is a matrix in a group format, on its way into the layout.
type gptqMatrix struct {
	t                   *tensor.Tensor
	g                   codec.Group
	rows, cols, size, n int // values in a group, groups in a row
	per                 int // codes in a word
}

// gptqTensors returns the tensors of one matrix, as views.
func gptqTensors(t *tensor.Tensor, base string, g codec.Group, shared *slab) ([]*tensor.Tensor, error) {
	m := &gptqMatrix{t: t, g: g, rows: t.Shape[0], cols: t.Shape[1], size: g.Size, per: 32 / g.Bits}
	if !g.Half {
		return nil, tensor.Errorf(ErrUnsupported, "", fmt.Sprintf("tensor %q", t.Name), "has float32 scales, and the layout of AutoGPTQ float16: quantize for that layout")
	}
	if m.rows%m.per != 0 || m.cols%m.per != 0 {
		return nil, tensor.Errorf(ErrUnsupported, "", fmt.Sprintf("tensor %q", t.Name), "is %v; the layout of AutoGPTQ packs %d values a word both ways", t.Shape, m.per)
	}
	if m.size == 0 {
		m.size = m.cols
	}
	m.n = m.cols / m.size
	i32, err := codec.Lookup("i32")
	if err != nil {
		return nil, err
	}
	f16, err := codec.Lookup("f16")
	if err != nil {
		return nil, err
	}
	view := func(name string, c codec.Codec, rows, cols int, put func(dst []byte, r, k int, scale, zero float32, codes []int16)) *tensor.Tensor {
		v := &tensor.Tensor{Name: base + name, Codec: c, Shape: []int{rows, cols}}
		v.Src = &matrixRows{shared: shared, row: v.RowBytes(), rows: rows, make: func() ([]byte, error) {
			data := make([]byte, v.Bytes())
			return data, m.each(func(r, k int, scale, zero float32, codes []int16) { put(data, r, k, scale, zero, codes) })
		}}
		return v
	}
	index := make([]byte, 4*m.cols)
	for c := range m.cols {
		binary.LittleEndian.PutUint32(index[4*c:], uint32(c/m.size))
	}
	return []*tensor.Tensor{
		view(".qweight", i32, m.cols/m.per, m.rows, m.putCodes),
		view(".qzeros", i32, m.n, m.rows/m.per, m.putZero),
		view(".scales", f16, m.n, m.rows, func(dst []byte, r, k int, scale, _ float32, _ []int16) {
			binary.LittleEndian.PutUint16(dst[2*(k*m.rows+r):], codec.F32ToF16(scale))
		}),
		tensor.FromBytes(base+".g_idx", i32, []int{m.cols}, index),
	}, nil
}

// each calls f with every group of every row.
func (m *gptqMatrix) each(f func(r, k int, scale, zero float32, codes []int16)) error {
	row, codes, block := make([]byte, m.t.RowBytes()), make([]int16, m.size), m.g.Bytes(m.size)
	for r := range m.rows {
		if err := m.t.Src.ReadRows(row, r, r+1); err != nil {
			return err
		}
		for k := range m.n {
			scale, zero := m.g.Get(row[k*block:(k+1)*block], codes)
			f(r, k, scale, zero, codes)
		}
	}
	return nil
}

// middle is what is added to signed codes, and so their zero point.
func (m *gptqMatrix) middle() int16 {
	if m.g.Zero {
		return 0
	}
	return int16(1) << (m.g.Bits - 1)
}

func (m *gptqMatrix) putCodes(dst []byte, r, k int, _, _ float32, codes []int16) {
	for i, q := range codes {
		c := k*m.size + i
		word := dst[4*(c/m.per*m.rows+r):]
		binary.LittleEndian.PutUint32(word, binary.LittleEndian.Uint32(word)|uint32(q+m.middle())<<(c%m.per*m.g.Bits))
	}
}

func (m *gptqMatrix) putZero(dst []byte, r, k int, _, zero float32, _ []int16) {
	word := dst[4*(k*(m.rows/m.per)+r/m.per):]
	z := uint32(int16(zero)+m.middle()-1) & (1<<m.g.Bits - 1)
	binary.LittleEndian.PutUint32(word, binary.LittleEndian.Uint32(word)|z<<(r%m.per*m.g.Bits))
}
