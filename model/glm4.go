package model

// GLM-4 (Zhipu AI 2024): Llama with gate and up in one tensor and the first half of each head rotated in neighbouring pairs;
// the checkpoints of 2025 ("glm4") add a norm behind each block. Sources: transformers' classes Glm and Glm4, and llama.cpp's
// architectures "chatglm" and "glm4".

const glmDefaults = `{"vocab_size":151552, "hidden_size":4096, "intermediate_size":13696, "num_hidden_layers":40, "num_attention_heads":32,
	"num_key_value_heads":2, "head_dim":128, "hidden_act":"silu", "max_position_embeddings":131072, "rms_norm_eps":1.5625e-7,
	"rope_theta":10000.0, "partial_rotary_factor":0.5, "attention_bias":true}`

var glmFused = stored{Parts: []string{"layers.#.mlp.gate", "layers.#.mlp.up"}, Name: "model.layers.#.mlp.gate_up_proj"}

var glmGGUF = []stored{{Parts: glmFused.Parts, Name: "blk.#.ffn_up"}}

var _ = register(&Family{
	Name:     "glm",
	Types:    []string{"glm"},
	Class:    "GlmForCausalLM",
	GGUF:     "chatglm",
	Defaults: glmDefaults,
	Read:     readGLM,
	draw:     drawLlama,
	hf:       override(llamaHF, []stored{glmFused}),
	ggufDiff: glmGGUF,
	FromGGUF: glmFromGGUF,
	LlamaCPP: (*Config).wholeHeads,
})

var _ = register(&Family{
	Name:     "glm4",
	Types:    []string{"glm4"},
	Class:    "Glm4ForCausalLM",
	Defaults: glmDefaults,
	Read:     readGLM,
	draw:     drawGemma2,
	hf: override(llamaHF, []stored{
		glmFused,
		{Site: "layers.#.attn.post_norm", Name: "model.layers.#.post_self_attn_layernorm"},
		{Site: "layers.#.mlp.post_norm", Name: "model.layers.#.post_mlp_layernorm"},
	}),
	ggufDiff: glmGGUF,
	FromGGUF: glmFromGGUF,
})

func readGLM(c *Config, o *object) {
	rope, bias := o.partialRope(c), o.flag("attention_bias")
	rope.Interleaved = true
	c.each(func(_ int, l *Layer) { l.Gated, l.Rope, l.QKVBias = true, rope, bias })
}

func glmFromGGUF(r *ggufReader, o *object) {
	r.partialRotary(o, "partial_rotary_factor")
	o.set("attention_bias", r.has("blk.0.attn_q.bias"))
}
