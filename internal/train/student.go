package train

import (
	"fmt"
	"math"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/model"
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
		adapt := v.trained && w.Role == model.RoleMatrix && len(v.dims) == 2
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

// weights returns how the model's weights are made of the graph's nodes for the variables.
func (st *student) weights(in []*Node) func(w *model.Weight) *Node {
	made := map[*model.Weight]*Node{}
	return func(w *model.Weight) *Node {
		if n := made[w]; n != nil {
			return n
		}
		n := in[st.place[w.Name]]
		if st.adapted[w] {
			a, b := in[st.place[w.Name+".lora_a"]], in[st.place[w.Name+".lora_b"]]
			n = Add(n, MulScalar(DotGeneral(b, []int{1}, nil, a, []int{0}, nil), st.lora.scale()))
		}
		made[w] = n
		return n
	}
}

// tensors returns the model's weights for the given values of the variables; LoRA matrices are added in.
func (st *student) tensors(values func(i int) ([]float32, error)) (map[*model.Weight]*tensor.Tensor, error) {
	out := map[*model.Weight]*tensor.Tensor{}
	for _, w := range st.model.Graph.Weights {
		i := st.place[w.Name]
		if !st.variables[i].trained && !st.adapted[w] {
			continue
		}
		v, err := values(i)
		if err != nil {
			return nil, err
		}
		if st.adapted[w] {
			a, err := values(st.place[w.Name+".lora_a"])
			if err != nil {
				return nil, err
			}
			b, err := values(st.place[w.Name+".lora_b"])
			if err != nil {
				return nil, err
			}
			v = append([]float32{}, v...)
			addProduct(v, b, a, w.Shape()[0], w.Shape()[1], st.lora)
		}
		out[w] = tensor.FromFloat32(w.Name, w.Shape(), v)
	}
	return out, nil
}

// addProduct adds scale * b·a to w.
func addProduct(w, b, a []float32, rows, cols int, l *LoRA) {
	scale := float32(l.scale())
	for i := range rows {
		for k := range l.Rank {
			f := scale * b[i*l.Rank+k]
			for j := range cols {
				w[i*cols+j] += f * a[k*cols+j]
			}
		}
	}
}
