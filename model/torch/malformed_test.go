package torch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/internal/malformed"
	"github.com/parelm/pare/model/tensor"
)

var (
	corrupt     = tensor.ErrCorrupt
	unsupported = tensor.ErrUnsupported
	tooLarge    = tensor.ErrTooLarge
	invalid     = tensor.ErrInvalid
)

// four is the storage class and size of saved(..., 4).
func four() pk { return pk(nil).storage("FloatStorage", "0", 4) }

func ordinary() pk { return pk(nil).f32("0", 4, 0, []int64{4}, []int64{1}) }

// badPickles are pickles in an archive that is otherwise whole.
var badPickles = []struct {
	id    string
	data  []byte
	class error
	says  string
}{
	{"empty", nil, corrupt, "pickle"},
	{"no stop", start().op('}'), corrupt, "ends"},
	{"stop alone", start().end(), corrupt, "stack is empty"},
	{"two values", start().op('}', '}').end(), corrupt, "left on the stack"},
	{"no weights", start().op('}').end(), unsupported, "no dictionary of tensors"},
	{"a number", start().int(7).end(), unsupported, "no dictionary of tensors"},
	{"calls os.system", start().call("os", "system", pk(nil).str("true")).end(), unsupported, "os.system"},
	{"calls builtins.eval", start().call("builtins", "eval", pk(nil).str("1")).end(), unsupported, "builtins.eval"},
	{"calls posix.system by its older name", start().call("posix", "system", pk(nil).str("true")).end(), unsupported, "posix.system"},
	{"calls a class of the program", start().call("their.code", "Model", nil).end(), unsupported, "their.code.Model"},
	{"object without a state dict", start().global("their.code", "Model").op(')', 0x81, '}', 'b').end(), unsupported, "their.code.Model"},
	{"INST", start().op('(').op('i').raw([]byte("os\nsystem\n")).end(), unsupported, "0x69"},
	{"OBJ", start().op('(').global("os", "system").op('o').end(), unsupported, "0x6f"},
	{"EXT1", start().op(0x82, 1).end(), unsupported, "0x82"},
	{"PERSID of protocol 0", start().op('P').raw([]byte("x\n")).end(), unsupported, "0x50"},
	{"protocol 1", pk{0x80, 1, '}', '.'}, unsupported, "protocol 1"},
	{"protocol 6", pk{0x80, 6, '}', '.'}, unsupported, "protocol 6"},
	{"string past the end", start().op('X', 255, 0, 0, 0, 'x'), corrupt, "ends"},
	{"string of 2^64-1 bytes", start().op(0x8d, 255, 255, 255, 255, 255, 255, 255, 255), corrupt, "ends"},
	{"string not UTF-8", start().op('X', 1, 0, 0, 0, 0xff).end(), corrupt, "UTF-8"},
	{"integer of nine bytes", start().op(0x8a, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0).end(), unsupported, "9 bytes"},
	{"global without an end", start().op('c').raw([]byte("torch")), corrupt, "name"},
	{"pop of nothing", start().op('0').end(), corrupt, "stack is empty"},
	{"tuple of nothing", start().op('t').end(), corrupt, "no mark"},
	{"tuple over a mark", start().int(1).op('(', 0x86).end(), corrupt, "stack is empty"},
	{"value never remembered", start().op('h', 3).end(), corrupt, "never remembered"},
	{"remembers as 2^32-1", start().op('}', 'r', 255, 255, 255, 255).end(), corrupt, "remembers"},
	{"odd number of items", start().op('}', '(').int(1).op('u').end(), corrupt, "key without"},
	{"items of a number", start().int(1).op('(').int(1).int(2).op('u').end(), corrupt, "no dictionary"},
	{"appends to a number", start().int(1).int(2).op('a').end(), corrupt, "no list"},
	{"calls a number", start().int(1).op(')', 'R').end(), corrupt, "no function"},
	{"instance of a number", start().int(1).op(')', 0x81).end(), corrupt, "no class"},
	{"state of a number", start().int(1).op('}', 'b').end(), corrupt, "no object"},
	{"storage identity a number", start().int(1).op('Q').end(), corrupt, "storage"},
	{"storage identity too short", start().op('(').str("storage").op('t', 'Q').end(), corrupt, "storage"},
	{"storage of a foreign class", start().op('(').str("storage").global("os", "FloatStorage").str("0").str("cpu").int(4).op('t', 'Q').end(), unsupported, "os.FloatStorage"},
	{"storage of quantized values", stateDictOf(pk(nil).view(pk(nil).storage("QInt8Storage", "0", 4), 0, []int64{4}, []int64{1})), unsupported, "QInt8Storage"},
	{"storage of negative count", stateDictOf(pk(nil).f32("0", -4, 0, []int64{4}, []int64{1})), corrupt, "storage"},
	{"storage missing", stateDictOf(pk(nil).f32("9", 4, 0, []int64{4}, []int64{1})), corrupt, `tensor "w"`},
	{"storage named outside", stateDictOf(pk(nil).f32("../0", 4, 0, []int64{4}, []int64{1})), corrupt, `tensor "w"`},
	{"tensor past its storage", stateDictOf(pk(nil).f32("0", 5, 0, []int64{5}, []int64{1})), corrupt, `tensor "w"`},
	{"tensor past its storage by offset", stateDictOf(pk(nil).f32("0", 4, 1, []int64{4}, []int64{1})), corrupt, `tensor "w"`},
	{"tensor past its storage by stride", stateDictOf(pk(nil).f32("0", 4, 0, []int64{2}, []int64{4})), corrupt, `tensor "w"`},
	{"offset negative", stateDictOf(pk(nil).f32("0", 4, -1, []int64{4}, []int64{1})), corrupt, "offset"},
	{"stride negative", stateDictOf(pk(nil).f32("0", 4, 3, []int64{4}, []int64{-1})), corrupt, "strides"},
	{"shape negative", stateDictOf(pk(nil).f32("0", 4, 0, []int64{-4}, []int64{1})), corrupt, "shape"},
	{"shape and strides of unequal length", stateDictOf(pk(nil).f32("0", 4, 0, []int64{4}, nil)), corrupt, "shape"},
	{"rank 9", stateDictOf(pk(nil).f32("0", 4, 0, []int64{1, 1, 1, 1, 1, 1, 1, 1, 1}, []int64{1, 1, 1, 1, 1, 1, 1, 1, 1})), corrupt, "shape"},
	{"size wraps", stateDictOf(pk(nil).f32("0", 4, 0, []int64{1 << 40, 1 << 40}, []int64{1 << 40, 1})), corrupt, `tensor "w"`},
	{"size wraps by strides of 0", stateDictOf(pk(nil).f32("0", 4, 0, []int64{1 << 40, 1 << 40}, []int64{0, 0})), corrupt, `tensor "w"`},
	{"strides of neither kind", stateDictOf(pk(nil).f32("0", 4, 0, []int64{2, 2, 2}, []int64{0, 1, 0})), unsupported, "contiguous"},
	{"tensor without a storage", start().call("torch._utils", "_rebuild_tensor_v2", pk(nil).int(1).int(0).ints(1).ints(1)).end(), corrupt, "storage"},
	{"tensor without arguments", start().call("torch._utils", "_rebuild_tensor_v2", nil).end(), corrupt, "arguments"},
	{"tensor of a class of another kind", start().call("torch._utils", "_rebuild_sparse_tensor", pk(nil).raw(four())).end(), unsupported, "_rebuild_sparse_tensor"},
	{"parameter without a tensor", start().call("torch._utils", "_rebuild_parameter", pk(nil).int(1)).end(), corrupt, "_rebuild_parameter"},
	{"name with a path", start().op('}', '(').str("../w").raw(ordinary()).op('u').end(), invalid, ".."},
	{"name empty", start().op('}', '(').str("").raw(ordinary()).op('u').end(), invalid, "empty"},
	{"several models", start().op('}', '(').str("a").op('}', '(').str("w").raw(ordinary()).op('u').str("b").op('}', '(').str("w").raw(ordinary()).op('u', 'u').end(), unsupported, "a, b"},
	{"dictionary in itself", start().op('}', 'q', 0, '(').str("model").op('h', 0, 'u').end(), unsupported, "no dictionary of tensors"},
	{"tuples 10^5 deep", start().op('}').raw(bytes.Repeat([]byte{0x85}, 100_000)).end(), unsupported, "no dictionary of tensors"},
	{"offset is a tuple 10^5 deep", start().call("torch._utils", "_rebuild_tensor_v2", pk(nil).raw(four()).op('}').raw(bytes.Repeat([]byte{0x85}, 100_000)).ints(1).ints(1)).end(), corrupt, "offset"},
	{"memory bomb of dictionaries", start().raw(bytes.Repeat([]byte{'}'}, 4<<20)), tooLarge, "memory"},
	{"memory bomb of copies", start().op('}').raw(bytes.Repeat([]byte{'2'}, 8<<20)), tooLarge, "memory"},
	{"memory bomb of dropped lists", start().raw(bytes.Repeat([]byte{']', '0'}, 4<<20)), tooLarge, "memory"},
}

