package model

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/gguf"
	"github.com/parelm/pare/model/tensor"
)

// GGUFOptions is what a GGUF file says beside the model.
type GGUFOptions struct {
	Name string // general.name
	Mix  string // the name of the mix for general.file_type, such as "q4_k_m"; empty takes the most common format
}

// SaveGGUF writes the model as one GGUF file that llama.cpp loads: vectors in float32, matrices as they are stored,
// tokenizer and chat template in the metadata.
func (m *Model) SaveGGUF(ctx context.Context, f SinkFile, o GGUFOptions) error {
	if err := m.unadapted(); err != nil {
		return err
	}
	if err := m.checkGGUF(); err != nil {
		return err
	}
	meta := &gguf.Metadata{}
	if err := m.ggufMeta(meta, o); err != nil {
		return err
	}
	ts, err := m.ggufTensors(meta)
	if err != nil {
		return err
	}
	infos := make([]gguf.Info, len(ts))
	var total int64
	for i, t := range ts {
		infos[i] = gguf.Info{Name: t.Name, Codec: t.Codec, Shape: t.Shape}
		total += t.Bytes()
	}
	w, err := gguf.NewWriter(f, infos, meta)
	if err != nil {
		return err
	}
	if plan, ok := f.(*sizeFile); ok {
		plan.grow(w.Size())
		return nil
	}
	task := progress.Start(ctx, "write", "B", total)
	defer task.Done()
	for _, t := range ts {
		if err := copyRows(ctx, t, task, func(row int, data []byte) error { return w.WriteRows(t.Name, row, data) }); err != nil {
			return err
		}
	}
	return w.Finish()
}

// ggufTensors returns the stored tensors, with the values that the dialect changes, and keeps originals in meta where
// the change cannot be undone exactly.
func (m *Model) ggufTensors(meta *gguf.Metadata) ([]*tensor.Tensor, error) {
	f32, err := codec.Lookup("f32")
	if err != nil {
		return nil, err
	}
	all := ggufSlots(m.Graph, m.Config.Family)
	ts, err := m.stored(all)
	if err != nil {
		return nil, err
	}
	for i, t := range ts {
		s := &all[i]
		if s.weights[0].Role == RoleVector || strings.HasSuffix(s.Site, ".router") && isFloat(t.Codec) {
			if ts[i], err = tensor.Convert(t, f32); err != nil {
				return nil, err
			}
		}
		if !s.PlusOne && !s.NegExp {
			continue
		}
		v, err := t.Float32()
		if err != nil {
			return nil, err
		}
		stored := append([]float32(nil), v...)
		s.do(stored)
		back := append([]float32(nil), stored...)
		s.undo(back)
		for j := range v {
			if math.Float32bits(v[j]) != math.Float32bits(back[j]) {
				meta.Set(keptTensor+s.name, v)
				break
			}
		}
		ts[i] = tensor.FromFloat32(t.Name, t.Shape, stored)
	}
	return append(ts, m.ropeTensors()...), nil
}

// isFloat reports whether a format stores each value by itself.
func isFloat(c codec.Codec) bool {
	n, _ := c.Block()
	return n == 1
}

// do makes the stored values of the weight's.
func (s *slot) do(v []float32) {
	for i := range v {
		if s.PlusOne {
			v[i]++
		} else {
			v[i] = float32(-math.Exp(float64(v[i])))
		}
	}
}

// undo makes the weight's values of the stored ones.
func (s *slot) undo(v []float32) {
	for i := range v {
		if s.PlusOne {
			v[i]--
		} else {
			v[i] = float32(math.Log(-float64(v[i])))
		}
	}
}

// ropeTensors returns the tables that GGUF keeps as tensors.
func (m *Model) ropeTensors() []*tensor.Tensor {
	r := m.Config.rope()
	if r == nil {
		return nil
	}
	table := func(name string, f func(i int) float64) *tensor.Tensor {
		v := make([]float32, r.Dim/2)
		for i := range v {
			v[i] = float32(f(i))
		}
		return tensor.FromFloat32(name, []int{len(v)}, v)
	}
	switch r.Scaling.Kind {
	case "llama3", "factors":
		plain, _ := (&Rope{Dim: r.Dim, Theta: r.Theta}).Frequencies(1)
		scaled, _ := r.Frequencies(1)
		return []*tensor.Tensor{table("rope_freqs.weight", func(i int) float64 { return plain[i] / scaled[i] })}
	case "longrope":
		return []*tensor.Tensor{
			table("rope_factors_long.weight", func(i int) float64 { return r.Scaling.Long[i] }),
			table("rope_factors_short.weight", func(i int) float64 { return r.Scaling.Short[i] }),
		}
	}
	return nil
}

// rope returns the rotary embedding of the last layer that has one and sees everything: where layers differ, the one that
// scaling applies to.
func (c *Config) rope() *Rope {
	var r *Rope
	for i := range c.Layers {
		if l := &c.Layers[i]; l.Rope != nil && (r == nil || l.Window == 0) {
			r = l.Rope
		}
	}
	return r
}

// fileTypes are llama.cpp's numbers of the mixes.
var fileTypes = map[string]uint32{"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q2_k": 10, "q3_k_s": 11,
	"q3_k_m": 12, "q3_k_l": 13, "q4_k_s": 14, "q4_k_m": 15, "q5_k_s": 16, "q5_k_m": 17, "q6_k": 18, "iq4_nl": 25, "iq4_xs": 30,
	"bf16": 32, "mxfp4": 38, "q3_k": 12, "q4_k": 15, "q5_k": 17}

