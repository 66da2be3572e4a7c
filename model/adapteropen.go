package model

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/gguf"
	"github.com/parelm/pare/model/safetensors"
	"github.com/parelm/pare/model/tensor"
)

// Opening an adapter opens the model that it belongs to, with the adapter drawn in.

// openPEFT opens a PEFT directory of type LORA.
func openPEFT(dir string) (*Model, error) {
	path := filepath.Join(dir, peftConfig)
	if st, err := os.Stat(path); err != nil || st.Size() > sideLimit {
		return nil, tensor.Errorf(ErrInvalid, path, "", "cannot be read or is too large")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	o, err := parseObject(path, data)
	if err != nil {
		return nil, err
	}
	if t := o.text("peft_type"); t != "LORA" || o.flag("use_dora") {
		return nil, tensor.Errorf(ErrUnsupported, path, `key "peft_type"`, "is %s; LORA without DoRA is read", quoted(t))
	}
	scale := o.real("lora_alpha") / max(o.real("r"), 1)
	if o.flag("use_rslora") {
		scale = o.real("lora_alpha") / sqrt(max(o.real("r"), 1))
	}
	for _, key := range []string{"rank_pattern", "alpha_pattern", "modules_to_save"} {
		if v := string(o.raw(key)); v != "" && v != "{}" && v != "[]" {
			return nil, tensor.Errorf(ErrUnsupported, path, fmt.Sprintf("key %q", key), "is not read")
		}
	}
	name := o.text("base_model_name_or_path")
	if o.err != nil {
		return nil, o.err
	}
	m, err := openBase(path, name)
	if err != nil {
		return nil, err
	}
	f, err := safetensors.Open(filepath.Join(dir, peftWeights))
	if err != nil {
		m.Close()
		return nil, err
	}
	m.close = append(m.close, f)
	byName := map[string]*Weight{}
	for _, s := range hfSlots(m.Graph, m.Config.Family) {
		if s.plain() && s.expert < 0 {
			byName["base_model.model."+strings.TrimSuffix(s.name, ".weight")] = s.weights[0]
		}
	}
	a, err := pairs(path, f.Tensors(), ".lora_A.weight", ".lora_B.weight", scale, func(stem string) *Weight { return byName[stem] }, nil)
	return m.open(path, a, err)
}

// openBase opens the model that an adapter names, which must be none itself.
func openBase(path, name string) (*Model, error) {
	base, err := beside(path, name)
	if err != nil {
		return nil, err
	}
	if isAdapter(base) {
		return nil, tensor.Errorf(ErrUnsupported, path, "", "is an adapter of %s, which is an adapter itself", base)
	}
	m, err := Open(base)
	if err != nil {
		return nil, fmt.Errorf("%s is an adapter of %s: %w", path, base, err)
	}
	return m, nil
}

func isAdapter(path string) bool {
	if _, err := os.Stat(filepath.Join(path, "config.json")); err == nil {
		return false
	}
	if _, err := os.Stat(filepath.Join(path, peftConfig)); err == nil {
		return true
	}
	if found, _ := filepath.Glob(filepath.Join(path, "*.gguf")); len(found) == 1 {
		path = found[0]
	}
	f, err := gguf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	kind, err := f.Metadata().String("general.type")
	return err == nil && kind == "adapter"
}

// open draws an adapter into a model whose files it takes over.
func (m *Model) open(path string, a Adapter, err error) (*Model, error) {
	if err == nil {
		var n *Model
		if n, err = m.Adapted(a); err == nil {
			n.close, n.Path = m.close, path
			return n, nil
		}
	}
	m.Close()
	return nil, err
}

// openLoRA opens a GGUF file of type adapter.
func openLoRA(path string, f *gguf.File) (*Model, error) {
	name, err := f.Metadata().String(baseKey)
	if err != nil {
		name = ""
	}
	m, err := openBase(path, name)
	if err != nil {
		return nil, err
	}
	m.close = append(m.close, f)
	alpha, err := f.Metadata().Float("adapter.lora.alpha")
	if err != nil {
		return m.open(path, nil, err)
	}
	bySlot := map[string]*slot{}
	all := ggufSlots(m.Graph, m.Config.Family)
	for i := range all {
		if s := &all[i]; len(s.weights) == 1 && !s.Transposed {
			bySlot[s.name] = s
		}
	}
	weight := func(stem string) *Weight {
		if s := bySlot[stem]; s != nil {
			return s.weights[0]
		}
		return nil
	}
	rows := func(stem string, b *tensor.Tensor) (*tensor.Tensor, error) { // in the order of the graph again
		s := *bySlot[stem]
		s.weights = []*Weight{{s.weights[0].Name, RoleMatrix, []Dim{s.weights[0].Dims[0], {&Axis{Size: b.Shape[1]}, 1}}}}
		views, err := s.split(b)
		if err != nil {
			return nil, err
		}
		return views[0], nil
	}
	a, err := pairs(path, f.Tensors(), loraA, loraB, -alpha, weight, rows)
	return m.open(path, a, err)
}

// pairs finds the two matrices of each weight among tensors named stem+endA and stem+endB. B is multiplied by scale; a negative
// one is alpha, to be divided by the rank.
func pairs(path string, ts []*tensor.Tensor, endA, endB string, scale float64, weight func(stem string) *Weight, rows func(string, *tensor.Tensor) (*tensor.Tensor, error)) (Adapter, error) {
	bad := func(name, format string, args ...any) (Adapter, error) {
		return nil, tensor.Errorf(ErrInvalid, path, fmt.Sprintf("tensor %q", name), format, args...)
	}
	f32, err := codec.Lookup("f32")
	if err != nil {
		return nil, err
	}
	find := map[string]*tensor.Tensor{}
	for _, t := range ts {
		find[t.Name] = t
	}
	a := Adapter{}
	for _, t := range ts {
		stem, ok := strings.CutSuffix(t.Name, endA)
		if !ok {
			if !strings.HasSuffix(t.Name, endB) {
				return bad(t.Name, "is no part of a LoRA adapter that pare reads")
			}
			continue
		}
		w, b := weight(stem), find[stem+endB]
		switch {
		case w == nil:
			return bad(t.Name, "belongs to no matrix of the model that stands alone")
		case b == nil || len(t.Shape) != 2 || len(b.Shape) != 2 || !isFloat(t.Codec) || !isFloat(b.Codec) || b.Shape[0] != w.Shape()[0]:
			return bad(t.Name, "has no second matrix that fits")
		case t.Shape[0] < 1 || int64(t.Shape[0]) > limits.Hidden:
			return bad(t.Name, "has rank %d", t.Shape[0])
		}
		if rows != nil {
			if b, err = rows(stem, b); err != nil {
				return bad(b.Name, "%v", err)
			}
		}
		k := float32(scale)
		if scale < 0 {
			k = float32(-scale / float64(t.Shape[0]))
		}
		if k != 1 {
			b = tensor.Map(b.Name, b, f32, func(row []float32) {
				for i := range row {
					row[i] *= k
				}
			})
		}
		a[w.Name] = LowRank{A: t, B: b}
	}
	if len(a) == 0 {
		return nil, tensor.Errorf(ErrInvalid, path, "", "holds no LoRA matrices")
	}
	return a, nil
}
