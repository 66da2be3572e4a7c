package model

// MPT: alibi with its own order of slopes, LayerNorms without shift, no biases, exact GELU.
var _ = register(&Family{
	Name:  "mpt",
	Types: []string{"mpt"},
	Class: "MptForCausalLM",
	Defaults: `{"vocab_size":50368, "d_model":2048, "n_layers":24, "n_heads":16, "max_seq_len":2048, "layer_norm_epsilon":1e-5,
		"tie_word_embeddings":true}`,
	Keys: map[string]string{"hidden": "d_model", "layers": "n_layers", "heads": "n_heads", "kv_heads": "", "head_dim": "", "ffn": "",
		"context": "max_seq_len", "eps": "layer_norm_epsilon", "act": "", "theta": ""},
	Aliases: map[string]string{"hidden_size": "d_model", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"},
	Read: func(c *Config, o *object) {
		c.Norm.Kind = "layer"
		scale, clamp, biasMax := 0.0, 0.0, 8.0
		if a := o.sub("attn_config"); a != nil {
			scale, clamp = a.real("softmax_scale"), a.real("clip_qkv")
			if a.has("alibi_bias_max") {
				biasMax = a.real("alibi_bias_max")
			}
			if a.flag("qk_ln") {
				o.fail(ErrUnsupported, "attn_config", "qk_ln is not supported")
			}
			if a.has("alibi") && !a.flag("alibi") {
				o.warn("%s: attn_config says alibi is false: computed with it all the same, as transformers does", o.file)
			}
			if a.err != nil && o.err == nil {
				o.err = a.err
			}
		}
		c.each(func(_ int, l *Layer) {
			l.FFN = 4 * c.Hidden // the reference code ignores expansion_ratio
			l.Act, l.AttnScale, l.Clamp = GELU, scale, clamp
			l.Alibi = &Alibi{Slopes: mptSlopes(l.Heads, biasMax)}
		})
	},
	draw: drawLlama,
	hf: []stored{
		{Site: "embed", Name: "transformer.wte"},
		{Site: "layers.#.attn.norm", Name: "transformer.blocks.#.norm_1"},
		{Parts: qkvSites, Name: "transformer.blocks.#.attn.Wqkv"},
		{Site: "layers.#.attn.o", Name: "transformer.blocks.#.attn.out_proj"},
		{Site: "layers.#.mlp.norm", Name: "transformer.blocks.#.norm_2"},
		{Site: "layers.#.mlp.up", Name: "transformer.blocks.#.ffn.up_proj"},
		{Site: "layers.#.mlp.down", Name: "transformer.blocks.#.ffn.down_proj"},
		{Site: "norm", Name: "transformer.norm_f"},
		{Site: "head", Name: "lm_head"},
	},
	ggufDiff: []stored{
		fusedQKV,
	},
	FromGGUF: func(r *ggufReader, o *object) {
		a := map[string]any{}
		if v, ok := r.real("attention.max_alibi_bias"); ok {
			a["alibi_bias_max"] = v
		}
		if v, ok := r.real("attention.clamp_kqv"); ok {
			a["clip_qkv"] = v
		}
		o.set("attn_config", a)
	},
	ToGGUF: func(c *Config, put func(string, any)) {
		bias := 8.0
		if a := c.hf.sub("attn_config"); a != nil && a.has("alibi_bias_max") {
			bias = a.real("alibi_bias_max")
		}
		put("attention.max_alibi_bias", bias)
	},
	LlamaCPP: func(c *Config) string {
		return when(c.Layers[0].AttnScale != 0, "llama.cpp passes over softmax_scale")
	},
})
