package model

// OPT (Zhang et al. 2022): learned positions whose table starts two rows late, LayerNorm before the blocks (after them in
// the 350M model, which also embeds into fewer channels), ReLU.
var _ = register(&Family{
	Name:  "opt",
	Types: []string{"opt"},
	Class: "OPTForCausalLM",
	Defaults: `{"vocab_size":50272, "hidden_size":768, "ffn_dim":3072, "num_hidden_layers":12, "num_attention_heads":12,
		"activation_function":"relu", "max_position_embeddings":2048, "do_layer_norm_before":true, "enable_bias":true,
		"layer_norm_elementwise_affine":true, "tie_word_embeddings":true}`,
	Keys: map[string]string{"kv_heads": "", "head_dim": "", "ffn": "ffn_dim", "eps": "", "act": "activation_function", "theta": ""},
	Read: func(c *Config, o *object) {
		c.Norm = Norm{Kind: "layer", Eps: 1e-5}
		c.NormWeight = o.flag("layer_norm_elementwise_affine")
		c.NormBias = c.NormWeight
		c.Positions, c.PosOffset = c.Context+2, 2
		if c.EmbedDim = o.num("word_embed_proj_dim"); c.EmbedDim == c.Hidden {
			c.EmbedDim = 0
		}
		c.PostNorm = !o.flag("do_layer_norm_before")
		c.NoFinalNorm = c.PostNorm || o.flag("_remove_final_layer_norm")
		bias := o.flag("enable_bias")
		c.each(func(_ int, l *Layer) { l.QKVBias, l.OBias, l.MLPBias = bias, bias, bias })
	},
	draw: func(b *builder) {
		c := b.Config
		x := b.Embed()
		if c.EmbedDim > 0 {
			x = b.Linear("embed_in", x, b.Hidden(), false)
		}
		x = b.Add(x, b.Position())
		for i := range c.Layers {
			b.Layer(i, x)
			if c.PostNorm {
				x = b.Norm("attn.norm", b.Add(x, b.SelfAttention(x)))
				x = b.Norm("mlp.norm", b.Add(x, b.MLP(x)))
				continue
			}
			x = b.Add(x, b.SelfAttention(b.Norm("attn.norm", x)))
			x = b.Add(x, b.MLP(b.Norm("mlp.norm", x)))
		}
		b.End(x)
		if !c.NoFinalNorm {
			x = b.Norm("norm", x)
		}
		if c.EmbedDim > 0 {
			x = b.Linear("embed_out", x, b.EmbedWidth(), false)
		}
		b.Head(x)
	},
	hf: []stored{
		{Site: "embed", Name: "model.decoder.embed_tokens"},
		{Site: "positions", Name: "model.decoder.embed_positions"},
		{Site: "embed_in", Name: "model.decoder.project_in"},
		{Site: "embed_out", Name: "model.decoder.project_out"},
		{Site: "layers.#.attn.norm", Name: "model.decoder.layers.#.self_attn_layer_norm"},
		{Site: "layers.#.attn.q", Name: "model.decoder.layers.#.self_attn.q_proj"},
		{Site: "layers.#.attn.k", Name: "model.decoder.layers.#.self_attn.k_proj"},
		{Site: "layers.#.attn.v", Name: "model.decoder.layers.#.self_attn.v_proj"},
		{Site: "layers.#.attn.o", Name: "model.decoder.layers.#.self_attn.out_proj"},
		{Site: "layers.#.mlp.norm", Name: "model.decoder.layers.#.final_layer_norm"},
		{Site: "layers.#.mlp.up", Name: "model.decoder.layers.#.fc1"},
		{Site: "layers.#.mlp.down", Name: "model.decoder.layers.#.fc2"},
		{Site: "norm", Name: "model.decoder.final_layer_norm"},
		{Site: "head", Name: "lm_head"},
	},
	ggufDiff: []stored{{Site: "embed_in", Name: "embd_in"}, {Site: "embed_out", Name: "embd_out"}},
	Prefix:   "model.",
	LlamaCPP: func(*Config) string { return notThere },
})
