package model

import (
	"fmt"
	"sort"

	"github.com/parelm/pare/model/tensor"
)

// Selection says which units of axes stay, by axis name; units are given in rising order.
type Selection map[string][]int

// Shrink returns the model with the given axes cut down. Weights become views of the old ones: nothing is computed or
// copied until somebody reads them. Query heads that share key/value heads must keep equally many in each group;
// choosing key/value heads takes their query heads along.
func (m *Model) Shrink(sel Selection) (*Model, error) {
	keep := map[*Axis][]int{}
	for _, name := range sortedKeys(sel) {
		a := m.Graph.Axis(name)
		if a == nil {
			return nil, fmt.Errorf("the model has no axis %q", name)
		}
		if err := checkSelection(a, sel[name]); err != nil {
			return nil, err
		}
		keep[a] = sel[name]
	}
	for _, a := range m.Graph.Axes {
		kv := keep[a.Group]
		if a.Group == nil || kv == nil {
			continue
		}
		if keep[a] != nil {
			return nil, fmt.Errorf("choose units of %s or of %s, not of both", a.Name, a.Group.Name)
		}
		per := a.Size / a.Group.Size
		for _, g := range kv {
			for i := range per {
				keep[a] = append(keep[a], g*per+i)
			}
		}
	}
	c := m.Config.Clone()
	for _, a := range m.Graph.Axes {
		if k := keep[a]; k != nil {
			a.set(c, len(k))
		}
	}
	c.settle()
	return m.redraw(c, func(w *Weight) (*Weight, string) { return m.Graph.Weight(w.Name), w.Name }, keep)
}

// KeepLayers returns the model with the given layers alone, in rising order.
func (m *Model) KeepLayers(layers []int) (*Model, error) {
	if len(layers) == 0 {
		return nil, fmt.Errorf("no layer would be left")
	}
	c := m.Config.Clone()
	c.Layers, c.kept = nil, nil
	for i, l := range layers {
		if l < 0 || l >= len(m.Config.Layers) || i > 0 && l <= layers[i-1] {
			return nil, fmt.Errorf("layers %v: must rise from 0 to %d at most", layers, len(m.Config.Layers)-1)
		}
		c.Layers = append(c.Layers, m.Config.Layers[l])
		if m.Config.kept != nil {
			l = m.Config.kept[l]
		}
		c.kept = append(c.kept, l)
	}
	return m.redraw(c, func(w *Weight) (*Weight, string) {
		site, layer, kind := splitName(w.Name)
		if layer < 0 {
			return m.Graph.Weight(w.Name), w.Name
		}
		old := at(site, layers[layer])
		if kind == ".bias" {
			old += kind
		}
		return m.Graph.Weight(old), old
	}, nil)
}

// redraw draws a changed configuration and finds each weight among the old ones.
func (m *Model) redraw(c *Config, from func(w *Weight) (*Weight, string), keep map[*Axis][]int) (*Model, error) {
	if err := m.unadapted(); err != nil {
		return nil, err
	}
	if err := c.check(m.Path); err != nil {
		return nil, err
	}
	n := &Model{Config: c, Graph: Draw(c), Warnings: m.Warnings, side: m.side, tensors: map[*Weight]*tensor.Tensor{}}
	for _, w := range n.Graph.Weights {
		old, name := from(w)
		if old == nil {
			return nil, fmt.Errorf("the smaller model needs %s, which the model does not have", name)
		}
		t, err := selectDims(w.Name, m.tensors[old], old.Dims, keep)
		if err != nil {
			return nil, err
		}
		if !sameShape(t.Shape, w.Shape()) {
			return nil, fmt.Errorf("%s became %v, the smaller drawing makes it %v", w.Name, t.Shape, w.Shape())
		}
		n.tensors[w] = t
	}
	return n, nil
}

func checkSelection(a *Axis, units []int) error {
	if !a.Shrinkable() {
		return fmt.Errorf("axis %s cannot shrink", a.Name)
	}
	if len(units) == 0 {
		return fmt.Errorf("axis %s: nothing would be left", a.Name)
	}
	perGroup := map[int]int{}
	for i, u := range units {
		if u < 0 || u >= a.Size || i > 0 && u <= units[i-1] {
			return fmt.Errorf("axis %s: units %v must rise from 0 to %d at most", a.Name, units, a.Size-1)
		}
		if a.Group != nil {
			perGroup[u/(a.Size/a.Group.Size)]++
		}
	}
	for g := range perGroup {
		if perGroup[g]*a.Group.Size != len(units) {
			return fmt.Errorf("axis %s: %d units do not split evenly over the %d units of %s", a.Name, len(units), a.Group.Size, a.Group.Name)
		}
	}
	return nil
}

// selectDims cuts a tensor down along every dimension whose axis is in keep.
func selectDims(name string, t *tensor.Tensor, dims []Dim, keep map[*Axis][]int) (*tensor.Tensor, error) {
	entries := func(d Dim) []int {
		units := keep[d.Axis]
		if units == nil {
			return nil
		}
		var idx []int
		for _, u := range units {
			for i := range d.Block {
				idx = append(idx, u*d.Block+i)
			}
		}
		return idx
	}
	last := len(dims) - 1
	var rows []int // of all leading dimensions together
	cut := false
	shape := make([]int, len(dims))
	rows = append(rows, 0)
	for i, d := range dims[:last] {
		idx := entries(d)
		cut = cut || idx != nil
		if idx == nil {
			idx = make([]int, d.Size())
			for j := range idx {
				idx[j] = j
			}
		}
		shape[i] = len(idx)
		next := make([]int, 0, len(rows)*len(idx))
		for _, r := range rows {
			for _, j := range idx {
				next = append(next, r*d.Size()+j)
			}
		}
		rows = next
	}
	shape[last] = dims[last].Size()
	var err error
	if cut {
		if t, err = tensor.GatherRows(name, t, shape, rows); err != nil {
			return nil, err
		}
	}
	if idx := entries(dims[last]); idx != nil {
		if values, _ := t.Codec.Block(); values != 1 {
			return nil, tensor.Errorf(ErrUnsupported, "", fmt.Sprintf("tensor %q", name),
				"is quantized as %s: prune before quantizing, or convert to bf16 first", t.Codec.Name())
		}
		if t, err = tensor.SelectCols(name, t, idx); err != nil {
			return nil, err
		}
	}
	if t.Name != name {
		v := *t
		v.Name = name
		t = &v
	}
	return t, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
