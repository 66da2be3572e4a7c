package model

import "fmt"

// Falcon has three forms: falcon-rw (alibi, blocks in sequence), 7b (one key/value head, blocks in parallel behind one
// norm), and the new decoder of 40b and 11b (grouped heads, two norms or one).
var _ = register(&Family{
	Name:  "falcon",
	Types: []string{"falcon", "RefinedWeb", "RefinedWebModel"},
	Class: "FalconForCausalLM",
	Defaults: `{"vocab_size":65024, "hidden_size":4544, "num_hidden_layers":32, "num_attention_heads":71, "activation":"gelu",
		"max_position_embeddings":2048, "layer_norm_epsilon":1e-5, "rope_theta":10000.0, "multi_query":true, "parallel_attn":true,
		"tie_word_embeddings":true}`,
	Keys: map[string]string{"kv_heads": "num_kv_heads", "head_dim": "", "ffn": "ffn_hidden_size", "eps": "layer_norm_epsilon", "act": "activation"},
	// Files of before Falcon was part of transformers.
	Aliases: map[string]string{"n_embed": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads",
		"n_head_kv": "num_kv_heads"},
	Read: func(c *Config, o *object) {
		c.Norm.Kind, c.NormBias = "layer", true
		newDecoder, bias := o.flag("new_decoder_architecture"), o.flag("bias")
		if o.text("model_type") == "RefinedWeb" && o.has("num_kv_heads") && !o.has("new_decoder_architecture") {
			newDecoder = true // the first files of Falcon 40B: their own code knew nothing else
		}
		norms := o.num("num_ln_in_parallel_attn")
		if norms == 0 && newDecoder {
			norms = 2
		}
		rope := o.rope(c, c.Layers[0].HeadDim)
		c.each(func(_ int, l *Layer) {
			if !newDecoder { // num_kv_heads counts only in the new decoder
				if l.KVHeads = l.Heads; o.flag("multi_query") {
					l.KVHeads = 1
				}
			}
			if l.FFN == 0 {
				l.FFN = 4 * c.Hidden
			}
			l.Rope, l.QKVBias, l.OBias, l.MLPBias = rope, bias, bias, bias
			l.Parallel, l.TwoNorms = newDecoder || o.flag("parallel_attn"), norms == 2
			if o.flag("alibi") {
				l.Rope, l.Alibi = nil, &Alibi{Slopes: alibiSlopes(l.Heads), Scale: l.scale() * alibiTimes(o), BF16: true}
			}
		})
	},
	draw: func(b *builder) {
		x := b.Embed()
		for i := range b.Config.Layers {
			b.Layer(i, x)
			switch {
			case b.L.TwoNorms:
				a := b.SelfAttention(b.Norm("attn.norm_parallel", x))
				x = b.Add(b.Add(x, a), b.MLP(b.Norm("mlp.norm_parallel", x)))
			case b.L.Parallel:
				h := b.Norm("attn.norm", x)
				x = b.Add(b.Add(x, b.SelfAttention(h)), b.MLP(h))
			default:
				x = b.Add(x, b.SelfAttention(b.Norm("attn.norm", x)))
				x = b.Add(x, b.MLP(b.Norm("mlp.norm", x)))
			}
		}
		b.End(x)
		b.Head(b.Norm("norm", x))
	},
	hf: []stored{
		{Site: "embed", Name: "transformer.word_embeddings"},
		{Site: "layers.#.attn.norm", Name: "transformer.h.#.input_layernorm"},
		{Parts: qkvSites, Grouped: true, Name: "transformer.h.#.self_attention.query_key_value"},
		{Site: "layers.#.attn.o", Name: "transformer.h.#.self_attention.dense"},
		{Site: "layers.#.mlp.norm", Name: "transformer.h.#.post_attention_layernorm"},
		{Site: "layers.#.attn.norm_parallel", Name: "transformer.h.#.ln_attn"},
		{Site: "layers.#.mlp.norm_parallel", Name: "transformer.h.#.ln_mlp"},
		{Site: "layers.#.mlp.up", Name: "transformer.h.#.mlp.dense_h_to_4h"},
		{Site: "layers.#.mlp.down", Name: "transformer.h.#.mlp.dense_4h_to_h"},
		{Site: "norm", Name: "transformer.ln_f"},
		{Site: "head", Name: "lm_head"},
	},
	ggufDiff: []stored{
		fusedQKV,
		{Site: "layers.#.attn.norm_parallel", Name: "blk.#.attn_norm_2"},
		{Site: "layers.#.mlp.norm_parallel", Name: "blk.#.attn_norm"},
	},
	Prefix: "transformer.",
	FromGGUF: func(r *ggufReader, o *object) {
		kv, _ := r.num("attention.head_count_kv")
		two := r.has("blk.0.attn_norm_2.weight")
		o.set("bias", r.has("blk.0.attn_qkv.bias"))
		o.set("parallel_attn", true)
		o.set("multi_query", true)
		if two || kv > 1 {
			o.set("new_decoder_architecture", true)
			o.set("num_ln_in_parallel_attn", map[bool]int{true: 2, false: 1}[two])
		}
	},
	ToGGUF: func(_ *Config, put func(string, any)) { put("tensor_data_layout", "jploski") },
	LlamaCPP: func(c *Config) string {
		return when(c.Layers[0].Alibi != nil || c.Layers[0].QKVBias || !c.Layers[0].Parallel, "llama.cpp does not load it: it knows the parallel Falcon with rotary embedding and without biases alone")
	},
})

// alibiTimes returns how often the bias is added. Once is right, and what the published Falcon-RW models were trained
// with. But the eager attention of transformers from 4.45 on, which computed every reference result there is, adds it a
// second time through the causal mask; a checkpoint written by those versions is computed as they compute it.
// "alibi_times" in config.json overrides the guess.
func alibiTimes(o *object) float64 {
	if o.has("alibi_times") {
		return o.real("alibi_times")
	}
	var major, minor int
	if n, _ := fmt.Sscanf(o.text("transformers_version"), "%d.%d", &major, &minor); n == 2 && (major > 4 || major == 4 && minor >= 45) {
		o.warn("written by transformers %d.%d, whose eager attention adds alibi twice: computed so; set \"alibi_times\": 1 in config.json if the model was trained with another attention", major, minor)
		return 2
	}
	return 1
}
