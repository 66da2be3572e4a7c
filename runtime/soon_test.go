package runtime

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// TestSoon: a first step from the file, of few rows or of many, has the bits of one from packed weights, and so have the steps after
// it.
func TestSoon(t *testing.T) {
	ctx := context.Background()
	for _, name := range models.Names() {
		m := models.Model(t, name, 1)
		vocab := int32(m.Graph.Logits.Out.Size())
		for _, rows := range []int{1, 5, soonRows + 1} {
			ids := make([]int32, rows)
			for i := range ids {
				ids[i] = int32(i*7+1) % vocab
			}
			var want [][]float32
			for _, soon := range []bool{false, true} {
				e, err := Load(ctx, m, Options{Soon: soon})
				if err != nil {
					t.Fatal(err)
				}
				if (e.soon != nil) != soon {
					t.Fatal("weights are packed at once, or not at all")
				}
				if rows > e.Context()-3 {
					continue
				}
				s := e.NewSession()
				var got [][]float32
				for _, step := range [][]int32{ids, {1}, {2, 3}} {
					l, err := s.Step(ctx, step)
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, l)
				}
				if e.soon != nil {
					t.Errorf("%s: weights are in the file still", name)
				}
				if !soon {
					want = got
					continue
				}
				for i := range want {
					if !slices.Equal(want[i], got[i]) {
						t.Errorf("%s, %d rows: step %d from the file gives other bits", name, rows, i)
					}
				}
			}
		}
	}
}

// TestSoonUnreadable: what the file does not give is an error of the step.
func TestSoonUnreadable(t *testing.T) {
	ctx := context.Background()
	m := models.Model(t, models.Names()[0], 1)
	broken := errors.New("the disk is gone")
	for _, at := range []int{0, len(m.Graph.Weights) - 1} { // embedding and head, or what stands there
		w := m.Graph.Weights[at]
		if len(w.Dims) != 2 {
			continue
		}
		was := m.Tensor(w)
		e, err := Load(ctx, m.With(map[*model.Weight]*tensor.Tensor{w: {Name: was.Name, Codec: was.Codec, Shape: was.Shape, Src: unreadable{broken}}}), Options{Soon: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.NewSession().Step(ctx, []int32{1}); !errors.Is(err, broken) {
			t.Errorf("%s cannot be read: %v", w.Name, err)
		}
		if err := e.Ready(ctx); !errors.Is(err, broken) {
			t.Errorf("%s cannot be read: ready with %v", w.Name, err)
		}
	}

}

type unreadable struct{ err error }

func (u unreadable) ReadRows([]byte, int, int) error { return u.err }
