package model

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/gguf"
	"github.com/parelm/pare/model/safetensors"
	"github.com/parelm/pare/model/tensor"
)

// An adapter adds a product of two thin matrices to some of a model's: W x becomes W x + B (A x), with A [rank, in] and B
// [out, rank] (Hu et al. 2021, LoRA). In the drawing those are two more linear layers and an addition, so that every executor
// runs them and none knows of adapters. Adapters are kept beside the model, in the two forms that other programs load: a
// PEFT directory (vLLM, transformers) and a GGUF file of type adapter (llama.cpp, ollama).

// Adapter holds the two matrices by the canonical name of the weight that they are added to.
type Adapter map[string]LowRank

// LowRank is the two matrices.
type LowRank struct{ A, B *tensor.Tensor }

// Names of the files of an adapter, and the ending of its weights' names.
const (
	peftConfig  = "adapter_config.json"
	peftWeights = "adapter_model.safetensors"
	loraA       = ".lora_a"
	loraB       = ".lora_b"
	baseKey     = "pare.base" // of a GGUF adapter: the model's file, seen from where the adapter lies
)

// names returns the adapted weights in drawing order, or an error for a name that the model does not have or whose shape
// does not fit.
func (a Adapter) names(g *Graph) ([]*Weight, error) {
	var out []*Weight
	for _, w := range g.Weights {
		l, ok := a[w.Name]
		if !ok {
			continue
		}
		s := w.Shape()
		if len(s) != 2 || len(l.A.Shape) != 2 || len(l.B.Shape) != 2 || l.A.Shape[1] != s[1] || l.B.Shape[0] != s[0] || l.A.Shape[0] != l.B.Shape[1] {
			return nil, tensor.Errorf(ErrInvalid, "", fmt.Sprintf("adapter of %q", w.Name), "has A %v and B %v for a matrix %v", l.A.Shape, l.B.Shape, s)
		}
		out = append(out, w)
	}
	if len(out) != len(a) {
		for _, name := range sortedKeys(a) {
			if g.Weight(name) == nil {
				return nil, tensor.Errorf(ErrInvalid, "", fmt.Sprintf("adapter of %q", name), "the model has no such matrix")
			}
		}
	}
	return out, nil
}

// Adapted returns the model with an adapter drawn into its graph. It runs like any other model and cannot be saved: the
// adapter lies beside it.
func (m *Model) Adapted(a Adapter) (*Model, error) {
	adapted, err := a.names(m.Graph)
	if err != nil {
		return nil, err
	}
	old := m.Graph
	g := &Graph{Layers: old.Layers, Weights: slices.Clone(old.Weights), Axes: slices.Clone(old.Axes), byName: map[string]*Weight{}}
	n := m.With(nil)
	n.Graph, n.adapted = g, true
	now := map[*Node]*Node{} // what stands for a node of the old graph
	add := func(x Node) *Node {
		x.ID = len(g.Nodes)
		g.Nodes = append(g.Nodes, &x)
		return &x
	}
	for _, o := range old.Nodes {
		x := *o
		x.In = make([]*Node, len(o.In))
		for i, in := range o.In {
			x.In[i] = now[in]
		}
		p := add(x)
		now[o] = p
		w := o.Weight(0)
		if o.Op != OpLinear || !slices.Contains(adapted, w) {
			continue
		}
		l := a[w.Name]
		rank := Dim{&Axis{Name: w.Name + ".rank", Kind: AxisFixed, Layer: o.Layer, Size: l.A.Shape[0]}, 1}
		wa, wb := &Weight{w.Name + loraA, RoleMatrix, []Dim{rank, w.Dims[1]}}, &Weight{w.Name + loraB, RoleMatrix, []Dim{w.Dims[0], rank}}
		if !slices.ContainsFunc(g.Weights, func(v *Weight) bool { return v.Name == wa.Name }) {
			g.Weights, g.Axes = append(g.Weights, wa, wb), append(g.Axes, rank.Axis)
			n.tensors[wa], n.tensors[wb] = l.A, l.B
		}
		down := add(Node{Op: OpLinear, Site: o.Site + loraA, Layer: o.Layer, In: []*Node{p.In[0]}, Out: rank, Weights: []*Weight{wa}})
		up := add(Node{Op: OpLinear, Site: o.Site + loraB, Layer: o.Layer, In: []*Node{down}, Out: o.Out, Weights: []*Weight{wb}})
		now[o] = add(Node{Op: OpAdd, Layer: o.Layer, In: []*Node{p, up}, Out: o.Out})
	}
	for _, e := range old.Entry {
		g.Entry = append(g.Entry, now[e])
	}
	g.Logits = now[old.Logits]
	for _, w := range g.Weights {
		g.byName[w.Name] = w
	}
	return n, nil
}

// unadapted returns an error for a model that an adapter is drawn into.
func (m *Model) unadapted() error {
	if !m.adapted {
		return nil
	}
	return tensor.Errorf(ErrUnsupported, m.Path, "", "is a model with an adapter, which runs and is measured but is not changed or saved as one: use the model that it belongs to")
}

