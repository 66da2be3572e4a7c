package model

// InternLM2 (Cai et al. 2024): Llama whose q, k and v lie in one tensor, by key/value head: its queries, its key, its value.
var _ = register(&Family{
	Name:  "internlm2",
	Types: []string{"internlm2"},
	Class: "InternLM2ForCausalLM",
	Defaults: `{"vocab_size":103168, "hidden_size":4096, "intermediate_size":11008, "num_hidden_layers":32, "num_attention_heads":32,
		"hidden_act":"silu", "max_position_embeddings":2048, "rms_norm_eps":1e-6, "rope_theta":10000.0, "bias":true}`,
	Keys: map[string]string{"head_dim": ""},
	Read: func(c *Config, o *object) {
		rope, bias := o.rope(c, c.Layers[0].HeadDim), o.flag("bias")
		c.each(func(_ int, l *Layer) { l.Gated, l.Rope, l.QKVBias, l.OBias = true, rope, bias, bias })
	},
	draw: drawLlama,
	hf: []stored{
		{Site: "embed", Name: "model.tok_embeddings"},
		{Site: "layers.#.attn.norm", Name: "model.layers.#.attention_norm"},
		{Parts: qkvSites, Grouped: true, Name: "model.layers.#.attention.wqkv"},
		{Site: "layers.#.attn.o", Name: "model.layers.#.attention.wo"},
		{Site: "layers.#.mlp.norm", Name: "model.layers.#.ffn_norm"},
		{Site: "layers.#.mlp.gate", Name: "model.layers.#.feed_forward.w1"},
		{Site: "layers.#.mlp.up", Name: "model.layers.#.feed_forward.w3"},
		{Site: "layers.#.mlp.down", Name: "model.layers.#.feed_forward.w2"},
		{Site: "norm", Name: "model.norm"},
		{Site: "head", Name: "output"},
	},
	PermuteQK: true,
	FromGGUF:  func(r *ggufReader, o *object) { o.set("bias", r.has("blk.0.attn_q.bias")) },
})
