package torch

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/internal/container"
	"github.com/parelm/pare/model/tensor"
)

// The .bin files of llama2.c (karpathy/llama2.c, export.py) hold a Llama of fixed layout:
//
//	version 0  seven int32: dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len; a negative vocab_size says that
//	           the head is not tied. float32 tensors: the embedding; of all layers the attention norms, wq, wk, wv, wo, the
//	           ffn norms, w1, w2, w3; the final norm; two tables of rotation factors; the head if it is not tied
//	version 1  256 bytes: "24ka", the version, the same seven int32, one byte that says that the head is tied. float32 tensors: the
//	           attention norms, the ffn norms, the final norm, the embedding, wq, wk, wv, wo, w1, w2, w3, the head
//	version 2  as 1, with an int32 group size behind the byte; matrices are int8 codes followed by float32 scales of runs of that
//	           many values
//
// Tensors have the names of llama2.c's own state dict: layers.0.attention.wq.weight. Rows of wq and wk are in the order of
// rotation by neighbouring pairs, as Meta's originals.

// OpenLlama2C opens a llama2.c file. Its header is in Metadata: dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size,
// max_seq_len, version and group_size as int64, shared_classifier as bool. Errors are those of Open.
func OpenLlama2C(path string) (*File, error) {
	f, size, err := container.Open(path)
	if err != nil {
		return nil, err
	}
	b := &bin{r: f, path: path, size: size}
	if err := b.parse(); err != nil {
		f.Close()
		return nil, err
	}
	out := &File{tensors: b.tensors, byName: map[string]int32{}, meta: b.meta, names: []string{path}, closers: []io.Closer{f}}
	for i, t := range b.tensors {
		out.byName[t.Name] = int32(i)
	}
	return out, nil
}

// bin reads a llama2.c file front to back.
type bin struct {
	r         io.ReaderAt
	path      string
	size, pos int64
	meta      map[string]any
	tensors   []*tensor.Tensor
	group     int64 // values that share a scale, 0 for float32 matrices

	dim, hidden, layers, heads, kvHeads, vocab, context int64
	tied                                                bool
}

func (b *bin) errorf(class error, field, format string, args ...any) error {
	return tensor.Errorf(class, b.path, field, format, args...)
}

const (
	binMagic  = 0x616b3432
	binHeader = 256
)

func (b *bin) parse() error {
	head := make([]byte, min(b.size, binHeader))
	if len(head) < 28 {
		return b.errorf(tensor.ErrCorrupt, "header", "the file has %d bytes, the shortest header 28", b.size)
	}
	if _, err := b.r.ReadAt(head, 0); err != nil {
		return fmt.Errorf("%s: %w", b.path, err)
	}
	word := func(i int) int64 { return int64(int32(binary.LittleEndian.Uint32(head[i:]))) }
	version, at := int64(0), 0
	if uint32(word(0)) == binMagic {
		if len(head) < binHeader {
			return b.errorf(tensor.ErrCorrupt, "header", "the file has %d bytes, its header takes %d", b.size, binHeader)
		}
		if version = word(4); version != 1 && version != 2 {
			return b.errorf(tensor.ErrUnsupported, "version", "is %d, 0 to 2 are read", version)
		}
		at = 8
		b.tied = head[36] != 0
		if version == 2 {
			b.group = word(37)
		}
	}
	b.dim, b.hidden, b.layers, b.heads, b.kvHeads, b.vocab, b.context =
		word(at), word(at+4), word(at+8), word(at+12), word(at+16), word(at+20), word(at+24)
	b.pos = binHeader
	if version == 0 {
		b.pos = 28
		if b.tied = b.vocab > 0; !b.tied {
			b.vocab = -b.vocab
		}
	}
	if err := b.check(version); err != nil {
		return err
	}
	b.meta = map[string]any{"version": version, "dim": b.dim, "hidden_dim": b.hidden, "n_layers": b.layers, "n_heads": b.heads,
		"n_kv_heads": b.kvHeads, "vocab_size": b.vocab, "max_seq_len": b.context, "group_size": b.group, "shared_classifier": b.tied}
	if err := b.layout(version); err != nil {
		return err
	}
	if b.pos != b.size {
		return b.errorf(tensor.ErrCorrupt, "header", "its sizes make a file of %d bytes, this one has %d", b.pos, b.size)
	}
	return nil
}

