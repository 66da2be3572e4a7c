package model_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/safetensors"
	"github.com/parelm/pare/model/tensor"
)

// foreign is a quantized matrix as another program would have computed it: x = scale[r][g] * (code - zero[r][g]).
type foreign struct {
	rows, cols, n, bits int
	code                []uint32  // [rows, cols]
	zero                []uint32  // [rows, n]
	scale               []float32 // [rows, n], numbers that float16 holds
	group               []int     // of each column
}

func newForeign(name string, rows, cols, n, bits int, symmetric, shuffled bool) *foreign {
	s := rng.New(5, rng.Hash(name))
	f := &foreign{rows: rows, cols: cols, n: n, bits: bits, group: make([]int, cols)}
	for range rows * cols {
		f.code = append(f.code, uint32(s.Intn(1<<bits)))
	}
	for range rows * n {
		z := uint32(1 << (bits - 1))
		if !symmetric {
			z = 1 + uint32(s.Intn(1<<bits-1))
		}
		f.zero = append(f.zero, z)
		f.scale = append(f.scale, float32(1+s.Intn(500))/1024/float32(int(1)<<bits))
	}
	for c := range f.group {
		f.group[c] = c / (cols / n)
	}
	if shuffled {
		order := s.Perm(cols)
		for c, p := range order {
			f.group[c] = p / (cols / n)
		}
	}
	return f
}

// values returns what the matrix is.
func (f *foreign) values() []float32 {
	x := make([]float32, f.rows*f.cols)
	for r := range f.rows {
		for c := range f.cols {
			k := r*f.n + f.group[c]
			x[r*f.cols+c] = f.scale[k] * (float32(f.code[r*f.cols+c]) - float32(f.zero[k]))
		}
	}
	return x
}

// stored is a tensor of a file to be written.
func stored(name, format string, shape []int, values any) *tensor.Tensor {
	c, err := codec.Lookup(format)
	if err != nil {
		panic(err)
	}
	var raw []byte
	switch v := values.(type) {
	case []uint32:
		for _, x := range v {
			raw = binary.LittleEndian.AppendUint32(raw, x)
		}
	case []uint8:
		raw = v
	case []float32:
		t := tensor.FromFloat32(name, shape, v)
		if t, err = tensor.Convert(t, c); err != nil {
			panic(err)
		}
		if raw, err = t.ReadRaw(0, t.Rows()); err != nil {
			panic(err)
		}
	}
	return tensor.FromBytes(name, c, shape, raw)
}

// transposed returns v [a, b] as [b, a].
func transposed[T any](v []T, a, b int) []T {
	out := make([]T, len(v))
	for i := range a {
		for j := range b {
			out[j*a+i] = v[i*b+j]
		}
	}
	return out
}

// gptq packs a matrix as GPTQ does: codes down the columns, zero points less offset.
func (f *foreign) gptq(base string, offset uint32, index bool) []*tensor.Tensor {
	per := 32 / f.bits
	q, z := make([]uint32, f.cols/per*f.rows), make([]uint32, f.n*f.rows/per)
	for r := range f.rows {
		for c := range f.cols {
			q[c/per*f.rows+r] |= f.code[r*f.cols+c] << (c % per * f.bits)
		}
		for k := range f.n {
			z[k*f.rows/per+r/per] |= (f.zero[r*f.n+k] - offset) << (r % per * f.bits)
		}
	}
	out := []*tensor.Tensor{
		stored(base+".qweight", "i32", []int{f.cols / per, f.rows}, q),
		stored(base+".qzeros", "i32", []int{f.n, f.rows / per}, z),
		stored(base+".scales", "f16", []int{f.n, f.rows}, transposed(f.scale, f.rows, f.n)),
	}
	if index {
		out = append(out, stored(base+".g_idx", "i32", []int{f.cols}, f.index()))
	}
	return out
}

func (f *foreign) index() []uint32 {
	var g []uint32
	for _, k := range f.group {
		g = append(g, uint32(k))
	}
	return g
}

