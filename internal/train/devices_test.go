package train

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/distributed"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/tiny/models"
)

// onMesh runs a graph of one input and one output on a mesh of devices, with values[i] on device i, and returns what each device has.
func onMesh[T int32 | float32 | float64](t *testing.T, b compute.Backend, mesh *distributed.DeviceMesh, d dtypes.DType, values [][]T, donate bool, build func(x *Node) *Node) [][]T {
	t.Helper()
	s := shapes.Make(d, len(values[0]))
	p, err := compileOn(b, mesh, "mesh", []shapes.Shape{s}, func(in []*Node) []*Node { return []*Node{build(in[0])} })
	if err != nil {
		t.Fatal(err)
	}
	var in []compute.Buffer
	for i, v := range values {
		x, err := b.BufferFromFlatData(compute.DeviceNum(i), v, s)
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, x)
	}
	out, err := p.run(in, slices.Repeat([]bool{donate}, len(in)))
	if err != nil {
		t.Fatal(err)
	}
	var results [][]T
	for i, x := range out {
		if n, err := x.DeviceNum(); err != nil || int(n) != i {
			t.Errorf("output %d is on device %d: %v", i, n, err)
		}
		r := make([]T, len(values[0]))
		if err := x.ToFlatData(r); err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
	return results
}

