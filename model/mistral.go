package model

// Mistral is Llama with a sliding window (Jiang et al. 2023).
var mistral = register(&Family{
	Name:  "mistral",
	Types: []string{"mistral"},
	Class: "MistralForCausalLM",
	GGUF:  "llama",
	Defaults: `{"vocab_size":32000, "hidden_size":4096, "intermediate_size":14336, "num_hidden_layers":32, "num_attention_heads":32,
		"num_key_value_heads":8, "hidden_act":"silu", "max_position_embeddings":131072, "rms_norm_eps":1e-6, "rope_theta":10000.0,
		"sliding_window":4096}`,
	Read: func(c *Config, o *object) {
		rope, window := o.rope(c, c.Layers[0].HeadDim), o.num("sliding_window")
		c.each(func(_ int, l *Layer) { l.Gated, l.Rope, l.Window = true, rope, window })
	},
	Draw:      drawLlama,
	HF:        llamaHF,
	PermuteQK: true,
	FromGGUF:  windowFromGGUF,
})

// windowFromGGUF reads the sliding window; without one there is none, whatever the class assumes.
func windowFromGGUF(r *ggufReader, o *object) {
	o.set("sliding_window", nil)
	if w, ok := r.num("attention.sliding_window"); ok && w > 0 {
		o.set("sliding_window", w)
	}
}
