package model

// Arcee AFM (Arcee AI 2025): Llama with a plain MLP and squared ReLU. Sources: transformers' class Arcee, and llama.cpp's
// architecture "arcee".
var _ = register(&Family{
	Name:  "arcee",
	Types: []string{"arcee"},
	Class: "ArceeForCausalLM",
	Defaults: `{"vocab_size":32000, "hidden_size":2560, "intermediate_size":18432, "num_hidden_layers":32, "num_attention_heads":32,
		"hidden_act":"relu2", "max_position_embeddings":4096, "rms_norm_eps":1e-5, "rope_theta":10000.0}`,
	Read: func(c *Config, o *object) {
		llama.Read(c, o)
		c.each(func(_ int, l *Layer) { l.Gated = false })
	},
	draw:      drawLlama,
	hf:        llamaHF,
	PermuteQK: true,
	FromGGUF:  llama.FromGGUF,
})
