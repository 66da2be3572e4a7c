package model

// GPT-BigCode (SantaCoder, StarCoder): GPT-2 with one key/value head for all queries and linear weights stored [out, in].
var _ = register(&Family{
	Name:  "gpt_bigcode",
	Types: []string{"gpt_bigcode"},
	Class: "GPTBigCodeForCausalLM",
	GGUF:  "starcoder",
	Defaults: `{"vocab_size":50257, "n_embd":768, "n_layer":12, "n_head":12, "n_positions":1024, "layer_norm_epsilon":1e-5,
		"activation_function":"gelu_pytorch_tanh", "multi_query":true, "tie_word_embeddings":true, "scale_attn_weights":true}`,
	Keys:    gpt2.Keys,
	Aliases: gpt2Aliases,
	Read: func(c *Config, o *object) {
		gpt2.Read(c, o)
		if o.flag("multi_query") {
			c.each(func(_ int, l *Layer) { l.KVHeads = 1 })
		}
	},
	draw: gpt2.draw,
	hf: []stored{
		{Site: "embed", Name: "transformer.wte"},
		{Site: "positions", Name: "transformer.wpe"},
		{Site: "layers.#.attn.norm", Name: "transformer.h.#.ln_1"},
		{Parts: qkvSites, Grouped: true, Name: "transformer.h.#.attn.c_attn"},
		{Site: "layers.#.attn.o", Name: "transformer.h.#.attn.c_proj"},
		{Site: "layers.#.mlp.norm", Name: "transformer.h.#.ln_2"},
		{Site: "layers.#.mlp.up", Name: "transformer.h.#.mlp.c_fc"},
		{Site: "layers.#.mlp.down", Name: "transformer.h.#.mlp.c_proj"},
		{Site: "norm", Name: "transformer.ln_f"},
		{Site: "head", Name: "lm_head"},
	},
	ggufDiff: gpt2.ggufDiff,
	FromGGUF: func(r *ggufReader, o *object) {
		kv, _ := r.num("attention.head_count_kv")
		o.set("multi_query", kv == 1)
	},
	Prefix: "transformer.",
	Ignore: []string{".attn.bias", ".attn.masked_bias"},
})
