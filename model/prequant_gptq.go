package model

import (
	"fmt"
	"strings"

	"github.com/parelm/pare/model/tensor"
)

// The layout of AutoGPTQ and GPTQModel. A matrix X.weight [out, in] is
//
//	X.qweight I32 [in*bits/32, out]      codes, the first of a column in the lowest bits
//	X.qzeros  I32 [groups, out*bits/32]  zero points; one less than they are, in checkpoints of the first version
//	X.scales  F16 [groups, out]
//	X.g_idx   I32 [in]                   the group of each column; missing where groups are runs of group_size
//
// AutoAWQ's GEMM layout turns the codes around: X.qweight [in, out/8], no g_idx, zero points as they are, and eight
// values of a word in the order 0 2 4 6 1 3 5 7.

func init() {
	layouts["gptq"] = func(o, q *object, get lookup) (prequantized, error) {
		u := &gptqLayout{file: o.file, get: get, bits: q.num("bits"), group: q.num("group_size"), shared: &slab{}}
		switch format := q.text("checkpoint_format"); format {
		case "", "gptq":
			u.zeroOffset = 1
		case "gptq_v2":
		default:
			return nil, u.unsupported("checkpoint_format %s", quoted(format))
		}
		if u.bits != 4 && u.bits != 8 {
			return nil, u.unsupported("%d bits: 4 and 8 are read", u.bits)
		}
		return u, nil
	}
	layouts["awq"] = func(o, q *object, get lookup) (prequantized, error) {
		u := &gptqLayout{file: o.file, get: get, bits: q.num("bits"), group: q.num("group_size"), shared: &slab{}, awq: true}
		if !q.has("bits") {
			u.bits = q.num("w_bit")
		}
		if !q.has("group_size") {
			u.group = q.num("q_group_size")
		}
		if v := strings.ToLower(q.text("version")); v != "" && v != "gemm" {
			return nil, u.unsupported("version %s: gemm is read", quoted(v))
		}
		if u.bits != 4 {
			return nil, u.unsupported("%d bits: 4 are read", u.bits)
		}
		return u, nil
	}
}

type gptqLayout struct {
	file        string
	get         lookup
	bits, group int
	zeroOffset  uint32
	awq         bool
	shared      *slab
}

func (u *gptqLayout) unsupported(format string, args ...any) error {
	return tensor.Errorf(ErrUnsupported, u.file, `key "quantization_config"`, format, args...)
}

// awqOrder are the places of the values of a word.
var awqOrder = [8]int{0, 2, 4, 6, 1, 3, 5, 7}

func (u *gptqLayout) open(name string) (*tensor.Tensor, bool, error) {
	base, ok := strings.CutSuffix(name, ".weight")
	if !ok {
		return nil, false, nil
	}
	codes, ok := u.get(base + ".qweight")
	if !ok {
		return nil, false, nil
	}
	field := fmt.Sprintf("tensor %q", base+".qweight")
	zeros, okZ := u.get(base + ".qzeros")
	scales, okS := u.get(base + ".scales")
	if !okZ || !okS || len(codes.Shape) != 2 || len(scales.Shape) != 2 || codes.Codec.Name() != "i32" || !isFloat(scales.Codec) {
		return nil, false, tensor.Errorf(ErrCorrupt, u.file, field, "needs I32 codes of two dimensions, qzeros and scales beside it")
	}
	per := 32 / u.bits
	g := &groups{name: name, rows: codes.Shape[1], cols: codes.Shape[0] * per, n: scales.Shape[0], bits: u.bits, inOrder: true}
	if u.awq {
		g.rows, g.cols = codes.Shape[1]*per, codes.Shape[0]
	}
	if g.n < 1 || g.cols%g.n != 0 || g.cols/g.n%2 != 0 || g.rows%per != 0 || scales.Shape[1] != g.rows || !isShape(zeros, "i32", g.n, g.rows/per) {
		return nil, false, tensor.Errorf(ErrCorrupt, u.file, field, "codes %v, qzeros %v and scales %v do not belong together at %d bits", codes.Shape, zeros.Shape, scales.Shape, u.bits)
	}
	size := u.group
	if size <= 0 {
		size = g.cols
	}
	index, err := u.index(base, g, size)
	if err != nil {
		return nil, false, tensor.Errorf(ErrCorrupt, u.file, fmt.Sprintf("tensor %q", base+".g_idx"), "%v", err)
	}
	g.group = func(c int) int { return index[c] }
	for c, k := range index {
		g.inOrder = g.inOrder && k == c/(g.cols/g.n)
	}
	g.scales = func(s []float32) error { return floats(scales, s, true) }
	g.zeros = func(z []float32) error { return u.zeros(zeros, g, z) }
	g.codes = func(q []uint8) error { return u.codes(codes, g, q) }
	t, err := g.tensor(u.shared)
	return t, err == nil, err
}

// index returns the group of each column.
func (u *gptqLayout) index(base string, g *groups, size int) ([]int, error) {
	index := make([]int, g.cols)
	t, ok := u.get(base + ".g_idx")
	if !ok || u.awq {
		if (g.cols+size-1)/size != g.n {
			return nil, fmt.Errorf("is missing, and %d groups of %d do not make %d columns", g.n, size, g.cols)
		}
		for c := range index {
			index[c] = c / size
		}
		return index, nil
	}
	if !isShape(t, "i32", g.cols) {
		return nil, fmt.Errorf("is %s %v, must be I32 [%d]", t.Codec.Name(), t.Shape, g.cols)
	}
	w, err := words(t)
	if err != nil {
		return nil, err
	}
	for c, k := range w {
		if int64(k) >= int64(g.n) {
			return nil, fmt.Errorf("column %d is in group %d of %d", c, int32(k), g.n)
		}
		index[c] = int(k)
	}
	return index, nil
}

// place returns where value i of a word lies in bits.
func (u *gptqLayout) place(i int) int {
	if u.awq {
		for at, v := range awqOrder {
			if v == i {
				return at * u.bits
			}
		}
	}
	return i * u.bits
}

func (u *gptqLayout) zeros(t *tensor.Tensor, g *groups, z []float32) error {
	w, err := words(t)
	if err != nil {
		return err
	}
	per, mask := 32/u.bits, uint32(1)<<u.bits-1
	for k := range g.n {
		for r := range g.rows {
			v := w[k*(g.rows/per)+r/per] >> u.place(r%per) & mask
			z[r*g.n+k] = float32(v + u.zeroOffset)
		}
	}
	return nil
}

func (u *gptqLayout) codes(t *tensor.Tensor, g *groups, q []uint8) error {
	w, err := words(t)
	if err != nil {
		return err
	}
	per, mask := 32/u.bits, uint32(1)<<u.bits-1
	if u.awq {
		for c := range g.cols {
			for r := range g.rows {
				q[r*g.cols+c] = uint8(w[c*(g.rows/per)+r/per] >> u.place(r%per) & mask)
			}
		}
		return nil
	}
	for p := range g.cols / per {
		for r := range g.rows {
			v := w[p*g.rows+r]
			for i := range per {
				q[r*g.cols+p*per+i] = uint8(v >> (i * u.bits) & mask)
			}
		}
	}
	return nil
}
