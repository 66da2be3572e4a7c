package model

// Cohere Command R7B and Aya Expanse 2 (Cohere 2024): Command-R in which three layers of four slide, and only those have a
// rotary embedding. Sources: transformers' class Cohere2, and llama.cpp's architecture "cohere2".
var _ = register(&Family{
	Name:  "cohere2",
	Types: []string{"cohere2"},
	Class: "Cohere2ForCausalLM",
	Defaults: `{"vocab_size":256000, "hidden_size":8192, "intermediate_size":22528, "num_hidden_layers":40, "num_attention_heads":64,
		"hidden_act":"silu", "max_position_embeddings":8192, "layer_norm_eps":1e-5, "rope_theta":10000.0, "logit_scale":0.0625,
		"tie_word_embeddings":true, "sliding_window":4096, "sliding_window_pattern":4}`,
	Keys: map[string]string{"eps": "layer_norm_eps"},
	Read: func(c *Config, o *object) {
		c.Norm.Kind, c.LogitScale = "layer", o.real("logit_scale")
		rope, bias := o.rope(c, c.Layers[0].HeadDim), o.flag("attention_bias")
		rope.Interleaved = true
		o.window(c, o.slidingPattern())
		c.each(func(_ int, l *Layer) {
			l.Gated, l.Parallel, l.QKVBias, l.OBias = true, true, bias, bias
			if l.Window > 0 {
				l.Rope = rope
			}
		})
	},
	draw: drawParallel,
	hf:   llamaHF,
	FromGGUF: func(r *ggufReader, o *object) {
		slidingFromGGUF(r, o, 4)
		if v, ok := r.real("logit_scale"); ok {
			o.set("logit_scale", v)
		}
	},
	ToGGUF: func(c *Config, put func(string, any)) {
		put("logit_scale", c.LogitScale)
		put("rope.scaling.type", "none")
		put("attention.sliding_window", c.hf.num("sliding_window"))
		putSliding(c, put)
	},
})
