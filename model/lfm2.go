package model

import (
	"math"
	"slices"
)

// LFM2 (Liquid AI 2025): most layers have a short gated convolution in place of attention. Sources: transformers' class Lfm2, and llama.cpp.
var _ = register(&Family{
	Name:    "lfm2",
	Types:   []string{"lfm2"},
	Class:   "Lfm2ForCausalLM",
	Aliases: map[string]string{"block_ff_dim": "intermediate_size", "tie_embedding": "tie_word_embeddings", "block_norm_eps": "norm_eps"},
	Defaults: `{"vocab_size":65536, "hidden_size":2560, "intermediate_size":12288, "num_hidden_layers":32, "num_attention_heads":32,
		"num_key_value_heads":8, "max_position_embeddings":128000, "norm_eps":1e-5, "rope_theta":1000000.0, "conv_bias":false, "conv_L_cache":3,
		"block_multiple_of":256, "block_ffn_dim_multiplier":1.0, "block_auto_adjust_ff_dim":true, "tie_word_embeddings":true}`,
	Keys: map[string]string{"eps": "norm_eps", "act": ""},
	Read: func(c *Config, o *object) {
		rope, conv := o.rope(c, c.Layers[0].HeadDim), o.shortConvs(len(c.Layers))
		taps, bias := o.num("conv_L_cache"), o.flag("conv_bias")
		if taps < 1 || taps > 1024 {
			o.fail(ErrInvalid, "conv_L_cache", "is %d, must be 1 to 1024", taps)
		}
		ffn := c.Layers[0].FFN
		if multiple := o.num("block_multiple_of"); o.flag("block_auto_adjust_ff_dim") {
			if multiple < 1 {
				o.fail(ErrInvalid, "block_multiple_of", "is %d, must be at least 1", multiple)
				return
			}
			if ffn = 2 * ffn / 3; o.has("block_ffn_dim_multiplier") {
				ffn = int(min(o.real("block_ffn_dim_multiplier")*float64(ffn), math.MaxInt32))
			}
			ffn = (ffn + multiple - 1) / multiple * multiple
		}
		c.each(func(i int, l *Layer) {
			l.Gated, l.Act, l.Rope, l.QKNorm, l.FFN = true, SiLU, rope, "head", ffn
			if conv != nil && conv[i] {
				l.Conv, l.ConvBias = taps, bias
			}
		})
	},
	draw: func(b *builder) {
		b.hidden.set = nil // the convolutions are as wide, whatever their channels do
		x := b.Embed()
		for i := range b.Config.Layers {
			b.Layer(i, x)
			h := b.Norm("attn.norm", x)
			if b.L.Conv > 0 {
				h = b.shortConv(h)
			} else {
				h = b.SelfAttention(h)
			}
			x = b.Add(x, h)
			x = b.Add(x, b.MLP(b.Norm("mlp.norm", x)))
		}
		b.End(x)
		b.Head(b.Norm("norm", x))
	},
	hf: override(llamaHF, append([]stored{
		{Site: "layers.#.attn.norm", Name: "model.layers.#.operator_norm"},
		{Site: "layers.#.attn.q_norm", Name: "model.layers.#.self_attn.q_layernorm"},
		{Site: "layers.#.attn.k_norm", Name: "model.layers.#.self_attn.k_layernorm"},
		{Site: "layers.#.attn.o", Name: "model.layers.#.self_attn.out_proj"},
		{Site: "layers.#.mlp.norm", Name: "model.layers.#.ffn_norm"},
		{Site: "layers.#.mlp.gate", Name: "model.layers.#.feed_forward.w1"},
		{Site: "layers.#.mlp.up", Name: "model.layers.#.feed_forward.w3"},
		{Site: "layers.#.mlp.down", Name: "model.layers.#.feed_forward.w2"},
		{Site: "norm", Name: "model.embedding_norm"},
	}, shortConvs("model.layers.#.conv.", 0, 1, 0)...)),
	ggufDiff: append([]stored{{Site: "norm", Name: "token_embd_norm"}}, shortConvs("blk.#.shortconv.")...),
	Spell: func(c *Config, o *object) {
		o.setTypedLayers(len(c.Layers), convLayers, func(i int) bool { return c.Layers[i].Conv > 0 })
		o.delete("full_attn_idxs")
		o.set("intermediate_size", c.Layers[0].FFN)
		o.set("block_auto_adjust_ff_dim", false)
	},
	FromGGUF: func(r *ggufReader, o *object) {
		if n, ok := r.num("shortconv.l_cache"); ok {
			o.set("conv_L_cache", n)
		}
		o.set("conv_bias", false)
		o.set("block_auto_adjust_ff_dim", false)
		k, _ := r.key("attention.head_count_kv")
		heads, err := r.meta.Ints(k)
		if n, _ := r.num("block_count"); err != nil || len(heads) != n {
			return // attention everywhere
		}
		full := []int{}
		for i, n := range heads {
			if n != 0 {
				full = append(full, i)
			}
		}
		o.set("full_attn_idxs", full)
	},
	ToGGUF: func(c *Config, put func(string, any)) {
		heads := make([]int32, len(c.Layers))
		for i := range heads {
			if l := &c.Layers[i]; l.Conv == 0 {
				heads[i] = int32(l.KVHeads)
			} else {
				put("shortconv.l_cache", l.Conv)
			}
		}
		put("attention.head_count_kv", heads)
	},
	LlamaCPP: func(c *Config) string {
		conv := slices.ContainsFunc(c.Layers, func(l Layer) bool { return l.Conv > 0 })
		bias := slices.ContainsFunc(c.Layers, func(l Layer) bool { return l.ConvBias })
		return first(c.wholeHeads(), when(!conv, "llama.cpp does not load it: it wants convolutions in this architecture"),
			when(bias, "llama.cpp has no biases of convolutions in this architecture"))
	},
})

// shortConvs are the names of a convolution block; dims is the shape of the taps where it is not [width, taps].
func shortConvs(prefix string, dims ...int) []stored {
	return []stored{
		{Parts: []string{"layers.#.conv.b", "layers.#.conv.c", "layers.#.conv.x"}, Name: prefix + "in_proj"},
		{Site: "layers.#.conv.conv", Name: prefix + "conv", Dims: dims},
		{Site: "layers.#.conv.out", Name: prefix + "out_proj"},
	}
}

// shortConv draws out(C * conv(B * X)) with three projections of h.
func (b *builder) shortConv(h *Node) *Node {
	l := b.L
	width := Dim{b.Axis("conv", AxisFixed, b.Config.Hidden, nil), 1}
	gate, c, x := b.Linear("conv.b", h, width, l.ConvBias), b.Linear("conv.c", h, width, l.ConvBias), b.Linear("conv.x", h, width, l.ConvBias)
	x = b.conv("conv.conv", b.Mul(gate, x), l.Conv, l.ConvBias)
	return b.Linear("conv.out", b.Mul(c, x), b.Hidden(), l.ConvBias)
}

// shortConvs reads which layers are convolutions: those that layer_types says, or else all but full_attn_idxs; nil where neither is there.
func (o *object) shortConvs(layers int) []bool {
	if conv := o.typedLayers(layers, convLayers); conv != nil {
		return conv
	}
	full := o.ints("full_attn_idxs")
	if full == nil {
		return nil
	}
	conv := make([]bool, layers)
	for i := range conv {
		conv[i] = !slices.Contains(full, i)
	}
	return conv
}
