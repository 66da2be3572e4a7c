package model

// Mistral is Llama with a sliding window (Jiang et al. 2023).
var mistral = register(&Family{
	Name:  "mistral",
	Types: []string{"mistral"},
	Class: "MistralForCausalLM",
	GGUF:  "llama",
	Defaults: `{"vocab_size":32000, "hidden_size":4096, "intermediate_size":14336, "num_hidden_layers":32, "num_attention_heads":32,
		"num_key_value_heads":8, "hidden_act":"silu", "max_position_embeddings":131072, "rms_norm_eps":1e-6, "rope_theta":10000.0,
		"sliding_window":4096}`,
	Read: func(c *Config, o *object) {
		rope, window := o.rope(c, c.Layers[0].HeadDim), o.num("sliding_window")
		c.each(func(_ int, l *Layer) { l.Gated, l.Rope, l.Window = true, rope, window })
	},
	draw:      drawLlama,
	hf:        llamaHF,
	PermuteQK: true,
	FromGGUF:  windowFromGGUF,
	Among:     func(r *ggufReader) bool { return r.above("attention.sliding_window") && !r.above("expert_count") },
})

// windowFromGGUF reads the sliding window; without one there is none, whatever the class assumes.
func windowFromGGUF(r *ggufReader, o *object) {
	o.set("sliding_window", nil)
	if w, ok := r.num("attention.sliding_window"); ok && w > 0 {
		o.set("sliding_window", w)
	}
}

// slidingFromGGUF reads which layers slide: a flag each, or else every-th layer that does not.
func slidingFromGGUF(r *ggufReader, o *object, every int) {
	windowFromGGUF(r, o)
	n, _ := r.num("block_count")
	n = max(min(n, int(maxLayers())), 0)
	k, _ := r.key("attention.sliding_window_pattern")
	v, _ := r.meta.Get(k)
	flags, each := v.([]bool)
	if !each && r.above("attention.sliding_window_pattern") {
		every, _ = r.num("attention.sliding_window_pattern")
	}
	window := r.above("attention.sliding_window")
	o.setTypedLayers(n, slidingLayers, func(i int) bool {
		return window && (each && i < len(flags) && flags[i] || !each && every > 0 && (i+1)%every != 0)
	})
}

// putSliding writes which layers slide.
func putSliding(c *Config, put func(string, any)) {
	flags := make([]bool, len(c.Layers))
	for i := range flags {
		flags[i] = c.Layers[i].Window > 0
	}
	put("attention.sliding_window_pattern", flags)
}

// window sets the sliding window: of the layers that layer_types names, or else of all but every every-th.
func (o *object) window(c *Config, every int) {
	window, sliding := o.num("sliding_window"), o.typedLayers(len(c.Layers), slidingLayers)
	c.each(func(i int, l *Layer) {
		if sliding != nil && sliding[i] || sliding == nil && every > 0 && (i+1)%every != 0 {
			l.Window = window
		}
	})
}
