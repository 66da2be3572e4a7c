package model

// EXAONE 3.0 and 3.5 (LG AI Research 2024): Llama under the names of GPT-2. Sources: the model pages' config.json and
// llama.cpp's description of the architecture "exaone".
var _ = register(&Family{
	Name:  "exaone",
	Types: []string{"exaone"},
	Class: "ExaoneForCausalLM",
	Defaults: `{"vocab_size":102400, "hidden_size":2048, "num_layers":32, "num_attention_heads":32, "activation_function":"silu",
		"max_position_embeddings":2048, "layer_norm_epsilon":1e-5, "rope_theta":10000.0, "tie_word_embeddings":true}`,
	Keys:    map[string]string{"layers": "num_layers", "eps": "layer_norm_epsilon", "act": "activation_function"},
	Aliases: map[string]string{"num_hidden_layers": "num_layers"},
	Read: func(c *Config, o *object) {
		rope := o.rope(c, c.Layers[0].HeadDim)
		c.each(func(_ int, l *Layer) {
			l.Gated, l.Rope = true, rope
			if l.FFN == 0 {
				l.FFN = 4 * c.Hidden
			}
		})
	},
	draw: drawLlama,
	hf: []stored{
		{Site: "embed", Name: "transformer.wte"},
		{Site: "layers.#.attn.norm", Name: "transformer.h.#.ln_1"},
		{Site: "layers.#.attn.q", Name: "transformer.h.#.attn.attention.q_proj"},
		{Site: "layers.#.attn.k", Name: "transformer.h.#.attn.attention.k_proj"},
		{Site: "layers.#.attn.v", Name: "transformer.h.#.attn.attention.v_proj"},
		{Site: "layers.#.attn.o", Name: "transformer.h.#.attn.attention.out_proj"},
		{Site: "layers.#.mlp.norm", Name: "transformer.h.#.ln_2"},
		{Site: "layers.#.mlp.gate", Name: "transformer.h.#.mlp.c_fc_0"},
		{Site: "layers.#.mlp.up", Name: "transformer.h.#.mlp.c_fc_1"},
		{Site: "layers.#.mlp.down", Name: "transformer.h.#.mlp.c_proj"},
		{Site: "norm", Name: "transformer.ln_f"},
		{Site: "head", Name: "lm_head"},
	},
	Ignore: []string{".rotary.inv_freq"},
})
