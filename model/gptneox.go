package model

// GPT-NeoX and Pythia: LayerNorms and biases everywhere, partial rotary embedding, exact GELU; attention and MLP side by
// side behind a norm each, or in sequence. q, k and v of a head lie together.
var _ = register(&Family{
	Name:  "gpt_neox",
	Types: []string{"gpt_neox"},
	Class: "GPTNeoXForCausalLM",
	GGUF:  "gptneox",
	Defaults: `{"vocab_size":50432, "hidden_size":6144, "intermediate_size":24576, "num_hidden_layers":44, "num_attention_heads":64,
		"hidden_act":"gelu", "max_position_embeddings":2048, "layer_norm_eps":1e-5, "rotary_emb_base":10000, "rotary_pct":0.25,
		"use_parallel_residual":true, "attention_bias":true}`,
	Keys: map[string]string{"kv_heads": "", "head_dim": "", "eps": "layer_norm_eps", "theta": "rope_theta"},
	Read: func(c *Config, o *object) {
		c.Norm.Kind, c.NormBias = "layer", true
		if o.has("rotary_pct") && !o.has("partial_rotary_factor") { // old names of the same two numbers
			o.alias("partial_rotary_factor", "rotary_pct")
		}
		if o.has("rotary_emb_base") && !o.has("rope_theta") {
			o.alias("rope_theta", "rotary_emb_base")
		}
		rope, bias, parallel := o.partialRope(c), o.flag("attention_bias"), o.flag("use_parallel_residual")
		c.each(func(_ int, l *Layer) {
			l.Rope, l.Parallel, l.QKVBias, l.OBias, l.MLPBias = rope, parallel, bias, bias, true
		})
	},
	draw: func(b *builder) {
		x := b.Embed()
		for i := range b.Config.Layers {
			b.Layer(i, x)
			y := b.Add(x, b.SelfAttention(b.Norm("attn.norm", x)))
			if !b.L.Parallel {
				x = y
			}
			x = b.Add(y, b.MLP(b.Norm("mlp.norm", x)))
		}
		b.End(x)
		b.Head(b.Norm("norm", x))
	},
	hf: []stored{
		{Site: "embed", Name: "gpt_neox.embed_in"},
		{Site: "layers.#.attn.norm", Name: "gpt_neox.layers.#.input_layernorm"},
		{Parts: qkvSites, Grouped: true, Name: "gpt_neox.layers.#.attention.query_key_value"},
		{Site: "layers.#.attn.o", Name: "gpt_neox.layers.#.attention.dense"},
		{Site: "layers.#.mlp.norm", Name: "gpt_neox.layers.#.post_attention_layernorm"},
		{Site: "layers.#.mlp.up", Name: "gpt_neox.layers.#.mlp.dense_h_to_4h"},
		{Site: "layers.#.mlp.down", Name: "gpt_neox.layers.#.mlp.dense_4h_to_h"},
		{Site: "norm", Name: "gpt_neox.final_layer_norm"},
		{Site: "head", Name: "embed_out"},
	},
	ggufDiff: []stored{
		fusedQKV,
	},
	FromGGUF: func(r *ggufReader, o *object) {
		r.partialRotary(o, "rotary_pct")
		o.set("use_parallel_residual", r.flag("use_parallel_residual"))
		o.set("attention_bias", r.has("blk.0.attn_qkv.bias"))
	},
	ToGGUF: func(c *Config, put func(string, any)) { put("use_parallel_residual", c.Layers[0].Parallel) },
	Ignore: []string{".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"},
	LlamaCPP: func(c *Config) string {
		return when(!c.Layers[0].QKVBias, "llama.cpp does not load it: it wants biases on q, k and v")
	},
})
