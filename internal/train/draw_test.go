package train

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/parelm/pare/internal/reference"
	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/safetensors"
)

// weightsOf returns the weights of a model as tensors, in the order of its graph.
func weightsOf(t testing.TB, m *model.Model, d dtypes.DType) []*tensors.Tensor {
	t.Helper()
	var out []*tensors.Tensor
	for _, w := range m.Graph.Weights {
		v, err := m.Tensor(w).Float32()
		if err != nil {
			t.Fatal(err)
		}
		if d == f32 {
			out = append(out, tensors.FromFlatDataAndDimensions(v, w.Shape()...))
			continue
		}
		x := make([]float64, len(v))
		for i, y := range v {
			x[i] = float64(y)
		}
		out = append(out, tensors.FromFlatDataAndDimensions(x, w.Shape()...))
	}
	return out
}

// drawn is a graph function of ids and weights: the values of the chosen nodes.
func drawn(m *model.Graph, choose func(values map[*model.Node]*Node, weights []*Node) []*Node) func(g *Graph, in []*Node) []*Node {
	return func(_ *Graph, in []*Node) []*Node {
		at := map[*model.Weight]*Node{}
		for i, w := range m.Weights {
			at[w] = in[i+1]
		}
		return choose(draw(m, in[0], func(w *model.Weight) *Node { return at[w] }, nil).values, in[1:])
	}
}

// TestGoldenLogits compares logits with those of the reference implementations, for every family that can be trained.
func TestGoldenLogits(t *testing.T) {
	root := tiny.Shared(t, "golden", "arch")
	dirs, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if dir.IsDir() {
			t.Run(dir.Name(), func(t *testing.T) { golden(t, filepath.Join(root, dir.Name())) })
		}
	}
}

