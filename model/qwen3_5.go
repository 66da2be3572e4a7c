package model

import "slices"

// Qwen3.5 (2026): most layers are gated delta networks (Yang et al. 2024), which keep a matrix for each head in place of keys and values; the
// others attend, and what heads give passes a gate. Sources: transformers' classes Qwen3_5 and Qwen3Next, and llama.cpp. Checkpoints see
// pictures too: the language model alone is read (language.go), without the layers that guess tokens ahead.
var qwen3_5 = register(&Family{
	Name:  "qwen3_5",
	Types: []string{"qwen3_5_text"},
	Class: "Qwen3_5ForCausalLM",
	GGUF:  "qwen35",
	Defaults: `{"vocab_size":248320, "hidden_size":4096, "intermediate_size":12288, "num_hidden_layers":32, "num_attention_heads":16,
		"num_key_value_heads":4, "hidden_act":"silu", "max_position_embeddings":32768, "rms_norm_eps":1e-6, "rope_theta":10000.0,
		"partial_rotary_factor":0.25, "head_dim":256, "linear_conv_kernel_dim":4, "linear_key_head_dim":128, "linear_value_head_dim":128,
		"linear_num_key_heads":16, "linear_num_value_heads":32, "full_attention_interval":4, "attn_output_gate":true}`,
	Read: func(c *Config, o *object) {
		c.Norm.PlusOne = true
		rope, bias, gate := o.partialRope(c), o.flag("attention_bias"), o.flag("attn_output_gate")
		d := &Delta{KeyHeads: o.num("linear_num_key_heads"), ValueHeads: o.num("linear_num_value_heads"), KeyDim: o.num("linear_key_head_dim"),
			ValueDim: o.num("linear_value_head_dim")}
		taps := o.num("linear_conv_kernel_dim")
		d.check(o, taps)
		linear := o.deltaLayers(len(c.Layers))
		c.each(func(i int, l *Layer) {
			l.Gated, l.Rope, l.QKNorm, l.QKVBias, l.OBias, l.AttnGate = true, rope, "head", bias, bias, gate
			if linear[i] {
				l.Delta, l.Conv = d, taps
			}
		})
	},
	draw: func(b *builder) {
		x := b.Embed()
		for i := range b.Config.Layers {
			b.Layer(i, x)
			h := b.Norm("attn.norm", x)
			if b.L.Delta != nil {
				h = b.deltaNet(h)
			} else {
				h = b.SelfAttention(h)
			}
			x = b.Add(x, h)
			x = b.Add(x, b.MLP(b.Norm("mlp.norm", x)))
		}
		b.End(x)
		b.Head(b.Norm("norm", x))
	},
	hf: override(llamaHF, []stored{
		gatedQuery("model.layers.#.self_attn.q_proj"),
		{Parts: deltaSites, Name: "model.layers.#.linear_attn.in_proj_qkv", Tiled: true},
		{Parts: deltaConvs, Name: "model.layers.#.linear_attn.conv1d", Dims: []int{0, 1, 0}, Tiled: true},
		{Site: "layers.#.delta.z", Name: "model.layers.#.linear_attn.in_proj_z", Tiled: true},
		{Site: "layers.#.delta.beta", Name: "model.layers.#.linear_attn.in_proj_b", Tiled: true},
		{Site: "layers.#.delta.alpha", Name: "model.layers.#.linear_attn.in_proj_a", Tiled: true},
		{Site: "layers.#.delta.a", Name: "model.layers.#.linear_attn.A_log", Raw: true, Tiled: true},
		{Site: "layers.#.delta.dt", Name: "model.layers.#.linear_attn.dt_bias", Raw: true, Tiled: true},
		{Site: "layers.#.delta.norm", Name: "model.layers.#.linear_attn.norm"},
		{Site: "layers.#.delta.out", Name: "model.layers.#.linear_attn.out_proj", Tiled: true},
	}),
	ggufDiff: override(gemmaGGUF, []stored{
		{Site: "layers.#.mlp.norm", Name: "blk.#.post_attention_norm", PlusOne: true},
		gatedQuery("blk.#.attn_q"),
		{Parts: deltaSites, Name: "blk.#.attn_qkv"},
		{Parts: deltaConvs, Name: "blk.#.ssm_conv1d"},
		{Site: "layers.#.delta.z", Name: "blk.#.attn_gate"},
		{Site: "layers.#.delta.beta", Name: "blk.#.ssm_beta"},
		{Site: "layers.#.delta.alpha", Name: "blk.#.ssm_alpha"},
		{Site: "layers.#.delta.a", Name: "blk.#.ssm_a", Raw: true, NegExp: true},
		{Site: "layers.#.delta.dt", Name: "blk.#.ssm_dt.bias", Raw: true},
		{Site: "layers.#.delta.norm", Name: "blk.#.ssm_norm"},
		{Site: "layers.#.delta.out", Name: "blk.#.ssm_out"},
	}),
	Spell: func(c *Config, o *object) {
		o.setTypedLayers(len(c.Layers), linearLayers, func(i int) bool { return c.Layers[i].Delta != nil })
	},
	FromGGUF: func(r *ggufReader, o *object) {
		for key, from := range deltaGGUF {
			if n, ok := r.num(from); ok {
				o.set(key, n)
			}
		}
		heads, _ := r.num("ssm.time_step_rank")
		inner, _ := r.num("ssm.inner_size")
		o.set("linear_value_head_dim", inner/max(heads, 1))
		r.partialRotary(o, "partial_rotary_factor")
		layers, _ := r.num("block_count")
		if n, ok := r.num("nextn_predict_layers"); ok { // those that guess ahead stand behind the others
			layers -= n
			o.set("num_hidden_layers", layers)
		}
		k, _ := r.key("attention.recurrent_layers")
		v, _ := r.meta.Get(k)
		if flags, ok := v.([]bool); ok && layers >= 0 && len(flags) >= layers {
			o.setTypedLayers(min(layers, int(maxLayers())), linearLayers, func(i int) bool { return flags[i] })
		}
	},
	ToGGUF: func(c *Config, put func(string, any)) {
		flags := make([]bool, len(c.Layers))
		for i := range flags {
			l := &c.Layers[i]
			if d := l.Delta; d != nil {
				flags[i] = true
				for key, n := range map[string]int{"linear_conv_kernel_dim": l.Conv, "linear_key_head_dim": d.KeyDim, "linear_num_key_heads": d.KeyHeads,
					"linear_num_value_heads": d.ValueHeads} {
					put(deltaGGUF[key], n)
				}
				put("ssm.inner_size", d.ValueHeads*d.ValueDim)
			}
		}
		put("attention.recurrent_layers", flags)
		put("full_attention_interval", max(c.hf.num("full_attention_interval"), 1))
		put("rope.dimension_sections", []int32{11, 11, 10, 0}) // of three axes, which are one for text
	},
	LlamaCPP: func(c *Config) string {
		i := slices.IndexFunc(c.Layers, func(l Layer) bool { return l.Delta != nil })
		if i < 0 {
			return "llama.cpp does not load it: it wants gated delta networks in this architecture"
		}
		full := slices.IndexFunc(c.Layers, func(l Layer) bool { return l.Delta == nil })
		d := c.Layers[i].Delta
		return first(when(d.KeyDim != d.ValueDim, "llama.cpp does not load it: it wants keys and values of one width in this architecture"),
			when(full >= 0 && !c.Layers[full].AttnGate, "llama.cpp does not load it: it wants gates of attention in this architecture"))
	},
})

