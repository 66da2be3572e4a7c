package model

import "encoding/json"

// GPT-Neo (EleutherAI 2021; TinyStories is one): GPT-2 with plain linear layers, scores that are not scaled, and layers that
// take turns in seeing everything or a window. Source: transformers' class GPTNeo; llama.cpp does not have it.
var _ = register(&Family{
	Name:  "gpt_neo",
	Types: []string{"gpt_neo"},
	Class: "GPTNeoForCausalLM",
	GGUF:  "gptneo",
	Defaults: `{"vocab_size":50257, "hidden_size":2048, "num_layers":24, "num_heads":16, "max_position_embeddings":2048,
		"activation_function":"gelu_new", "layer_norm_epsilon":1e-5, "window_size":256, "tie_word_embeddings":true,
		"attention_types":[[["global","local"],12]]}`,
	Keys: map[string]string{"layers": "num_layers", "heads": "num_heads", "kv_heads": "", "head_dim": "", "eps": "layer_norm_epsilon",
		"act": "activation_function", "theta": ""},
	Aliases: map[string]string{"num_hidden_layers": "num_layers", "num_attention_heads": "num_heads"},
	Read: func(c *Config, o *object) {
		c.Norm.Kind, c.NormBias, c.Positions = "layer", true, c.Context
		local, window := o.localLayers(len(c.Layers)), o.num("window_size")
		c.each(func(i int, l *Layer) {
			l.AttnScale, l.OBias, l.MLPBias = 1, true, true
			if l.FFN == 0 {
				l.FFN = 4 * c.Hidden
			}
			if local != nil && local[i] {
				l.Window = window
			}
		})
	},
	draw: drawGPT2,
	hf: []stored{
		{Site: "embed", Name: "transformer.wte"},
		{Site: "positions", Name: "transformer.wpe"},
		{Site: "layers.#.attn.norm", Name: "transformer.h.#.ln_1"},
		{Site: "layers.#.attn.q", Name: "transformer.h.#.attn.attention.q_proj"},
		{Site: "layers.#.attn.k", Name: "transformer.h.#.attn.attention.k_proj"},
		{Site: "layers.#.attn.v", Name: "transformer.h.#.attn.attention.v_proj"},
		{Site: "layers.#.attn.o", Name: "transformer.h.#.attn.attention.out_proj"},
		{Site: "layers.#.mlp.norm", Name: "transformer.h.#.ln_2"},
		{Site: "layers.#.mlp.up", Name: "transformer.h.#.mlp.c_fc"},
		{Site: "layers.#.mlp.down", Name: "transformer.h.#.mlp.c_proj"},
		{Site: "norm", Name: "transformer.ln_f"},
		{Site: "head", Name: "lm_head"},
	},
	Prefix: "transformer.",
	Ignore: []string{".attn.attention.bias", ".attn.attention.masked_bias"},
	Spell:  func(c *Config, o *object) { o.set("attention_types", attentionTypes(c)) },
	FromGGUF: func(r *ggufReader, o *object) {
		if w, ok := r.num("attention.sliding_window"); ok {
			o.set("window_size", w)
		}
		slidingFromGGUF(r, o, 2)
		var kinds [][2]any
		for _, t := range o.texts("layer_types") {
			kinds = append(kinds, [2]any{[]string{map[bool]string{true: "local", false: "global"}[t == "sliding_attention"]}, 1})
		}
		o.set("attention_types", kinds)
		o.delete("layer_types")
		o.delete("sliding_window")
	},
	ToGGUF:   putSliding,
	LlamaCPP: func(*Config) string { return notThere },
})

// localLayers reads attention_types, a list of patterns and how often each stands: which layers see a window.
func (o *object) localLayers(layers int) []bool {
	var types [][2]json.RawMessage
	o.decode("attention_types", &types, "a list of [pattern, times]")
	var local []bool
	for _, t := range types {
		var kinds []string
		var times int
		if json.Unmarshal(t[0], &kinds) != nil || json.Unmarshal(t[1], &times) != nil || times < 0 || times > layers || len(kinds) > layers {
			o.fail(ErrInvalid, "attention_types", "is %s, must be a list of [pattern, times]", clip(string(o.raw("attention_types"))))
			return nil
		}
		for range times {
			for _, k := range kinds {
				if k != "local" && k != "global" {
					o.fail(ErrUnsupported, "attention_types", "%q is not known", clip(k))
				}
				local = append(local, k == "local")
			}
			if len(local) > layers {
				break
			}
		}
	}
	if len(local) != layers {
		o.fail(ErrInvalid, "attention_types", "names %d layers, there are %d", len(local), layers)
		return nil
	}
	return local
}

// attentionTypes says of each layer by itself whether it sees a window.
func attentionTypes(c *Config) (types [][2]any) {
	for i := range c.Layers {
		kind := "global"
		if c.Layers[i].Window > 0 {
			kind = "local"
		}
		types = append(types, [2]any{[]string{kind}, 1})
	}
	return types
}
