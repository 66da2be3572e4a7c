package model

import (
	"fmt"

	"github.com/parelm/pare/internal/limits"
	"github.com/parelm/pare/model/tensor"
)

// Errors of this package, by class. See tensor.FileError.
var (
	ErrCorrupt     = tensor.ErrCorrupt
	ErrUnsupported = tensor.ErrUnsupported
	ErrTooLarge    = tensor.ErrTooLarge
	ErrInvalid     = tensor.ErrInvalid
)

// FileError says where in a file something is wrong; errors.As finds it.
type FileError = tensor.FileError

// Config is what a drawing needs to know of a model, free of any dialect. Zero values mean "none".
type Config struct {
	Family  *Family
	Vocab   int // rows of the embedding
	Hidden  int // width of the residual stream
	Context int // positions the model was trained for
	Layers  []Layer

	Norm         Norm // of the blocks and before the head
	NormWeight   bool // norms have a scale
	NormBias     bool // norms have a shift
	Tied         bool // the head is the embedding
	HeadBias     bool
	EmbedScale   float64 // multiplies embeddings
	LogitScale   float64 // multiplies logits
	LogitSoftcap float64
	Positions    int  // learned positions
	PosOffset    int  // first row of the learned positions that is used
	EmbedDim     int  // width of the embedding where it is not Hidden
	PostNorm     bool // norms behind the blocks, on the residual stream itself
	NoFinalNorm  bool

	hf   *object // config.json as read, or as made from GGUF metadata
	kept []int   // which of its layers these are; nil means all
}

// Layer is the shape of one layer. Layers may differ.
type Layer struct {
	Heads, KVHeads, HeadDim int
	AttnScale               float64 // multiplies q·k; 0 means 1/sqrt(HeadDim)
	AttnSoftcap             float64
	Window                  int // sliding window in keys
	Rope                    *Rope
	KeyRope                 *Rope // of keys, where it is not that of queries
	Alibi                   *Alibi
	Clamp                   float64 // q, k and v are clamped to ±Clamp
	QKNorm                  string  // "", "head" (one scale for all heads), "heads" (one each), "full" (over the whole projection)
	QKNormBias              bool
	RopeFirst               bool // queries and keys are rotated before they are normalised
	QKVBias, OBias          bool
	AttnGate                bool // what heads give is multiplied by the sigmoid of a gate
	Sinks                   bool // each head has a score that takes weight from all keys and gives nothing

	FFN     int // intermediate width; of each expert in a mixture
	Gated   bool
	Act     Activation
	MLPBias bool
	Experts int // 0 means dense
	Route   Route
	// ExpertBias says that the router and the experts have biases, ExpertLimit what Node.Limit does.
	ExpertBias  bool
	ExpertLimit float64
	Shared      int // width of the expert that every token uses
	Residual    float64

	SSM *SSM // recurrent layers
	// Conv is the taps of the convolution that stands for attention, or before the delta rule; 0 means attention.
	Conv     int
	Delta    *Delta
	ConvBias bool // of it and of the projections around it

	Parallel bool // attention and MLP side by side
	TwoNorms bool // ... behind a norm each
}

// scale returns the factor of q·k.
func (l *Layer) scale() float64 {
	if l.AttnScale != 0 {
		return l.AttnScale
	}
	return 1 / sqrt(float64(l.HeadDim))
}

// check returns an error unless the sizes are positive, within the limits and divide each other.
func (c *Config) check(file string) error {
	bad := func(class error, field, format string, args ...any) error {
		return tensor.Errorf(class, file, field, format, args...)
	}
	for _, v := range []struct {
		field string
		n     int
		max   int64
	}{
		{"vocabulary size", c.Vocab, limits.Vocab}, {"hidden size", c.Hidden, limits.Hidden},
		{"number of layers", len(c.Layers), limits.Layers}, {"context length", c.Context, limits.Context},
	} {
		if v.n < 1 {
			return bad(ErrInvalid, v.field, "is %d, must be at least 1", v.n)
		}
		if int64(v.n) > v.max {
			return bad(ErrTooLarge, v.field, "is %d, the limit is %d", v.n, v.max)
		}
	}
	if !(c.Norm.Eps > 0 && c.Norm.Eps < 1) {
		return bad(ErrInvalid, "norm epsilon", "is %g, must be above 0 and below 1", c.Norm.Eps)
	}
	for i := range c.Layers {
		if err := c.Layers[i].check(); err != nil {
			return bad(ErrInvalid, fmt.Sprintf("layer %d", i), "%v", err)
		}
	}
	return nil
}