// Qwen3.5 as a mixture of experts, whose matrices of all experts lie in one tensor.
var _ = register(&Family{
	Name:  "qwen3_5_moe",
	Types: []string{"qwen3_5_moe_text"},
	Class: "Qwen3_5MoeForCausalLM",
	GGUF:  "qwen35moe",
	Defaults: `{"vocab_size":248320, "hidden_size":2048, "num_hidden_layers":40, "num_attention_heads":16, "num_key_value_heads":2, "hidden_act":"silu",
		"max_position_embeddings":32768, "rms_norm_eps":1e-6, "rope_theta":10000.0, "partial_rotary_factor":0.25, "head_dim":256,
		"linear_conv_kernel_dim":4, "linear_key_head_dim":128, "linear_value_head_dim":128, "linear_num_key_heads":16, "linear_num_value_heads":32,
		"full_attention_interval":4, "attn_output_gate":true, "moe_intermediate_size":512, "shared_expert_intermediate_size":512,
		"num_experts":256, "num_experts_per_tok":8}`,
	Read: func(c *Config, o *object) {
		qwen3_5.Read(c, o)
		experts, ffn, shared := o.num("num_experts"), o.num("moe_intermediate_size"), o.num("shared_expert_intermediate_size")
		route := Route{TopK: o.num("num_experts_per_tok"), Normalize: true}
		c.each(func(_ int, l *Layer) { l.Experts, l.FFN, l.Shared, l.Route = experts, ffn, shared, route })
	},
	Keys: map[string]string{"ffn": ""},
	draw: qwen3_5.draw,
	hf: override(qwen3_5.hf, append([]stored{
		qwenRouterHF,
		{Parts: []string{"layers.#.mlp.experts.gate", "layers.#.mlp.experts.up"}, Name: "model.layers.#.mlp.experts.gate_up_proj", Raw: true, Stacked: true},
		{Site: "layers.#.mlp.experts.down", Name: "model.layers.#.mlp.experts.down_proj", Raw: true, Stacked: true},
	}, qwenSharedHF...)),
	ggufDiff: qwen3_5.ggufDiff,
	Spell:    qwen3_5.Spell,
	FromGGUF: func(r *ggufReader, o *object) {
		qwen3_5.FromGGUF(r, o)
		if n, ok := r.num("expert_shared_feed_forward_length"); ok {
			o.set("shared_expert_intermediate_size", n)
		}
	},
	ToGGUF:   qwen3_5.ToGGUF,
	LlamaCPP: qwen3_5.LlamaCPP,
})

