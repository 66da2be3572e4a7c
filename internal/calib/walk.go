package calib

import (
	"context"
	"fmt"
	"slices"

	"github.com/parelm/pare/internal/progress"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
	"github.com/parelm/pare/runtime"
)

// Walk takes the samples through the model.
func Walk(ctx context.Context, m *model.Model, samples [][]int32, needs Needs, visit Visit) error {
	if len(samples) == 0 {
		return fmt.Errorf("no calibration samples")
	}
	if needs.HoldOut > 0 && len(samples) < needs.HoldOut {
		needs.HoldOut = 0
	}
	w := &walk{samples: samples, needs: needs, visit: visit}
	var err error
	if w.e, err = load(ctx, m, samples); err != nil {
		return err
	}
	layers := len(m.Config.Layers)
	task := progress.Start(ctx, "calibrate", "layers", int64(layers))
	defer task.Done()
	if err := w.embed(ctx); err != nil {
		return err
	}
	for i := range layers {
		if err := w.layer(ctx, i); err != nil {
			return err
		}
		task.Add(1)
	}
	if needs.Outside {
		return w.head(ctx, layers)
	}
	return nil
}

func load(ctx context.Context, m *model.Model, samples [][]int32) (*runtime.Engine, error) {
	longest := 0
	for _, s := range samples {
		longest = max(longest, len(s))
	}
	return runtime.Load(ctx, m, runtime.Options{Lazy: true, Batch: longest})
}

// walk is a Walk under way.
type walk struct {
	samples [][]int32
	needs   Needs
	visit   Visit
	e       *runtime.Engine
	streams [][]float32 // the residual streams of all samples
}

// embed makes the streams.
func (w *walk) embed(ctx context.Context) error {
	if w.needs.Outside {
		changed, err := w.visit(ctx, &Layer{Index: -1})
		if err != nil {
			return err
		}
		if changed != nil {
			w.e.SetModel(changed)
		}
	}
	if err := w.e.LoadLayer(ctx, -1); err != nil {
		return err
	}
	defer w.e.UnloadLayer(-1)
	w.streams = make([][]float32, len(w.samples))
	for i, ids := range w.samples {
		var err error
		if w.streams[i], err = w.e.Embed(ctx, ids); err != nil {
			return err
		}
	}
	return nil
}

// layer runs one layer with taps, shows the statistics, and moves the streams behind it.
func (w *walk) layer(ctx context.Context, i int) error {
	if m, err := w.known(i); m != nil || err != nil {
		if err != nil {
			return err
		}
		return w.advance(ctx, i, m)
	}
	l := &Layer{Index: i, Points: map[*model.Node]*Point{}}
	if !w.needs.Lean {
		l.In = w.streams
	}
	err := w.gather(ctx, l, i, func(e *runtime.Engine, x []float32) error { return e.Layer(ctx, i, x) })
	if err != nil {
		return err
	}
	w.e.UnloadLayer(i) // whoever is shown the statistics needs memory
	changed, err := w.visit(ctx, l)
	if err != nil {
		return err
	}
	if changed == nil && l.Out != nil {
		w.streams = l.Out
		return nil
	}
	return w.advance(ctx, i, changed)
}

// known asks for a layer that needs no visit.
func (w *walk) known(i int) (*model.Model, error) {
	if w.needs.Known == nil {
		return nil, nil
	}
	return w.needs.Known(i)
}

// advance moves the streams behind a layer, with the weights of a model where it is not nil.
func (w *walk) advance(ctx context.Context, i int, changed *model.Model) error {
	if changed != nil {
		w.e.SetModel(changed)
	}
	if err := w.e.LoadLayer(ctx, i); err != nil {
		return err
	}
	defer w.e.UnloadLayer(i)
	next := make([][]float32, len(w.streams))
	for s, x := range w.streams {
		if !w.needs.Lean {
			x = append([]float32(nil), x...) // the caller has seen these
		}
		if err := w.e.Layer(ctx, i, x); err != nil {
			return err
		}
		next[s] = x
	}
	w.streams = next
	return nil
}

// head shows the statistics of what follows the layers.
func (w *walk) head(ctx context.Context, layers int) error {
	if m, err := w.known(layers); m != nil || err != nil {
		return err
	}
	l := &Layer{Index: layers, Points: map[*model.Node]*Point{}}
	err := w.gather(ctx, l, layers, func(e *runtime.Engine, x []float32) error {
		return e.Head(ctx, x, func(int, []float32) error { return nil })
	})
	if err != nil {
		return err
	}
	w.e.UnloadLayer(layers)
	_, err = w.visit(ctx, l)
	return err
}

