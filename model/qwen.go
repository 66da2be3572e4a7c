package model

// The Qwen families: Llama with biases on q, k and v (Qwen2) or normalised queries and keys (Qwen3), dense or as mixtures
// of experts.

const qwen2Defaults = `"num_hidden_layers":32, "num_attention_heads":32, "num_key_value_heads":32, "hidden_act":"silu",
	"max_position_embeddings":32768, "rms_norm_eps":1e-6, "rope_theta":10000.0, "sliding_window":4096, "max_window_layers":28,
	"vocab_size":151936`

const qwenMoeDefaults = `"hidden_size":2048, "num_hidden_layers":24, "hidden_act":"silu", "max_position_embeddings":32768,
	"rms_norm_eps":1e-6, "rope_theta":10000.0, "sliding_window":4096, "max_window_layers":28, "vocab_size":151936, "decoder_sparse_step":1`

var _ = register(&Family{
	Name:     "qwen2",
	Types:    []string{"qwen2"},
	Class:    "Qwen2ForCausalLM",
	Defaults: `{"hidden_size":4096, "intermediate_size":22016, ` + qwen2Defaults + `}`,
	Read: func(c *Config, o *object) {
		readQwen(c, o)
		c.each(func(_ int, l *Layer) { l.QKVBias = true })
	},
	draw:     drawLlama,
	hf:       llamaHF,
	FromGGUF: windowFromGGUF,
})

var _ = register(&Family{
	Name:     "qwen3",
	Types:    []string{"qwen3"},
	Class:    "Qwen3ForCausalLM",
	Defaults: `{"hidden_size":4096, "intermediate_size":22016, "head_dim":128, ` + qwen2Defaults + `}`,
	Read:     readQwen3,
	draw:     drawLlama,
	hf:       llamaHF,
	FromGGUF: windowFromGGUF,
})

var _ = register(&Family{
	Name:  "qwen2_moe",
	Types: []string{"qwen2_moe"},
	Class: "Qwen2MoeForCausalLM",
	GGUF:  "qwen2moe",
	// What newer files say.
	Aliases: map[string]string{"num_local_experts": "num_experts"},
	Defaults: `{"num_attention_heads":16, "num_key_value_heads":16, "intermediate_size":5632, "moe_intermediate_size":1408,
		"num_experts":60, "num_experts_per_tok":4, "shared_expert_intermediate_size":5632, "qkv_bias":true, ` + qwenMoeDefaults + `}`,
	Read: func(c *Config, o *object) {
		readQwen(c, o)
		readQwenExperts(c, o)
		bias, shared := o.flag("qkv_bias"), o.num("shared_expert_intermediate_size")
		c.each(func(_ int, l *Layer) {
			l.QKVBias = bias
			if l.Experts > 0 {
				l.Shared = shared
			}
		})
	},
	draw: drawLlama,
	hf:   override(qwenMoeHF, qwenSharedHF),
	FromGGUF: func(r *ggufReader, o *object) {
		windowFromGGUF(r, o)
		denseFromGGUF(r, o)
		if n, ok := r.num("expert_shared_feed_forward_length"); ok {
			o.set("shared_expert_intermediate_size", n)
		} else if t, ok := r.file.Tensor("blk.0.ffn_up_shexp.weight"); ok {
			o.set("shared_expert_intermediate_size", t.Rows())
		}
	},
	LlamaCPP: func(c *Config) string {
		return first(c.mixedLayers(), when(c.normalized(), "llama.cpp does not normalise the weights of experts in this architecture, whatever norm_topk_prob says"))
	},
})

