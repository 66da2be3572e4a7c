package model

// gpt2Aliases are names that transformers takes for those of the GPT-2 kin.
var gpt2Aliases = map[string]string{"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head",
	"max_position_embeddings": "n_positions"}

// GPT-2 (Radford et al. 2019): learned positions, LayerNorm before each block, biases everywhere, a plain GELU MLP, the
// head tied to the embedding. Linear weights are stored [in, out] and q, k, v in one tensor.
var gpt2 = register(&Family{
	Name:  "gpt2",
	Types: []string{"gpt2"},
	Class: "GPT2LMHeadModel",
	Defaults: `{"vocab_size":50257, "n_embd":768, "n_layer":12, "n_head":12, "n_positions":1024, "activation_function":"gelu_new",
		"layer_norm_epsilon":1e-5, "tie_word_embeddings":true, "scale_attn_weights":true}`,
	Keys: map[string]string{"hidden": "n_embd", "layers": "n_layer", "heads": "n_head", "kv_heads": "", "head_dim": "", "ffn": "n_inner",
		"context": "n_positions", "eps": "layer_norm_epsilon", "act": "activation_function", "theta": ""},
	Aliases: gpt2Aliases,
	Read: func(c *Config, o *object) {
		c.Norm.Kind, c.NormBias, c.Positions = "layer", true, c.Context
		unscaled, byLayer := !o.flag("scale_attn_weights"), o.flag("scale_attn_by_inverse_layer_idx")
		c.each(func(i int, l *Layer) {
			l.QKVBias, l.OBias, l.MLPBias = true, true, true
			if l.FFN == 0 {
				l.FFN = 4 * c.Hidden
			}
			if unscaled {
				l.AttnScale = 1
			}
			if byLayer {
				l.AttnScale = l.scale() / float64(i+1)
			}
		})
	},
	draw: drawGPT2,
	hf: []stored{
		{Site: "embed", Name: "transformer.wte"},
		{Site: "positions", Name: "transformer.wpe"},
		{Site: "layers.#.attn.norm", Name: "transformer.h.#.ln_1"},
		{Parts: qkvSites, Name: "transformer.h.#.attn.c_attn", Transposed: true},
		{Site: "layers.#.attn.o", Name: "transformer.h.#.attn.c_proj", Transposed: true},
		{Site: "layers.#.mlp.norm", Name: "transformer.h.#.ln_2"},
		{Site: "layers.#.mlp.up", Name: "transformer.h.#.mlp.c_fc", Transposed: true},
		{Site: "layers.#.mlp.down", Name: "transformer.h.#.mlp.c_proj", Transposed: true},
		{Site: "norm", Name: "transformer.ln_f"},
		{Site: "head", Name: "lm_head"},
	},
	ggufDiff: []stored{
		fusedQKV,
	},
	Prefix: "transformer.",
	Ignore: []string{".attn.bias", ".attn.masked_bias"},
	LlamaCPP: func(c *Config) string {
		return when(c.Layers[0].AttnScale != 0, "llama.cpp scales scores by 1/sqrt(%d) in every layer", c.Layers[0].HeadDim)
	},
})

// drawGPT2 draws Llama with learned positions.
func drawGPT2(b *builder) {
	x := b.Add(b.Embed(), b.Position())
	for i := range b.Config.Layers {
		b.Layer(i, x)
		x = b.Add(x, b.SelfAttention(b.Norm("attn.norm", x)))
		x = b.Add(x, b.MLP(b.Norm("mlp.norm", x)))
	}
	b.End(x)
	b.Head(b.Norm("norm", x))
}