func (l *Layer) check() error {
	if l.Heads == 0 { // recurrent layers have no heads
		return nil
	}
	switch {
	case l.Heads < 1 || int64(l.Heads) > limits.Heads:
		return fmt.Errorf("%d attention heads, must be 1 to %d", l.Heads, limits.Heads)
	case l.KVHeads < 1 || l.KVHeads > l.Heads || l.Heads%l.KVHeads != 0:
		return fmt.Errorf("%d key/value heads do not divide %d attention heads", l.KVHeads, l.Heads)
	case l.HeadDim < 1 || int64(l.HeadDim) > limits.Hidden:
		return fmt.Errorf("head dimension is %d, must be 1 to %d", l.HeadDim, limits.Hidden)
	case l.FFN < 1 || int64(l.FFN) > 16*limits.Hidden:
		return fmt.Errorf("intermediate size is %d, must be 1 to %d", l.FFN, 16*limits.Hidden)
	case l.Window < 0:
		return fmt.Errorf("sliding window is %d", l.Window)
	case l.Act == "":
		return fmt.Errorf("no activation")
	case l.Experts < 0 || int64(l.Experts) > limits.Experts:
		return fmt.Errorf("%d experts, must be 0 to %d", l.Experts, limits.Experts)
	case l.Experts > 0 && (l.Route.TopK < 1 || l.Route.TopK > l.Experts):
		return fmt.Errorf("%d experts a token of %d", l.Route.TopK, l.Experts)
	}
	if l.Rope != nil {
		return l.Rope.check(l.HeadDim)
	}
	return nil
}

// MaxContext returns the longest sequence the model is meant for: its context, stretched where the rotary embedding
// adapts itself to longer ones.
func (c *Config) MaxContext() int {
	if r := c.rope(); r != nil && r.Scaling.Kind == "dynamic" {
		return int(float64(c.Context) * r.Scaling.Factor)
	}
	return c.Context
}

// Uniform reports whether all layers have the same widths, as config.json must express them: all dense ones, and all
// mixtures of experts.
func (c *Config) Uniform() bool {
	for i := range c.Layers {
		a, b := &c.Layers[0], &c.Layers[i]
		if a.Heads != b.Heads || a.KVHeads != b.KVHeads || a.HeadDim != b.HeadDim {
			return false
		}
		if a = c.first(b.Experts > 0); a.FFN != b.FFN || a.Experts != b.Experts || a.Shared != b.Shared {
			return false
		}
	}
	return true
}

// first returns the first layer that is a mixture of experts, or the first that is none, or nil.
func (c *Config) first(mixture bool) *Layer {
	for i := range c.Layers {
		if l := &c.Layers[i]; (l.Experts > 0) == mixture {
			return l
		}
	}
	return nil
}

// attends reports whether a layer has attention.
func (l *Layer) attends() bool { return l.Heads > 0 && l.Conv == 0 && l.Delta == nil }

// settle gives the layers without attention the heads of those with it, which a dialect that says them once says of all.
func (c *Config) settle() {
	for i := range c.Layers {
		if a := &c.Layers[i]; a.attends() {
			c.each(func(_ int, l *Layer) {
				if !l.attends() && l.Heads > 0 {
					l.Heads, l.KVHeads = a.Heads, a.KVHeads
				}
			})
			return
		}
	}
}

// Clone returns a copy whose layers can be changed.
func (c *Config) Clone() *Config {
	d := *c
	d.Layers = append([]Layer(nil), c.Layers...)
	if c.hf != nil {
		d.hf = c.hf.clone()
	}
	return &d
}

func maxLayers() int64 { return limits.Layers }