var _ = register(&Family{
	Name:  "qwen3_moe",
	Types: []string{"qwen3_moe"},
	Class: "Qwen3MoeForCausalLM",
	GGUF:  "qwen3moe",
	// What newer files say.
	Aliases: map[string]string{"num_local_experts": "num_experts"},
	Defaults: `{"num_attention_heads":32, "num_key_value_heads":4, "intermediate_size":6144, "moe_intermediate_size":768,
		"num_experts":128, "num_experts_per_tok":8, ` + qwenMoeDefaults + `}`,
	Read: func(c *Config, o *object) {
		readQwen3(c, o)
		readQwenExperts(c, o)
	},
	draw: drawLlama,
	hf:   qwenMoeHF,
	FromGGUF: func(r *ggufReader, o *object) {
		windowFromGGUF(r, o)
		denseFromGGUF(r, o)
		o.set("norm_topk_prob", true) // what llama.cpp does for the architecture
	},
	LlamaCPP: func(c *Config) string {
		return first(c.mixedLayers(), when(!c.normalized(), "llama.cpp normalises the weights of experts in this architecture, whatever norm_topk_prob says"))
	},
})

// qwenSharedHF are the names of the expert that every token uses.
var qwenSharedHF = []stored{
	{Site: "layers.#.mlp.shared.gate", Name: "model.layers.#.mlp.shared_expert.gate_proj"},
	{Site: "layers.#.mlp.shared.up", Name: "model.layers.#.mlp.shared_expert.up_proj"},
	{Site: "layers.#.mlp.shared.down", Name: "model.layers.#.mlp.shared_expert.down_proj"},
	{Site: "layers.#.mlp.shared.router", Name: "model.layers.#.mlp.shared_expert_gate"},
}

var qwenRouterHF = stored{Site: "layers.#.mlp.router", Name: "model.layers.#.mlp.gate"}

var qwenMoeHF = override(llamaHF, []stored{
	qwenRouterHF,
	{Site: "layers.#.mlp.experts.gate", Name: "model.layers.#.mlp.experts.@.gate_proj"},
	{Site: "layers.#.mlp.experts.up", Name: "model.layers.#.mlp.experts.@.up_proj"},
	{Site: "layers.#.mlp.experts.down", Name: "model.layers.#.mlp.experts.@.down_proj"},
})

// denseFromGGUF lists the layers without a router.
func denseFromGGUF(r *ggufReader, o *object) {
	var dense []int
	n, _ := r.num("block_count")
	for i := range min(n, int(maxLayers())) {
		if !r.has(at("blk.#.ffn_gate_inp.weight", i)) {
			dense = append(dense, i)
		}
	}
	if dense != nil {
		o.set("mlp_only_layers", dense)
	}
}

// readQwen reads what all share. With use_sliding_window, layers from max_window_layers on slide.
func readQwen(c *Config, o *object) {
	rope := o.rope(c, c.Layers[0].HeadDim)
	sliding, from, window := o.typedLayers(len(c.Layers), slidingLayers), o.num("max_window_layers"), o.num("sliding_window")
	if !o.flag("use_sliding_window") {
		window = 0
	}
	c.each(func(i int, l *Layer) {
		l.Gated, l.Rope = true, rope
		if sliding != nil && sliding[i] || sliding == nil && i >= from {
			l.Window = window
		}
	})
}

func readQwen3(c *Config, o *object) {
	readQwen(c, o)
	bias := o.flag("attention_bias")
	c.each(func(_ int, l *Layer) { l.QKNorm, l.QKVBias, l.OBias = "head", bias, bias })
}

// readQwenExperts makes every decoder_sparse_step-th layer a mixture but for mlp_only_layers.
func readQwenExperts(c *Config, o *object) {
	experts, ffn, step := o.num("num_experts"), o.num("moe_intermediate_size"), max(o.num("decoder_sparse_step"), 1)
	route := Route{TopK: o.num("num_experts_per_tok"), Normalize: o.flag("norm_topk_prob")}
	dense := map[int]bool{}
	for _, i := range o.ints("mlp_only_layers") {
		dense[i] = true
	}
	c.each(func(i int, l *Layer) {
		if experts > 0 && !dense[i] && (i+1)%step == 0 {
			l.Experts, l.FFN, l.Route = experts, ffn, route
		}
	})
}
