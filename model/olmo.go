package model

// OLMo: Llama whose LayerNorms have no parameters and whose q, k and v may be clamped. OLMo 2: RMSNorm behind the blocks
// instead of before them, and over whole query and key projections.

var _ = register(&Family{
	Name:  "olmo",
	Types: []string{"olmo"},
	Class: "OlmoForCausalLM",
	Defaults: `{"vocab_size":50304, "hidden_size":4096, "intermediate_size":11008, "num_hidden_layers":32, "num_attention_heads":32,
		"hidden_act":"silu", "max_position_embeddings":2048, "rope_theta":10000.0}`,
	Keys: map[string]string{"eps": ""},
	Read: func(c *Config, o *object) {
		c.Norm, c.NormWeight = Norm{Kind: "layer", Eps: 1e-5}, false
		clamp, bias, rope := o.real("clip_qkv"), o.flag("attention_bias"), o.rope(c, c.Layers[0].HeadDim)
		c.each(func(_ int, l *Layer) { l.Gated, l.Rope, l.Clamp, l.QKVBias, l.OBias = true, rope, clamp, bias, bias })
	},
	draw:      drawLlama,
	hf:        llamaHF,
	PermuteQK: true,
	FromGGUF: func(r *ggufReader, o *object) {
		if v, ok := r.real("attention.clamp_kqv"); ok {
			o.set("clip_qkv", v)
		}
	},
})

var olmo2 = register(&Family{
	Name:  "olmo2",
	Types: []string{"olmo2"},
	Class: "Olmo2ForCausalLM",
	Defaults: `{"vocab_size":50304, "hidden_size":4096, "intermediate_size":11008, "num_hidden_layers":32, "num_attention_heads":32,
		"hidden_act":"silu", "max_position_embeddings":2048, "rope_theta":10000.0, "rms_norm_eps":1e-5}`,
	Read: func(c *Config, o *object) {
		bias, rope := o.flag("attention_bias"), o.rope(c, c.Layers[0].HeadDim)
		c.each(func(_ int, l *Layer) { l.Gated, l.Rope, l.QKNorm, l.QKVBias, l.OBias = true, rope, "full", bias, bias })
	},
	draw: drawOLMo2,
	hf:   olmo2HF,
})

// drawOLMo2 draws blocks with norms behind them.
func drawOLMo2(b *builder) {
	x := b.Embed()
	for i := range b.Config.Layers {
		b.Layer(i, x)
		x = b.Add(x, b.Norm("attn.post_norm", b.SelfAttention(x)))
		x = b.Add(x, b.Norm("mlp.post_norm", b.MLP(x)))
	}
	b.End(x)
	b.Head(b.Norm("norm", x))
}

var olmo2HF = override(llamaHF, []stored{
	{Site: "layers.#.attn.post_norm", Name: "model.layers.#.post_attention_layernorm"},
	{Site: "layers.#.mlp.post_norm", Name: "model.layers.#.post_feedforward_layernorm"},
})
