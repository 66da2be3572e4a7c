package quantize

import (
	"context"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// changed returns m with the rows of its matrices changed.
func changed(t *testing.T, m *model.Model, change func(row []float32)) *model.Model {
	t.Helper()
	out := map[*model.Weight]*tensor.Tensor{}
	for _, w := range m.Graph.Weights {
		if w.Role != model.RoleMatrix {
			continue
		}
		v, err := m.Tensor(w).Float32()
		if err != nil {
			t.Fatal(err)
		}
		cols := w.Dims[1].Size()
		for r := 0; r < len(v); r += cols {
			change(v[r : r+cols])
		}
		out[w] = tensor.FromFloat32(w.Name, w.Shape(), v)
	}
	return m.With(out)
}

// TestTurned expects a rotation of a model with an outlier channel, and none of one whose matrices are on the format's grid as
// they are, by either measure; the latter must come out with the bytes of a run that did not ask.
func TestTurned(t *testing.T) {
	m := models.Model(t, "llama", 1)
	outlier := changed(t, m, func(row []float32) { row[3] *= 40 })
	grid := changed(t, m, func(row []float32) {
		for i := range row {
			row[i] = float32(i%15-7) / 64
		}
	})
	s := Settings{Format: "w4a16", GroupSize: 16, Rotate: "hadamard"}
	for _, o := range []Options{{}, {Samples: samples}} {
		_, r, err := Run(context.Background(), outlier, s, &RTN{}, o)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Notes) > 0 {
			t.Errorf("an outlier, %d samples: %v", len(o.Samples), r.Notes)
		}
		q, r, err := Run(context.Background(), grid, s, &RTN{}, o)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "not rotated") {
			t.Errorf("on the grid, %d samples: %v", len(o.Samples), r.Notes)
		}
		plain := s
		plain.Rotate = ""
		want, _, err := Run(context.Background(), grid, plain, &RTN{}, o)
		if err != nil {
			t.Fatal(err)
		}
		if string(all(t, q)) != string(all(t, want)) {
			t.Error("a rotation that was dropped changed something")
		}
	}
}
