package model

// The blocks that most families share. A family that differs draws its own.

// SelfAttention draws q, k, v, their norms and rotation, attention and the output projection of the current layer.
func (b *builder) SelfAttention(x *Node) *Node {
	l, i := b.L, b.layer
	var heads, kv *Axis
	if l.Heads == l.KVHeads {
		heads = b.Axis("heads", AxisHeads, l.Heads, func(c *Config, n int) { c.Layers[i].Heads, c.Layers[i].KVHeads = n, n })
		kv = heads
	} else {
		kv = b.Axis("kv_heads", AxisKVHeads, l.KVHeads, func(c *Config, n int) { c.Layers[i].KVHeads = n })
		heads = b.Axis("heads", AxisHeads, l.Heads, func(c *Config, n int) { c.Layers[i].Heads = n })
		heads.Group = kv
	}
	if l.Alibi != nil { // the slopes go with the number of heads
		heads.set, kv.set = nil, nil
	}
	q := b.Clamp(b.Linear("attn.q", x, Dim{heads, l.HeadDim}, l.QKVBias), l.Clamp)
	k := b.Clamp(b.Linear("attn.k", x, Dim{kv, l.HeadDim}, l.QKVBias), l.Clamp)
	v := b.Clamp(b.Linear("attn.v", x, Dim{kv, l.HeadDim}, l.QKVBias), l.Clamp)
	rotated := func(site string, x *Node, r *Rope) *Node {
		if l.RopeFirst {
			return b.qkNorm(site, b.Rope(x, r))
		}
		return b.Rope(b.qkNorm(site, x), r)
	}
	keys := l.KeyRope
	if keys == nil {
		keys = l.Rope
	}
	q, k = rotated("attn.q_norm", q, l.Rope), rotated("attn.k_norm", k, keys)
	a := b.Attention(q, k, v, Attention{
		Heads: l.Heads, KVHeads: l.KVHeads, HeadDim: l.HeadDim, ValueDim: l.HeadDim,
		Scale: l.scale(), Window: l.Window, Softcap: l.AttnSoftcap, Alibi: l.Alibi,
	}, b.vector(l.Sinks, b.path("attn.sinks"), Dim{heads, 1}))
	if l.AttnGate {
		a = b.Mul(a, b.Act(b.Linear("attn.gate", x, Dim{heads, l.HeadDim}, l.QKVBias), Sigmoid))
	}
	return b.Linear("attn.o", a, b.Hidden(), l.OBias)
}

func (b *builder) qkNorm(site string, x *Node) *Node {
	n, dims := b.Config.Norm, []Dim{x.Out}
	n.Groups = x.Out.Axis.Size
	switch b.L.QKNorm {
	case "":
		return x
	case "full":
		n.Groups = 1
	case "heads":
		dims = []Dim{{x.Out.Axis, 1}, b.Fixed(x.Out.Block)}
	default:
		dims = []Dim{b.Fixed(x.Out.Block)}
	}
	return b.NormWith(site, x, n, true, b.L.QKNormBias, dims...)
}

// MLP draws the feed-forward block of the current layer: gated, plain, or a mixture of experts.
func (b *builder) MLP(x *Node) *Node {
	l, i := b.L, b.layer
	if l.Experts > 0 {
		return b.mixture(x)
	}
	ffn := Dim{b.Axis("ffn", AxisFFN, l.FFN, func(c *Config, n int) { c.Layers[i].FFN = n }), 1}
	return b.feedForward("mlp.", x, ffn)
}

func (b *builder) feedForward(site string, x *Node, ffn Dim) *Node {
	l := b.L
	var h *Node
	if l.Gated {
		h = b.Act(b.Linear(site+"gate", x, ffn, l.MLPBias), l.Act)
		h = b.Mul(h, b.Linear(site+"up", x, ffn, l.MLPBias))
	} else {
		h = b.Act(b.Linear(site+"up", x, ffn, l.MLPBias), l.Act)
	}
	return b.Linear(site+"down", h, b.Hidden(), l.MLPBias)
}

// mixture draws router, experts and the shared expert with its gate.
func (b *builder) mixture(x *Node) *Node {
	l, i := b.L, b.layer
	experts := Dim{b.Axis("experts", AxisExperts, l.Experts, func(c *Config, n int) { c.Layers[i].Experts = n }), 1}
	ffn := Dim{b.Axis("ffn", AxisFFN, l.FFN, func(c *Config, n int) { c.Layers[i].FFN = n }), 1}
	route := b.add(Node{Op: OpRoute, Out: experts, Route: &l.Route}, "", b.Linear("mlp.router", x, experts, l.ExpertBias))
	site := b.path("mlp.experts")
	y := b.add(Node{Op: OpExperts, Out: b.Hidden(), Act: l.Act, Limit: l.ExpertLimit, Weights: []*Weight{
		b.weight(RoleMatrix, site+".gate", experts, ffn, x.Out),
		b.weight(RoleMatrix, site+".up", experts, ffn, x.Out),
		b.weight(RoleMatrix, site+".down", experts, b.Hidden(), ffn),
		b.vector(l.ExpertBias, site+".gate.bias", experts, ffn),
		b.vector(l.ExpertBias, site+".up.bias", experts, ffn),
		b.vector(l.ExpertBias, site+".down.bias", experts, b.Hidden()),
	}}, "mlp.experts", x, route)
	if l.Shared == 0 {
		return y
	}
	shared := Dim{b.Axis("shared_ffn", AxisFFN, l.Shared, func(c *Config, n int) { c.Layers[i].Shared = n }), 1}
	s := b.feedForward("mlp.shared.", x, shared)
	gate := b.Act(b.Linear("mlp.shared.router", x, b.Fixed(1), false), Sigmoid)
	return b.Add(y, b.Mul(s, gate))
}
