package quantize

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
)

// A reader of the layouts of quantized checkpoints as their public descriptions have them, that shares no code with pare:
// safetensors is a length, a JSON header and data; what the tensors mean follows from quantization_config.

// shelf is a safetensors file.
type shelf struct {
	header map[string]struct {
		DType   string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	data   []byte
	config struct {
		Method     string `json:"quant_method"`
		Format     string `json:"format"`
		Bits       int    `json:"bits"`
		Sym        *bool  `json:"sym"`
		Size       int    `json:"group_size"`
		Checkpoint string `json:"checkpoint_format"`
		Groups     map[string]struct {
			Targets []string `json:"targets"`
			Weights struct {
				Bits      int    `json:"num_bits"`
				Type      string `json:"type"`
				Symmetric bool   `json:"symmetric"`
				Strategy  string `json:"strategy"`
				Size      *int   `json:"group_size"`
			} `json:"weights"`
			Input *struct {
				Bits     int    `json:"num_bits"`
				Type     string `json:"type"`
				Dynamic  bool   `json:"dynamic"`
				Strategy string `json:"strategy"`
			} `json:"input_activations"`
		} `json:"config_groups"`
		Ignore []string `json:"ignore"`
	}
}

func openShelf(t *testing.T, path string) *shelf {
	t.Helper()
	s := &shelf{}
	file, err := os.ReadFile(filepath.Join(path, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(file)
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(file[8:8+n], &raw); err != nil {
		t.Fatal(err)
	}
	delete(raw, "__metadata__")
	trimmed, _ := json.Marshal(raw)
	if err := json.Unmarshal(trimmed, &s.header); err != nil {
		t.Fatal(err)
	}
	s.data = file[8+n:]
	var conf struct {
		Q json.RawMessage `json:"quantization_config"`
	}
	data, err := os.ReadFile(filepath.Join(path, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &conf); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(conf.Q, &s.config); err != nil {
		t.Fatal(err)
	}
	return s
}

// bytes returns the data and shape of a tensor of a type.
func (s *shelf) bytes(t *testing.T, name, dtype string) ([]byte, []int) {
	t.Helper()
	h, ok := s.header[name]
	if !ok || h.DType != dtype {
		t.Fatalf("%s is %q, want %s", name, h.DType, dtype)
	}
	return s.data[h.Offsets[0]:h.Offsets[1]], h.Shape
}

func word(b []byte, i int) uint32 { return binary.LittleEndian.Uint32(b[4*i:]) }

// packed unpacks compressed-tensors pack-quantized: codes lie along the rows, zero points down them, both plus 2^(bits-1).
func (s *shelf) packed(t *testing.T, base string) []float32 {
	t.Helper()
	w := s.config.Groups["group_0"].Weights
	shape, _ := s.bytes(t, base+".weight_shape", "I64")
	rows, cols := int(binary.LittleEndian.Uint64(shape)), int(binary.LittleEndian.Uint64(shape[8:]))
	codes, cs := s.bytes(t, base+".weight_packed", "I32")
	scales, ss := s.bytes(t, base+".weight_scale", "F32")
	per, middle := 32/w.Bits, int32(1)<<(w.Bits-1)
	size := cols
	if w.Strategy == "group" {
		size = *w.Size
	}
	if fmt.Sprint(cs, ss) != fmt.Sprint([]int{rows, cols / per}, []int{rows, cols / size}) || w.Type != "int" {
		t.Fatalf("%s: shapes %v %v for %d x %d, type %q", base, cs, ss, rows, cols, w.Type)
	}
	var zeros []byte
	if !w.Symmetric {
		var zs []int
		if zeros, zs = s.bytes(t, base+".weight_zero_point", "I32"); fmt.Sprint(zs) != fmt.Sprint([]int{(rows + per - 1) / per, cols / size}) {
			t.Fatalf("%s: zero points %v", base, zs)
		}
	}
	out := make([]float32, rows*cols)
	for r := range rows {
		for c := range cols {
			field := func(b []byte, at, i int) int32 {
				return int32(word(b, at)>>(i*w.Bits)&(1<<w.Bits-1)) - middle
			}
			q, z := field(codes, r*cols/per+c/per, c%per), int32(0)
			if zeros != nil {
				z = field(zeros, r/per*(cols/size)+c/size, r%per)
			}
			out[r*cols+c] = math.Float32frombits(word(scales, r*(cols/size)+c/size)) * float32(q-z)
		}
	}
	return out
}

// plain reads int-quantized and float-quantized: bytes under the matrix's own name and a scale a row.
func (s *shelf) plain(t *testing.T, base string) []float32 {
	t.Helper()
	dtype := map[string]string{"int-quantized": "I8", "float-quantized": "F8_E4M3"}[s.config.Format]
	g := s.config.Groups["group_0"]
	if in := g.Input; in == nil || !in.Dynamic || in.Strategy != "token" || in.Bits != 8 || in.Type != g.Weights.Type {
		t.Fatalf("activations are described as %+v", in)
	}
	codes, shape := s.bytes(t, base+".weight", dtype)
	scales, _ := s.bytes(t, base+".weight_scale", "F32")
	out := make([]float32, len(codes))
	for i, b := range codes {
		v := float32(int8(b))
		if dtype != "I8" {
			v = e4m3(b)
		}
		out[i] = math.Float32frombits(word(scales, i/shape[1])) * v
	}
	return out
}

// e4m3 is the eight-bit float with four bits of exponent, bias 7, and no infinities.
func e4m3(b byte) float32 {
	e, m := int(b>>3&15), float64(b&7)
	v := math.Ldexp(1+m/8, e-7)
	if e == 0 {
		v = math.Ldexp(m/8, -6)
	}
	if b >= 128 {
		v = -v
	}
	return float32(v)
}

// gptq unpacks AutoGPTQ's layout: codes and zero points (less one) down the columns of [in, out], float16 scales.
func (s *shelf) gptq(t *testing.T, base string) []float32 {
	t.Helper()
	bits, per := s.config.Bits, 32/s.config.Bits
	codes, cs := s.bytes(t, base+".qweight", "I32")
	zeros, zs := s.bytes(t, base+".qzeros", "I32")
	scales, ss := s.bytes(t, base+".scales", "F16")
	index, _ := s.bytes(t, base+".g_idx", "I32")
	cols, rows, n := cs[0]*per, cs[1], ss[0]
	if zs[0] != n || zs[1]*per != rows || ss[1] != rows || len(index) != 4*cols || s.config.Checkpoint != "gptq" {
		t.Fatalf("%s: shapes %v %v %v", base, cs, zs, ss)
	}
	out := make([]float32, rows*cols)
	for r := range rows {
		for c := range cols {
			k := int(word(index, c))
			if want := c / max(s.config.Size, 1); s.config.Size > 0 && k != want {
				t.Fatalf("%s: column %d is in group %d", base, c, k)
			}
			q := int(word(codes, c/per*rows+r) >> (c % per * bits) & (1<<bits - 1))
			z := int(word(zeros, k*rows/per+r/per)>>(r%per*bits)&(1<<bits-1)) + 1
			if *s.config.Sym && z != 1<<(bits-1) {
				t.Fatalf("%s: zero point %d of a symmetric format", base, z)
			}
			out[r*cols+c] = half(binary.LittleEndian.Uint16(scales[2*(k*rows+r):])) * float32(q-z)
		}
	}
	return out
}

// half is IEEE's sixteen-bit float, finite ones.
func half(h uint16) float32 {
	e, m := int(h>>10&31), float64(h&1023)
	v := math.Ldexp(1+m/1024, e-15)
	if e == 0 {
		v = math.Ldexp(m/1024, -14)
	}
	return float32(v)
}

// TestLayouts reads what is written by the public descriptions alone and expects every value that was chosen; pare's own
// reader must find the same.
func TestLayouts(t *testing.T) {
	m := models.Of(t, wide(t), 5)
	for _, c := range []struct {
		set  Settings
		read func(s *shelf, t *testing.T, base string) []float32
		end  string
	}{
		{Settings{Format: "W4A16", GroupSize: 32}, (*shelf).packed, ".weight_packed"},
		{Settings{Format: "W4A16", GroupSize: 64}, (*shelf).packed, ".weight_packed"},
		{Settings{Format: "W4A16"}, (*shelf).packed, ".weight_packed"},
		{Settings{Format: "W4A16_ASYM", GroupSize: 32}, (*shelf).packed, ".weight_packed"},
		{Settings{Format: "W4A16_ASYM", GroupSize: 64}, (*shelf).packed, ".weight_packed"},
		{Settings{Format: "W4A16_ASYM"}, (*shelf).packed, ".weight_packed"},
		{Settings{Format: "W8A16"}, (*shelf).packed, ".weight_packed"},
		{Settings{Format: "W8A8"}, (*shelf).plain, ".weight_scale"},
		{Settings{Format: "FP8"}, (*shelf).plain, ".weight_scale"},
		{Settings{Format: "W4A16", GroupSize: 32, Layout: "gptq"}, (*shelf).gptq, ".qweight"},
		{Settings{Format: "W4A16", Layout: "gptq"}, (*shelf).gptq, ".qweight"},
		{Settings{Format: "W4A16_ASYM", GroupSize: 64, Layout: "gptq"}, (*shelf).gptq, ".qweight"},
		{Settings{Format: "W4A16_ASYM", Layout: "gptq"}, (*shelf).gptq, ".qweight"},
		{Settings{Format: "W8A16", Layout: "gptq"}, (*shelf).gptq, ".qweight"},
	} {
		for _, algorithm := range []string{"rtn", "gptq"} {
			name := fmt.Sprint(c.set.Format, " ", c.set.GroupSize, " ", c.set.Layout, " ", algorithm)
			c.set.Algorithm = algorithm
			q, _ := quantize(t, m, c.set)
			path := t.TempDir()
			if err := q.SaveHF(context.Background(), dir(path)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			s := openShelf(t, path)
			back, err := model.Open(path)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			defer back.Close()
			known, own := stored(t, q), stored(t, back)
			n := 0
			for key := range s.header {
				base, ok := strings.CutSuffix(key, c.end)
				if !ok {
					continue
				}
				n++
				got, want := c.read(s, t, base), known[base+".weight"]
				for i := range want {
					if got[i] != want[i] || own[base+".weight"][i] != want[i] {
						t.Fatalf("%s: value %d of %s is %v by the description and %v by pare's reader, was %v", name, i, base, got[i], own[base+".weight"][i], want[i])
					}
				}
			}
			if n != 7*len(m.Config.Layers) {
				t.Errorf("%s: %d quantized matrices", name, n)
			}
		}
	}
}

// wide is a tiny Llama whose rows are whole groups of 128.
func wide(t *testing.T) *model.Config {
	keys := models.Keys(t, "llama")
	for k, v := range map[string]any{"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64} {
		keys[k] = v
	}
	data, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	c, err := model.ParseConfig("config.json", data)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// stored returns the values of all matrices by their names in the file.
func stored(t *testing.T, m *model.Model) map[string][]float32 {
	t.Helper()
	ts, err := m.Stored()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]float32{}
	for _, x := range ts {
		if out[x.Name], err = x.Float32(); err != nil {
			t.Fatal(err)
		}
	}
	return out
}
