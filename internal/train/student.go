package train

import (
	"fmt"
	"math"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// variable is an array that the training graph takes as a parameter.
type variable struct {
	name    string
	dims    []int
	trained bool
	decay   bool
	value   func() ([]float32, error) // initial
}

func (v *variable) shape() shapes.Shape { return shapes.Make(f32Type, v.dims...) }

// LoRA trains, instead of a matrix W, two thin matrices beside it: W + Alpha/Rank * B·A (Hu et al. 2021).
type LoRA struct {
	Rank  int
	Alpha float64 // 0 means Rank
}

func (l *LoRA) scale() float64 {
	if l.Alpha == 0 {
		return 1
	}
	return l.Alpha / float64(l.Rank)
}

// student is a model as training sees it: variables, and how each weight is made of them.
type student struct {
	model     *model.Model
	variables []*variable
	place     map[string]int // of variables by name
	lora      *LoRA
	adapted   map[*model.Weight]bool // weights with LoRA matrices
}

// newStudent lists the variables: the model's weights, LoRA matrices, and the extra parameters of losses.
func newStudent(m *model.Model, s *Settings, losses []Loss) (*student, error) {
	st := &student{model: m, place: map[string]int{}, lora: s.LoRA, adapted: map[*model.Weight]bool{}}
	if s.LoRA != nil && s.LoRA.Rank < 1 {
		return nil, fmt.Errorf("LoRA rank is %d, must be at least 1", s.LoRA.Rank)
	}
	trains := func(name string) bool { return s.Train == nil || s.Train(name) }
	for _, w := range m.Graph.Weights {
		t := m.Tensor(w)
		v := &variable{name: w.Name, dims: w.Shape(), trained: trains(w.Name), value: t.Float32}
		v.decay = w.Role == model.RoleMatrix || w.Role == model.RoleEmbed && s.DecayEmbeddings
		st.add(v)
		if s.LoRA == nil {
			continue
		}
		adapt := v.trained && w.Role == model.RoleMatrix && len(v.dims) == 2 && st.linear(w)
		if v.trained = false; adapt {
			st.adapt(w, s)
		}
	}
	for _, l := range losses {
		for _, p := range l.Params {
			if _, twice := st.place[p.Name]; twice {
				continue // losses may share a parameter
			}
			st.add(&variable{name: p.Name, dims: []int{p.Out, p.In}, trained: true, value: normal(s.Seed, p.Name, p.Out*p.In, p.Deviation)})
		}
	}
	for _, v := range st.variables {
		if v.trained {
			return st, nil
		}
	}
	return nil, fmt.Errorf("nothing to train: every weight is frozen")
}

func (st *student) add(v *variable) {
	st.place[v.name] = len(st.variables)
	st.variables = append(st.variables, v)
}

// adapt adds the thin matrices of a weight: A random, B zero, so that training starts at W.
func (st *student) adapt(w *model.Weight, s *Settings) {
	d, r := w.Shape(), s.LoRA.Rank
	st.adapted[w] = true
	name := w.Name + ".lora_a"
	st.add(&variable{name: name, dims: []int{r, d[1]}, trained: true, value: normal(s.Seed, name, r*d[1], 1/math.Sqrt(float64(d[1])))})
	st.add(&variable{name: w.Name + ".lora_b", dims: []int{d[0], r}, trained: true,
		value: func() ([]float32, error) { return make([]float32, d[0]*r), nil }})
}

// normal returns values drawn from (seed, name) and the place.
func normal(seed uint64, name string, n int, deviation float64) func() ([]float32, error) {
	return func() ([]float32, error) {
		r := rng.New(seed, rng.Hash(name))
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(deviation * r.Normal())
		}
		return v, nil
	}
}

// weights returns the graph's nodes for the model's weights among those for the variables, and what stands beside them.
func (st *student) weights(in []*Node) (weight func(w *model.Weight) *Node, beside func(w *model.Weight) *thin) {
	weight = func(w *model.Weight) *Node { return in[st.place[w.Name]] }
	return weight, func(w *model.Weight) *thin {
		if !st.adapted[w] {
			return nil
		}
		return &thin{in[st.place[w.Name+".lora_a"]], in[st.place[w.Name+".lora_b"]], st.lora.scale()}
	}
}

// linear reports weights that linear nodes alone read: what LoRA matrices can stand beside.
func (st *student) linear(w *model.Weight) bool {
	for _, n := range st.model.Graph.Nodes {
		for i, x := range n.Weights {
			if x == w && (n.Op != model.OpLinear || i > 0) {
				return false
			}
		}
	}
	return true
}

// tensors returns the model's weights for the given values of the variables. Matrices with others beside them are added up when
// somebody reads their rows, so that they never stand in memory a second time.
func (st *student) tensors(values func(i int) ([]float32, error)) (map[*model.Weight]*tensor.Tensor, error) {
	out := map[*model.Weight]*tensor.Tensor{}
	for _, w := range st.model.Graph.Weights {
		i := st.place[w.Name]
		switch {
		case st.adapted[w]:
			a, err := values(st.place[w.Name+".lora_a"])
			if err != nil {
				return nil, err
			}
			b, err := values(st.place[w.Name+".lora_b"])
			if err != nil {
				return nil, err
			}
			t := tensor.FromFloat32(w.Name, w.Shape(), nil)
			t.Src = &merged{st.model.Tensor(w), t.Codec, a, b, st.lora}
			out[w] = t
		case st.variables[i].trained:
			v, err := values(i)
			if err != nil {
				return nil, err
			}
			out[w] = tensor.FromFloat32(w.Name, w.Shape(), v)
		}
	}
	return out, nil
}

// merged are the rows of a matrix plus scale * b·a.
type merged struct {
	base *tensor.Tensor
	f32  codec.Codec
	a, b []float32 // [rank, in], [out, rank]
	l    *LoRA
}

// ReadRows adds the product of the thin matrices to rows of the base, in float32.
func (m *merged) ReadRows(dst []byte, lo, hi int) error {
	cols, rank, scale := m.base.Cols(), m.l.Rank, float32(m.l.scale())
	w := make([]float32, (hi-lo)*cols)
	if err := m.base.ReadFloat32(w, lo, hi); err != nil {
		return err
	}
	for i := lo; i < hi; i++ {
		row := w[(i-lo)*cols:][:cols]
		for k := range rank {
			f := scale * m.b[i*rank+k]
			for j, a := range m.a[k*cols:][:cols] {
				row[j] += f * a
			}
		}
	}
	m.f32.Encode(dst, w, nil)
	return nil
}
