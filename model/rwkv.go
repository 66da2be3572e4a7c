package model

// RWKV v4 (Peng et al. 2023): time mixing by a decaying weighted mean in place of attention, channel mixing by a squared
// ReLU; both see a blend of the token and the one before.
var _ = register(&Family{
	Name:  "rwkv",
	Types: []string{"rwkv"},
	Class: "RwkvForCausalLM",
	Defaults: `{"vocab_size":50277, "hidden_size":4096, "num_hidden_layers":32, "context_length":1024, "layer_norm_epsilon":1e-5,
		"rescale_every":6}`,
	Keys: map[string]string{"heads": "", "kv_heads": "", "head_dim": "", "ffn": "intermediate_size", "context": "context_length",
		"eps": "layer_norm_epsilon", "act": "", "theta": ""},
	Read: func(c *Config, o *object) {
		c.Norm.Kind, c.NormBias = "layer", true
		inner := o.num("attention_hidden_size")
		if inner == 0 {
			inner = c.Hidden
		}
		c.each(func(_ int, l *Layer) {
			if l.FFN == 0 {
				l.FFN = 4 * c.Hidden
			}
			l.SSM = &SSM{Inner: inner}
		})
	},
	draw: func(b *builder) {
		x := b.Embed()
		for i := range b.Config.Layers {
			b.Layer(i, x)
			if i == 0 {
				x = b.Norm("pre_norm", x)
			}
			x = b.Add(x, b.timeMix(b.Norm("attn.norm", x)))
			x = b.Add(x, b.channelMix(b.Norm("mlp.norm", x)))
		}
		b.End(x)
		b.Head(b.Norm("norm", x))
	},
	hf: []stored{
		{Site: "embed", Name: "rwkv.embeddings"},
		{Site: "layers.#.pre_norm", Name: "rwkv.blocks.#.pre_ln"},
		{Site: "layers.#.attn.norm", Name: "rwkv.blocks.#.ln1"},
		{Site: "layers.#.attn.mix_k", Name: "rwkv.blocks.#.attention.time_mix_key", Raw: true, Dims: []int{1, 1, 0}},
		{Site: "layers.#.attn.mix_v", Name: "rwkv.blocks.#.attention.time_mix_value", Raw: true, Dims: []int{1, 1, 0}},
		{Site: "layers.#.attn.mix_r", Name: "rwkv.blocks.#.attention.time_mix_receptance", Raw: true, Dims: []int{1, 1, 0}},
		{Site: "layers.#.attn.decay", Name: "rwkv.blocks.#.attention.time_decay", Raw: true},
		{Site: "layers.#.attn.first", Name: "rwkv.blocks.#.attention.time_first", Raw: true},
		{Site: "layers.#.attn.k", Name: "rwkv.blocks.#.attention.key"},
		{Site: "layers.#.attn.v", Name: "rwkv.blocks.#.attention.value"},
		{Site: "layers.#.attn.r", Name: "rwkv.blocks.#.attention.receptance"},
		{Site: "layers.#.attn.o", Name: "rwkv.blocks.#.attention.output"},
		{Site: "layers.#.mlp.norm", Name: "rwkv.blocks.#.ln2"},
		{Site: "layers.#.mlp.mix_k", Name: "rwkv.blocks.#.feed_forward.time_mix_key", Raw: true, Dims: []int{1, 1, 0}},
		{Site: "layers.#.mlp.mix_r", Name: "rwkv.blocks.#.feed_forward.time_mix_receptance", Raw: true, Dims: []int{1, 1, 0}},
		{Site: "layers.#.mlp.up", Name: "rwkv.blocks.#.feed_forward.key"},
		{Site: "layers.#.mlp.r", Name: "rwkv.blocks.#.feed_forward.receptance"},
		{Site: "layers.#.mlp.down", Name: "rwkv.blocks.#.feed_forward.value"},
		{Site: "norm", Name: "rwkv.ln_out"},
		{Site: "head", Name: "head"},
	},
	ggufDiff: []stored{
		{Site: "layers.#.pre_norm", Name: "token_embd_norm"},
		{Site: "layers.#.attn.mix_k", Name: "blk.#.time_mix_key", Raw: true},
		{Site: "layers.#.attn.mix_v", Name: "blk.#.time_mix_value", Raw: true},
		{Site: "layers.#.attn.mix_r", Name: "blk.#.time_mix_receptance", Raw: true},
		{Site: "layers.#.attn.decay", Name: "blk.#.time_mix_decay", Raw: true},
		{Site: "layers.#.attn.first", Name: "blk.#.time_mix_first", Raw: true},
		{Site: "layers.#.attn.r", Name: "blk.#.attn_r"},
		{Site: "layers.#.mlp.mix_k", Name: "blk.#.channel_mix_key", Raw: true},
		{Site: "layers.#.mlp.mix_r", Name: "blk.#.channel_mix_receptance", Raw: true},
		{Site: "layers.#.mlp.r", Name: "blk.#.ffn_r"},
	},
	LlamaCPP: func(*Config) string { return notThere },
})

func (b *builder) timeMix(h *Node) *Node {
	inner := Dim{b.Axis("inner", AxisFixed, b.L.SSM.Inner, nil), 1}
	r := b.Act(b.Linear("attn.r", b.shift("attn.mix_r", h), inner, false), Sigmoid)
	k := b.Linear("attn.k", b.shift("attn.mix_k", h), inner, false)
	v := b.Linear("attn.v", b.shift("attn.mix_v", h), inner, false)
	y := b.add(Node{Op: OpWKV, Out: inner, Weights: []*Weight{
		b.weight(RoleVector, b.path("attn.decay"), inner),
		b.weight(RoleVector, b.path("attn.first"), inner),
	}}, "attn.wkv", k, v)
	return b.Linear("attn.o", b.Mul(r, y), b.Hidden(), false)
}

func (b *builder) channelMix(h *Node) *Node {
	i := b.layer
	ffn := Dim{b.Axis("ffn", AxisFFN, b.L.FFN, func(c *Config, n int) { c.Layers[i].FFN = n }), 1}
	r := b.Act(b.Linear("mlp.r", b.shift("mlp.mix_r", h), b.Hidden(), false), Sigmoid)
	k := b.Act(b.Linear("mlp.up", b.shift("mlp.mix_k", h), ffn, false), ReLUSquared)
	return b.Mul(r, b.Linear("mlp.down", k, b.Hidden(), false))
}

func (b *builder) shift(site string, x *Node) *Node {
	w := []*Weight{b.weight(RoleVector, b.path(site), x.Out)}
	return b.add(Node{Op: OpShift, Out: x.Out, Weights: w}, site, x)
}
