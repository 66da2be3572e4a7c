package model

// OLMoE (Muennighoff et al. 2024): Llama with mixtures of experts, RMSNorm over whole query and key projections, and q, k and
// v that may be clamped. Weights of the chosen experts are not renormalised unless norm_topk_prob says so.
var _ = register(&Family{
	Name:  "olmoe",
	Types: []string{"olmoe"},
	Class: "OlmoeForCausalLM",
	Defaults: `{"vocab_size":50304, "hidden_size":2048, "intermediate_size":2048, "num_hidden_layers":16, "num_attention_heads":16,
		"hidden_act":"silu", "max_position_embeddings":4096, "rms_norm_eps":1e-5, "rope_theta":10000.0, "num_experts":64,
		"num_experts_per_tok":8}`,
	Keys:    map[string]string{"head_dim": "", "expert_ffn": ""},
	Aliases: map[string]string{"num_local_experts": "num_experts"},
	Read: func(c *Config, o *object) {
		rope, clamp, bias := o.rope(c, c.Layers[0].HeadDim), o.real("clip_qkv"), o.flag("attention_bias")
		experts, route := o.num("num_experts"), Route{TopK: o.num("num_experts_per_tok"), Normalize: o.flag("norm_topk_prob")}
		if clamp != 0 { // transformers clamps behind the norms, other layers before them
			o.fail(ErrUnsupported, "clip_qkv", "is %g: clamping behind normalised queries and keys is not drawn", clamp)
		}
		c.each(func(_ int, l *Layer) {
			l.Gated, l.Rope, l.QKNorm, l.QKVBias, l.OBias = true, rope, "full", bias, bias
			l.Experts, l.Route = experts, route
		})
	},
	draw: drawLlama,
	hf:   qwenMoeHF,
	LlamaCPP: func(c *Config) string {
		return when(c.normalized(), "llama.cpp does not normalise the weights of experts in this architecture, whatever norm_topk_prob says")
	},
})
