package model

// What the drawing tells beyond the forward pass: which layers share an input, where a scale can move from one weight to
// the next, which weights are tied.

// Group is a set of linear layers (or one block of experts) that read the same value: q, k and v; gate and up. The value
// is a calibration point, and an executor may multiply with all of them at once.
type Group struct {
	Input   *Node
	Linears []*Node
}

// Groups returns the groups in drawing order.
func (g *Graph) Groups() []Group {
	var out []Group
	at := map[*Node]int{}
	for _, n := range g.Nodes {
		if n.Op != OpLinear && n.Op != OpExperts {
			continue
		}
		in := n.In[0]
		i, ok := at[in]
		if !ok {
			i = len(out)
			at[in] = i
			out = append(out, Group{Input: in})
		}
		out[i].Linears = append(out[i].Linears, n)
	}
	return out
}

// Readers returns the nodes that use a weight. More than one means it is tied.
func (g *Graph) Readers(w *Weight) []*Node {
	var out []*Node
	for _, n := range g.Nodes {
		for _, v := range n.Weights {
			if v == w {
				out = append(out, n)
			}
		}
	}
	return out
}

// Fold is a place where a positive scale per channel can move: dividing the rows of Before by s and multiplying the
// columns of After by it changes nothing. SmoothQuant, AWQ and rotations use it.
type Fold struct {
	Channels Dim // of the scale
	// Before holds vectors and matrices whose first dimension is Channels: a norm's scale and shift, or a linear layer's
	// rows and bias.
	Before  []*Weight
	PlusOne bool // Before[0] is the scale of a norm that multiplies by 1 + w
	// After holds matrices whose columns are Channels, each key/value channel repeated Repeat times where query heads share
	// it.
	After  []*Weight
	Repeat int
}

// Folds returns the folds in drawing order: norm to its linear readers, up to down through a gated or ReLU activation,
// v to o through attention.
func (g *Graph) Folds() []Fold {
	readers := map[*Node][]*Node{}
	uses := map[*Weight]int{}
	for _, n := range g.Nodes {
		for _, in := range n.In {
			readers[in] = append(readers[in], n)
		}
		for _, w := range n.Weights {
			if w != nil {
				uses[w]++
			}
		}
	}
	var out []Fold
	for _, n := range g.Nodes {
		var f Fold
		switch n.Op {
		case OpNorm:
			if n.Weight(0) == nil || n.Norm.Groups != 1 {
				continue
			}
			f = Fold{Before: present(n.Weights), PlusOne: n.Norm.PlusOne}
		case OpLinear:
			f = Fold{Before: present(n.Weights)}
		default:
			continue
		}
		f.Channels, f.Repeat = n.Out, 1
		end, repeat := through(n, readers)
		if end == nil {
			continue
		}
		f.Repeat = repeat
		for _, r := range readers[end] {
			if r.Op != OpLinear || uses[r.Weight(0)] > 1 {
				f.After = nil
				break
			}
			f.After = append(f.After, r.Weight(0))
		}
		if len(f.After) > 0 && uses[f.Before[0]] == 1 {
			out = append(out, f)
		}
	}
	return out
}

// through follows a value along operations that a positive scale per channel passes: it returns the node whose readers
// see the scaled value, and how often each channel repeats there. nil means the scale cannot pass.
func through(n *Node, readers map[*Node][]*Node) (end *Node, repeat int) {
	if n.Op == OpNorm {
		return n, 1
	}
	r := readers[n]
	if len(r) != 1 {
		return nil, 0
	}
	switch m := r[0]; m.Op {
	case OpMul: // up of a gated MLP; the gate's branch goes through an activation first
		if m.In[0].Out.Size() == m.In[1].Out.Size() {
			return m, 1
		}
	case OpAct:
		if m.Act == ReLU {
			return m, 1
		}
	case OpAttention:
		if m.In[2] == n {
			return m, m.Attn.Heads / m.Attn.KVHeads
		}
	}
	return nil, 0
}

func present(ws []*Weight) []*Weight {
	var out []*Weight
	for _, w := range ws {
		if w != nil {
			out = append(out, w)
		}
	}
	return out
}
