package model

// StarCoder2: LayerNorms, grouped heads, rotary positions, sliding window, a plain GELU MLP, biases by use_bias.
var _ = register(&Family{
	Name:  "starcoder2",
	Types: []string{"starcoder2"},
	Class: "Starcoder2ForCausalLM",
	Defaults: `{"vocab_size":49152, "hidden_size":3072, "intermediate_size":12288, "num_hidden_layers":30, "num_attention_heads":24,
		"num_key_value_heads":2, "hidden_act":"gelu_pytorch_tanh", "max_position_embeddings":4096, "norm_epsilon":1e-5, "rope_theta":10000.0,
		"use_bias":true, "tie_word_embeddings":true}`,
	Keys: map[string]string{"eps": "norm_epsilon"},
	Read: func(c *Config, o *object) {
		c.Norm.Kind, c.NormBias = "layer", true
		rope, window, bias := o.rope(c, c.Layers[0].HeadDim), o.num("sliding_window"), o.flag("use_bias")
		c.each(func(_ int, l *Layer) {
			l.Rope, l.Window, l.QKVBias, l.OBias, l.MLPBias = rope, window, bias, bias, bias
		})
	},
	draw: drawLlama,
	hf: override(llamaHF, []stored{
		{Site: "layers.#.mlp.up", Name: "model.layers.#.mlp.c_fc"},
		{Site: "layers.#.mlp.down", Name: "model.layers.#.mlp.c_proj"},
	}),
	FromGGUF: func(r *ggufReader, o *object) {
		windowFromGGUF(r, o)
		o.set("use_bias", r.has("blk.0.attn_q.bias"))
	},
})
