package torch

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/model/internal/malformed"
	"github.com/parelm/pare/model/safetensors"
	"github.com/parelm/pare/model/tensor"
)

// pk builds a pickle of protocol 2 one instruction at a time.
type pk []byte

func start() pk { return pk{0x80, 2} }

func (p pk) op(ops ...byte) pk     { return append(p, ops...) }
func (p pk) end() []byte           { return append(p, '.') }
func (p pk) global(m, n string) pk { return append(p, "c"+m+"\n"+n+"\n"...) }
func (p pk) int(v int64) pk {
	return p.op(0x8a, 8).raw(binary.LittleEndian.AppendUint64(nil, uint64(v)))
}
func (p pk) raw(b []byte) pk           { return append(p, b...) }
func (p pk) call(m, n string, a pk) pk { return p.global(m, n).op('(').raw(a).op('t', 'R') }
func (p pk) str(s string) pk {
	return append(binary.LittleEndian.AppendUint32(append(p, 'X'), uint32(len(s))), s...)
}

// ints pushes a tuple of integers.
func (p pk) ints(v ...int64) pk {
	p = p.op('(')
	for _, x := range v {
		p = p.int(x)
	}
	return p.op('t')
}

// storage pushes a storage.
func (p pk) storage(class, key string, count int64) pk {
	return p.op('(').str("storage").global("torch", class).str(key).str("cpu").int(count).op('t', 'Q')
}

// view pushes a tensor.
func (p pk) view(storage pk, offset int64, shape, stride []int64) pk {
	a := pk(nil).raw(storage).int(offset).ints(shape...).ints(stride...).op(0x89).call("collections", "OrderedDict", nil)
	return p.call("torch._utils", "_rebuild_tensor_v2", a)
}

// f32 pushes a tensor over storage key of count elements.
func (p pk) f32(key string, count, offset int64, shape, stride []int64) pk {
	return p.view(pk(nil).storage("FloatStorage", key, count), offset, shape, stride)
}

// stateDict is a whole pickle: an OrderedDict of one tensor "w".
func stateDictOf(t pk) []byte {
	return start().call("collections", "OrderedDict", nil).op('(').str("w").raw(t).op('u').end()
}

// small is a valid pickle over storage "0" of four floats.
func small() []byte { return stateDictOf(pk(nil).f32("0", 4, 0, []int64{2, 2}, []int64{2, 1})) }

// entries are the files of an archive below its top directory, in order.
type entries [][2]string