// awq packs a matrix as AutoAWQ's GEMM layout does: eight rows in a word, in an order of their own.
func (f *foreign) awq(base string) []*tensor.Tensor {
	order := []int{0, 2, 4, 6, 1, 3, 5, 7}
	q, z := make([]uint32, f.cols*f.rows/8), make([]uint32, f.n*f.rows/8)
	for w := range f.rows / 8 {
		for at, r := range order {
			for c := range f.cols {
				q[c*f.rows/8+w] |= f.code[(8*w+r)*f.cols+c] << (4 * at)
			}
			for k := range f.n {
				z[k*f.rows/8+w] |= f.zero[(8*w+r)*f.n+k] << (4 * at)
			}
		}
	}
	return []*tensor.Tensor{
		stored(base+".qweight", "i32", []int{f.cols, f.rows / 8}, q),
		stored(base+".qzeros", "i32", []int{f.n, f.rows / 8}, z),
		stored(base+".scales", "f16", []int{f.n, f.rows}, transposed(f.scale, f.rows, f.n)),
	}
}

// compressed packs a matrix as compressed-tensors' pack-quantized does: along the rows, zero points down them.
func (f *foreign) compressed(base string, zeros, index bool) []*tensor.Tensor {
	per := 32 / f.bits
	q, z := make([]uint32, f.rows*f.cols/per), make([]uint32, (f.rows+per-1)/per*f.n)
	for r := range f.rows {
		for c := range f.cols {
			q[r*(f.cols/per)+c/per] |= f.code[r*f.cols+c] << (c % per * f.bits)
		}
		for k := range f.n {
			z[r/per*f.n+k] |= f.zero[r*f.n+k] << (r % per * f.bits)
		}
	}
	out := []*tensor.Tensor{
		stored(base+".weight_packed", "i32", []int{f.rows, f.cols / per}, q),
		stored(base+".weight_scale", "bf16", []int{f.rows, f.n}, f.bf16()),
	}
	if zeros {
		out = append(out, stored(base+".weight_zero_point", "i32", []int{(f.rows + per - 1) / per, f.n}, z))
	}
	if index {
		out = append(out, stored(base+".weight_g_idx", "i32", []int{f.cols}, f.index()))
	}
	return out
}

// bf16 rounds the scales to what bfloat16 holds.
func (f *foreign) bf16() []float32 {
	for i, s := range f.scale {
		f.scale[i] = math.Float32frombits(math.Float32bits(s) &^ 0xffff)
	}
	return f.scale
}

// signedBytes stores a matrix as int-quantized does.
func (f *foreign) signedBytes(base string, zeros bool) []*tensor.Tensor {
	q, z := make([]uint8, len(f.code)), make([]uint8, len(f.zero))
	for i, c := range f.code {
		q[i] = uint8(c) ^ 0x80
	}
	for i, c := range f.zero {
		z[i] = uint8(c) ^ 0x80
	}
	out := []*tensor.Tensor{
		stored(base+".weight", "i8", []int{f.rows, f.cols}, q),
		stored(base+".weight_scale", "f32", []int{f.rows, f.n}, f.scale),
	}
	if zeros {
		out = append(out, stored(base+".weight_zero_point", "i8", []int{f.rows, f.n}, z))
	}
	return out
}

const compressedConfig = `{"quant_method":"compressed-tensors","format":"FORMAT","config_groups":{"group_0":{"targets":["Linear"],"weights":{"num_bits":BITS,"type":"int"}}}}`

