package model

// Llama and the many families that are Llama under another name: RMSNorm before each block, rotary positions, grouped
// heads, SwiGLU (Touvron et al. 2023).
var llama = register(&Family{
	Name:  "llama",
	Types: []string{"llama"},
	Class: "LlamaForCausalLM",
	Defaults: `{"vocab_size":32000, "hidden_size":4096, "intermediate_size":11008, "num_hidden_layers":32, "num_attention_heads":32,
		"hidden_act":"silu", "max_position_embeddings":2048, "rms_norm_eps":1e-6, "rope_theta":10000.0}`,
	Read: func(c *Config, o *object) {
		attn, mlp := o.flag("attention_bias"), o.flag("mlp_bias")
		rope := o.rope(c, c.Layers[0].HeadDim)
		c.each(func(_ int, l *Layer) {
			l.Gated, l.Rope = true, rope
			l.QKVBias, l.OBias, l.MLPBias = attn, attn, mlp
		})
	},
	draw:      drawLlama,
	hf:        llamaHF,
	Ignore:    []string{".rotary_emb.inv_freq"},
	PermuteQK: true,
	FromGGUF: func(r *ggufReader, o *object) {
		o.set("attention_bias", r.has("blk.0.attn_q.bias"))
		o.set("mlp_bias", r.has("blk.0.ffn_up.bias"))
	},
	LlamaCPP: func(c *Config) string {
		r := c.rope()
		return when(r.Scaling.Kind == "dynamic", "llama.cpp does not stretch the rotary embedding of texts longer than %d tokens", c.Context)
	},
})

func drawLlama(b *builder) {
	x := b.Embed()
	for i := range b.Config.Layers {
		b.Layer(i, x)
		x = b.Add(x, b.Scale(b.SelfAttention(b.Norm("attn.norm", x)), b.L.Residual))
		x = b.Add(x, b.Scale(b.MLP(b.Norm("mlp.norm", x)), b.L.Residual))
	}
	b.End(x)
	b.Head(b.Norm("norm", x))
}
