package model

import "slices"

// gpt-oss (OpenAI 2025): mixtures of experts with biases and a limited, shifted SwiGLU; heads with a learned score that keeps weight from all
// keys ("sinks"); every other layer slides. Sources: transformers' class GptOss, and llama.cpp. What the router gives its chosen experts is the
// softmax of their logits, which is that of all logits divided by the sum of the chosen.
var _ = register(&Family{
	Name:  "gpt_oss",
	Types: []string{"gpt_oss"},
	Class: "GptOssForCausalLM",
	GGUF:  "gpt-oss",
	// What OpenAI's own files say beside.
	Aliases: map[string]string{"experts_per_token": "num_experts_per_tok", "num_experts": "num_local_experts"},
	Defaults: `{"vocab_size":201088, "hidden_size":2880, "intermediate_size":2880, "num_hidden_layers":36, "num_attention_heads":64,
		"num_key_value_heads":8, "head_dim":64, "hidden_act":"silu", "max_position_embeddings":131072, "rms_norm_eps":1e-5, "rope_theta":150000.0,
		"rope_scaling":{"rope_type":"yarn", "factor":32.0, "beta_fast":32.0, "beta_slow":1.0, "truncate":false, "original_max_position_embeddings":4096},
		"attention_bias":true, "sliding_window":128, "num_local_experts":128, "num_experts_per_tok":4, "swiglu_limit":7.0}`,
	Read: func(c *Config, o *object) {
		rope, bias := o.rope(c, c.Layers[0].HeadDim), o.flag("attention_bias")
		experts, route, limit := o.num("num_local_experts"), Route{TopK: o.num("num_experts_per_tok"), Normalize: true}, o.real("swiglu_limit")
		if c.Layers[0].Act != SiLU {
			o.fail(ErrUnsupported, "hidden_act", "is %q, must be silu", clip(o.text("hidden_act")))
		}
		if !(limit > 0) {
			o.fail(ErrInvalid, "swiglu_limit", "is %g, must be above 0", limit)
		}
		c.each(func(_ int, l *Layer) {
			l.Gated, l.Rope, l.QKVBias, l.OBias, l.Sinks = true, rope, bias, bias, true
			l.Experts, l.Route, l.ExpertBias, l.ExpertLimit = experts, route, true, limit
			l.Act = QuickGELU // x sigmoid(1.702 x), whatever hidden_act says
		})
		o.window(c, 2)
	},
	Keys: map[string]string{"experts": "num_local_experts", "expert_ffn": ""},
	draw: drawLlama,
	hf: override(llamaHF, []stored{
		{Site: "layers.#.attn.sinks", Name: "model.layers.#.self_attn.sinks", Raw: true},
		{Site: "layers.#.mlp.router", Name: "model.layers.#.mlp.router"},
		{Parts: []string{"layers.#.mlp.experts.gate", "layers.#.mlp.experts.up"}, Name: "model.layers.#.mlp.experts.gate_up_proj", Raw: true,
			Bias: "model.layers.#.mlp.experts.gate_up_proj_bias", Stacked: true, Grouped: true, Transposed: true},
		{Site: "layers.#.mlp.experts.down", Name: "model.layers.#.mlp.experts.down_proj", Raw: true,
			Bias: "model.layers.#.mlp.experts.down_proj_bias", Stacked: true, Transposed: true},
	}),
	ggufDiff: []stored{{Site: "layers.#.mlp.norm", Name: "blk.#.post_attention_norm"}},
	FromGGUF: func(r *ggufReader, o *object) {
		slidingFromGGUF(r, o, 2)
		if s := o.sub("rope_scaling"); s != nil && s.text("rope_type") == "yarn" { // GGUF does not say it, and all published models have it
			s.set("truncate", false)
			o.set("rope_scaling", jsonOf(s))
		} else if s == nil {
			o.set("rope_scaling", map[string]any{"rope_type": "default"})
		}
		o.set("attention_bias", r.has("blk.0.attn_q.bias"))
	},
	ToGGUF: putSliding,
	LlamaCPP: func(c *Config) string {
		return first(when(c.Layers[0].ExpertLimit != 7, "llama.cpp limits the inputs of the experts' activation to 7, whatever swiglu_limit says"),
			when(!c.Layers[0].QKVBias, "llama.cpp does not load it: it wants biases of attention in this architecture"),
			when(!slices.ContainsFunc(c.Layers, func(l Layer) bool { return l.Window > 0 }), "llama.cpp does not load it: it wants a sliding window in this architecture"),
			when(c.rope().Scaling.NoTruncate, "llama.cpp rounds the borders between which yarn stretches to whole dimensions"))
	},
})
