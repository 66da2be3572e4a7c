package prune

import (
	"context"
	"fmt"

	"github.com/parelm/pare/internal/calib"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// Width pruning goes through the layers in order. In each, the units of an axis are scored at the matrix that reads them
// (down for neurons, o for heads), the weakest are silenced there, and the matrix is refitted so that the remaining ones
// make up for them. The samples go on through the cut layer, so that the next is judged on what it will really get. At the
// end all axes shrink at once.

// cut is one axis to be shrunk in one layer.
type cut struct {
	axis   *model.Axis
	keep   int
	reader *model.Node // the linear layer whose columns are the axis
}

func width(ctx context.Context, m *model.Model, samples [][]int32, s *Settings, r *Report) (*model.Model, error) {
	cuts, err := plan(m, s, r)
	if err != nil {
		return nil, err
	}
	sel := model.Selection{}
	work := m
	err = calib.Walk(ctx, m, samples, calib.Needs{Hessian: !s.NoRepair}, func(_ context.Context, l *calib.Layer) (*model.Model, error) {
		changed := map[*model.Weight]*tensor.Tensor{}
		for _, c := range cuts[l.Index] {
			if err := c.apply(work, l, s, r, sel, changed); err != nil {
				return nil, err
			}
		}
		work = work.With(changed)
		return work, nil
	})
	if err != nil {
		return nil, err
	}
	return work.Shrink(sel)
}

// plan finds the axes to cut and the layers that read them.
func plan(m *model.Model, s *Settings, r *Report) (map[int][]cut, error) {
	cuts := map[int][]cut{}
	for _, a := range m.Graph.Axes {
		var keep int
		switch {
		case a.Kind == model.AxisFFN && !s.keep(s.FFN):
			keep = s.width(a.Size, s.FFN)
		case (a.Kind == model.AxisKVHeads || a.Kind == model.AxisHeads && a.Group == nil) && !s.keep(s.Heads):
			keep = max(1, int(s.Heads*float64(a.Size)+0.5))
		default:
			continue
		}
		if !a.Shrinkable() {
			return nil, fmt.Errorf("%s cannot shrink in a %s model", a.Name, m.Config.Family.Name)
		}
		reader := readerOf(m.Graph, a)
		if reader == nil {
			return nil, fmt.Errorf("pruning %s is not supported: no single matrix reads it", a.Name)
		}
		r.Widths[string(a.Kind)] = [2]int{a.Size, keep}
		if keep < a.Size {
			cuts[a.Layer] = append(cuts[a.Layer], cut{a, keep, reader})
		}
	}
	return cuts, nil
}

// readerOf returns the one linear layer whose columns are the axis or, for key/value heads, its query heads.
func readerOf(g *model.Graph, a *model.Axis) *model.Node {
	var found *model.Node
	for _, n := range g.Nodes {
		if n.Op != model.OpLinear && n.Op != model.OpExperts {
			continue
		}
		in := n.In[0].Out.Axis
		if in != a && (in.Group == nil || in.Group != a) {
			continue
		}
		if found != nil || n.Op == model.OpExperts {
			return nil
		}
		found = n
	}
	return found
}

// apply scores the units, silences the weakest and refits the reader.
func (c *cut) apply(m *model.Model, l *calib.Layer, s *Settings, r *Report, sel model.Selection, changed map[*model.Weight]*tensor.Tensor) error {
	w := c.reader.Weight(0)
	v, err := m.Tensor(w).Float32()
	if err != nil {
		return err
	}
	p := l.Points[c.reader.In[0]]
	cols := w.Shape()[1]
	u := &unitScores{units: c.axis.Size, block: cols / c.axis.Size, weights: v, rows: w.Shape()[0], point: p,
		seed: s.Seed, stream: uint64(l.Index)}
	keep := largest(criteria[s.criterion()](u), c.keep)
	sel[c.axis.Name] = keep
	stays := make([]bool, cols)
	for _, k := range keep {
		for i := range u.block {
			stays[k*u.block+i] = true
		}
	}
	if s.NoRepair {
		for i := range v {
			if !stays[i%cols] {
				v[i] = 0
			}
		}
	} else {
		e, err := refit(v, cols, p.Hessian, stays)
		if err != nil {
			return fmt.Errorf("%s: %w", c.reader.Site, err)
		}
		r.Errors[c.reader.Site] = e
	}
	changed[w] = tensor.FromFloat32(w.Name, w.Shape(), v)
	return nil
}
