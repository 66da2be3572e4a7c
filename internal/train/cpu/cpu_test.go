package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/parelm/pare/internal/par"
)

// runBoth runs a program compiled and by its definition, with and without donated inputs and for several numbers of
// threads, and demands equal results.
func runBoth(t *testing.T, p *Program, outputs []*Node, inputs []*Buffer) {
	t.Helper()
	want, err := Eval(p, outputs, inputs)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Compile(p, outputs)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Log(dump(e))
		}
	}()
	var first []*Buffer
	for _, threads := range []int{1, 2, 3} {
		for _, give := range []bool{false, true} {
			par.SetThreads(threads)
			in := make([]*Buffer, len(inputs))
			donate := make([]bool, len(inputs))
			for i, b := range inputs {
				in[i] = NewBuffer(b.Shape)
				copyData(in[i].Data, b.Data)
				donate[i] = give
			}
			got, err := e.Run(in, donate)
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				if !give {
					same(t, fmt.Sprintf("output %d (%s)", i, outputs[i]), got[i], want[i], 1e-4)
				}
				if first != nil {
					same(t, fmt.Sprintf("output %d, %d threads, donated %v", i, threads, give), got[i], first[i], 0)
				}
			}
			if !give {
				for i, b := range inputs {
					same(t, fmt.Sprintf("input %d afterwards", i), in[i], b, 0)
				}
			}
			if first == nil {
				first = got
			}
		}
	}
	par.SetThreads(0)
}

// same compares two arrays: values may differ by tolerance times the larger of one and their size.
func same(t *testing.T, what string, got, want *Buffer, tolerance float64) {
	t.Helper()
	if !got.Shape.Equal(want.Shape) {
		t.Fatalf("%s: shape %s, want %s", what, got.Shape, want.Shape)
	}
	for i := range want.Shape.Len() {
		g, w := number(got.Data, i), number(want.Data, i)
		if g == w || math.IsNaN(g) && math.IsNaN(w) {
			continue
		}
		if !(math.Abs(g-w) <= tolerance*max(1, math.Abs(w))) {
			t.Fatalf("%s: value %d is %g, want %g", what, i, g, w)
		}
	}
}

func randomBuffer(r *rand.Rand, s Shape) *Buffer {
	b := NewBuffer(s)
	for i := range s.Len() {
		switch s.DType {
		case Bool:
			setNumber(b.Data, i, float64(r.IntN(2)))
		case Float32, Float64:
			setNumber(b.Data, i, r.NormFloat64())
		default:
			setNumber(b.Data, i, float64(r.IntN(5)))
		}
	}
	return b
}