// SaveAdapter writes an adapter as PEFT does. base is the model, as seen from the adapter's directory.
func (m *Model) SaveAdapter(ctx context.Context, sink Sink, a Adapter, base string) error {
	adapted, err := a.names(m.Graph)
	if err != nil {
		return err
	}
	names := map[*Weight]string{}
	for _, s := range hfSlots(m.Graph, m.Config.Family) {
		for _, w := range s.weights {
			if slices.Contains(adapted, w) && (!s.plain() || s.expert >= 0) {
				return tensor.Errorf(ErrUnsupported, m.Path, fmt.Sprintf("tensor %q", s.name), "holds %s among others or turned around, which a PEFT adapter has no word for", w.Name)
			}
			names[w] = strings.TrimSuffix(s.name, ".weight")
		}
	}
	var ts []*tensor.Tensor
	var modules []string
	rank := 0
	for _, w := range adapted {
		l, at := a[w.Name], "base_model.model."+names[w]
		x, y := *l.A, *l.B
		x.Name, y.Name = at+".lora_A.weight", at+".lora_B.weight"
		ts = append(ts, &x, &y)
		rank = l.A.Shape[0]
		if last := names[w][strings.LastIndexByte(names[w], '.')+1:]; !slices.Contains(modules, last) {
			modules = append(modules, last)
		}
	}
	conf, err := json.MarshalIndent(map[string]any{"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": rank, "lora_alpha": rank,
		"lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": false, "inference_mode": true, "target_modules": modules}, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(sink, peftConfig, conf); err != nil {
		return err
	}
	return writeTensors(ctx, sink, peftWeights, ts)
}

// writeTensors writes one safetensors file.
func writeTensors(ctx context.Context, sink Sink, name string, ts []*tensor.Tensor) error {
	infos := make([]safetensors.Info, len(ts))
	for i, t := range ts {
		infos[i] = safetensors.Info{Name: t.Name, Codec: t.Codec, Shape: t.Shape}
	}
	f, err := sink.Create(name)
	if err != nil {
		return err
	}
	w, err := safetensors.NewWriter(f, infos, map[string]string{"format": "pt"})
	if err != nil {
		return err
	}
	for _, t := range ts {
		data, err := t.ReadRaw(0, t.Rows())
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = w.WriteRows(t.Name, 0, data)
		}
		if err != nil {
			return err
		}
	}
	if err := w.Finish(); err != nil {
		return err
	}
	return f.Close()
}

// SaveAdapterGGUF writes an adapter as llama.cpp loads it with --lora, in float32. base is the model's file, as seen from
// where the adapter lies.
func (m *Model) SaveAdapterGGUF(f SinkFile, a Adapter, base string) error {
	adapted, err := a.names(m.Graph)
	if err != nil {
		return err
	}
	f32, err := codec.Lookup("f32")
	if err != nil {
		return err
	}
	meta := &gguf.Metadata{}
	meta.Set("general.architecture", m.Config.Family.gguf())
	meta.Set("general.type", "adapter")
	meta.Set("adapter.type", "lora")
	meta.Set(baseKey, base)
	var infos []gguf.Info
	var ts []*tensor.Tensor
	for _, s := range ggufSlots(m.Graph, m.Config.Family) {
		w := s.weights[0]
		if !slices.Contains(adapted, w) {
			continue
		}
		if len(s.weights) > 1 || s.Transposed {
			return tensor.Errorf(ErrUnsupported, m.Path, fmt.Sprintf("tensor %q", s.name), "holds %s among others, which an adapter has no word for", w.Name)
		}
		l := a[w.Name]
		meta.Set("adapter.lora.alpha", float32(l.A.Shape[0]))
		rank := Dim{&Axis{Size: l.A.Shape[0]}, 1}
		s.weights = []*Weight{{w.Name, RoleMatrix, []Dim{w.Dims[0], rank}}} // the rows of B are in the order of the matrix's
		b, err := s.join([]*tensor.Tensor{l.B})
		if err != nil {
			return err
		}
		for _, x := range []struct {
			end string
			t   *tensor.Tensor
		}{{loraA, l.A}, {loraB, b}} {
			t, err := tensor.Convert(x.t, f32)
			if err != nil {
				return err
			}
			infos, ts = append(infos, gguf.Info{Name: s.name + x.end, Codec: f32, Shape: t.Shape}), append(ts, t)
		}
	}
	w, err := gguf.NewWriter(f, infos, meta)
	if err != nil {
		return err
	}
	for i, t := range ts {
		data, err := t.ReadRaw(0, t.Rows())
		if err == nil {
			err = w.WriteRows(infos[i].Name, 0, data)
		}
		if err != nil {
			return err
		}
	}
	return w.Finish()
}

// beside returns the path of the model that an adapter names.
func beside(path, base string) (string, error) {
	if base == "" {
		return "", tensor.Errorf(ErrInvalid, path, "", "is an adapter and does not say of which model")
	}
	if !filepath.IsAbs(base) {
		base = filepath.Join(filepath.Dir(path), base)
	}
	return base, nil
}
