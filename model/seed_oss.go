package model

// Seed-OSS (ByteDance 2025): Llama with biases on q, k and v, and heads wider than their share of the hidden size. Sources:
// transformers' class SeedOss, and llama.cpp's architecture "seed_oss", which has no bias on the attention's output.
var _ = register(&Family{
	Name:  "seed_oss",
	Types: []string{"seed_oss"},
	Class: "SeedOssForCausalLM",
	Defaults: `{"vocab_size":155136, "hidden_size":4096, "intermediate_size":27648, "num_hidden_layers":64, "num_attention_heads":80,
		"num_key_value_heads":8, "head_dim":128, "hidden_act":"silu", "max_position_embeddings":524288, "rms_norm_eps":1e-6,
		"rope_theta":10000.0, "attention_bias":true}`,
	Read: func(c *Config, o *object) {
		rope, bias, out, mlp := o.rope(c, c.Layers[0].HeadDim), o.flag("attention_bias"), o.flag("attention_out_bias"), o.flag("mlp_bias")
		c.each(func(_ int, l *Layer) { l.Gated, l.Rope, l.QKVBias, l.OBias, l.MLPBias = true, rope, bias, out, mlp })
	},
	draw:     drawLlama,
	hf:       llamaHF,
	ggufDiff: []stored{{Site: "layers.#.mlp.norm", Name: "blk.#.post_attention_norm"}},
	FromGGUF: func(r *ggufReader, o *object) {
		llama.FromGGUF(r, o)
		o.set("attention_bias", r.has("blk.0.attn_q.bias"))
		o.set("attention_out_bias", r.has("blk.0.attn_output.bias"))
	},
	LlamaCPP: func(c *Config) string {
		return when(c.Layers[0].OBias || c.Layers[0].MLPBias, "llama.cpp does not load it: it knows biases on q, k and v alone")
	},
})