func golden(t *testing.T, dir string) {
	m, err := model.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Graph.Recurrent() {
		if err := Trainable(m.Graph); !errors.Is(err, model.ErrUnsupported) {
			t.Errorf("a recurrent model can be trained: %v", err)
		}
		return
	}
	if err := Trainable(m.Graph); err != nil {
		t.Fatal(err)
	}
	var io struct {
		Sequences []struct {
			Name string  `json:"name"`
			IDs  []int32 `json:"input_ids"`
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "io.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &io); err != nil {
		t.Fatal(err)
	}
	want, err := safetensors.Open(filepath.Join(dir, "expected.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	b := newBackend(1)
	for _, s := range io.Sequences {
		ids := tensors.FromFlatDataAndDimensions(s.IDs, 1, len(s.IDs))
		got, err := evaluate(b, drawn(m.Graph, func(v map[*model.Node]*Node, _ []*Node) []*Node { return []*Node{v[m.Graph.Logits]} }),
			append([]*tensors.Tensor{ids}, weightsOf(t, m, f32)...))
		if err != nil {
			t.Fatal(err)
		}
		x, ok := want.Tensor("logits_" + s.Name)
		if !ok {
			t.Fatalf("no logits_%s", s.Name)
		}
		v, err := x.Float32()
		if err != nil {
			t.Fatal(err)
		}
		worst := 0.0
		for i, y := range numbers(got[0]) {
			worst = max(worst, math.Abs(y-float64(v[i])))
		}
		if !(worst <= 1e-4) { // the golden README's tolerance
			t.Errorf("logits_%s differ by %.3g", s.Name, worst)
		}
	}
}

// trainable lists the tiny models that can be trained.
func trainable(t *testing.T, f func(t *testing.T, m *model.Model)) {
	for _, name := range models.Names() {
		t.Run(name, func(t *testing.T) {
			m := models.Model(t, name, 3)
			if m.Graph.Recurrent() {
				t.Skip("recurrent models are not trained")
			}
			f(t, m)
		})
	}
}

func batch(r *rand.Rand, m *model.Model, rows, length int) *tensors.Tensor {
	ids := make([]int32, rows*length)
	for i := range ids {
		ids[i] = int32(r.IntN(m.Config.Vocab))
	}
	return tensors.FromFlatDataAndDimensions(ids, rows, length)
}

// TestDrawing compares the value of every node with the reference executor's, for a batch of two sequences.
func TestDrawing(t *testing.T) {
	trainable(t, func(t *testing.T, m *model.Model) {
		r := rand.New(rand.NewPCG(1, 3))
		const length = 9
		ids := batch(r, m, 2, length)
		readers := readersOf(m.Graph)
		var shown []*model.Node
		for _, n := range m.Graph.Nodes {
			if d := (&drawing{readers: readers}); n.Op == model.OpAct && d.gate(n) {
				continue // computed with the multiplication
			}
			shown = append(shown, n)
		}
		got, err := evaluate(newBackend(1), drawn(m.Graph, func(v map[*model.Node]*Node, _ []*Node) []*Node {
			var out []*Node
			for _, n := range shown {
				out = append(out, v[n])
			}
			return out
		}), append([]*tensors.Tensor{ids}, weightsOf(t, m, f32)...))
		if err != nil {
			t.Fatal(err)
		}
		flat := tensors.MustCopyFlatData[int32](ids)
		weights := func(w *model.Weight) ([]float32, error) { return m.Tensor(w).Float32() }
		for row := range 2 {
			trace, err := reference.Run(m.Graph, weights, flat[row*length:(row+1)*length])
			if err != nil {
				t.Fatal(err)
			}
			for i, n := range shown {
				v, want := numbers(got[i]), trace[n.ID]
				v = v[row*len(want) : (row+1)*len(want)]
				for k := range want {
					if math.Abs(v[k]-want[k]) > 1e-4*max(1, math.Abs(want[k])) {
						t.Fatalf("sequence %d, node %d (%s %s): value %d is %g, want %g", row, n.ID, n.Op, n.Site, k, v[k], want[k])
					}
				}
			}
		}
	})
}

// lossOf is a number that depends on every logit.
func lossOf(m *model.Graph, d dtypes.DType) func(v map[*model.Node]*Node, weights []*Node) *Node {
	return func(v map[*model.Node]*Node, _ []*Node) *Node {
		logits := v[m.Logits]
		w := Sin(MulScalar(ConvertDType(IotaFull(logits.Graph(), logits.Shape()), d), 0.71))
		return ReduceAllSum(Mul(w, LogSoftmax(logits, -1)))
	}
}

// TestGradients compares gradients of a whole model: in float64 with central differences along a random direction for
// every weight; in float32, where kernels run, with those in float64, and with GoMLX differentiating the definitions.
func TestGradients(t *testing.T) {
	trainable(t, func(t *testing.T, m *model.Model) {
		r := rand.New(rand.NewPCG(2, 3))
		ids := batch(r, m, 2, 7)
		grads := func(b compute.Backend, d dtypes.DType) [][]float64 {
			loss := lossOf(m.Graph, d)
			got, err := evaluate(b, drawn(m.Graph, func(v map[*model.Node]*Node, weights []*Node) []*Node {
				return Gradient(loss(v, weights), weights...)
			}), append([]*tensors.Tensor{ids}, weightsOf(t, m, d)...))
			if err != nil {
				t.Fatal(err)
			}
			var out [][]float64
			for _, g := range got {
				out = append(out, numbers(g))
			}
			return out
		}
		b := newBackend(1)
		exact := grads(b, f64)
		closeTo(t, "float32", m.Graph, grads(b, f32), exact, 2e-4)
		closeTo(t, "GoMLX", m.Graph, grads(gomlxBackend(), f64), exact, 1e-8)

		loss := lossOf(m.Graph, f64)
		exec := MustNewExec(b, func(in []*Node) *Node {
			return drawn(m.Graph, func(v map[*model.Node]*Node, weights []*Node) []*Node { return []*Node{loss(v, weights)} })(nil, in)[0]
		})
		at := func(i int, direction []float64, step float64) float64 {
			in := []any{ids}
			for j, w := range weightsOf(t, m, f64) {
				if i == j {
					tensors.MustMutableFlatData(w, func(v []float64) {
						for k := range v {
							v[k] += step * direction[k]
						}
					})
				}
				in = append(in, w)
			}
			return tensors.ToScalar[float64](exec.MustCall1(in...))
		}
		for i, w := range m.Graph.Weights {
			direction := make([]float64, w.Len())
			slope := 0.0
			for k := range direction {
				direction[k] = r.NormFloat64()
				slope += direction[k] * exact[i][k]
			}
			const step = 1e-6
			difference := (at(i, direction, step) - at(i, direction, -step)) / (2 * step)
			if math.Abs(slope-difference) > 1e-5*max(1, math.Abs(difference)) {
				t.Errorf("%s: slope %g, differences give %g", w.Name, slope, difference)
			}
		}
	})
}

// closeTo compares gradients, relative to the size of each weight's gradient.
func closeTo(t *testing.T, what string, g *model.Graph, got, want [][]float64, tolerance float64) {
	t.Helper()
	largest := 0.0
	for _, values := range want {
		for _, v := range values {
			largest = max(largest, math.Abs(v))
		}
	}
	for i, w := range g.Weights {
		size := largest * 1e-2 // some gradients are zero: that of a key's bias, for example
		for _, v := range want[i] {
			size = max(size, math.Abs(v))
		}
		for k, v := range want[i] {
			if !(math.Abs(got[i][k]-v) <= tolerance*size) {
				t.Fatalf("%s: gradient of %s[%d] is %g, want %g (largest %g)", what, w.Name, k, got[i][k], v, size)
			}
		}
	}
}
