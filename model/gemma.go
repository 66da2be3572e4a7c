package model

import "math"

// The Gemma families: RMSNorm with scale 1+w, embeddings times sqrt(hidden), tanh GELU whatever older files say, tied
// heads. Gemma 2 adds norms behind both blocks, soft caps and alternating windows; Gemma 3 normalises queries and keys
// instead of capping, with two rotary bases.

var _ = register(&Family{
	Name:  "gemma",
	Types: []string{"gemma"},
	Class: "GemmaForCausalLM",
	Defaults: `{"vocab_size":256000, "hidden_size":3072, "intermediate_size":24576, "num_hidden_layers":28, "num_attention_heads":16,
		"num_key_value_heads":16, "head_dim":256, "max_position_embeddings":8192, "rms_norm_eps":1e-6, "rope_theta":10000.0,
		"tie_word_embeddings":true}`,
	Keys: map[string]string{"act": ""},
	Read: func(c *Config, o *object) {
		readGemma(c, o)
		bias := o.flag("attention_bias")
		c.each(func(_ int, l *Layer) { l.QKVBias, l.OBias = bias, bias })
	},
	draw:     drawLlama,
	hf:       llamaHF,
	ggufDiff: gemmaGGUF,
})

var _ = register(&Family{
	Name:  "gemma2",
	Types: []string{"gemma2"},
	Class: "Gemma2ForCausalLM",
	Defaults: `{"vocab_size":256000, "hidden_size":2304, "intermediate_size":9216, "num_hidden_layers":26, "num_attention_heads":8,
		"num_key_value_heads":4, "head_dim":256, "max_position_embeddings":8192, "rms_norm_eps":1e-6, "rope_theta":10000.0,
		"tie_word_embeddings":true, "query_pre_attn_scalar":256, "sliding_window":4096, "attn_logit_softcapping":50.0,
		"final_logit_softcapping":30.0}`,
	Keys: map[string]string{"act": ""},
	Read: func(c *Config, o *object) {
		readGemma(c, o)
		readGemmaScores(c, o)
		o.window(c, 2)
	},
	draw:     drawGemma2,
	hf:       gemma2HF,
	ggufDiff: gemmaGGUF,
	FromGGUF: func(r *ggufReader, o *object) { gemmaFromGGUF(r, o, 46, 2) },
	ToGGUF:   putSliding,
	LlamaCPP: func(c *Config) string { return gemmaScore(c, 46) },
})

var _ = register(&Family{
	Name:  "gemma3",
	Types: []string{"gemma3_text"},
	Class: "Gemma3ForCausalLM",
	Defaults: `{"vocab_size":262208, "hidden_size":2304, "intermediate_size":9216, "num_hidden_layers":26, "num_attention_heads":8,
		"num_key_value_heads":4, "head_dim":256, "max_position_embeddings":131072, "rms_norm_eps":1e-6, "rope_theta":1000000.0,
		"rope_local_base_freq":10000.0, "tie_word_embeddings":true, "query_pre_attn_scalar":256, "sliding_window":4096,
		"sliding_window_pattern":6}`,
	Keys: map[string]string{"act": ""},
	Read: func(c *Config, o *object) {
		readGemma(c, o)
		readGemmaScores(c, o)
		o.window(c, o.num("sliding_window_pattern"))
		local := &Rope{Dim: c.Layers[0].HeadDim, Theta: o.real("rope_local_base_freq")}
		if p := o.sub("rope_parameters"); p != nil {
			if p = p.sub("sliding_attention"); p != nil && p.has("rope_theta") {
				local.Theta = p.real("rope_theta")
			}
		}
		c.each(func(_ int, l *Layer) {
			l.QKNorm = "head"
			if l.Window > 0 {
				l.Rope = local
			}
		})
	},
	draw:     drawGemma2,
	hf:       gemma2HF,
	ggufDiff: gemmaGGUF,
	FromGGUF: func(r *ggufReader, o *object) {
		gemmaFromGGUF(r, o, 62, 6)
		if v, ok := r.real("rope.freq_base_swa"); ok {
			o.set("rope_local_base_freq", v)
		}
	},
	ToGGUF: func(c *Config, put func(string, any)) {
		putSliding(c, put)
		for i := range c.Layers {
			if l := &c.Layers[i]; l.Window > 0 {
				put("rope.freq_base_swa", l.Rope.Theta)
				break
			}
		}
	},
	LlamaCPP: func(c *Config) string { return gemmaScore(c, 62) },
})