// TestForeignQuantization writes a checkpoint as each of the layouts has it, by a packer of the test's own, and expects the
// values that it stands for.
func TestForeignQuantization(t *testing.T) {
	ct := func(format, bits string) string {
		return strings.NewReplacer("FORMAT", format, "BITS", bits).Replace(compressedConfig)
	}
	for _, c := range []struct {
		name, config        string
		bits, n             int
		symmetric, shuffled bool
		format              string // that pare holds it in
		pack                func(f *foreign, base string) []*tensor.Tensor
	}{
		{"gptq 4 bits", `{"quant_method":"gptq","bits":4,"group_size":16,"desc_act":false,"sym":false}`, 4, 0, false, false, "uint4g16",
			func(f *foreign, b string) []*tensor.Tensor { return f.gptq(b, 1, true) }},
		{"gptq 4 bits symmetric without index", `{"quant_method":"gptq","bits":4,"group_size":16,"sym":true,"checkpoint_format":"gptq"}`, 4, 0, true, false, "uint4g16",
			func(f *foreign, b string) []*tensor.Tensor { return f.gptq(b, 1, false) }},
		{"gptq version 2", `{"quant_method":"gptq","bits":4,"group_size":16,"checkpoint_format":"gptq_v2"}`, 4, 0, false, false, "uint4g16",
			func(f *foreign, b string) []*tensor.Tensor { return f.gptq(b, 0, true) }},
		{"gptq 8 bits", `{"quant_method":"gptq","bits":8,"group_size":16}`, 8, 0, false, false, "uint8g16",
			func(f *foreign, b string) []*tensor.Tensor { return f.gptq(b, 1, true) }},
		{"gptq act-order", `{"quant_method":"gptq","bits":4,"group_size":16,"desc_act":true}`, 4, 0, false, true, "f32",
			func(f *foreign, b string) []*tensor.Tensor { return f.gptq(b, 1, true) }},
		{"gptq one group", `{"quant_method":"gptq","bits":4,"group_size":-1}`, 4, 1, false, false, "",
			func(f *foreign, b string) []*tensor.Tensor { return f.gptq(b, 1, false) }},
		{"awq", `{"quant_method":"awq","bits":4,"group_size":16,"zero_point":true,"version":"gemm"}`, 4, 0, false, false, "uint4g16",
			func(f *foreign, b string) []*tensor.Tensor { return f.awq(b) }},
		{"pack-quantized int4", ct("pack-quantized", "4"), 4, 0, true, false, "int4g16", func(f *foreign, b string) []*tensor.Tensor { return f.compressed(b, false, false) }},
		{"pack-quantized int8", ct("pack-quantized", "8"), 8, 0, true, false, "int8g16", func(f *foreign, b string) []*tensor.Tensor { return f.compressed(b, false, false) }},
		{"pack-quantized with zero points", ct("pack-quantized", "4"), 4, 0, false, false, "uint4g16", func(f *foreign, b string) []*tensor.Tensor { return f.compressed(b, true, false) }},
		{"pack-quantized act-order", ct("pack-quantized", "4"), 4, 0, true, true, "f32", func(f *foreign, b string) []*tensor.Tensor { return f.compressed(b, false, true) }},
		{"int-quantized by row", ct("int-quantized", "8"), 8, 1, true, false, "", func(f *foreign, b string) []*tensor.Tensor { return f.signedBytes(b, false) }},
		{"int-quantized with zero points", ct("int-quantized", "8"), 8, 0, false, false, "uint8g16", func(f *foreign, b string) []*tensor.Tensor { return f.signedBytes(b, true) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := map[string][]float32{}
			m := quantizedCheckpoint(t, c.config, func(name string, rows, cols int) []*tensor.Tensor {
				n := c.n
				if n == 0 {
					n = cols / 16
				}
				f := newForeign(name, rows, cols, n, c.bits, c.symmetric, c.shuffled)
				out := c.pack(f, strings.TrimSuffix(name, ".weight"))
				want[name] = f.values()
				return out
			})
			compareStored(t, m, want, c.format)
		})
	}
}

