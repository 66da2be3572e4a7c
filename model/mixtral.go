package model

// Mixtral is Mistral whose feed-forward blocks are mixtures of experts (Jiang et al. 2024): softmax over all experts, the
// best two, weights renormalised.
var _ = register(&Family{
	Name:  "mixtral",
	Types: []string{"mixtral"},
	Class: "MixtralForCausalLM",
	GGUF:  "llama",
	Defaults: `{"vocab_size":32000, "hidden_size":4096, "intermediate_size":14336, "num_hidden_layers":32, "num_attention_heads":32,
		"num_key_value_heads":8, "hidden_act":"silu", "max_position_embeddings":131072, "rms_norm_eps":1e-5, "rope_theta":1000000.0,
		"num_local_experts":8, "num_experts_per_tok":2}`,
	Read: func(c *Config, o *object) {
		mistral.Read(c, o)
		experts, top := o.num("num_local_experts"), o.num("num_experts_per_tok")
		c.each(func(_ int, l *Layer) { l.Experts, l.Route = experts, Route{TopK: top, Normalize: true} })
	},
	Aliases: map[string]string{"num_experts": "num_local_experts"},
	Keys:    map[string]string{"experts": "num_local_experts", "expert_ffn": ""},
	draw:    drawLlama,
	hf: override(llamaHF, []stored{
		{Site: "layers.#.mlp.router", Name: "model.layers.#.block_sparse_moe.gate"},
		{Site: "layers.#.mlp.experts.gate", Name: "model.layers.#.block_sparse_moe.experts.@.w1"},
		{Site: "layers.#.mlp.experts.up", Name: "model.layers.#.block_sparse_moe.experts.@.w3"},
		{Site: "layers.#.mlp.experts.down", Name: "model.layers.#.block_sparse_moe.experts.@.w2"},
	}),
	PermuteQK: true,
	FromGGUF:  windowFromGGUF,
	Among:     func(r *ggufReader) bool { return r.above("expert_count") },
})
