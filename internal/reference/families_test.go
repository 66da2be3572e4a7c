package reference_test

import (
	"context"
	"math"
	"testing"

	"github.com/parelm/pare/internal/reference"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/runtime"
)

// TestFamiliesAgree runs a tiny model of every family in the slow and the fast executor.
func TestFamiliesAgree(t *testing.T) {
	ids := []int32{3, 17, 60, 4, 4, 91, 22, 7, 18, 100, 1, 2, 50}
	for _, name := range models.Names() {
		m := models.Model(t, name, 1)
		trace, err := reference.Run(m.Graph, func(w *model.Weight) ([]float32, error) { return m.Tensor(w).Float32() }, ids)
		if err != nil {
			t.Fatal(err)
		}
		want := trace[m.Graph.Logits.ID]
		e, err := runtime.Load(context.Background(), m, runtime.Options{Batch: 5})
		if err != nil {
			t.Fatal(err)
		}
		worst := 0.0
		err = e.NewSession().Each(context.Background(), ids, func(i int, logits []float32) error {
			for j, v := range logits {
				worst = max(worst, math.Abs(float64(v)-want[i*m.Config.Vocab+j]))
			}
			return nil
		})
		if err != nil || !(worst <= 1e-4) {
			t.Errorf("%s: logits differ by %.3g (%v)", name, worst, err)
		}
	}
}
