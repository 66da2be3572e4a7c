package model

// SmolLM3 is Llama in which every fourth layer has no rotary embedding.
var _ = register(&Family{
	Name:  "smollm3",
	Types: []string{"smollm3"},
	Class: "SmolLM3ForCausalLM",
	Defaults: `{"vocab_size":128256, "hidden_size":2048, "intermediate_size":11008, "num_hidden_layers":36, "num_attention_heads":16,
		"num_key_value_heads":4, "hidden_act":"silu", "max_position_embeddings":32768, "rms_norm_eps":1e-6, "rope_theta":2000000.0,
		"tie_word_embeddings":true, "no_rope_layer_interval":4}`,
	Read: func(c *Config, o *object) {
		llama.Read(c, o)
		rotary, every := o.ints("no_rope_layers"), o.num("no_rope_layer_interval") // 1 where rotary is used
		window, sliding := 0, o.typedLayers(len(c.Layers), slidingLayers)
		if o.flag("use_sliding_window") {
			window = o.num("sliding_window")
		}
		if rotary != nil && len(rotary) < len(c.Layers) {
			o.fail(ErrInvalid, "no_rope_layers", "has %d entries for %d layers", len(rotary), len(c.Layers))
			return
		}
		c.each(func(i int, l *Layer) {
			if rotary != nil && rotary[i] == 0 || rotary == nil && every > 0 && (i+1)%every == 0 {
				l.Rope = nil
			}
			if sliding != nil && sliding[i] || sliding == nil && l.Rope == nil { // by default those without rotary embedding slide
				l.Window = window
			}
		})
	},
	draw:      drawLlama,
	hf:        llamaHF,
	PermuteQK: true,
	LlamaCPP: func(c *Config) string {
		for i := range c.Layers {
			if (c.Layers[i].Rope == nil) != ((i+1)%4 == 0) {
				return "llama.cpp rotates all but every fourth layer, whatever no_rope_layers says"
			}
		}
		return ""
	},
})
