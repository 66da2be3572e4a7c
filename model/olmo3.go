package model

// OLMo 3 (Ai2 2025): OLMo 2 in which three layers of four slide, and in those the rotary embedding is not scaled. Sources:
// transformers' class Olmo3, and llama.cpp, which keeps it under "olmo2".
var _ = register(&Family{
	Name:  "olmo3",
	Types: []string{"olmo3"},
	Class: "Olmo3ForCausalLM",
	GGUF:  "olmo2",
	Defaults: `{"vocab_size":50304, "hidden_size":4096, "intermediate_size":11008, "num_hidden_layers":32, "num_attention_heads":32,
		"hidden_act":"silu", "max_position_embeddings":2048, "rope_theta":10000.0, "rms_norm_eps":1e-5, "sliding_window":4096}`,
	Read: func(c *Config, o *object) {
		olmo2.Read(c, o)
		o.window(c, 4)
		local := &Rope{Dim: c.Layers[0].Rope.Dim, Theta: c.Layers[0].Rope.Theta}
		c.each(func(_ int, l *Layer) {
			if l.Window > 0 {
				l.Rope = local
			}
		})
	},
	draw:     drawOLMo2,
	hf:       olmo2HF,
	Among:    func(r *ggufReader) bool { return r.above("attention.sliding_window") },
	FromGGUF: func(r *ggufReader, o *object) { slidingFromGGUF(r, o, 4) },
	ToGGUF:   putSliding,
})