// check bounds the numbers of the header.
func (b *bin) check(version int64) error {
	for _, f := range []struct {
		name        string
		value, most int64
	}{
		{"dim", b.dim, limits.Hidden}, {"hidden_dim", b.hidden, 8 * limits.Hidden}, {"n_layers", b.layers, limits.Layers},
		{"n_heads", b.heads, limits.Heads}, {"n_kv_heads", b.kvHeads, limits.Heads}, {"vocab_size", b.vocab, limits.Vocab},
		{"seq_len", b.context, limits.Context},
	} {
		if f.value < 1 {
			return b.errorf(tensor.ErrCorrupt, "header, "+f.name, "is %d", f.value)
		}
		if f.value > f.most {
			return b.errorf(tensor.ErrTooLarge, "header, "+f.name, "is %d, the limit is %d", f.value, f.most)
		}
	}
	switch {
	case b.dim%b.heads != 0:
		return b.errorf(tensor.ErrCorrupt, "header, n_heads", "is %d, which does not divide the dim of %d", b.heads, b.dim)
	case b.heads%b.kvHeads != 0:
		return b.errorf(tensor.ErrCorrupt, "header, n_kv_heads", "is %d, which does not divide the %d heads", b.kvHeads, b.heads)
	case version == 2 && (b.group < 2 || b.group%2 != 0 || b.dim%b.group != 0):
		return b.errorf(tensor.ErrCorrupt, "header, group_size", "is %d, which does not divide the dim of %d", b.group, b.dim)
	case version == 2 && b.hidden%b.group != 0:
		return b.errorf(tensor.ErrUnsupported, "header, group_size", "is %d: groups would run over the ends of rows of %d", b.group, b.hidden)
	}
	return nil
}

// matrix is a kind of weight that every layer has.
type matrix struct {
	name       string
	rows, cols int64 // no rows: a vector
}

// layout places all tensors.
func (b *bin) layout(version int64) error {
	kv := b.dim / b.heads * b.kvHeads
	attentionNorm := matrix{"attention_norm.weight", 0, b.dim}
	ffnNorm := matrix{"ffn_norm.weight", 0, b.dim}
	attention := []matrix{{"attention.wq.weight", b.dim, b.dim}, {"attention.wk.weight", kv, b.dim}, {"attention.wv.weight", kv, b.dim}, {"attention.wo.weight", b.dim, b.dim}}
	ffn := []matrix{{"feed_forward.w1.weight", b.hidden, b.dim}, {"feed_forward.w2.weight", b.dim, b.hidden}, {"feed_forward.w3.weight", b.hidden, b.dim}}
	embedding := matrix{"tok_embeddings.weight", b.vocab, b.dim}
	norm := matrix{"norm.weight", 0, b.dim}
	var err error
	one := func(m matrix) {
		if err == nil {
			err = b.add(m.name, m)
		}
	}
	all := func(list ...matrix) {
		for _, m := range list {
			for l := int64(0); l < b.layers && err == nil; l++ {
				err = b.add(fmt.Sprintf("layers.%d.%s", l, m.name), m)
			}
		}
	}
	if version == 0 {
		one(embedding)
		all(attentionNorm)
		all(attention...)
		all(ffnNorm)
		all(ffn...)
		one(norm)
		b.pos += b.context * (b.dim / b.heads / 2) * 2 * 4 // rotation factors, which follow from the sizes
	} else {
		all(attentionNorm, ffnNorm)
		one(norm)
		one(embedding)
		all(attention...)
		all(ffn...)
	}
	if !b.tied {
		one(matrix{"output.weight", b.vocab, b.dim})
	}
	return err
}

// add places a tensor at pos. The header's bounds keep all products far below 63 bits.
func (b *bin) add(name string, m matrix) error {
	quantized := b.group > 0 && m.rows > 0
	rows := max(m.rows, 1)
	bytes := 4 * rows * m.cols
	if quantized {
		bytes = rows*m.cols + rows*m.cols/b.group*4
	}
	if bytes > b.size-b.pos {
		return b.errorf(tensor.ErrCorrupt, fmt.Sprintf("tensor %q", name), "needs %d bytes at %d, file has %d", bytes, b.pos, b.size)
	}
	shape := []int{int(m.rows), int(m.cols)}
	if m.rows == 0 {
		shape = shape[1:]
	}
	format := "f32"
	if quantized {
		format = codec.Group{Bits: 8, Size: int(b.group)}.Name()
	}
	c, err := codec.Lookup(format)
	if err != nil {
		return b.errorf(tensor.ErrUnsupported, "header, group_size", "%v", err)
	}
	t := tensor.FromFile(name, c, shape, b.r, b.pos)
	if quantized {
		t.Src = &groupRows{b.r, name, b.pos, b.pos + rows*m.cols, int(m.cols), int(b.group)}
	}
	b.tensors = append(b.tensors, t)
	b.pos += bytes
	return nil
}

// groupRows reads rows of int8 codes whose scales lie elsewhere, as blocks of scale and codes.
type groupRows struct {
	r             io.ReaderAt
	name          string
	codes, scales int64 // where they begin
	cols, group   int
}

// ReadRows implements tensor.Rows.
func (g *groupRows) ReadRows(dst []byte, lo, hi int) error {
	n := (hi - lo) * g.cols
	codes, scales := make([]byte, n), make([]byte, n/g.group*4)
	first := int64(lo) * int64(g.cols)
	if _, err := g.r.ReadAt(codes, g.codes+first); err != nil && n > 0 {
		return shorter(g.name, err)
	}
	if _, err := g.r.ReadAt(scales, g.scales+first/int64(g.group)*4); err != nil && n > 0 {
		return shorter(g.name, err)
	}
	for i := range n / g.group {
		block := dst[i*(4+g.group):]
		copy(block[:4], scales[4*i:])
		copy(block[4:4+g.group], codes[i*g.group:])
	}
	return nil
}
