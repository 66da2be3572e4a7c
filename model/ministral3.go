package model

// Ministral 3 (Mistral AI 2025): Mistral without a window, stretched by yarn, whose queries grow with their position as Llama 4's do. Sources: transformers'
// class Ministral3, and llama.cpp, which keeps Mistral Small 3 under the same name.
var _ = register(&Family{
	Name:  "ministral3",
	Types: []string{"ministral3"},
	Class: "Ministral3ForCausalLM",
	GGUF:  "mistral3",
	Defaults: `{"vocab_size":131072, "hidden_size":4096, "intermediate_size":14336, "num_hidden_layers":34, "num_attention_heads":32,
		"num_key_value_heads":8, "head_dim":128, "hidden_act":"silu", "max_position_embeddings":262144, "rms_norm_eps":1e-5, "rope_theta":1000000.0}`,
	Read: func(c *Config, o *object) {
		if w := o.num("sliding_window"); w != 0 {
			o.fail(ErrUnsupported, "sliding_window", "is %d: published models have none", w)
		}
		q := o.rope(c, c.Layers[0].HeadDim)
		k := *q
		for _, key := range []string{"rope_scaling", "rope_parameters"} {
			if p := o.sub(key); p != nil && p.has(ministralGrow) {
				q.Grow = p.real(ministralGrow)
			}
		}
		if !(q.Grow >= 0 && q.Grow <= 100) || q.Grow > 0 && q.Scaling.Original < 1 {
			o.fail(ErrInvalid, ministralGrow, "is %g, must be 0 to 100, and above 0 only where the rotary embedding has an original context", q.Grow)
		}
		c.each(func(_ int, l *Layer) {
			if l.Gated, l.Rope = true, q; q.Grow > 0 {
				l.KeyRope = &k
			}
		})
	},
	draw:      drawLlama,
	hf:        llamaHF,
	PermuteQK: true,
	FromGGUF: func(r *ggufReader, o *object) {
		s := o.sub("rope_scaling")
		if s == nil {
			return
		}
		if all, ok := r.real("rope.scaling.yarn_log_multiplier"); ok && !s.has("attention_factor") {
			s.set("mscale", 1.0)
			s.set("mscale_all_dim", all)
		}
		if grow, ok := r.real("attention.temperature_scale"); ok {
			s.set(ministralGrow, grow)
		}
		o.set("rope_scaling", jsonOf(s))
	},
	ToGGUF: func(c *Config, put func(string, any)) {
		if g := c.Layers[0].Rope.Grow; g > 0 {
			put("attention.temperature_scale", g)
		}
	},
	LlamaCPP: func(c *Config) string {
		return when(c.Layers[0].Rope.Scaling.NoTruncate, "llama.cpp rounds the borders between which yarn stretches to whole dimensions")
	},
})

// ministralGrow is the key of what queries grow by.
const ministralGrow = "llama_4_scaling_beta"
