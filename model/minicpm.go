package model

import "math"

// MiniCPM (OpenBMB 2024): Llama with embeddings times scale_emb, both branches of a layer times scale_depth/sqrt(layers), and
// what enters the head times dim_model_base/hidden_size. Sources: the model page's modeling_minicpm.py, and llama.cpp's
// architecture "minicpm".
var _ = register(&Family{
	Name:  "minicpm",
	Types: []string{"minicpm"},
	Class: "MiniCPMForCausalLM",
	Defaults: `{"vocab_size":32000, "hidden_size":4096, "intermediate_size":11008, "num_hidden_layers":32, "num_attention_heads":32,
		"hidden_act":"silu", "max_position_embeddings":2048, "rms_norm_eps":1e-6, "rope_theta":10000.0, "tie_word_embeddings":true,
		"scale_emb":1, "dim_model_base":1, "scale_depth":1}`,
	Read: func(c *Config, o *object) {
		llama.Read(c, o)
		if n := o.num("num_experts"); n > 0 {
			o.fail(ErrUnsupported, "num_experts", "is %d: the mixtures of experts among the MiniCPM are not known", n)
		}
		c.EmbedScale, c.LogitScale = o.real("scale_emb"), o.real("dim_model_base")/float64(c.Hidden)
		residual := o.real("scale_depth") / sqrt(float64(len(c.Layers)))
		c.each(func(_ int, l *Layer) { l.Residual = residual })
	},
	draw:      drawLlama,
	hf:        llamaHF,
	PermuteQK: true,
	FromGGUF: func(r *ggufReader, o *object) {
		llama.FromGGUF(r, o)
		hidden, _ := r.num("embedding_length")
		layers, _ := r.num("block_count")
		depth := sqrt(float64(max(layers, 1)))
		o.set("scale_emb", r.or("embedding_scale", 12))
		o.set("scale_depth", r.or("residual_scale", 1.4/depth)*depth)
		o.set("dim_model_base", float64(hidden)/r.or("logit_scale", float64(hidden)/256))
	},
	Spell: func(c *Config, o *object) {
		n := sqrt(float64(len(c.Layers)))
		depth := c.Layers[0].Residual * n
		for _, d := range []float64{math.Nextafter(depth, 0), math.Nextafter(depth, 2*depth)} { // the one that gives it back to the last bit
			if d/n == c.Layers[0].Residual {
				depth = d
			}
		}
		o.set("scale_depth", depth)
	},
	ToGGUF: func(c *Config, put func(string, any)) {
		put("embedding_scale", c.EmbedScale)
		put("residual_scale", c.Layers[0].Residual)
		put("logit_scale", 1/c.LogitScale) // a divisor there
	},
})
