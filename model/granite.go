package model

// Granite is Llama with four multipliers: on embeddings, attention scores, both residual branches and (dividing) logits.
var granite = register(&Family{
	Name:  "granite",
	Types: []string{"granite"},
	Class: "GraniteForCausalLM",
	Defaults: `{"vocab_size":32000, "hidden_size":4096, "intermediate_size":11008, "num_hidden_layers":32, "num_attention_heads":32,
		"hidden_act":"silu", "max_position_embeddings":2048, "rms_norm_eps":1e-6, "rope_theta":10000.0, "attention_multiplier":1.0,
		"embedding_multiplier":1.0, "logits_scaling":1.0, "residual_multiplier":1.0}`,
	Read: func(c *Config, o *object) {
		llama.Read(c, o)
		c.EmbedScale = o.real("embedding_multiplier")
		c.LogitScale = 1 / o.real("logits_scaling")
		score, residual := o.real("attention_multiplier"), o.real("residual_multiplier")
		c.each(func(_ int, l *Layer) { l.AttnScale, l.Residual = score, residual })
	},
	draw:      drawLlama,
	hf:        llamaHF,
	PermuteQK: true,
	FromGGUF: func(r *ggufReader, o *object) {
		llama.FromGGUF(r, o)
		for key, from := range graniteGGUF {
			if v, ok := r.real(from); ok {
				o.set(key, v)
			}
		}
	},
	ToGGUF: func(c *Config, put func(string, any)) {
		for key, to := range graniteGGUF {
			put(to, c.hf.real(key))
		}
	},
})

// GraniteMoE is Granite whose feed-forward blocks are mixtures of experts; the matrices of all lie in one tensor, gate above up. What the router
// gives its chosen experts is the softmax of their logits. Source: transformers' class GraniteMoe.
var _ = register(&Family{
	Name:  "granitemoe",
	Types: []string{"granitemoe"},
	Class: "GraniteMoeForCausalLM",
	Defaults: `{"vocab_size":32000, "hidden_size":4096, "intermediate_size":11008, "num_hidden_layers":32, "num_attention_heads":32,
		"hidden_act":"silu", "max_position_embeddings":2048, "rms_norm_eps":1e-6, "rope_theta":10000.0, "attention_multiplier":1.0,
		"embedding_multiplier":1.0, "logits_scaling":1.0, "residual_multiplier":1.0, "num_local_experts":8, "num_experts_per_tok":2}`,
	Read: func(c *Config, o *object) {
		granite.Read(c, o)
		experts, top := o.num("num_local_experts"), o.num("num_experts_per_tok")
		c.each(func(_ int, l *Layer) { l.Experts, l.Route = experts, Route{TopK: top, Normalize: true} })
	},
	Aliases: map[string]string{"num_experts": "num_local_experts"},
	Keys:    map[string]string{"experts": "num_local_experts", "expert_ffn": ""},
	draw:    drawLlama,
	hf: override(llamaHF, []stored{
		{Site: "layers.#.mlp.router", Name: "model.layers.#.block_sparse_moe.router.layer"},
		{Parts: []string{"layers.#.mlp.experts.gate", "layers.#.mlp.experts.up"}, Name: "model.layers.#.block_sparse_moe.input_linear", Stacked: true},
		{Site: "layers.#.mlp.experts.down", Name: "model.layers.#.block_sparse_moe.output_linear", Stacked: true},
	}),
	PermuteQK: true,
	FromGGUF:  granite.FromGGUF,
	ToGGUF:    granite.ToGGUF,
})

// graniteGGUF are the multipliers' GGUF keys.
var graniteGGUF = map[string]string{"attention_multiplier": "attention.scale", "embedding_multiplier": "embedding_scale",
	"residual_multiplier": "residual_scale", "logits_scaling": "logit_scale"}