// TestForeignFloats does the same for eight-bit floats with scales of a matrix, of rows and of blocks.
func TestForeignFloats(t *testing.T) {
	f8, err := codec.Lookup("f8_e4m3")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, config, suffix string
		scales               func(rows, cols int) (shape []int, of func(r, c int) int)
	}{
		{"one scale", `{"quant_method":"compressed-tensors","format":"float-quantized"}`, ".weight_scale",
			func(_, _ int) ([]int, func(int, int) int) { return []int{1}, func(int, int) int { return 0 } }},
		{"one a row", `{"quant_method":"compressed-tensors","format":"naive-quantized"}`, ".weight_scale",
			func(rows, _ int) ([]int, func(int, int) int) {
				return []int{rows, 1}, func(r, _ int) int { return r }
			}},
		{"blocks", `{"quant_method":"fp8","weight_block_size":[128,128]}`, ".weight_scale_inv",
			func(rows, cols int) ([]int, func(int, int) int) {
				across := (cols + 127) / 128
				return []int{(rows + 127) / 128, across}, func(r, c int) int { return r/128*across + c/128 }
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := map[string][]float32{}
			m := quantizedCheckpoint(t, c.config, func(name string, rows, cols int) []*tensor.Tensor {
				s := rng.New(9, rng.Hash(name))
				shape, of := c.scales(rows, cols)
				scale := make([]float32, 1)
				if n := shape[0]; len(shape) == 2 {
					scale = make([]float32, n*shape[1])
				}
				for i := range scale {
					scale[i] = float32(s.Float64())
				}
				raw, x := make([]byte, rows*cols), make([]float32, rows*cols)
				for i := range raw {
					if raw[i] = byte(s.Intn(256)); raw[i]&0x7f == 0x7f {
						raw[i] = 0 // not a number
					}
				}
				f8.Decode(x, raw)
				for i := range x {
					x[i] *= scale[of(i/cols, i%cols)]
				}
				want[name] = x
				return []*tensor.Tensor{tensor.FromBytes(name, f8, []int{rows, cols}, raw), stored(strings.TrimSuffix(name, ".weight")+c.suffix, "f32", shape, scale)}
			})
			format := "f32"
			if c.name == "one a row" {
				format = "fp8"
			}
			compareStored(t, m, want, format)
		})
	}
}

