package model

// Cohere Command-R: attention and MLP side by side behind one LayerNorm without shift, rotary embedding of neighbouring
// pairs, optional norms of each query and key head, scaled logits, tied head.
var _ = register(&Family{
	Name:  "cohere",
	Types: []string{"cohere"},
	Class: "CohereForCausalLM",
	GGUF:  "command-r",
	Defaults: `{"vocab_size":256000, "hidden_size":8192, "intermediate_size":22528, "num_hidden_layers":40, "num_attention_heads":64,
		"hidden_act":"silu", "max_position_embeddings":8192, "layer_norm_eps":1e-5, "rope_theta":10000.0, "logit_scale":0.0625,
		"tie_word_embeddings":true}`,
	Keys: map[string]string{"eps": "layer_norm_eps"},
	Read: func(c *Config, o *object) {
		c.Norm.Kind, c.LogitScale = "layer", o.real("logit_scale")
		rope, bias, qk := o.rope(c, c.Layers[0].HeadDim), o.flag("attention_bias"), o.flag("use_qk_norm")
		rope.Interleaved = true
		c.each(func(_ int, l *Layer) {
			l.Gated, l.Rope, l.Parallel, l.QKVBias, l.OBias = true, rope, true, bias, bias
			if qk {
				l.QKNorm = "heads"
			}
		})
	},
	draw: drawParallel,
	hf:   llamaHF,
	FromGGUF: func(r *ggufReader, o *object) {
		if v, ok := r.real("logit_scale"); ok {
			o.set("logit_scale", v)
		}
		o.set("use_qk_norm", r.has("blk.0.attn_q_norm.weight"))
	},
	ToGGUF: func(c *Config, put func(string, any)) {
		put("logit_scale", c.LogitScale)
		put("rope.scaling.type", "none")
	},
	LlamaCPP: func(c *Config) string {
		l := &c.Layers[0]
		return when(l.QKNorm != "" && len(c.Layers) < 64 || l.QKVBias, "llama.cpp does not load it: it knows no biases, and norms of queries and keys only in models of 64 layers")
	},
})