func TestMalformedPickles(t *testing.T) {
	for _, c := range badPickles {
		t.Run(c.id, func(t *testing.T) {
			data := saved(c.data, 4).zip(t)
			path := put(t, t.TempDir(), "bad.pt", data)
			malformed.Check(t, malformed.Want{Class: c.class, Texts: []string{"bad.pt", c.says}, Bytes: int64(len(data))}, func() (io.Closer, error) { return Open(path) })
		})
	}
	t.Run("valid twin", func(t *testing.T) {
		f, err := Open(put(t, t.TempDir(), "good.pt", saved(small(), 4).zip(t)))
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	})
}

func TestMalformedArchives(t *testing.T) {
	good := saved(small(), 4)
	change := func(i int, name, content string) entries {
		e := append(entries(nil), good...)
		e[i] = [2]string{name, content}
		return e
	}
	zipped := good.zip(t)
	central := bytes.LastIndex(zipped, []byte("PK\x01\x02"))
	// The storage's entry is the third; its size in the central directory grows far past the file.
	third := nth(zipped, []byte("PK\x01\x02"), 3)
	grown := append([]byte(nil), zipped...)
	binary.LittleEndian.PutUint32(grown[third+20:], 1<<30)
	binary.LittleEndian.PutUint32(grown[third+24:], 1<<30)
	moved := append([]byte(nil), zipped...)
	binary.LittleEndian.PutUint32(moved[third+42:], 1<<30)
	for _, c := range []struct {
		id    string
		data  []byte
		class error
		says  string
	}{
		{"empty file", nil, corrupt, "empty"},
		{"cut in the data", zipped[:len(zipped)/2], corrupt, "archive"},
		{"cut in the directory", zipped[:central+10], corrupt, "archive"},
		{"storage past the end", grown, corrupt, "archive/data/0"},
		{"storage begins past the end", moved, corrupt, "archive/data/0"},
		{"P01 format before 1.6", append([]byte("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"), ".\x80\x02M\xe9\x03."...), unsupported, "convert it to safetensors"},
		{"P01 bare pickle", small(), unsupported, "safetensors"},
		{"P02 safetensors under a wrong name", []byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"), unsupported, "safetensors"},
		{"P02 GGUF under a wrong name", []byte("GGUF\x03\x00\x00\x00"), unsupported, "GGUF"},
		{"P03 name that leads out", append(good, [2]string{"archive/../../x", "y"}).zip(t), invalid, "leads out"},
		{"P03 absolute name", append(good, [2]string{"/etc/passwd", "y"}).zip(t), invalid, "leads out"},
		{"P03 name with backslashes", append(good, [2]string{`archive\..\x`, "y"}).zip(t), invalid, "leads out"},
		{"P04 git-lfs pointer", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"), unsupported, "git-lfs"},
		{"text", []byte("hello, this is no checkpoint"), corrupt, "no archive"},
		{"no pickle", good[1:].zip(t), unsupported, "data.pkl"},
		{"empty archive", entries{{"a/x", ""}}.zip(t), unsupported, "data.pkl"},
		{"two pickles", append(good, [2]string{"b/data.pkl", "."}).zip(t), corrupt, "two data.pkl"},
		{"storage twice", append(good, [2]string{"archive/data/0", "1234"}).zip(t), corrupt, "twice"},
		{"pickle compressed", change(0, "archive/data.pkl deflated", string(small())).zip(t), unsupported, "compressed"},
		{"storage compressed", change(2, "archive/data/0 deflated", floats(0, 1, 2, 3)).zip(t), unsupported, "compressed"},
		{"big endian", change(1, "archive/byteorder", "big").zip(t), unsupported, "byteorder"},
		{"TorchScript", append(good, [2]string{"archive/constants.pkl", "."}).zip(t), unsupported, "TorchScript"},
		{"pickle over the limit", change(0, "archive/data.pkl", strings.Repeat("N", int(limits.Pickle)+1)).zip(t), tooLarge, "data.pkl"},
	} {
		t.Run(c.id, func(t *testing.T) {
			path := put(t, t.TempDir(), "bad.pt", c.data)
			malformed.Check(t, malformed.Want{Class: c.class, Texts: []string{"bad.pt", c.says}, Bytes: int64(len(c.data))}, func() (io.Closer, error) { return Open(path) })
		})
	}
	t.Run("shortened while open", func(t *testing.T) {
		for name, p := range map[string]pk{"plain": ordinary(), "pitched": pk(nil).f32("0", 4, 0, []int64{2, 1}, []int64{3, 1})} {
			path := put(t, t.TempDir(), "bad.pt", saved(stateDictOf(p), 4).zip(t))
			f, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := os.Truncate(path, 100); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Tensors()[0].Float32(); !errors.Is(err, corrupt) || !strings.Contains(err.Error(), `tensor "w"`) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// nth returns where the n-th occurrence of sep begins.
func nth(b, sep []byte, n int) int {
	at := -1
	for range n {
		at += 1 + bytes.Index(b[at+1:], sep)
	}
	return at
}

// bins builds a llama2.c file: version, the seven numbers, tied, group size, and n bytes of weights.
func binFile(version int, numbers [7]int32, tied bool, group int32, n int) []byte {
	var b []byte
	if version > 0 {
		b = binary.LittleEndian.AppendUint32(b, binMagic)
		b = binary.LittleEndian.AppendUint32(b, uint32(version))
	}
	for _, v := range numbers {
		b = binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	if version > 0 {
		b = append(b, 0)
		if tied {
			b[len(b)-1] = 1
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(group))
		b = append(b, make([]byte, binHeader-len(b))...)
	}
	for i := range n {
		b = append(b, byte(i))
	}
	return b
}

// dims are the sizes of the test model: dim 8, hidden 12, 2 layers, 2 heads, 1 key head, 5 tokens, context 6.
var dims = [7]int32{8, 12, 2, 2, 1, 5, 6}

// Bytes of its weights: matrices 2*(64+32+32+64+3*96) + 40, norms 2*16 + 8.
const (
	dimMatrices = 2*(64+32+32+64+3*96) + 40
	dimNorms    = 2*16 + 8
	dimRotation = 6 * 4
)

func TestLlama2C(t *testing.T) {
	for _, c := range []struct {
		name    string
		data    []byte
		tensors int
	}{
		{"version 0", binFile(0, dims, true, 0, 4*(dimMatrices+dimNorms+dimRotation)), 20},
		{"version 0 with a head", binFile(0, [7]int32{8, 12, 2, 2, 1, -5, 6}, true, 0, 4*(dimMatrices+40+dimNorms+dimRotation)), 21},
		{"version 1", binFile(1, dims, true, 0, 4*(dimMatrices+dimNorms)), 20},
		{"version 1 with a head", binFile(1, dims, false, 0, 4*(dimMatrices+40+dimNorms)), 21},
		{"version 2", binFile(2, dims, true, 4, dimMatrices*2+4*dimNorms), 20},
		{"version 2 with a head", binFile(2, dims, false, 2, (dimMatrices+40)*3+4*dimNorms), 21},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := OpenLlama2C(put(t, t.TempDir(), "x.bin", c.data))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if len(f.Tensors()) != c.tensors {
				t.Errorf("%d tensors, want %d", len(f.Tensors()), c.tensors)
			}
			for _, x := range f.Tensors() {
				if _, err := x.ReadRaw(0, x.Rows()); err != nil {
					t.Error(err)
				}
			}
			x, ok := f.Tensor("layers.1.attention.wk.weight")
			if !ok || x.Shape[0] != 4 || x.Shape[1] != 8 {
				t.Errorf("wk is %v", x)
			}
		})
	}
	t.Run("blocks of version 2", func(t *testing.T) {
		f, err := OpenLlama2C(put(t, t.TempDir(), "x.bin", binFile(2, dims, true, 4, dimMatrices*2+4*dimNorms)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		x, _ := f.Tensor("tok_embeddings.weight")
		if x.Codec.Name() != "int8g4" {
			t.Fatalf("codec %s", x.Codec.Name())
		}
		b, err := x.ReadRaw(3, 4)
		if err != nil {
			t.Fatal(err)
		}
		at := 4 * dimNorms // of the embedding: 40 codes, 10 scales; row 3 has codes 24..32 and scales 6, 7
		var want []byte
		for g := range 2 {
			for i := range 4 {
				want = append(want, byte(at+40+4*(6+g)+i))
			}
			for i := range 4 {
				want = append(want, byte(at+24+4*g+i))
			}
		}
		if !bytes.Equal(b, want) {
			t.Errorf("row 3 is %v, want %v", b, want)
		}
	})
}

func TestMalformedLlama2C(t *testing.T) {
	with := func(i int, v int32) [7]int32 {
		d := dims
		d[i] = v
		return d
	}
	full := 4 * (dimMatrices + dimNorms + dimRotation)
	for i, c := range []struct {
		id    string
		data  []byte
		class error
		says  string
	}{
		{"empty", nil, corrupt, "header"},
		{"short header", make([]byte, 27), corrupt, "header"},
		{"short header of version 1", binFile(1, dims, true, 0, 0)[:200], corrupt, "header"},
		{"version 3", binFile(3, dims, true, 0, full), unsupported, "version"},
		{"dim 0", binFile(0, with(0, 0), true, 0, full), corrupt, "dim"},
		{"dim negative", binFile(0, with(0, -8), true, 0, full), corrupt, "dim"},
		{"dim 2^31-1", binFile(0, with(0, 1<<31-1), true, 0, full), tooLarge, "dim"},
		{"layers 2^20", binFile(0, with(2, 1<<20), true, 0, full), tooLarge, "n_layers"},
		{"heads not dividing", binFile(0, with(3, 3), true, 0, full), corrupt, "n_heads"},
		{"key heads not dividing", binFile(0, with(4, 3), true, 0, full), corrupt, "n_kv_heads"},
		{"vocabulary 0", binFile(0, with(5, 0), true, 0, full), corrupt, "vocab_size"},
		{"vocabulary -2^31", binFile(0, with(5, -1<<31), true, 0, full), tooLarge, "vocab_size"},
		{"largest sizes", binFile(0, [7]int32{65536, 524288, 1024, 1024, 1024, 4194304, 16777216}, true, 0, full), corrupt, "tok_embeddings"},
		{"one byte short", binFile(0, dims, true, 0, full-1), corrupt, "header"},
		{"one byte long", binFile(0, dims, true, 0, full+1), corrupt, "header"},
		{"weights missing", binFile(0, dims, true, 0, 0), corrupt, "tok_embeddings"},
		{"group size 0", binFile(2, dims, true, 0, full), corrupt, "group_size"},
		{"group size -4", binFile(2, dims, true, -4, full), corrupt, "group_size"},
		{"group size 3", binFile(2, dims, true, 3, full), corrupt, "group_size"},
		{"groups over the ends of rows", binFile(2, dims, true, 8, full), unsupported, "group_size"},
	} {
		t.Run(fmt.Sprintf("%02d %s", i, c.id), func(t *testing.T) {
			path := put(t, t.TempDir(), "bad.bin", c.data)
			malformed.Check(t, malformed.Want{Class: c.class, Texts: []string{"bad.bin", c.says}, Bytes: int64(len(c.data))}, func() (io.Closer, error) { return OpenLlama2C(path) })
		})
	}
}