// gather runs a segment over all samples and gathers what its linear layers read. The segment stays loaded.
func (w *walk) gather(ctx context.Context, l *Layer, i int, run func(e *runtime.Engine, x []float32) error) error {
	m := w.e.Model
	floats, err := w.decoded(m, i)
	if err != nil {
		return err
	}
	w.e.SetModel(floats)
	defer w.e.SetModel(m)
	if err := w.e.LoadLayer(ctx, i); err != nil {
		return err
	}
	pass := &pass{l: l, needs: w.needs, routers: newRouters(m.Graph), model: m}
	if w.needs.Lean {
		pass.e, pass.inputs = w.e, len(inputs(m.Graph, i))
	}
	w.e.SetTap(pass.tap)
	defer w.e.SetTap(nil)
	var x []float32
	for s := range w.streams {
		pass.seen = 0
		pass.held = w.needs.HoldOut > 0 && s%w.needs.HoldOut == w.needs.HoldOut-1
		x = append(x[:0], w.streams[s]...)
		if err := run(w.e, x); err != nil {
			return err
		}
		if pass.err != nil {
			return pass.err
		}
		if !w.needs.Lean && i < w.e.Model.Graph.Layers {
			l.Out = append(l.Out, append([]float32(nil), x...))
		}
	}
	for n, p := range l.Points {
		if err := p.finish(); err != nil {
			return fmt.Errorf("layer %d, input of %s: %w", i, n.Site, err)
		}
	}
	return nil
}

// decoded returns m with the plain matrices of a layer as float32, which multiplies many rows fastest; i is Layers for what
// follows the layers. Of a lean walk, what reads the last input stays as it is: it is not multiplied with.
func (w *walk) decoded(m *model.Model, i int) (*model.Model, error) {
	f32, err := codec.Lookup("f32")
	if err != nil {
		return nil, err
	}
	out := map[*model.Weight]*tensor.Tensor{}
	var last *model.Node
	if in := inputs(m.Graph, i); w.needs.Lean && len(in) > 0 {
		last = in[len(in)-1]
	}
	for _, n := range m.Graph.Nodes {
		if n.Op != model.OpLinear || Segment(m.Graph, n) != i || n.In[0] == last {
			continue
		}
		t := m.Tensor(n.Weight(0))
		if size, _ := t.Codec.Block(); size == 1 && n.Weight(0).Role == model.RoleMatrix {
			if out[n.Weight(0)], err = tensor.Convert(t, f32); err != nil {
				return nil, err
			}
		}
	}
	return m.With(out), nil
}

// inputs returns the inputs of linear layers that a layer has, in the order in which it comes to them.
func inputs(g *model.Graph, i int) []*model.Node {
	var out []*model.Node
	for _, n := range g.Nodes {
		if (n.Op == model.OpLinear || n.Op == model.OpExperts) && Segment(g, n) == i && !slices.Contains(out, n.In[0]) {
			out = append(out, n.In[0])
		}
	}
	return out
}

// Segment returns the Index at which a node is visited: its layer, -1 before the layers, Layers behind them.
func Segment(g *model.Graph, n *model.Node) int {
	if n.Layer < 0 && n.ID > g.Entry[g.Layers].ID {
		return g.Layers
	}
	return n.Layer
}

// pass is what the taps of one segment share.
type pass struct {
	e       *runtime.Engine // to be stopped once all inputs were seen; nil where the outputs are wanted too
	inputs  int
	seen    int
	l       *Layer
	needs   Needs
	model   *model.Model
	routers routers
	held    bool // the sample is held out
	err     error
}

// tap takes rows of an input into the statistics. A value that several groups of layers read counts once.
func (t *pass) tap(n *model.Node, x []float32, rows int) {
	if t.seen++; t.e != nil && t.seen%t.inputs == 0 {
		t.e.Stop()
	}
	p := t.l.Points[n]
	if p == nil {
		p = newPoint(n.Out.Size(), t.needs)
		t.l.Points[n] = p
	}
	if t.held {
		p.hold(x, rows)
		return
	}
	p.add(x, rows)
	if r := t.routers[n]; r != nil && t.err == nil {
		t.err = r.count(t.model, p, x, rows)
	}
}