// TestForeignRefused names what is not read, in one line.
func TestForeignRefused(t *testing.T) {
	for config, says := range map[string]string{
		`{"quant_method":"bitsandbytes","load_in_4bit":true}`:                   "bitsandbytes",
		`{"load_in_8bit":true}`:                                                 "bitsandbytes",
		`{"quant_method":"exl2","bits":4.5}`:                                    "EXL2",
		`{"quant_method":"hqq"}`:                                                "HQQ",
		`{"quant_method":"quanto"}`:                                             "Quanto",
		`{"quant_method":"newest"}`:                                             `newest`,
		`{"quant_method":"gptq","bits":3,"group_size":128}`:                     "3 bits",
		`{"quant_method":"gptq","bits":4,"checkpoint_format":"marlin"}`:         "marlin",
		`{"quant_method":"awq","bits":4,"version":"gemv"}`:                      "gemv",
		`{"quant_method":"compressed-tensors","format":"marlin-24"}`:            "marlin-24",
		`{"quant_method":"compressed-tensors","format":"nvfp4-pack-quantized"}`: "nvfp4-pack-quantized",
		`{"bits":4}`: "no name",
	} {
		_, err := openQuantized(t, config, nil)
		if !errors.Is(err, model.ErrUnsupported) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "config.json") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// TestForeignCorrupt gives tensors that do not belong together.
func TestForeignCorrupt(t *testing.T) {
	const gptq = `{"quant_method":"gptq","bits":4,"group_size":16}`
	for name, spoil := range map[string]func(ts []*tensor.Tensor) []*tensor.Tensor{
		"no scales": func(ts []*tensor.Tensor) []*tensor.Tensor { return ts[:2] },
		"fewer zeros": func(ts []*tensor.Tensor) []*tensor.Tensor {
			ts[1] = stored(ts[1].Name, "i32", []int{1, 1}, []uint32{0})
			return ts
		},
		"index too large": func(ts []*tensor.Tensor) []*tensor.Tensor {
			ts[3] = stored(ts[3].Name, "i32", ts[3].Shape, append(make([]uint32, ts[3].Shape[0]-1), 99))
			return ts
		},
		"index negative": func(ts []*tensor.Tensor) []*tensor.Tensor {
			ts[3] = stored(ts[3].Name, "i32", ts[3].Shape, append(make([]uint32, ts[3].Shape[0]-1), 1<<31))
			return ts
		},
		"index too short": func(ts []*tensor.Tensor) []*tensor.Tensor {
			ts[3] = stored(ts[3].Name, "i32", []int{1}, []uint32{0})
			return ts
		},
	} {
		_, err := openQuantized(t, gptq, func(n string, rows, cols int) []*tensor.Tensor {
			return spoil(newForeign(n, rows, cols, cols/16, 4, false, false).gptq(strings.TrimSuffix(n, ".weight"), 1, true))
		})
		if !errors.Is(err, model.ErrCorrupt) || !strings.Contains(err.Error(), "tensor") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// openQuantized writes a tiny Llama whose linear layers are what pack makes of them, and opens it.
func openQuantized(t *testing.T, config string, pack func(name string, rows, cols int) []*tensor.Tensor) (*model.Model, error) {
	t.Helper()
	m := models.Model(t, "llama", 3)
	path := t.TempDir()
	plain, err := m.Stored()
	if err != nil {
		t.Fatal(err)
	}
	var ts []*tensor.Tensor
	for _, x := range plain {
		if pack != nil && strings.Contains(x.Name, "_proj") {
			ts = append(ts, pack(x.Name, x.Shape[0], x.Shape[1])...)
		} else {
			ts = append(ts, x)
		}
	}
	var infos []safetensors.Info
	for _, x := range ts {
		infos = append(infos, safetensors.Info{Name: x.Name, Codec: x.Codec, Shape: x.Shape})
	}
	f, err := os.Create(filepath.Join(path, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := safetensors.NewWriter(f, infos, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range ts {
		if err := w.WriteRows(x.Name, 0, raw(t, x)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join("..", "internal", "tiny", "models", "configs", "llama.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	c["quantization_config"] = json.RawMessage(config)
	if data, err = json.Marshal(c); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "config.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return model.Open(path)
}

func quantizedCheckpoint(t *testing.T, config string, pack func(name string, rows, cols int) []*tensor.Tensor) *model.Model {
	t.Helper()
	m, err := openQuantized(t, config, pack)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// compareStored compares the matrices with what they should be, whole and in pieces, and runs the model.
func compareStored(t *testing.T, m *model.Model, want map[string][]float32, format string) {
	t.Helper()
	ts, err := m.Stored()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, x := range ts {
		w := want[x.Name]
		if w == nil {
			continue
		}
		seen++
		if format != "" && x.Codec.Name() != format {
			t.Errorf("%s is held as %s, want %s", x.Name, x.Codec.Name(), format)
		}
		got, err := x.Float32()
		if err != nil {
			t.Fatal(err)
		}
		for i := range w {
			if math.Abs(float64(got[i]-w[i])) > 1e-6*math.Abs(float64(w[i])) {
				t.Fatalf("%s: value %d is %v, want %v", x.Name, i, got[i], w[i])
			}
		}
		lo, hi := x.Rows()/3, x.Rows()/2
		part := make([]float32, (hi-lo)*x.Cols())
		if err := x.ReadFloat32(part, lo, hi); err != nil {
			t.Fatal(err)
		}
		for i, v := range part {
			if v != got[lo*x.Cols()+i] {
				t.Fatalf("%s: rows %d to %d read by themselves differ", x.Name, lo, hi)
			}
		}
	}
	if seen != len(want) || seen == 0 {
		t.Errorf("%d of %d matrices found", seen, len(want))
	}
	for _, v := range logits(t, m) {
		if v-v != 0 {
			t.Fatal("a logit is not finite")
		}
	}
}
