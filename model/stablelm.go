package model

// StableLM: Llama with LayerNorms and partial rotary embedding; optionally biases on q, k, v, a norm for each query and
// key head, and attention and MLP side by side.
var _ = register(&Family{
	Name:  "stablelm",
	Types: []string{"stablelm", "stablelm_epoch"},
	Class: "StableLmForCausalLM",
	Defaults: `{"vocab_size":50304, "hidden_size":2560, "intermediate_size":6912, "num_hidden_layers":32, "num_attention_heads":32,
		"num_key_value_heads":32, "hidden_act":"silu", "max_position_embeddings":4096, "layer_norm_eps":1e-5, "rope_theta":10000,
		"partial_rotary_factor":0.25}`,
	Keys: map[string]string{"eps": "layer_norm_eps", "head_dim": ""},
	// Files of before StableLM was part of transformers.
	Aliases: map[string]string{"rope_pct": "partial_rotary_factor", "norm_eps": "layer_norm_eps"},
	Read: func(c *Config, o *object) {
		c.Norm.Kind, c.NormBias = "layer", true
		rope, bias, qk, parallel := o.partialRope(c), o.flag("use_qkv_bias"), o.flag("qk_layernorm"), o.flag("use_parallel_residual")
		c.each(func(_ int, l *Layer) {
			l.Gated, l.Rope, l.QKVBias, l.Parallel = true, rope, bias, parallel
			if qk {
				l.QKNorm = "heads"
			}
		})
	},
	draw: func(b *builder) {
		if b.Config.Layers[0].Parallel {
			drawParallel(b)
			return
		}
		drawLlama(b)
	},
	hf: override(llamaHF, []stored{
		{Site: "layers.#.attn.q_norm", Name: "model.layers.#.self_attn.q_layernorm.norms.@"},
		{Site: "layers.#.attn.k_norm", Name: "model.layers.#.self_attn.k_layernorm.norms.@"},
	}),
	FromGGUF: func(r *ggufReader, o *object) {
		r.partialRotary(o, "partial_rotary_factor")
		o.set("use_parallel_residual", !r.has("blk.0.ffn_norm.weight"))
		o.set("use_qkv_bias", r.has("blk.0.attn_q.bias"))
		o.set("qk_layernorm", r.has("blk.0.attn_q_norm.weight"))
	},
	ToGGUF: func(c *Config, put func(string, any)) { put("use_parallel_residual", c.Layers[0].Parallel) },
})
