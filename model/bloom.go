package model

// BLOOM: a norm right behind the embedding, alibi, LayerNorms and biases everywhere, tanh GELU; q, k and v of a head lie
// together.
var _ = register(&Family{
	Name:  "bloom",
	Types: []string{"bloom"},
	Class: "BloomForCausalLM",
	Defaults: `{"vocab_size":250880, "hidden_size":64, "n_layer":2, "n_head":8, "layer_norm_epsilon":1e-5, "tie_word_embeddings":true,
		"seq_length":2048}`,
	Keys: map[string]string{"layers": "n_layer", "heads": "n_head", "kv_heads": "", "head_dim": "", "ffn": "", "eps": "layer_norm_epsilon",
		"context": "seq_length", "act": "", "theta": ""},
	// The published files say n_embed and num_attention_heads.
	Aliases: map[string]string{"n_embed": "hidden_size", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head"},
	Read: func(c *Config, o *object) {
		c.Norm.Kind, c.NormBias = "layer", true
		c.PostNorm = o.flag("apply_residual_connection_post_layernorm")
		c.each(func(_ int, l *Layer) {
			l.FFN, l.Act, l.Alibi = 4*c.Hidden, GELUTanh, &Alibi{Slopes: alibiSlopes(l.Heads)}
			l.QKVBias, l.OBias, l.MLPBias = true, true, true
		})
	},
	draw: func(b *builder) {
		x := b.Norm("embed_norm", b.Embed())
		for i := range b.Config.Layers {
			b.Layer(i, x)
			h := b.Norm("attn.norm", x)
			if b.Config.PostNorm { // the residual stream is the normalised one
				x = h
			}
			x = b.Add(x, b.SelfAttention(h))
			h = b.Norm("mlp.norm", x)
			if b.Config.PostNorm {
				x = h
			}
			x = b.Add(x, b.MLP(h))
		}
		b.End(x)
		b.Head(b.Norm("norm", x))
	},
	hf: []stored{
		{Site: "embed", Name: "transformer.word_embeddings"},
		{Site: "embed_norm", Name: "transformer.word_embeddings_layernorm"},
		{Site: "layers.#.attn.norm", Name: "transformer.h.#.input_layernorm"},
		{Parts: qkvSites, Grouped: true, Name: "transformer.h.#.self_attention.query_key_value"},
		{Site: "layers.#.attn.o", Name: "transformer.h.#.self_attention.dense"},
		{Site: "layers.#.mlp.norm", Name: "transformer.h.#.post_attention_layernorm"},
		{Site: "layers.#.mlp.up", Name: "transformer.h.#.mlp.dense_h_to_4h"},
		{Site: "layers.#.mlp.down", Name: "transformer.h.#.mlp.dense_4h_to_h"},
		{Site: "norm", Name: "transformer.ln_f"},
		{Site: "head", Name: "lm_head"},
	},
	ggufDiff: []stored{
		fusedQKV,
	},
	Prefix: "transformer.",
	LlamaCPP: func(c *Config) string {
		return when(c.hf.flag("apply_residual_connection_post_layernorm"), "llama.cpp adds to the residuals before their norm")
	},
})
