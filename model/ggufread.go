package model

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/parelm/pare/model/gguf"
	"github.com/parelm/pare/model/tensor"
)

// ggufReader makes a config.json of GGUF metadata. Getters take keys without the architecture prefix and remember the
// first error.
type ggufReader struct {
	path string
	file *gguf.File
	meta *gguf.Metadata
	arch string
	err  error
}

func (r *ggufReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// key returns the full name of a key where it exists.
func (r *ggufReader) key(name string) (string, bool) {
	k := r.arch + "." + name
	return k, r.meta.Has(k)
}

// num returns an integer. Keys that may hold one value a layer give the first that is not zero.
func (r *ggufReader) num(name string) (int, bool) {
	k, ok := r.key(name)
	if !ok {
		return 0, false
	}
	if v, err := r.meta.Ints(k); err == nil {
		for _, n := range v {
			if n != 0 {
				return int(n), true
			}
		}
		return 0, len(v) > 0
	}
	v, err := r.meta.Uint(k)
	if err != nil {
		r.fail(err)
	}
	if v > math.MaxInt32 {
		v = math.MaxInt32 // over every limit; the configuration's check says so
	}
	return int(v), err == nil
}

func (r *ggufReader) real(name string) (float64, bool) {
	k, ok := r.key(name)
	if !ok {
		return 0, false
	}
	v, err := r.meta.Float(k)
	if err == nil && (math.IsNaN(v) || math.IsInf(v, 0)) {
		err = tensor.Errorf(ErrInvalid, r.path, fmt.Sprintf("key %q", k), "is %v, must be a finite number", v)
	}
	if err != nil {
		r.fail(err)
	}
	return v, err == nil
}

func (r *ggufReader) flag(name string) bool {
	k, ok := r.key(name)
	if !ok {
		return false
	}
	v, err := r.meta.Bool(k)
	if err != nil {
		r.fail(err)
	}
	return v
}

func (r *ggufReader) text(name string) string {
	k, ok := r.key(name)
	if !ok {
		return ""
	}
	v, err := r.meta.String(k)
	if err != nil {
		r.fail(err)
	}
	return v
}

// has reports whether the file has a tensor.
func (r *ggufReader) has(tensor string) bool {
	_, ok := r.file.Tensor(tensor)
	return ok
}

// values returns a small tensor, or nil where there is none.
func (r *ggufReader) values(name string) []float64 {
	t, ok := r.file.Tensor(name)
	if !ok || t.Len() > 1<<16 {
		return nil
	}
	v, err := t.Float32()
	if err != nil {
		r.fail(err)
		return nil
	}
	out := make([]float64, len(v))
	for i, x := range v {
		if out[i] = float64(x); math.IsNaN(out[i]) || math.IsInf(out[i], 0) {
			r.fail(tensor.Errorf(ErrInvalid, r.path, fmt.Sprintf("tensor %q", name), "holds %v, must hold finite numbers", x))
			return nil
		}
	}
	return out
}

// family finds the family of an architecture, which several may share.
func (r *ggufReader) family() *Family {
	for _, name := range Families() {
		if f := families[name]; f.gguf() == r.arch && f.Among != nil && f.Among(r) {
			return f
		}
	}
	return byGGUFArch[r.arch]
}

// or returns a number, or what stands for it where there is none.
func (r *ggufReader) or(name string, missing float64) float64 {
	if v, ok := r.real(name); ok {
		return v
	}
	return missing
}

// above reports whether a key holds a number above 0.
func (r *ggufReader) above(name string) bool {
	n, _ := r.num(name)
	return n > 0
}

// config writes the config.json that the metadata stands for.
func (r *ggufReader) config(f *Family) *object {
	o := &object{file: r.path, vals: map[string]json.RawMessage{}}
	o.set("architectures", []string{f.Class})
	o.set("model_type", f.Types[0])
	num := func(name, from string) {
		if v, ok := r.num(from); ok && f.key(name) != "" {
			o.set(f.key(name), v)
		}
	}
	num("hidden", "embedding_length")
	num("layers", "block_count")
	num("heads", "attention.head_count")
	num("kv_heads", "attention.head_count_kv")
	num("head_dim", "attention.key_length")
	num("ffn", "feed_forward_length")
	num("context", "context_length")
	num("experts", "expert_count")
	num("experts_used", "expert_used_count")
	num("expert_ffn", "expert_feed_forward_length")
	if t, ok := r.file.Tensor("token_embd.weight"); ok {
		o.set(f.key("vocab"), t.Rows())
	}
	for _, from := range []string{"attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"} {
		if v, ok := r.real(from); ok && f.key("eps") != "" {
			o.set(f.key("eps"), float64(float32(v)))
		}
	}
	if v, ok := r.real("rope.freq_base"); ok && f.key("theta") != "" {
		o.set(f.key("theta"), v)
	}
	o.set("tie_word_embeddings", !r.has("output.weight"))
	for key, id := range map[string]string{"bos_token_id": "tokenizer.ggml.bos_token_id", "eos_token_id": "tokenizer.ggml.eos_token_id"} {
		if v, err := r.meta.Uint(id); err == nil {
			o.set(key, v)
		}
	}
	r.ropeScaling(f, o)
	if f.FromGGUF != nil {
		f.FromGGUF(r, o)
	}
	return o
}

// ropeScaling reads scaling from metadata and from the factor tensors.
func (r *ggufReader) ropeScaling(f *Family, o *object) {
	kind := r.text("rope.scaling.type")
	factor, _ := r.real("rope.scaling.factor")
	original, _ := r.num("rope.scaling.original_context_length")
	switch {
	case kind == "linear" && factor > 0:
		o.set("rope_scaling", map[string]any{"rope_type": "linear", "factor": factor})
	case kind == "yarn" && factor > 0:
		s := map[string]any{"rope_type": "yarn", "factor": factor}
		if original > 0 { // config.json says the factor by the two contexts; GGUF may hold the one before stretching twice
			s["original_max_position_embeddings"] = original
			if k := f.key("context"); k != "" {
				o.set(k, int(math.Round(min(factor*float64(original), math.MaxInt32))))
			}
		}
		for key, from := range map[string]string{"beta_fast": "rope.scaling.yarn_beta_fast", "beta_slow": "rope.scaling.yarn_beta_slow"} {
			if v, ok := r.real(from); ok {
				s[key] = v
			}
		}
		attention := 1.0 // GGUF holds what multiplies the factor by formula
		for _, from := range []string{"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor"} {
			if v, ok := r.real(from); ok && v > 0 {
				attention *= v
			}
		}
		if attention != 1 {
			s["attention_factor"] = attention * yarnMagnitude(factor, 1)
		}
		o.set("rope_scaling", s)
	}
	if long, short := r.values("rope_factors_long.weight"), r.values("rope_factors_short.weight"); long != nil && short != nil {
		o.set("rope_scaling", map[string]any{"type": "longrope", "long_factor": long, "short_factor": short})
		o.set("original_max_position_embeddings", original)
	} else if freqs := r.values("rope_freqs.weight"); freqs != nil {
		theta, _ := r.real("rope.freq_base")
		o.set("rope_scaling", llama3Scaling(freqs, theta))
	}
}

// llama3Scaling finds the parameters of a llama3 table among the published ones, or keeps the table.
func llama3Scaling(freqs []float64, theta float64) map[string]any {
	for _, factor := range []float64{8, 32, 16, 4, 2, 64} {
		for _, original := range []int{8192, 4096, 16384, 32768} {
			s := RopeScaling{Kind: "llama3", Factor: factor, Low: 1, High: 4, Original: original}
			plain, _ := (&Rope{Dim: 2 * len(freqs), Theta: theta}).Frequencies(1)
			scaled, _ := (&Rope{Dim: 2 * len(freqs), Theta: theta, Scaling: s}).Frequencies(1)
			same := true
			for i := range freqs {
				same = same && math.Abs(plain[i]/scaled[i]-freqs[i]) < 1e-4*freqs[i]
			}
			if same {
				return map[string]any{"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
					"original_max_position_embeddings": original}
			}
		}
	}
	return map[string]any{"rope_type": "factors", "short_factor": freqs}
}

// perLayer reads the widths that GGUF, unlike config.json, can give for each layer.
func (r *ggufReader) perLayer(c *Config) {
	for name, set := range map[string]func(l *Layer, n int){
		"attention.head_count":    func(l *Layer, n int) { l.Heads = n },
		"attention.head_count_kv": func(l *Layer, n int) { l.KVHeads = n },
		"feed_forward_length":     func(l *Layer, n int) { l.FFN = n },
	} {
		k, ok := r.key(name)
		if !ok {
			continue
		}
		v, err := r.meta.Ints(k)
		if err != nil || len(v) != len(c.Layers) {
			continue // one value for all
		}
		c.each(func(i int, l *Layer) {
			if l.Conv == 0 || v[i] != 0 { // layers without attention have no heads there
				set(l, int(min(v[i], math.MaxInt32)))
			}
		})
	}
}
