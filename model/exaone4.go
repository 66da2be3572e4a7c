package model

// EXAONE 4.0 (LG AI Research 2025): norms behind the blocks instead of before them, normalised query and key heads, and, where
// layers slide, no rotary embedding in those that see everything. Sources: transformers' class Exaone4, and llama.cpp's
// architecture "exaone4", which takes layers to slide in models of 64 of them.
var _ = register(&Family{
	Name:  "exaone4",
	Types: []string{"exaone4"},
	Class: "Exaone4ForCausalLM",
	Defaults: `{"vocab_size":102400, "hidden_size":4096, "intermediate_size":16384, "num_hidden_layers":32, "num_attention_heads":32,
		"num_key_value_heads":32, "hidden_act":"silu", "max_position_embeddings":2048, "rms_norm_eps":1e-5, "rope_theta":10000.0,
		"sliding_window":4096}`,
	Read: func(c *Config, o *object) {
		rope := o.rope(c, c.Layers[0].HeadDim)
		o.window(c, o.slidingPattern())
		local := o.num("sliding_window") > 0
		c.each(func(_ int, l *Layer) {
			l.Gated, l.QKNorm = true, "head"
			if !local || l.Window > 0 {
				l.Rope = rope
			}
		})
	},
	draw:     drawOLMo2,
	hf:       olmo2HF,
	FromGGUF: func(r *ggufReader, o *object) { slidingFromGGUF(r, o, 4) },
	ToGGUF: func(c *Config, put func(string, any)) {
		if n := c.hf.num("sliding_window"); n > 0 {
			put("attention.sliding_window", n)
			putSliding(c, put)
		}
	},
	LlamaCPP: func(c *Config) string {
		local := c.hf.num("sliding_window") > 0
		return when(local != (len(c.Layers) == 64), "llama.cpp takes the layers of this architecture to slide in models of 64 of them, and in those alone")
	},
})

// slidingPattern reads sliding_window_pattern, a number or letters like "LLLG": which layer of so many does not slide. 0
// means that all do not.
func (o *object) slidingPattern() int {
	every := 4
	if raw := o.raw("sliding_window_pattern"); len(raw) > 0 && raw[0] == '"' {
		if s := o.text("sliding_window_pattern"); s != "LLLG" {
			o.fail(ErrUnsupported, "sliding_window_pattern", `is %q; known is "LLLG"`, clip(s))
		}
	} else if raw != nil {
		every = o.num("sliding_window_pattern")
	}
	return every
}
