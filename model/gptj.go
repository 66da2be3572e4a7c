package model

// GPT-J: attention and MLP side by side behind one LayerNorm, partial rotary embedding of neighbouring pairs, biases in
// the MLP and on the head only.
var _ = register(&Family{
	Name:  "gptj",
	Types: []string{"gptj"},
	Class: "GPTJForCausalLM",
	Defaults: `{"vocab_size":50400, "n_embd":4096, "n_layer":28, "n_head":16, "n_positions":2048, "activation_function":"gelu_new",
		"layer_norm_epsilon":1e-5, "rotary_dim":64}`,
	Keys: map[string]string{"hidden": "n_embd", "layers": "n_layer", "heads": "n_head", "kv_heads": "", "head_dim": "", "ffn": "n_inner",
		"context": "n_positions", "eps": "layer_norm_epsilon", "act": "activation_function", "theta": ""},
	Aliases: gpt2Aliases,
	Read: func(c *Config, o *object) {
		c.Norm.Kind, c.NormBias, c.HeadBias = "layer", true, true
		dim := o.num("rotary_dim")
		if dim == 0 {
			dim = c.Hidden
		}
		rope := &Rope{Dim: dim, Theta: 10000, Interleaved: true}
		c.each(func(_ int, l *Layer) {
			if l.FFN == 0 {
				l.FFN = 4 * c.Hidden
			}
			l.Rope, l.MLPBias, l.Parallel = rope, true, true
		})
	},
	draw: drawParallel,
	hf: []stored{
		{Site: "embed", Name: "transformer.wte"},
		{Site: "layers.#.attn.norm", Name: "transformer.h.#.ln_1"},
		{Site: "layers.#.attn.q", Name: "transformer.h.#.attn.q_proj"},
		{Site: "layers.#.attn.k", Name: "transformer.h.#.attn.k_proj"},
		{Site: "layers.#.attn.v", Name: "transformer.h.#.attn.v_proj"},
		{Site: "layers.#.attn.o", Name: "transformer.h.#.attn.out_proj"},
		{Site: "layers.#.mlp.up", Name: "transformer.h.#.mlp.fc_in"},
		{Site: "layers.#.mlp.down", Name: "transformer.h.#.mlp.fc_out"},
		{Site: "norm", Name: "transformer.ln_f"},
		{Site: "head", Name: "lm_head"},
	},
	Ignore: []string{".attn.bias", ".attn.masked_bias"},
	FromGGUF: func(r *ggufReader, o *object) {
		if n, ok := r.num("rope.dimension_count"); ok {
			o.set("rotary_dim", n)
		}
	},
	LlamaCPP: func(*Config) string { return notThere },
})
