package model

// Phi-1, 1.5 and 2: attention and MLP side by side behind one LayerNorm, partial rotary embedding, biases everywhere,
// on the head too.
var _ = register(&Family{
	Name:  "phi",
	Types: []string{"phi"},
	Class: "PhiForCausalLM",
	GGUF:  "phi2",
	Defaults: `{"vocab_size":51200, "hidden_size":2048, "intermediate_size":8192, "num_hidden_layers":24, "num_attention_heads":32,
		"hidden_act":"gelu_new", "max_position_embeddings":2048, "layer_norm_eps":1e-5, "rope_theta":10000.0, "partial_rotary_factor":0.5}`,
	Keys: map[string]string{"eps": "layer_norm_eps"},
	Read: func(c *Config, o *object) {
		c.Norm.Kind, c.NormBias, c.HeadBias = "layer", true, true
		rope, qk := o.partialRope(c), o.flag("qk_layernorm")
		c.each(func(_ int, l *Layer) {
			l.Rope, l.Parallel = rope, true
			l.QKVBias, l.OBias, l.MLPBias = true, true, true
			if qk {
				l.QKNorm, l.QKNormBias = "head", true
			}
		})
	},
	draw: drawParallel,
	hf: override(llamaHF, []stored{
		{Site: "layers.#.attn.q_norm", Name: "model.layers.#.self_attn.q_layernorm"},
		{Site: "layers.#.attn.k_norm", Name: "model.layers.#.self_attn.k_layernorm"},
		{Site: "layers.#.attn.o", Name: "model.layers.#.self_attn.dense"},
		{Site: "layers.#.mlp.up", Name: "model.layers.#.mlp.fc1"},
		{Site: "layers.#.mlp.down", Name: "model.layers.#.mlp.fc2"},
		{Site: "norm", Name: "model.final_layernorm"},
	}),
	FromGGUF: func(r *ggufReader, o *object) {
		r.partialRotary(o, "partial_rotary_factor")
		o.set("qk_layernorm", r.has("blk.0.attn_q_norm.weight"))
	},
	LlamaCPP: func(c *Config) string {
		return when(c.Layers[0].QKNorm != "", "llama.cpp does not load it: it knows no norms of queries and keys in this architecture")
	},
})

// drawParallel draws x + attention(norm x) + mlp(norm x).
func drawParallel(b *builder) {
	x := b.Embed()
	for i := range b.Config.Layers {
		b.Layer(i, x)
		h := b.Norm("attn.norm", x)
		x = b.Add(b.Add(x, b.SelfAttention(h)), b.MLP(h))
	}
	b.End(x)
	b.Head(b.Norm("norm", x))
}

// partialRope reads a rotary embedding of the first partial_rotary_factor of each head.
func (o *object) partialRope(c *Config) *Rope {
	f := o.real("partial_rotary_factor")
	if p := o.sub("rope_parameters"); p != nil && p.has("partial_rotary_factor") {
		f = p.real("partial_rotary_factor")
	}
	return o.rope(c, int(float64(c.Layers[0].HeadDim)*f))
}

// partialRotary reads the rotated share of each head.
func (r *ggufReader) partialRotary(o *object, key string) {
	dim, ok := r.num("rope.dimension_count")
	hidden, _ := r.num("embedding_length")
	heads, _ := r.num("attention.head_count")
	if head, own := r.num("attention.key_length"); own {
		hidden = head * heads
	}
	if ok && hidden > 0 && heads > 0 {
		o.set(key, float64(dim)*float64(heads)/float64(hidden))
	}
}
