package train

import (
	"fmt"
	"maps"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Probe computes a loss and its gradients on given values instead of a model's: for tests of losses against references.
type Probe struct {
	Rows   int
	Logits []float32   // [Rows, vocabulary]; nil for losses on hidden states
	Labels []int32     // [Rows]; rows with a negative label do not count
	Inputs []ProbeData // by the names that the loss declares
	Params []ProbeData
	Hidden map[int][]float32 // hidden states by layer, [Rows, width]
	Maps   map[int][]float32 // attention probabilities by layer, [Rows, heads*length]
}

// ProbeData is a named array: []float32 or []int32 of [Rows, width], or of [Rows] where width is 0.
type ProbeData struct {
	Name   string
	Values any
	Dims   []int
}

// Probed are the results.
type Probed struct {
	Rows   []float32            // the loss of each row
	Loss   float64              // their mean over the rows that count
	Logits []float32            // gradient of the mean
	Hidden map[int][]float32    // ... by layer
	Maps   map[int][]float32    // ... by layer
	Params map[string][]float32 // ... by name
}

// Run computes the loss.
func (p *Probe) Run(l Loss) (*Probed, error) {
	b := newBackend(1)
	arrays, weights := p.arrays()
	var in []compute.Buffer
	var params []shapes.Shape
	for _, a := range arrays {
		s, err := shapeOf(a.Values, a.Dims)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.Name, err)
		}
		x, err := upload(b, a.Values, a.Dims...)
		if err != nil {
			return nil, err
		}
		params, in = append(params, s), append(in, x)
	}
	prog, err := compileProgram(b, "probe", params, func(n []*Node) []*Node { return p.draw(l, n) })
	if err != nil {
		return nil, err
	}
	out, err := prog.run(in, nil)
	if err != nil {
		return nil, err
	}
	return p.results(out, weights)
}

// arrays lists what goes into the graph: labels, weights, logits, hidden states, attention, inputs, parameters.
func (p *Probe) arrays() (list []ProbeData, weights []float32) {
	counted := 0
	for _, x := range p.Labels {
		if x >= 0 {
			counted++
		}
	}
	weights = make([]float32, p.Rows)
	for i, x := range p.Labels {
		if x >= 0 {
			weights[i] = float32(1 / float64(counted))
		}
	}
	list = []ProbeData{{"labels", p.Labels, []int{p.Rows}}, {"weights", weights, []int{p.Rows}}}
	if p.Logits != nil {
		list = append(list, ProbeData{"logits", p.Logits, []int{p.Rows, len(p.Logits) / p.Rows}})
	}
	for _, of := range []map[int][]float32{p.Hidden, p.Maps} {
		for _, i := range sorted(of) {
			list = append(list, ProbeData{"by layer", of[i], []int{p.Rows, len(of[i]) / p.Rows}})
		}
	}
	return append(append(list, p.Inputs...), p.Params...), weights
}

// sorted lists the layers of what is given by layer.
func sorted(by map[int][]float32) []int { return slices.Sorted(maps.Keys(by)) }

// draw draws the loss of each row, then the gradients of logits, hidden states, attention and parameters.
func (p *Probe) draw(l Loss, n []*Node) []*Node {
	t := &Tape{rows: [2]int{0, p.Rows}, labels: n[0], inputs: map[string]*Node{}, params: map[string]*Node{}, states: map[int]*Node{}, maps: map[int]*Node{}}
	weights := n[1]
	n = n[2:]
	var of []*Node
	if p.Logits != nil {
		t.logits, of, n = n[0], append(of, n[0]), n[1:]
	}
	take := func(by map[int][]float32, to map[int]*Node) {
		for _, layer := range sorted(by) {
			to[layer], of, n = n[0], append(of, n[0]), n[1:]
		}
	}
	take(p.Hidden, t.states)
	take(p.Maps, t.maps)
	for i, x := range p.Inputs {
		t.inputs[x.Name] = n[i]
	}
	for i, x := range p.Params {
		v := n[len(p.Inputs)+i]
		t.params[x.Name], of = v, append(of, v)
	}
	rows := l.Draw(t).n
	return append([]*Node{rows}, Gradient(ReduceAllSum(Mul(rows, weights)), of...)...)
}

func (p *Probe) results(out []compute.Buffer, weights []float32) (*Probed, error) {
	values := make([][]float32, len(out))
	for i, b := range out {
		var err error
		if values[i], err = download(b); err != nil {
			return nil, err
		}
	}
	r := &Probed{Rows: values[0], Hidden: map[int][]float32{}, Maps: map[int][]float32{}, Params: map[string][]float32{}}
	for i, v := range r.Rows {
		r.Loss += float64(v) * float64(weights[i])
	}
	values = values[1:]
	if p.Logits != nil {
		r.Logits, values = values[0], values[1:]
	}
	take := func(by, to map[int][]float32) {
		for _, layer := range sorted(by) {
			to[layer], values = values[0], values[1:]
		}
	}
	take(p.Hidden, r.Hidden)
	take(p.Maps, r.Maps)
	for i, x := range p.Params {
		r.Params[x.Name] = values[i]
	}
	return r, nil
}
