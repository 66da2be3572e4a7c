package runtime

import (
	"context"
	"math"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// TestTokenScales rounds rows by the definition and compares, then runs a model in both schemes: its logits must be those of its
// decoded weights, but for the rounding, which must be there.
func TestTokenScales(t *testing.T) {
	x := []float32{0.5, -1, 0.013, 0.25, 3, 0.1, -0.7, 2.9}
	c, err := codec.Lookup("int8")
	if err != nil {
		t.Fatal(err)
	}
	got := (&tokenScales{}).round(c, x, 2, 4)
	for r, top := range []float64{1, 3} {
		step := 2 * top / 255
		for i, v := range x[4*r : 4*r+4] {
			k := float64(got[4*r+i]) / step
			if d := math.Abs(float64(got[4*r+i] - v)); math.Abs(k-math.Round(k)) > 1e-4 || k < -128.1 || k > 127.1 || d > 0.5001*step {
				t.Errorf("%v became %v, which is %v steps of %v", v, got[4*r+i], k, step)
			}
		}
	}
	for _, format := range []string{"int8", "fp8"} {
		m := models.Model(t, "llama", 1)
		if c, err = codec.Lookup(format); err != nil {
			t.Fatal(err)
		}
		f32, err := codec.Lookup("f32")
		if err != nil {
			t.Fatal(err)
		}
		coded, decoded := map[*model.Weight]*tensor.Tensor{}, map[*model.Weight]*tensor.Tensor{}
		for _, w := range m.Graph.Weights {
			if w.Role != model.RoleMatrix || w.Name == "head" {
				continue
			}
			if coded[w], err = tensor.Convert(m.Tensor(w), c); err != nil {
				t.Fatal(err)
			}
			if decoded[w], err = tensor.Convert(coded[w], f32); err != nil {
				t.Fatal(err)
			}
		}
		run := func(m *model.Model, o Options) (out []float32) {
			e, err := Load(context.Background(), m, o)
			if err != nil {
				t.Fatal(err)
			}
			err = e.NewSession().Each(context.Background(), []int32{1, 5, 9, 2, 7}, func(_ int, l []float32) error {
				out = append(out, l...)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		exact, rounded := run(m.With(decoded), Options{}), run(m.With(coded).RoundActivations(), Options{TokenScales: true})
		var most, size float64
		for i, v := range exact {
			most, size = max(most, math.Abs(float64(v-rounded[i]))), max(size, math.Abs(float64(v)))
		}
		if most < 1e-5*size || most > 0.2*size {
			t.Errorf("%s: logits of up to %v changed by up to %v", format, size, most)
		}
		plain := run(m.With(coded), Options{TokenScales: true})
		for i, v := range run(m.With(coded), Options{}) {
			if v != plain[i] {
				t.Fatalf("%s: a model that does not ask for rounded activations got them", format)
			}
		}
	}
}