var (
	deltaSites = []string{"layers.#.delta.q", "layers.#.delta.k", "layers.#.delta.v"}
	deltaConvs = []string{"layers.#.delta.conv_q", "layers.#.delta.conv_k", "layers.#.delta.conv_v"}
	deltaGGUF  = map[string]string{"linear_conv_kernel_dim": "ssm.conv_kernel", "linear_key_head_dim": "ssm.state_size", "linear_num_key_heads": "ssm.group_count",
		"linear_num_value_heads": "ssm.time_step_rank", "full_attention_interval": "full_attention_interval"}
)

// gatedQuery: the rows of a head's query, then those of its gate.
func gatedQuery(name string) stored {
	return stored{Parts: []string{"layers.#.attn.q", "layers.#.attn.gate"}, Name: name, Grouped: true}
}

// Delta is the shape of a gated delta network. Value head h reads key head h % KeyHeads, as in GGUF files; Hugging Face checkpoints have the value heads
// of a key head side by side.
type Delta struct {
	KeyHeads, ValueHeads int
	KeyDim, ValueDim     int // of a head
}

// maxDelta is the most values of a layer's state: a file need not hold as many, so its size does not bound them. Published models have a million.
const maxDelta = 1 << 22

// check reports sizes that cannot be.
func (d *Delta) check(o *object, taps int) {
	for _, v := range []struct {
		key string
		n   int
	}{{"linear_num_key_heads", d.KeyHeads}, {"linear_num_value_heads", d.ValueHeads}, {"linear_key_head_dim", d.KeyDim}, {"linear_value_head_dim", d.ValueDim}, {"linear_conv_kernel_dim", taps}} {
		if v.n < 1 || v.n > 4096 {
			o.fail(ErrInvalid, v.key, "is %d, must be 1 to 4096", v.n)
			return
		}
	}
	if n := d.ValueHeads * d.KeyDim * d.ValueDim; n > maxDelta {
		o.fail(ErrTooLarge, "linear_num_value_heads", "%d heads of %d by %d make a state of %d values in each layer, the limit is %d", d.ValueHeads, d.KeyDim, d.ValueDim, n, maxDelta)
	}
	if d.ValueHeads%d.KeyHeads != 0 {
		o.fail(ErrInvalid, "linear_num_value_heads", "%d key heads do not divide %d value heads", d.KeyHeads, d.ValueHeads)
	}
}

// deltaLayers reads which layers are gated delta networks: those that layer_types says, or all but every full_attention_interval-th.
func (o *object) deltaLayers(layers int) []bool {
	linear := o.typedLayers(layers, linearLayers)
	if linear == nil {
		every := o.num("full_attention_interval")
		linear = make([]bool, layers)
		for i := range linear {
			linear[i] = every < 1 || (i+1)%every != 0
		}
	}
	return linear
}

// deltaNet draws out(norm(delta rule) * silu(z)) of convolved queries, keys and values.
func (b *builder) deltaNet(h *Node) *Node {
	d := b.L.Delta
	keys := Dim{b.Axis("delta.keys", AxisFixed, d.KeyHeads, nil), d.KeyDim}
	heads := b.Axis("delta.values", AxisFixed, d.ValueHeads, nil)
	heads.tiles = d.KeyHeads
	values, each := Dim{heads, d.ValueDim}, Dim{heads, 1}
	mixed := func(site string, out Dim) *Node {
		return b.Act(b.conv("delta.conv_"+site, b.Linear("delta."+site, h, out, false), b.L.Conv, false), SiLU)
	}
	q, k, v := mixed("q", keys), mixed("k", keys), mixed("v", values)
	z, beta, alpha := b.Linear("delta.z", h, values, false), b.Linear("delta.beta", h, each, false), b.Linear("delta.alpha", h, each, false)
	y := b.add(Node{Op: OpDelta, Out: values, Delta: d, Weights: []*Weight{
		b.weight(RoleVector, b.path("delta.a"), each),
		b.weight(RoleVector, b.path("delta.dt"), each),
	}}, "delta.rule", q, k, v, beta, alpha)
	n := Norm{Kind: "rms", Eps: b.Config.Norm.Eps, Groups: d.ValueHeads}
	y = b.NormWith("delta.norm", y, n, true, false, b.Fixed(d.ValueDim))
	return b.Linear("delta.out", b.Mul(y, b.Act(z, SiLU)), b.Hidden(), false)
}
