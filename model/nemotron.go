package model

// Nemotron and Minitron (NVIDIA 2024): LayerNorms whose scale is 1+w, a plain MLP with squared ReLU, and the first half of
// each head rotated. Sources: transformers' class Nemotron, and llama.cpp's architecture "nemotron", whose files hold 1+w.
var _ = register(&Family{
	Name:  "nemotron",
	Types: []string{"nemotron"},
	Class: "NemotronForCausalLM",
	Defaults: `{"vocab_size":256000, "hidden_size":6144, "intermediate_size":24576, "num_hidden_layers":32, "num_attention_heads":48,
		"hidden_act":"relu2", "max_position_embeddings":4096, "norm_eps":1e-5, "rope_theta":10000.0, "partial_rotary_factor":0.5}`,
	Keys: map[string]string{"eps": "norm_eps"},
	Read: func(c *Config, o *object) {
		c.Norm.Kind, c.Norm.PlusOne, c.NormBias = "layer", true, true
		rope, attn, mlp := o.partialRope(c), o.flag("attention_bias"), o.flag("mlp_bias")
		c.each(func(_ int, l *Layer) { l.Rope, l.QKVBias, l.OBias, l.MLPBias = rope, attn, attn, mlp })
	},
	draw:     drawLlama,
	hf:       llamaHF,
	ggufDiff: gemmaGGUF,
	FromGGUF: func(r *ggufReader, o *object) {
		llama.FromGGUF(r, o)
		r.partialRotary(o, "partial_rotary_factor")
	},
	LlamaCPP: (*Config).wholeHeads,
})
