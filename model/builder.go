package model

import "strconv"

// builder records a drawing. A family's Draw calls its methods in the order of the forward pass; each call adds a
// node and returns it. Methods that take a site name the weights after it: inside a layer, "attn.q" becomes
// "layers.3.attn.q".
type builder struct {
	Config *Config
	L      *Layer // the layer being drawn

	g      *Graph
	layer  int
	hidden *Axis
	vocab  *Axis
	fixed  map[int]*Axis
}

// Draw returns the graph of a checked configuration.
func Draw(c *Config) *Graph {
	b := &builder{Config: c, layer: -1, g: &Graph{byName: map[string]*Weight{}}, fixed: map[int]*Axis{}}
	b.vocab = b.Axis("vocab", AxisVocab, c.Vocab, func(c *Config, n int) { c.Vocab = n })
	b.hidden = b.Axis("hidden", AxisHidden, c.Hidden, func(c *Config, n int) { c.Hidden = n })
	c.Family.draw(b)
	return b.g
}

// Layer starts layer i, whose input is x.
func (b *builder) Layer(i int, x *Node) {
	b.layer, b.L = i, &b.Config.Layers[i]
	b.g.Layers = i + 1
	b.g.Entry = append(b.g.Entry, x)
}

// End leaves the last layer, whose output is x.
func (b *builder) End(x *Node) {
	b.layer, b.L = -1, nil
	b.g.Entry = append(b.g.Entry, x)
}

// Axis returns a new axis. set writes a new size into a configuration; nil fixes the size.
func (b *builder) Axis(name string, kind AxisKind, size int, set func(c *Config, n int)) *Axis {
	a := &Axis{Name: b.path(name), Kind: kind, Layer: b.layer, Size: size, set: set}
	b.g.Axes = append(b.g.Axes, a)
	return a
}

// Hidden returns the width of the residual stream.
func (b *builder) Hidden() Dim { return Dim{b.hidden, 1} }

// Fixed returns a dimension that cannot shrink.
func (b *builder) Fixed(size int) Dim {
	a, ok := b.fixed[size]
	if !ok {
		a = &Axis{Name: "fixed" + strconv.Itoa(size), Kind: AxisFixed, Layer: -1, Size: size}
		b.fixed[size] = a
	}
	return Dim{a, 1}
}

func (b *builder) path(site string) string {
	if b.layer < 0 || site == "" {
		return site
	}
	return "layers." + strconv.Itoa(b.layer) + "." + site
}

func (b *builder) add(n Node, site string, in ...*Node) *Node {
	n.ID, n.Site, n.Layer, n.In = len(b.g.Nodes), b.path(site), b.layer, in
	p := &n
	b.g.Nodes = append(b.g.Nodes, p)
	b.g.Logits = p
	return p
}

// weight returns the weight of that canonical name, new on first use.
func (b *builder) weight(role Role, name string, dims ...Dim) *Weight {
	if w := b.g.byName[name]; w != nil {
		return w
	}
	w := &Weight{Name: name, Role: role, Dims: dims}
	b.g.byName[name] = w
	b.g.Weights = append(b.g.Weights, w)
	return w
}

// vector returns a weight of RoleVector, or nil where the model has none.
func (b *builder) vector(yes bool, name string, dims ...Dim) *Weight {
	if !yes {
		return nil
	}
	return b.weight(RoleVector, name, dims...)
}

// Embed looks the tokens up in the embedding and multiplies by Config.EmbedScale.
func (b *builder) Embed() *Node {
	w := b.weight(RoleEmbed, "embed", Dim{b.vocab, 1}, b.EmbedWidth())
	return b.Scale(b.add(Node{Op: OpEmbed, Out: b.EmbedWidth(), Weights: []*Weight{w}}, "embed"), b.Config.EmbedScale)
}

// EmbedWidth returns the width of the embedding: Hidden but for models that embed into fewer channels.
func (b *builder) EmbedWidth() Dim {
	if n := b.Config.EmbedDim; n > 0 {
		return b.Fixed(n)
	}
	return b.Hidden()
}