func newMesh(t *testing.T, sizes []int, names ...string) *distributed.DeviceMesh {
	t.Helper()
	m, err := distributed.NewDeviceMesh(sizes, names)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// allReduces checks every reduction of one type over all devices of a 2x2 mesh and over one of its axes, of a parameter that is donated or
// not and of a value that is computed and read again after the devices met.
func allReduces[T int32 | float32 | float64](t *testing.T, d dtypes.DType) {
	b := newBackend(4)
	mesh := newMesh(t, []int{2, 2}, "rack", "card")
	const n = 40000 // more than a thread takes at once
	values := make([][]T, 4)
	for i := range values {
		for k := range n {
			values[i] = append(values[i], T((k*7+i*5)%23-9))
		}
	}
	combine := map[compute.ReduceOpType]func(x, y T) T{
		compute.ReduceOpSum: func(x, y T) T { return x + y }, compute.ReduceOpProduct: func(x, y T) T { return x * y },
		compute.ReduceOpMax: func(x, y T) T { return max(x, y) }, compute.ReduceOpMin: func(x, y T) T { return min(x, y) },
	}
	for op, f := range combine {
		for axes, groups := range map[string][][]int{"rack,card": {{0, 1, 2, 3}}, "card": {{0, 1}, {2, 3}}, "rack": {{0, 2}, {1, 3}}} {
			want := make([][]T, 4)
			for _, g := range groups {
				for _, i := range g {
					for k := range n {
						x := values[g[0]][k]
						for _, j := range g[1:] {
							x = f(x, values[j][k])
						}
						want[i] = append(want[i], x)
					}
				}
			}
			reduce := func(x *Node) *Node {
				return x.Graph().Distributed().Along(strings.Split(axes, ",")...).AllReduceOne(x, op)
			}
			for _, donate := range []bool{false, true} {
				for i, got := range onMesh(t, b, mesh, d, values, donate, reduce) {
					if !slices.Equal(got, want[i]) {
						t.Errorf("%s over %s, donated %t: device %d has %v, want %v", op, axes, donate, i, got[:5], want[i][:5])
					}
				}
			}
			twice := onMesh(t, b, mesh, d, values, false, func(x *Node) *Node { y := Neg(x); return Add(Sub(reduce(Neg(y)), y), y) })
			for i, got := range twice {
				if !slices.Equal(got, want[i]) {
					t.Errorf("%s of a value over %s: device %d has %v, want %v", op, axes, i, got[:5], want[i][:5])
				}
			}
		}
	}
}

func TestAllReduce(t *testing.T) {
	t.Run("int32", func(t *testing.T) { allReduces[int32](t, dtypes.Int32) })
	t.Run("float32", func(t *testing.T) { allReduces[float32](t, dtypes.Float32) })
	t.Run("float64", func(t *testing.T) { allReduces[float64](t, dtypes.Float64) })
}

// TestDevicesOfBackend asks for what the devices cannot do.
func TestDevicesOfBackend(t *testing.T) {
	b := newBackend(2)
	s := shapes.Make(f32Type, 2)
	on := func(d compute.DeviceNum, values ...float32) compute.Buffer {
		x, err := b.BufferFromFlatData(d, values, s)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	negative, err := compileProgram(b, "portable", []shapes.Shape{s}, func(in []*Node) []*Node { return []*Node{Neg(in[0])} })
	if err != nil {
		t.Fatal(err)
	}
	out := negative.graph.RunWithBuffers([]compute.Buffer{on(1, 3, 4)}, []bool{false}, 1) // a program that is not bound to a device runs on any
	if d, err := out[0].Device(); err != nil || d != 1 {
		t.Errorf("a program of device 1 leaves its result on %d: %v", d, err)
	}
	if _, err := negative.run([]compute.Buffer{on(1, 1, 2)}, nil); err == nil || !strings.Contains(err.Error(), "on device 1, not on 0") {
		t.Errorf("an input of another device: %v", err)
	}
	moved, err := on(0, 5, 6).CopyToDevice(1)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := download(moved); err != nil || v[1] != 6 {
		t.Errorf("moved %v: %v", v, err)
	}
	if _, err := moved.CopyToDevice(2); err == nil || !strings.Contains(err.Error(), "has no device 2") {
		t.Errorf("a third device: %v", err)
	}
	if _, err := compileOn(b, newMesh(t, []int{3}, "data"), "wide", []shapes.Shape{s}, func(in []*Node) []*Node { return in }); err == nil || !strings.Contains(err.Error(), "exceeds") {
		t.Errorf("three of two devices: %v", err)
	}
	if _, err := compileProgram(b, "alone", []shapes.Shape{s}, func(in []*Node) []*Node { return sumOver(in) }); err == nil {
		t.Error("an all-reduce of a program on one device was compiled")
	}
	g := b.Builder("assigned").(*graphBuilder)
	if err := g.DistributedSPMD(3); err == nil {
		t.Error("a graph of three of two devices")
	}
	if err := g.DistributedSPMD(2); err != nil {
		t.Fatal(err)
	}
	for _, list := range [][]compute.DeviceNum{{0}, {1, 1}, {0, 2}} {
		if err := g.DeviceAssignment(list...); err == nil {
			t.Errorf("devices %v were assigned", list)
		}
	}
	x, err := g.main.Parameter("x", s, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, groups := range [][][]int{nil, {{0}}, {{0}, {0}}, {{0, 2}}} {
		if _, err := g.main.AllReduce([]compute.Value{x}, compute.ReduceOpSum, groups); err == nil {
			t.Errorf("an all-reduce over groups %v", groups)
		}
	}
}

// deviceCase is a way to train.
type deviceCase struct {
	name     string
	settings Settings
	rows     []int // of the batches of a step
}

var deviceCases = []deviceCase{
	{"plain", Settings{Optimizer: Optimizer{Rate: 1e-3, Decay: 0.1, Clip: 1}}, []int{12}},
	{"clipped", Settings{Optimizer: Optimizer{Rate: 1e-3, Clip: 0.01}}, []int{12}},
	{"accumulated", Settings{Optimizer: Optimizer{Rate: 1e-3, Clip: 1}}, []int{12, 12, 12}},
	{"uneven", Settings{Optimizer: Optimizer{Rate: 1e-3, Clip: 1}}, []int{5, 2}},
	{"mean", Settings{Optimizer: Optimizer{Rate: 1e-3}, EMA: 0.8}, []int{12}},
	{"lora", Settings{Optimizer: Optimizer{Rate: 1e-2, Clip: 1}, LoRA: &LoRA{Rank: 2}}, []int{12}},
	{"frozen", Settings{Optimizer: Optimizer{Rate: 1e-3}, Train: func(name string) bool { return strings.Contains(name, "mlp") }}, []int{12}},
	{"checkpointed", Settings{Optimizer: Optimizer{Rate: 1e-3}, Checkpoint: true}, []int{12}},
}

// trained makes steps on some devices and returns what they measured, the state, and the weights.
func (c *deviceCase) trained(t *testing.T, devices, steps int) ([]*Metrics, []byte, [][]float32) {
	t.Helper()
	s := c.settings
	s.Devices, s.Schedule = devices, Schedule{Steps: steps}
	m := models.Model(t, "llama", 1)
	tr := loopTrainer(t, m, s, factored("ce", 1))
	var list []*Metrics
	for step := range steps {
		var batches []*Batch
		for i, rows := range c.rows {
			batches = append(batches, loopBatch(m, step*50+i*12, rows))
		}
		x, err := tr.Step(t.Context(), batches)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, x)
	}
	for i, a := range tr.vars {
		first, err := download(a[0])
		if err != nil {
			t.Fatal(err)
		}
		for d := range a {
			if x, err := download(a[d]); err != nil || !slices.Equal(x, first) {
				t.Errorf("%s of device %d is not that of device 0: %v", tr.student.variables[i].name, d, err)
			}
		}
	}
	var state bytes.Buffer
	if err := tr.Save(&state); err != nil {
		t.Fatal(err)
	}
	tensors, err := tr.Tensors()
	if err != nil {
		t.Fatal(err)
	}
	var weights [][]float32
	for _, w := range m.Graph.Weights {
		if x := tensors[w]; x != nil {
			v, err := x.Float32()
			if err != nil {
				t.Fatal(err)
			}
			weights = append(weights, v)
		}
	}
	return list, state.Bytes(), weights
}

// TestDevices trains on one, two, three and four devices, in all ways that touch gradients: the losses, norms and weights are those of one
// device within rounding, and for a number of devices the same, bit for bit, on any number of threads.
func TestDevices(t *testing.T) {
	defer par.SetThreads(0)
	const steps = 3
	for _, c := range deviceCases {
		t.Run(c.name, func(t *testing.T) {
			par.SetThreads(1)
			want, _, weights := c.trained(t, 1, steps)
			for _, n := range []int{2, 3, 4} {
				par.SetThreads(1)
				got, state, x := c.trained(t, n, steps)
				for i, m := range got {
					w := want[i]
					if !(math.Abs(m.Loss-w.Loss) <= 1e-5*w.Loss && math.Abs(m.Losses["ce"]-w.Losses["ce"]) <= 1e-5*w.Loss && math.Abs(m.Norm-w.Norm) <= 1e-4*w.Norm && m.Rows == w.Rows) {
						t.Errorf("%d devices, step %d: %+v, on one %+v", n, i, m, w)
					}
				}
				// AdamW divides a gradient by its own size, so rounding moves values that have nearly none
				if d := furthest(x, weights); !(d <= 0.1*c.settings.Optimizer.Rate) {
					t.Errorf("%d devices: weights are %g from those of one device, the rate is %g", n, d, c.settings.Optimizer.Rate)
				}
				par.SetThreads(3)
				if _, again, _ := c.trained(t, n, steps); !bytes.Equal(again, state) {
					t.Errorf("%d devices make other weights on three threads", n)
				}
			}
		})
	}
}

// TestOtherDevices trains on the devices, four at most, of the backend that GOMLX_BACKEND names, and on one of pare's. It is for machines
// with GPUs, whose products may be of fewer bits:
//
//	GOMLX_BACKEND=xla:cuda go test -tags xla ./internal/train -run OtherDevices
func TestOtherDevices(t *testing.T) {
	config := os.Getenv(compute.ConfigEnvVar)
	if name, _, _ := strings.Cut(config, ":"); name == "" || name == backendName {
		t.Skip(compute.ConfigEnvVar, " names no other backend")
	}
	b, err := openBackend(config, 1)
	if err != nil {
		t.Fatal(err)
	}
	n := min(4, b.NumDevices())
	b.Finalize()
	for _, c := range deviceCases {
		t.Run(c.name, func(t *testing.T) {
			c.settings.Backend = backendName
			want, _, _ := c.trained(t, 1, 3)
			c.settings.Backend = config
			got, _, _ := c.trained(t, n, 3)
			for i, m := range got {
				if w := want[i]; !(math.Abs(m.Loss-w.Loss) <= 5e-3*w.Loss && math.Abs(m.Norm-w.Norm) <= 2e-2*w.Norm && m.Rows == w.Rows) {
					t.Errorf("%d devices, step %d: %+v, on pare's %+v", n, i, m, w)
				}
			}
		})
	}
}

// furthest returns the largest difference.
func furthest(a, b [][]float32) (d float64) {
	for i := range a {
		for j := range a[i] {
			d = max(d, math.Abs(float64(a[i][j])-float64(b[i][j])))
		}
	}
	return d
}

// TestDevicesEvaluate measures losses on validation batches of any size, with inputs, on devices that cannot share them evenly.
func TestDevicesEvaluate(t *testing.T) {
	m := models.Model(t, "llama", 1)
	batches := []*Batch{loopBatch(m, 0, 1), loopBatch(m, 5, 3), loopBatch(m, 9, 4)}
	var want *Metrics
	for _, n := range []int{1, 2, 3, 4} {
		tr := loopTrainer(t, m, Settings{Devices: n}, factored("ce", 2))
		got, err := tr.Evaluate(t.Context(), batches)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if d := math.Abs(got.Loss - want.Loss); !(d <= 1e-5*want.Loss) || got.Rows != want.Rows {
			t.Errorf("%d devices: %+v, on one %+v", n, got, want)
		}
	}
	for name, values := range map[string]any{"short": make([]float32, 17), "typed": []string{"a"}} {
		b := loopBatch(m, 0, 3)
		b.Inputs["factor"] = values
		tr := loopTrainer(t, m, Settings{Devices: 2}, factored("ce", 1))
		if _, err := tr.Evaluate(t.Context(), []*Batch{b}); err == nil || !strings.Contains(err.Error(), "factor") {
			t.Errorf("%s input: %v", name, err)
		}
	}
}

// TestTooManyDevices asks for more devices than there are.
func TestTooManyDevices(t *testing.T) {
	m := models.Model(t, "llama", 1)
	for want, s := range map[string]Settings{
		"has 1 devices here, 2 are asked for": {Devices: 2, Backend: "go:ops_sequential"}, fmt.Sprint("the limit is ", MaxDevices): {Devices: MaxDevices + 1},
	} {
		s.Schedule.Steps = 1
		if _, err := New(m, []Loss{crossEntropy()}, s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d devices of %q: %v", s.Devices, s.Backend, err)
		}
	}
}
