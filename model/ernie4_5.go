package model

// ERNIE 4.5, the dense models (Baidu 2025): Llama rotated in neighbouring pairs, all biases or none. Sources: transformers'
// class Ernie4_5, and llama.cpp's architecture "ernie4_5".
var _ = register(&Family{
	Name:  "ernie4_5",
	Types: []string{"ernie4_5"},
	Class: "Ernie4_5ForCausalLM",
	Defaults: `{"vocab_size":103424, "hidden_size":1024, "intermediate_size":3072, "num_hidden_layers":18, "num_attention_heads":16,
		"num_key_value_heads":2, "head_dim":128, "hidden_act":"silu", "max_position_embeddings":131072, "rms_norm_eps":1e-5,
		"rope_theta":500000.0, "tie_word_embeddings":true}`,
	Read: func(c *Config, o *object) {
		rope, bias := o.rope(c, c.Layers[0].HeadDim), o.flag("use_bias")
		rope.Interleaved = true
		c.each(func(_ int, l *Layer) {
			l.Gated, l.Rope = true, rope
			l.QKVBias, l.OBias, l.MLPBias = bias, bias, bias
		})
	},
	draw:     drawLlama,
	hf:       llamaHF,
	FromGGUF: func(r *ggufReader, o *object) { o.set("use_bias", r.has("blk.0.attn_q.bias")) },
	LlamaCPP: func(c *Config) string {
		return when(c.Layers[0].MLPBias, "llama.cpp does not load it: it knows no biases in the MLP")
	},
})
