package runtime

import (
	"context"
	"fmt"

	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/model"
)

// Options says how to load a model.
type Options struct {
	// Context is the longest sequence a session may hold; 0 means the model's own context.
	Context int
	// Batch is how many tokens of a prompt go through the layers at once; 0 means 256. It bounds the memory for
	// activations and changes no result.
	Batch int
	// Cache is how keys and values are kept: f32, f16, bf16 or q8_0. Empty means f32.
	Cache string
	// Lazy leaves the weights on disk until LoadLayer asks for a layer's, for work that goes through a model one layer
	// at a time in bounded memory.
	Lazy bool
	// Soon leaves the weights in the file until the second step, for the first token's sake: see Ready. The first step must not
	// be long for that.
	Soon bool
	// Rounding is how inputs of matrices are rounded. Where that is not the kernels' own way, matrices take four bytes a
	// weight and are slower.
	Rounding Rounding
}

// Engine is a model ready to run. Sessions of one engine may not run at the same time; Step takes several of them as one
// batch.
type Engine struct {
	Model   *model.Model
	plan    *plan
	mats    map[*model.Weight]matrix
	vecs    map[*model.Weight][]float32
	ropes   map[*model.Rope]*cachedTable
	norms   map[*model.Node]affine
	context int
	batch   int
	cache   cacheKind

	bufs, tailBufs [][]float32
	work, tailWork batch
	tailList       []int // rows of the last batch whose logits were made
	acts           activations
	mixture        mixture
	scratch        *Session // for work on single layers
	tap            Tap
	rounder        *rounder
	rounding       Rounding
	soon           *soon // nil once the weights are packed
}

// Tap sees the input of linear layers: the node they read, and its value for rows tokens. It is called from one
// goroutine; x is the engine's again when it returns.
type Tap func(n *model.Node, x []float32, rows int)

// SetTap installs a tap; nil removes it.
func (e *Engine) SetTap(t Tap) { e.tap = t }

// Load compiles the model's graph and reads its weights.
func Load(ctx context.Context, m *model.Model, o Options) (*Engine, error) {
	e := &Engine{Model: m, context: o.Context, batch: o.Batch,
		mats: map[*model.Weight]matrix{}, vecs: map[*model.Weight][]float32{}, ropes: map[*model.Rope]*cachedTable{},
		norms: map[*model.Node]affine{}}
	if e.context == 0 {
		e.context = m.Config.MaxContext()
	}
	if n := m.Config.Positions; n > 0 && e.context > n-m.Config.PosOffset {
		return nil, fmt.Errorf("context of %d tokens: the model has %d learned positions", e.context, n-m.Config.PosOffset)
	}
	if e.batch == 0 {
		e.batch = 256
	}
	e.rounding = o.Rounding
	var err error
	if e.rounder, err = newRounder(o.Rounding, m); err != nil {
		return nil, err
	}
	if e.cache, err = parseCache(o.Cache); err != nil {
		return nil, err
	}
	if e.plan, err = compile(e, m.Graph); err != nil {
		return nil, err
	}
	if o.Lazy {
		return e, nil
	}
	if o.Soon {
		e.soon = &soon{tiles: map[tileShape]*tiles{}, round: o.Rounding}
		return e, e.load(ctx, m.Graph.Weights, func(int64) {})
	}
	task := progress.Start(ctx, "load", "B", m.Bytes())
	defer task.Done()
	if err := e.load(ctx, m.Graph.Weights, task.Add); err != nil {
		return nil, err
	}
	return e, nil
}

// LoadLayer reads the weights of layer i of a lazy engine; -1 reads those before the first layer and len(layers) those
// after the last.
func (e *Engine) LoadLayer(ctx context.Context, i int) error {
	return e.load(ctx, e.plan.segments[i+1].weights, func(int64) {})
}

// SetModel exchanges the tensors under the engine for those of a model with the same graph; what is loaded stays until
// it is unloaded.
func (e *Engine) SetModel(m *model.Model) { e.Model = m }

// UnloadLayer forgets the weights that LoadLayer read.
func (e *Engine) UnloadLayer(i int) {
	for _, w := range e.plan.segments[i+1].weights {
		delete(e.mats, w)
		delete(e.vecs, w)
	}
	clear(e.norms)
}

// Bytes returns the memory of the loaded weights.
func (e *Engine) Bytes() int64 {
	var n int64
	for _, m := range e.mats {
		n += m.Bytes()
	}
	for _, v := range e.vecs {
		n += int64(4 * len(v))
	}
	return n
}

// Context returns the longest sequence a session may hold.
func (e *Engine) Context() int { return e.context }

// Vocab returns the width of the logits.
func (e *Engine) Vocab() int { return e.Model.Graph.Logits.Out.Size() }