// Position returns the learned position embeddings.
func (b *builder) Position() *Node {
	w := b.weight(RoleVector, "positions", b.Fixed(b.Config.Positions), b.Hidden())
	return b.add(Node{Op: OpPosition, Out: b.Hidden(), Weights: []*Weight{w}, Offset: b.Config.PosOffset}, "positions")
}

// Linear multiplies by a matrix [out, width of x] and adds a bias if asked.
func (b *builder) Linear(site string, x *Node, out Dim, bias bool) *Node {
	name := b.path(site)
	w := []*Weight{b.weight(RoleMatrix, name, out, x.Out), b.vector(bias, name+".bias", out)}
	return b.add(Node{Op: OpLinear, Out: out, Weights: w}, site, x)
}

// Norm normalises whole rows as Config.Norm says.
func (b *builder) Norm(site string, x *Node) *Node {
	n := b.Config.Norm
	n.Groups = 1
	return b.NormWith(site, x, n, b.Config.NormWeight, b.Config.NormBias, x.Out)
}

// NormWith normalises as n says, with a scale and a shift of the given dimensions where asked.
func (b *builder) NormWith(site string, x *Node, n Norm, weight, bias bool, dims ...Dim) *Node {
	name := b.path(site)
	w := []*Weight{b.vector(weight, name, dims...), b.vector(bias, name+".bias", dims...)}
	return b.add(Node{Op: OpNorm, Out: x.Out, Weights: w, Norm: &n}, site, x)
}

// Rope rotates the heads of x.
func (b *builder) Rope(x *Node, r *Rope) *Node {
	if r == nil {
		return x
	}
	return b.add(Node{Op: OpRope, Out: x.Out, Rope: r}, "", x)
}

// Attention attends with heads laid out as q's, k's and v's widths say. sinks may be nil.
func (b *builder) Attention(q, k, v *Node, a Attention, sinks *Weight) *Node {
	n := Node{Op: OpAttention, Out: Dim{q.Out.Axis, v.Out.Block}, Attn: &a}
	if sinks != nil {
		n.Weights = []*Weight{sinks}
	}
	return b.add(n, "attn", q, k, v)
}

// Act applies an activation.
func (b *builder) Act(x *Node, a Activation) *Node {
	return b.add(Node{Op: OpAct, Out: x.Out, Act: a}, "", x)
}

// Add adds.
func (b *builder) Add(x, y *Node) *Node { return b.add(Node{Op: OpAdd, Out: x.Out}, "", x, y) }

// Mul multiplies elementwise; y may have width 1.
func (b *builder) Mul(x, y *Node) *Node { return b.add(Node{Op: OpMul, Out: x.Out}, "", x, y) }

// Scale multiplies by a constant; 0 and 1 mean no scaling.
func (b *builder) Scale(x *Node, c float64) *Node {
	if c == 0 || c == 1 {
		return x
	}
	return b.add(Node{Op: OpScale, Out: x.Out, C: c}, "", x)
}

// Softcap limits to ±c smoothly; 0 means no limit.
func (b *builder) Softcap(x *Node, c float64) *Node {
	if c == 0 {
		return x
	}
	return b.add(Node{Op: OpSoftcap, Out: x.Out, C: c}, "", x)
}

// Clamp limits to ±c; 0 means no limit.
func (b *builder) Clamp(x *Node, c float64) *Node {
	if c == 0 {
		return x
	}
	return b.add(Node{Op: OpClamp, Out: x.Out, C: c}, "", x)
}

// Head multiplies by the output matrix, or by the embedding where the two are tied, and scales the logits.
func (b *builder) Head(x *Node) *Node {
	name, c := "head", b.Config
	if c.Tied {
		name = "embed"
	}
	out := Dim{b.vocab, 1}
	w := []*Weight{b.weight(RoleMatrix, name, out, x.Out), b.vector(c.HeadBias, "head.bias", out)}
	x = b.add(Node{Op: OpLinear, Out: out, Weights: w}, "head", x)
	return b.Softcap(b.Scale(x, c.LogitScale), c.LogitSoftcap)
}
