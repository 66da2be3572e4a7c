package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/compute/support/backendtest"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/parelm/pare/internal/par"
)

// gomlxBackend is GoMLX's own Go backend, one operation at a time.
var gomlxBackend = sync.OnceValue(func() compute.Backend {
	b, err := gobackend.New("ops_sequential")
	if err != nil {
		panic(err)
	}
	return b
})

// TestBackendSuite runs GoMLX's own tests of backends, those that use no half-precision types and no closures.
func TestBackendSuite(t *testing.T) {
	b := newBackend(1)
	t.Run("ConvertDType", func(t *testing.T) { backendtest.TestConvertDType(t, b) })
	t.Run("Bitcast", func(t *testing.T) { backendtest.TestBitcast(t, b) })
	t.Run("Exec", func(t *testing.T) { backendtest.TestExec(t, b) })
	t.Run("Barriers", func(t *testing.T) { backendtest.TestBarriers(t, b) })
}

// evaluate builds a graph on a backend and runs it.
func evaluate(b compute.Backend, build func(g *Graph, in []*Node) []*Node, inputs []*tensors.Tensor) ([]*tensors.Tensor, error) {
	copies := make([]any, len(inputs))
	for i, x := range inputs {
		c, err := x.LocalClone()
		if err != nil {
			return nil, err
		}
		copies[i] = c
	}
	return ExecOnceN(b, func(in []*Node) []*Node { return build(in[0].Graph(), in) }, copies...)
}

// agree runs the graph on pare's backend, for several numbers of threads, and on the reference.
func agree(t *testing.T, tolerance float64, build func(g *Graph, in []*Node) []*Node, inputs ...*tensors.Tensor) {
	t.Helper()
	want, err := evaluate(gomlxBackend(), build, inputs)
	if err != nil {
		t.Fatalf("reference: %v", err)
	}
	b := newBackend(1)
	var first []*tensors.Tensor
	for _, threads := range []int{1, 3} {
		par.SetThreads(threads)
		got, err := evaluate(b, build, inputs)
		par.SetThreads(0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			near(t, fmt.Sprintf("output %d", i), got[i], want[i], tolerance)
			if first != nil {
				near(t, fmt.Sprintf("output %d with %d threads", i, threads), got[i], first[i], 0)
			}
		}
		first = got
	}
}

// near compares two tensors: values may differ by tolerance times the larger of one and their size.
func near(t *testing.T, what string, got, want *tensors.Tensor, tolerance float64) {
	t.Helper()
	if !got.Shape().Equal(want.Shape()) {
		t.Fatalf("%s: shape %s, want %s", what, got.Shape(), want.Shape())
	}
	g, w := numbers(got), numbers(want)
	for i := range w {
		if g[i] == w[i] || math.IsNaN(g[i]) && math.IsNaN(w[i]) {
			continue
		}
		if !(math.Abs(g[i]-w[i]) <= tolerance*max(1, math.Abs(w[i]))) {
			t.Fatalf("%s %s: value %d is %g, want %g", what, got.Shape(), i, g[i], w[i])
		}
	}
}

// numbers returns the values of a tensor as float64.
func numbers(x *tensors.Tensor) []float64 {
	var out []float64
	x.MustConstFlatData(func(flat any) {
		switch v := flat.(type) {
		case []bool:
			for _, b := range v {
				out = append(out, map[bool]float64{true: 1}[b])
			}
		case []uint8:
			out = floats(v)
		case []int32:
			out = floats(v)
		case []int64:
			out = floats(v)
		case []uint32:
			out = floats(v)
		case []uint64:
			out = floats(v)
		case []float32:
			out = floats(v)
		case []float64:
			out = floats(v)
		default:
			panic(fmt.Sprintf("numbers of %T", flat))
		}
	})
	return out
}

func floats[T uint8 | int32 | int64 | uint32 | uint64 | float32 | float64](v []T) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

// random returns a tensor: normal floats, small integers, coin flips.
func random(r *rand.Rand, d dtypes.DType, dims ...int) *tensors.Tensor {
	x := tensors.FromShape(shapes.Make(d, dims...))
	x.MustMutableFlatData(func(flat any) {
		switch v := flat.(type) {
		case []bool:
			for i := range v {
				v[i] = r.IntN(2) == 1
			}
		case []uint8:
			integers(r, v)
		case []int32:
			integers(r, v)
		case []int64:
			integers(r, v)
		case []uint32:
			integers(r, v)
		case []uint64:
			integers(r, v)
		case []float32:
			for i := range v {
				v[i] = float32(r.NormFloat64())
			}
		case []float64:
			for i := range v {
				v[i] = r.NormFloat64()
			}
		}
	})
	return x
}

func integers[T uint8 | int32 | int64 | uint32 | uint64](r *rand.Rand, v []T) {
	for i := range v {
		v[i] = T(1 + r.IntN(6))
	}
}