func (e entries) zip(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range e {
		h := &zip.FileHeader{Name: f[0], Method: zip.Store}
		if strings.HasSuffix(f[0], " deflated") {
			h.Name, h.Method = strings.TrimSuffix(f[0], " deflated"), zip.Deflate
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// floats are little-endian float32 values.
func floats(v ...float32) string {
	var b []byte
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return string(b)
}

// saved is an archive as torch.save writes it, with storage "0" of 0,1,2,...
func saved(pickle []byte, n int) entries {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(i)
	}
	return entries{{"archive/data.pkl", string(pickle)}, {"archive/byteorder", "little"}, {"archive/data/0", floats(v...)}, {"archive/version", "3\n"}}
}

func put(t testing.TB, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestViews reads every kind of view and compares with index arithmetic.
func TestViews(t *testing.T) {
	for _, c := range []struct {
		name          string
		offset        int64
		shape, stride []int64
	}{
		{"plain", 0, []int64{2, 3, 4}, []int64{12, 4, 1}},
		{"offset", 5, []int64{3, 4}, []int64{4, 1}},
		{"rows with a pitch", 1, []int64{4, 3}, []int64{7, 1}},
		{"rows in another order", 0, []int64{3, 2, 4}, []int64{4, 12, 1}},
		{"rows repeated", 2, []int64{3, 4}, []int64{0, 1}},
		{"transposed", 0, []int64{5, 4}, []int64{1, 5}},
		{"transposed with offset and pitch", 3, []int64{4, 3}, []int64{1, 9}},
		{"row of a column", 2, []int64{1, 5}, []int64{99, 4}},
		{"column", 2, []int64{5, 1}, []int64{4, 77}},
		{"scalar", 7, nil, nil},
		{"vector", 3, []int64{9}, []int64{1}},
		{"one value", 3, []int64{1, 1, 1}, []int64{5, 6, 7}},
		{"empty", 0, []int64{0, 4}, []int64{4, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := saved(stateDictOf(pk(nil).f32("0", 40, c.offset, c.shape, c.stride)), 40).zip(t)
			f, err := Open(put(t, t.TempDir(), "x.pt", data))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			x, ok := f.Tensor("w")
			if !ok || len(f.Tensors()) != 1 {
				t.Fatalf("tensors: %v", f.Tensors())
			}
			got, err := x.Float32()
			if err != nil {
				t.Fatal(err)
			}
			index := make([]int64, len(c.shape))
			for i, v := range got {
				want := c.offset
				for d, k := range index {
					want += k * c.stride[d]
				}
				if v != float32(want) {
					t.Fatalf("value %d is %v, want %d", i, v, want)
				}
				for d := len(index) - 1; d >= 0; d-- {
					if index[d]++; index[d] < c.shape[d] {
						break
					}
					index[d] = 0
				}
			}
			if want := int64(len(got)); x.Bytes() != 4*want {
				t.Errorf("%d values, %d bytes", want, x.Bytes())
			}
			if x.Rows() > 1 { // a part of the rows
				part := make([]float32, x.Cols())
				if err := x.ReadFloat32(part, x.Rows()-1, x.Rows()); err != nil {
					t.Fatal(err)
				}
				for i, v := range part {
					if v != got[len(got)-len(part)+i] {
						t.Errorf("last row alone: %v", part)
						break
					}
				}
			}
		})
	}
}

// TestTypes reads a storage of every type.
func TestTypes(t *testing.T) {
	for class, format := range storageTypes {
		if format == "" {
			continue
		}
		p := stateDictOf(pk(nil).view(pk(nil).storage(class, "0", 2), 0, []int64{2}, []int64{1}))
		f, err := Open(put(t, t.TempDir(), "x.pt", saved(p, 4).zip(t)))
		if err != nil {
			t.Fatal(err)
		}
		if x := f.Tensors()[0]; x.Codec.Name() != format {
			t.Errorf("%s: %s, want %s", class, x.Codec.Name(), format)
		}
		f.Close()
	}
	for name, format := range dtypes {
		a := pk(nil).storage("UntypedStorage", "0", 16).int(0).ints(2).ints(1).op(0x89).call("collections", "OrderedDict", nil).global("torch", name)
		p := stateDictOf(pk(nil).call("torch._utils", "_rebuild_tensor_v3", a))
		f, err := Open(put(t, t.TempDir(), "x.pt", saved(p, 4).zip(t)))
		if err != nil {
			t.Fatal(err)
		}
		if x := f.Tensors()[0]; x.Codec.Name() != format {
			t.Errorf("%s: %s, want %s", name, x.Codec.Name(), format)
		}
		f.Close()
	}
}

// TestStateDicts finds the weights where training programs put them.
func TestStateDicts(t *testing.T) {
	w := pk(nil).f32("0", 4, 0, []int64{4}, []int64{1})
	inner := pk(nil).op('}', '(').str("w").raw(w).op('u')
	optimizer := pk(nil).op('}', '(').str("state").raw(inner).op('u')
	object := pk(nil).global("their.code", "Config").op(')', 0x81, '}', '(').str("n_layer").int(3).op('u', 'b')
	parameter := pk(nil).call("torch._utils", "_rebuild_parameter", pk(nil).raw(w).op(0x88).call("collections", "OrderedDict", nil))
	module := pk(nil).global("their.code", "Model").op(')', 0x81, '}', '(').str("weights").raw(inner).op('u', 'b')
	for name, p := range map[string]pk{
		"top":          inner,
		"parameter":    pk(nil).op('}', '(').str("w").raw(parameter).op('u'),
		"under a key":  pk(nil).op('}', '(').str("model").raw(inner).str("optimizer").raw(optimizer).str("config").raw(object).str("step").int(7).op('u'),
		"preferred":    pk(nil).op('}', '(').str("ema").raw(inner).str("state_dict").raw(inner).op('u'),
		"other key":    pk(nil).op('}', '(').str("whatever").raw(inner).op('u'),
		"in an object": module,
		"two levels":   pk(nil).op('}', '(').str("a").op('}', '(').str("b").raw(inner).op('u', 'u'),
	} {
		f, err := Open(put(t, t.TempDir(), "x.pt", saved(start().raw(p).end(), 4).zip(t)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if x, ok := f.Tensor("w"); !ok || x.Len() != 4 {
			t.Errorf("%s: tensors %v", name, f.Tensors())
		}
		if name == "under a key" && (f.Metadata()["config.n_layer"] != int64(3) || f.Metadata()["step"] != int64(7)) {
			t.Errorf("notes %v", f.Metadata())
		}
		f.Close()
	}
}

// TestSharedArchives compares the original checkpoints with their conversions to safetensors.
func TestSharedArchives(t *testing.T) {
	for dir, file := range map[string]string{"microlm-base-gpt2": "model.pth", "slm4096-gpt2": "ckpt.pt"} {
		f, err := Open(tiny.Shared(t, "assets", "models", dir, "source", file))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s, err := safetensors.OpenDir(tiny.Shared(t, "assets", "models", dir))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		same := map[string]string{} // content to name
		for _, x := range s.Tensors() {
			same[content(t, x)] = x.Name
			if len(x.Shape) == 2 { // GPT-2 of Hugging Face keeps matrices transposed
				y, err := tensor.Transpose(x.Name, x)
				if err != nil {
					t.Fatal(err)
				}
				same[content(t, y)] = x.Name
			}
		}
		found := 0
		for _, x := range f.Tensors() {
			if _, ok := same[content(t, x)]; ok {
				found++
			}
		}
		// Fused projections are cut differently in the conversion; everything else is there bit for bit.
		if found < len(f.Tensors())*2/3 {
			t.Errorf("%s: %d of %d tensors are in the conversion", dir, found, len(f.Tensors()))
		}
		t.Logf("%s: %d of %d tensors are in the conversion; notes %v", dir, found, len(f.Tensors()), len(f.Metadata()))
	}
	f, err := Open(tiny.Shared(t, "assets", "models", "microlm-base-gpt2", "source", "model.pth"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if m := f.Metadata(); m["config.n_layer"] != int64(2) || m["config.n_embd"] != int64(80) || m["params"] != int64(181440) {
		t.Errorf("notes %v", m)
	}
}

func content(t *testing.T, x *tensor.Tensor) string {
	t.Helper()
	b, err := x.ReadRaw(0, x.Rows())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSharedLlama2C compares the original with its conversion to safetensors: all but the rows of q and k, which Hugging
// Face rotates in another order.
func TestSharedLlama2C(t *testing.T) {
	f, err := OpenLlama2C(tiny.Shared(t, "assets", "models", "stories260K", "source", "stories260K.bin"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := safetensors.OpenDir(tiny.Shared(t, "assets", "models", "stories260K"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(f.Tensors()) != len(s.Tensors()) {
		t.Errorf("%d tensors, the conversion has %d", len(f.Tensors()), len(s.Tensors()))
	}
	replace := strings.NewReplacer("tok_embeddings", "model.embed_tokens", "attention_norm", "input_layernorm", "ffn_norm", "post_attention_layernorm",
		"attention.wq", "self_attn.q_proj", "attention.wk", "self_attn.k_proj", "attention.wv", "self_attn.v_proj", "attention.wo", "self_attn.o_proj",
		"feed_forward.w1", "mlp.gate_proj", "feed_forward.w2", "mlp.down_proj", "feed_forward.w3", "mlp.up_proj", "layers.", "model.layers.", "norm.weight", "model.norm.weight")
	n := 0
	for _, x := range f.Tensors() {
		name := replace.Replace(x.Name)
		y, ok := s.Tensor(name)
		if !ok {
			t.Errorf("%s: no %s in the conversion", x.Name, name)
			continue
		}
		rotated := strings.Contains(x.Name, "wq") || strings.Contains(x.Name, "wk")
		if same := content(t, x) == content(t, y); same == rotated {
			t.Errorf("%s: equal %v", x.Name, same)
		}
		n++
	}
	if m := f.Metadata(); m["dim"] != int64(64) || m["n_layers"] != int64(5) || m["n_kv_heads"] != int64(4) || m["vocab_size"] != int64(512) || m["shared_classifier"] != true {
		t.Errorf("header %v", m)
	}
	if n != 47 {
		t.Errorf("%d tensors compared", n)
	}
}

func TestOpenDirEmpty(t *testing.T) {
	if _, err := OpenDir(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty directory: %v", err)
	}
}

func TestShards(t *testing.T) {
	part := func(name string) []byte {
		return saved(start().call("collections", "OrderedDict", nil).op('(').str(name).raw(pk(nil).f32("0", 4, 0, []int64{4}, []int64{1})).op('u').end(), 4).zip(t)
	}
	base := map[string][]byte{
		indexName: []byte(`{"metadata":{"total_size":32},"weight_map":{"a":"p1.bin","b":"p2.bin"}}`), "p1.bin": part("a"), "p2.bin": part("b"),
	}
	for _, c := range []struct {
		id, file string
		data     []byte
		class    error
		says     []string
	}{
		{"valid", "", nil, nil, nil},
		{"shard missing", "p2.bin", nil, tensor.ErrCorrupt, []string{indexName, "p2.bin"}},
		{"tensor in two shards", "p2.bin", part("a"), tensor.ErrCorrupt, []string{"p2.bin", `tensor "a"`}},
		{"tensor that the index lacks", "p2.bin", part("c"), tensor.ErrCorrupt, []string{"p2.bin", `tensor "c"`}},
		{"tensor missing", indexName, []byte(`{"weight_map":{"a":"p1.bin","b":"p2.bin","c":"p2.bin"}}`), tensor.ErrCorrupt, []string{"p2.bin", `tensor "c"`}},
		{"traversal", indexName, []byte(`{"weight_map":{"a":"../p1.bin"}}`), tensor.ErrInvalid, []string{indexName, "../p1.bin"}},
	} {
		dir := t.TempDir()
		for name, data := range base {
			if name == c.file {
				data = c.data
			}
			if data != nil {
				put(t, dir, name, data)
			}
		}
		if c.class != nil {
			t.Run(c.id, func(t *testing.T) {
				malformed.Check(t, malformed.Want{Class: c.class, Texts: c.says}, func() (io.Closer, error) { return OpenDir(dir) })
			})
			continue
		}
		f, err := OpenDir(dir)
		if err != nil || len(f.Tensors()) != 2 || len(f.Files()) != 2 {
			t.Fatalf("%v, %v", f, err)
		}
		f.Close()
	}
	dir := t.TempDir()
	put(t, dir, singleName, part("a"))
	f, err := OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}
