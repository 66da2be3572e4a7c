package model

// Mamba (Gu & Dao 2023): no attention; each block projects up, convolves, and scans with input-dependent step, input
// and output matrices.
var _ = register(&Family{
	Name:  "mamba",
	Types: []string{"mamba"},
	Class: "MambaForCausalLM",
	Defaults: `{"vocab_size":50280, "hidden_size":768, "num_hidden_layers":32, "state_size":16, "expand":2, "conv_kernel":4,
		"layer_norm_epsilon":1e-5, "hidden_act":"silu", "use_conv_bias":true, "time_step_rank":"auto", "tie_word_embeddings":true}`,
	Keys: map[string]string{"heads": "", "kv_heads": "", "head_dim": "", "ffn": "", "context": "", "eps": "layer_norm_epsilon", "theta": ""},
	Read: func(c *Config, o *object) {
		c.Context = 1 << 20 // no positions, no limit of its own
		s := SSM{State: o.num("state_size"), Taps: o.num("conv_kernel"), ConvBias: o.flag("use_conv_bias"), Bias: o.flag("use_bias")}
		if s.Inner = o.num("intermediate_size"); s.Inner == 0 {
			s.Inner = o.num("expand") * c.Hidden
		}
		if string(o.raw("time_step_rank")) == `"auto"` {
			s.Rank = (c.Hidden + 15) / 16
		} else {
			s.Rank = o.num("time_step_rank")
		}
		c.each(func(_ int, l *Layer) { l.SSM = &s })
	},
	draw: func(b *builder) {
		x := b.Embed()
		for i := range b.Config.Layers {
			b.Layer(i, x)
			x = b.Add(x, b.mambaMixer(b.Norm("norm", x)))
		}
		b.End(x)
		b.Head(b.Norm("norm", x))
	},
	hf: []stored{
		{Site: "embed", Name: "backbone.embeddings"},
		{Site: "layers.#.norm", Name: "backbone.layers.#.norm"},
		{Parts: []string{"layers.#.ssm.in", "layers.#.ssm.gate"}, Name: "backbone.layers.#.mixer.in_proj"},
		{Site: "layers.#.ssm.conv", Name: "backbone.layers.#.mixer.conv1d", Dims: []int{0, 1, 0}},
		{Parts: []string{"layers.#.ssm.rank", "layers.#.ssm.b", "layers.#.ssm.c"}, Name: "backbone.layers.#.mixer.x_proj"},
		{Site: "layers.#.ssm.dt", Name: "backbone.layers.#.mixer.dt_proj"},
		{Site: "layers.#.ssm.a", Name: "backbone.layers.#.mixer.A_log", Raw: true},
		{Site: "layers.#.ssm.d", Name: "backbone.layers.#.mixer.D", Raw: true},
		{Site: "layers.#.ssm.out", Name: "backbone.layers.#.mixer.out_proj"},
		{Site: "norm", Name: "backbone.norm_f"},
		{Site: "head", Name: "lm_head"},
	},
	ggufDiff: []stored{
		{Site: "layers.#.norm", Name: "blk.#.attn_norm"},
		{Parts: []string{"layers.#.ssm.in", "layers.#.ssm.gate"}, Name: "blk.#.ssm_in"},
		{Site: "layers.#.ssm.conv", Name: "blk.#.ssm_conv1d"},
		{Parts: []string{"layers.#.ssm.rank", "layers.#.ssm.b", "layers.#.ssm.c"}, Name: "blk.#.ssm_x"},
		{Site: "layers.#.ssm.dt", Name: "blk.#.ssm_dt"},
		{Site: "layers.#.ssm.a", Name: "blk.#.ssm_a", Raw: true, NegExp: true},
		{Site: "layers.#.ssm.d", Name: "blk.#.ssm_d", Raw: true},
		{Site: "layers.#.ssm.out", Name: "blk.#.ssm_out"},
	},
	FromGGUF: func(r *ggufReader, o *object) {
		for key, from := range mambaGGUF {
			if n, ok := r.num(from); ok {
				o.set(key, n)
			}
		}
	},
	ToGGUF: func(c *Config, put func(string, any)) {
		s := c.Layers[0].SSM
		for key, n := range map[string]int{"conv_kernel": s.Taps, "intermediate_size": s.Inner, "state_size": s.State, "time_step_rank": s.Rank} {
			put(mambaGGUF[key], n)
		}
		put("ssm.dt_b_c_rms", false)
	},
})

var mambaGGUF = map[string]string{"conv_kernel": "ssm.conv_kernel", "intermediate_size": "ssm.inner_size",
	"state_size": "ssm.state_size", "time_step_rank": "ssm.time_step_rank"}

// SSM is the shape of a selective state space layer.
type SSM struct {
	Inner, State, Rank, Taps int
	ConvBias, Bias           bool
}

func (b *builder) mambaMixer(h *Node) *Node {
	s := b.L.SSM
	inner := Dim{b.Axis("inner", AxisFixed, s.Inner, nil), 1}
	x := b.Linear("ssm.in", h, inner, s.Bias)
	z := b.Linear("ssm.gate", h, inner, s.Bias)
	x = b.Act(b.conv("ssm.conv", x, s.Taps, s.ConvBias), SiLU)
	dt := b.Linear("ssm.rank", x, b.Fixed(s.Rank), false)
	dt = b.Act(b.Linear("ssm.dt", dt, inner, true), Softplus)
	bb, cc := b.Linear("ssm.b", x, b.Fixed(s.State), false), b.Linear("ssm.c", x, b.Fixed(s.State), false)
	y := b.add(Node{Op: OpScan, Out: inner, Weights: []*Weight{
		b.weight(RoleVector, b.path("ssm.a"), inner, b.Fixed(s.State)),
		b.weight(RoleVector, b.path("ssm.d"), inner),
	}}, "ssm.scan", x, dt, bb, cc)
	return b.Linear("ssm.out", b.Mul(y, b.Act(z, SiLU)), b.Hidden(), s.Bias)
}

func (b *builder) conv(site string, x *Node, taps int, bias bool) *Node {
	name := b.path(site)
	w := []*Weight{b.weight(RoleVector, name, x.Out, b.Fixed(taps)), b.vector(bias, name+".bias", x.Out)}
	return b.add(Node{Op: OpConv, Out: x.Out, Weights: w}, site, x)
}
