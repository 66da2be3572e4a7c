package model

import "fmt"

// AxisKind says what the units of an axis are.
type AxisKind string

// The kinds of axes. Those a pruner may shrink come first.
const (
	AxisHidden  AxisKind = "hidden"   // residual stream channels; one for the whole model
	AxisFFN     AxisKind = "ffn"      // intermediate neurons of one MLP
	AxisHeads   AxisKind = "heads"    // query heads of one layer
	AxisKVHeads AxisKind = "kv_heads" // key/value heads of one layer, where fewer than query heads
	AxisVocab   AxisKind = "vocab"    // token ids
	AxisExperts AxisKind = "experts"  // experts of one mixture
	AxisFixed   AxisKind = "fixed"    // anything that cannot shrink: head dimensions, convolution taps, state sizes
)

// Axis is a dimension that weights share: `hidden`, or `ffn` of layer 3. Structured pruning shrinks an axis, and every
// weight that carries it shrinks with it.
type Axis struct {
	Name  string // "hidden", "layers.3.ffn"
	Kind  AxisKind
	Layer int // -1 for axes of the whole model
	Size  int // units
	// Group is set on query heads that share key/value heads: the axis whose every unit owns Size/Group.Size
	// consecutive units of this one. A selection must then keep equally many in each group.
	Group *Axis

	// tiles is set on heads that a dialect may keep in another order: unit h belongs to h % tiles, and those of one may stand side by side.
	tiles int

	// set writes a new size into a configuration.
	set func(c *Config, size int)
}

// Shrinkable reports whether units can be taken away.
func (a *Axis) Shrinkable() bool { return a.set != nil }

// Dim is one dimension of a weight or the width of a node's output: every unit of Axis covers Block consecutive entries.
// Query heads of 64 values are Dim{heads, 64}.
type Dim struct {
	Axis  *Axis
	Block int
}

// Size returns the number of entries.
func (d Dim) Size() int { return d.Axis.Size * d.Block }

// String formats the dimension as axis[size], or axis[units x block].
func (d Dim) String() string {
	if d.Block == 1 {
		return fmt.Sprintf("%s[%d]", d.Axis.Name, d.Axis.Size)
	}
	return fmt.Sprintf("%s[%dx%d]", d.Axis.Name, d.Axis.Size, d.Block)
}

// Weight is a named array of the drawing: matrices are [out, in], stacked experts [experts, out, in], vectors one
// dimension. Two nodes that share a *Weight are tied.
type Weight struct {
	Name string // canonical: "layers.3.attn.q", "layers.3.attn.q.bias", "norm"
	Role Role
	Dims []Dim
}

// Role says what a weight is used for, and so whether it is worth compressing.
type Role string

// The roles.
const (
	RoleMatrix Role = "matrix" // multiplied with activations: linear layers, experts, an untied head
	RoleEmbed  Role = "embed"  // looked up by row; a tied head multiplies with it as well
	RoleVector Role = "vector" // scales, shifts, biases, convolution taps, decays: small and kept in full precision
)

// Shape returns the sizes of the dimensions.
func (w *Weight) Shape() []int {
	s := make([]int, len(w.Dims))
	for i, d := range w.Dims {
		s[i] = d.Size()
	}
	return s
}

// Len returns the number of values.
func (w *Weight) Len() int {
	n := 1
	for _, d := range w.Dims {
		n *= d.Size()
	}
	return n
}