// gemmaFromGGUF reads windows and caps. GGUF does not hold the scale of the scores: it follows from the head dimension, or
// in the 27B models, known by their number of layers, from hidden size and heads.
func gemmaFromGGUF(r *ggufReader, o *object, layersOf27B, every int) {
	slidingFromGGUF(r, o, every)
	head, _ := r.num("attention.key_length")
	o.set("query_pre_attn_scalar", head)
	if n, _ := r.num("block_count"); n == layersOf27B {
		hidden, _ := r.num("embedding_length")
		heads, _ := r.num("attention.head_count")
		o.set("query_pre_attn_scalar", hidden/max(heads, 1))
	}
	for key, from := range map[string]string{"attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping"} {
		o.set(key, nil)
		if v, ok := r.real(from); ok {
			o.set(key, v)
		}
	}
}

// gemmaScore compares the scale of the scores with the one that llama.cpp derives.
func gemmaScore(c *Config, layersOf27B int) string {
	l, by := &c.Layers[0], c.Layers[0].HeadDim
	if len(c.Layers) == layersOf27B {
		by = c.Hidden / l.Heads
	}
	return when(math.Abs(l.scale()*sqrt(float64(by))-1) > 1e-6, "llama.cpp scales scores by 1/sqrt(%d), whatever query_pre_attn_scalar says", by)
}

func readGemma(c *Config, o *object) {
	c.Norm.PlusOne = true
	c.EmbedScale = sqrt(float64(c.Hidden))
	rope := o.rope(c, c.Layers[0].HeadDim)
	c.each(func(_ int, l *Layer) { l.Gated, l.Act, l.Rope = true, GELUTanh, rope })
}

func readGemmaScores(c *Config, o *object) {
	c.LogitSoftcap = o.real("final_logit_softcapping")
	softcap, scalar, bias := o.real("attn_logit_softcapping"), o.real("query_pre_attn_scalar"), o.flag("attention_bias")
	c.each(func(_ int, l *Layer) {
		l.AttnSoftcap, l.AttnScale = softcap, 1/sqrt(scalar)
		l.QKVBias, l.OBias = bias, bias
	})
}

func drawGemma2(b *builder) {
	x := b.Embed()
	for i := range b.Config.Layers {
		b.Layer(i, x)
		x = b.Add(x, b.Norm("attn.post_norm", b.SelfAttention(b.Norm("attn.norm", x))))
		x = b.Add(x, b.Norm("mlp.post_norm", b.MLP(b.Norm("mlp.norm", x))))
	}
	b.End(x)
	b.Head(b.Norm("norm", x))
}

var gemma2HF = override(llamaHF, []stored{
	{Site: "layers.#.attn.post_norm", Name: "model.layers.#.post_attention_layernorm"},
	{Site: "layers.#.mlp.norm", Name: "model.layers.#.pre_feedforward_layernorm"},
	{Site: "layers.#.mlp.post_norm", Name: "model.layers.#.post_feedforward_layernorm"},
})

// gemmaGGUF: GGUF keeps 1+w.
var gemmaGGUF = []stored{
	{Site: "layers.#.attn.norm", Name: "blk.#.attn_norm", PlusOne: true},
	{Site: "layers.#.attn.q_norm", Name: "blk.#.attn_q_norm", PlusOne: true},
	{Site: "layers.#.attn.k_norm", Name: "blk.#.attn_k_norm", PlusOne: true},
	{Site: "layers.#.attn.post_norm", Name: "blk.#.post_attention_norm", PlusOne: true},
	{Site: "layers.#.mlp.norm", Name: "blk.#.ffn_norm", PlusOne: true},
	{Site: "layers.#.mlp.post_norm", Name: "blk.#.post_ffw_norm", PlusOne: true},
	{Site: "norm", Name: "output_norm", PlusOne: true},
}
