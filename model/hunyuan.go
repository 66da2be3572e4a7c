package model

import "math"

// Hunyuan, the dense models (Tencent 2025): Llama whose query and key heads are normalised after their rotation; an alpha in
// rope_scaling stretches the rotary base once and for all. Sources: transformers' class HunYuanDenseV1, and llama.cpp's
// architecture "hunyuan-dense", whose files hold the stretched base.
var _ = register(&Family{
	Name:  "hunyuan_v1_dense",
	Types: []string{"hunyuan_v1_dense"},
	Class: "HunYuanDenseV1ForCausalLM",
	GGUF:  "hunyuan-dense",
	Defaults: `{"vocab_size":290943, "hidden_size":4096, "intermediate_size":11008, "num_hidden_layers":32, "num_attention_heads":32,
		"hidden_act":"silu", "max_position_embeddings":2048, "rms_norm_eps":1e-5, "rope_theta":10000.0}`,
	Read: func(c *Config, o *object) {
		rope, bias := o.rope(c, c.Layers[0].HeadDim), o.flag("attention_bias")
		for _, key := range []string{"rope_scaling", "rope_parameters"} {
			if s := o.sub(key); s != nil && rope.Scaling.Kind == "dynamic" && s.real("alpha") > 0 {
				d := float64(rope.Dim)
				rope.Theta *= math.Pow(s.real("alpha"), d/(d-2))
				rope.Scaling = RopeScaling{}
			}
		}
		c.each(func(_ int, l *Layer) {
			l.Gated, l.Rope, l.QKNorm, l.RopeFirst, l.QKVBias, l.OBias = true, rope, "head", true, bias, bias
		})
	},
	draw: drawLlama,
	hf: override(llamaHF, []stored{
		{Site: "layers.#.attn.q_norm", Name: "model.layers.#.self_attn.query_layernorm"},
		{Site: "layers.#.attn.k_norm", Name: "model.layers.#.self_attn.key_layernorm"},
	}),
	FromGGUF: func(r *ggufReader, o *object) { o.set("attention_bias", r.has("blk.0.attn_q.bias")) },
})
