package model

// Phi-3, 3.5 and Phi-4-mini: Llama with q, k, v in one tensor, gate and up in another, longrope tables and, in
// Phi-4-mini, partial rotary embedding.
var _ = register(&Family{
	Name:  "phi3",
	Types: []string{"phi3"},
	Class: "Phi3ForCausalLM",
	Defaults: `{"vocab_size":32064, "hidden_size":3072, "intermediate_size":8192, "num_hidden_layers":32, "num_attention_heads":32,
		"hidden_act":"silu", "max_position_embeddings":4096, "original_max_position_embeddings":4096, "rms_norm_eps":1e-5,
		"rope_theta":10000.0, "partial_rotary_factor":1.0}`,
	Read: func(c *Config, o *object) {
		rope, window := o.partialRope(c), o.num("sliding_window")
		c.each(func(_ int, l *Layer) { l.Gated, l.Rope, l.Window = true, rope, window })
	},
	draw: drawLlama,
	hf: override(llamaHF, []stored{
		{Parts: qkvSites, Name: "model.layers.#.self_attn.qkv_proj"},
		{Parts: []string{"layers.#.mlp.gate", "layers.#.mlp.up"}, Name: "model.layers.#.mlp.gate_up_proj"},
	}),
	ggufDiff: []stored{
		fusedQKV,
		{Parts: []string{"layers.#.mlp.gate", "layers.#.mlp.up"}, Name: "blk.#.ffn_up"},
	},
	FromGGUF: func(r *ggufReader, o *object) {
		windowFromGGUF(r, o)
		r.partialRotary(o, "partial_rotary_factor")
	},
	ToGGUF: func(c *Config, put func(string, any)) {
		if c.Layers[0].Window == 0 {
			put("attention.sliding_window", 0) // llama.cpp takes a missing key for an old file with a window
		}
		put("rope.scaling.original_context_length", max(c.rope().Scaling.Original, c.hf.num("original_max_position_embeddings")))
	},
	LlamaCPP: func(c *Config) string {
		s := &c.rope().Scaling
		return when(s.Kind == "longrope", "llama.cpp takes the long factors as soon as its context size is above %d, not only for texts that long: choose -c by the text", s.Original)
	},
})
