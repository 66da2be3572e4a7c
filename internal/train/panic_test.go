package train

import (
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/parelm/pare/internal/par"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/internal/train/cpu"
)

// explosive is a kernel that panics on a thread of the pool.
type explosive struct{}

func (explosive) Run(_, in []*cpu.Buffer) {
	par.For(64, 1, func(lo, _ int) {
		if lo == 63 {
			panic("kernel exploded")
		}
	})
}

// TestPanicIsAnError: whatever panics while a graph is drawn or runs, on whichever thread, is an error of the caller. That is
// why training needs no process of its own.
func TestPanicIsAnError(t *testing.T) {
	defer par.SetThreads(0)
	for threads := 1; threads <= 3; threads++ {
		par.SetThreads(threads)
		s := shapes.Make(f32Type, 4)
		b := newBackend(1)
		p, err := compileProgram(b, "explosive", []shapes.Shape{s}, func(in []*Node) []*Node {
			c := &composite{name: "explosive", kernel: explosive{}, outs: []shapes.Shape{s}, forward: func(in []*Node) []*Node { return in }}
			return c.apply(in[0])
		})
		if err != nil {
			t.Fatal(err)
		}
		x, err := upload(b, make([]float32, 4), 4)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.run([]compute.Buffer{x}, nil); err == nil || !strings.Contains(err.Error(), "kernel exploded") {
			t.Errorf("%d threads: %v", threads, err)
		}
	}
	bad := Loss{Name: "bad", Weight: 1, Draw: func(t *Tape) Value { return t.Input("nothing") }}
	m := models.Model(t, "llama", 1)
	tr, err := New(m, []Loss{bad}, Settings{Schedule: Schedule{Steps: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.Step(t.Context(), []*Batch{{Rows: 1, Length: 2, IDs: []int32{1, 2}, Labels: []int32{2, 3}}}); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("a loss that cannot be drawn: %v", err)
	}
}