// ggufMeta fills the metadata.
func (m *Model) ggufMeta(meta *gguf.Metadata, opt GGUFOptions) error {
	c := m.Config
	arch := c.Family.gguf()
	meta.Set("general.architecture", arch)
	meta.Set("general.type", "model")
	if opt.Name != "" {
		meta.Set("general.name", opt.Name)
	}
	common, quantized := m.Format()
	if opt.Mix == "" {
		opt.Mix = common
	}
	if t, ok := fileTypes[strings.ToLower(opt.Mix)]; ok {
		meta.Set("general.file_type", t)
	}
	if quantized {
		meta.Set("general.quantization_version", uint32(2))
	}
	put := func(key string, v any) {
		switch x := v.(type) {
		case int:
			v = uint32(x)
		case float64:
			v = float32(x)
		}
		meta.Set(arch+"."+key, v)
	}
	c.putSizes(put)
	c.putRope(put)
	if c.Family.ToGGUF != nil {
		c.Family.ToGGUF(c, put)
	}
	if o, err := c.configJSON(); err == nil {
		meta.Set(keptConfig, string(o.bytes()))
	} else if !c.Uniform() {
		put("pare.heterogeneous", true)
	} else {
		return err
	}
	return m.side.toGGUF(meta, c)
}

// Format returns the format of most weights, and whether any is quantized.
func (m *Model) Format() (name string, quantized bool) {
	for _, w := range m.Graph.Weights {
		quantized = quantized || w.Role == RoleMatrix && !isFloat(m.tensors[w].Codec)
	}
	return m.common(RoleMatrix), quantized
}

// putSizes writes the keys that every architecture has.
func (c *Config) putSizes(put func(string, any)) {
	perLayer := func(key string, of func(l *Layer) int) {
		first, same := of(&c.Layers[0]), true
		all := make([]int32, len(c.Layers))
		for i := range c.Layers {
			n := of(&c.Layers[i])
			same = same && n == first
			all[i] = int32(n)
		}
		if same {
			put(key, first)
		} else {
			put(key, all)
		}
	}
	put("vocab_size", c.Vocab)
	put("context_length", c.Context)
	put("embedding_length", c.Hidden)
	put("block_count", len(c.Layers))
	perLayer("feed_forward_length", func(l *Layer) int { return l.FFN })
	perLayer("attention.head_count", func(l *Layer) int { return l.Heads })
	if l := &c.Layers[0]; l.Heads > 0 {
		perLayer("attention.head_count_kv", func(l *Layer) int { return l.KVHeads })
		if c.Family.key("head_dim") != "" || l.HeadDim*l.Heads != c.Hidden {
			put("attention.key_length", l.HeadDim)
			put("attention.value_length", l.HeadDim)
		}
		if l.Clamp != 0 {
			put("attention.clamp_kqv", l.Clamp)
		}
		if l.AttnSoftcap != 0 {
			put("attn_logit_softcapping", l.AttnSoftcap)
		}
	}
	if c.Norm.Kind == "rms" {
		put("attention.layer_norm_rms_epsilon", c.Norm.Eps)
	} else {
		put("attention.layer_norm_epsilon", c.Norm.Eps)
	}
	if c.LogitSoftcap != 0 {
		put("final_logit_softcapping", c.LogitSoftcap)
	}
	for i := range c.Layers {
		if w := c.Layers[i].Window; w > 0 {
			put("attention.sliding_window", w)
			break
		}
	}
	for i := range c.Layers {
		if l := &c.Layers[i]; l.Experts > 0 {
			put("expert_count", l.Experts)
			put("expert_used_count", l.Route.TopK)
			put("expert_feed_forward_length", l.FFN)
			if l.Shared > 0 {
				put("expert_shared_feed_forward_length", l.Shared)
			}
			break
		}
	}
}

// putRope writes the rotary embedding.
func (c *Config) putRope(put func(string, any)) {
	r := c.rope()
	if r == nil {
		return
	}
	put("rope.dimension_count", r.Dim)
	put("rope.freq_base", r.Theta)
	s := &r.Scaling
	switch s.Kind {
	case "linear", "yarn":
		put("rope.scaling.type", s.Kind)
		put("rope.scaling.factor", s.Factor)
	case "longrope":
		put("rope.scaling.type", s.Kind)
		put("rope.scaling.attn_factor", s.Attention)
	}
	if s.Kind == "yarn" || s.Kind == "longrope" {
		put("rope.scaling.original_context_length", s.Original)
	}
	if s.Kind == "yarn" {
		put("rope.scaling.yarn_beta_fast", s.Fast)
		put("rope.scaling.yarn_beta_slow", s.Slow)
		if s.Attention != 0 {
			put("rope.scaling.attn_factor", s.Attention/yarnMagnitude(s.Factor, 1))
		}
	}
}

// checkGGUF returns an error for models that the dialect cannot hold.
func (m *Model) checkGGUF() error {
	for _, w := range m.Graph.Weights {
		if n := m.tensors[w].Codec.Name(); strings.HasPrefix(n, "int") || strings.HasPrefix(n, "uint") {
			return tensor.Errorf(ErrUnsupported, m.Path, fmt.Sprintf("tensor %q", w.Name), "is %s, which GGUF files do not hold: write a Hugging Face directory", n)
		}
	}
	return nil
}
