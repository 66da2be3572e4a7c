package runtime

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// TestRoundScheme rounds rows by the definition and compares, then runs a model in both schemes: its logits must be those of its
// decoded weights, but for the rounding, which must be there.
func TestRoundScheme(t *testing.T) {
	x := []float32{0.5, -1, 0.013, 0.25, 3, 0.1, -0.7, 2.9}
	c, err := codec.Lookup("int8")
	if err != nil {
		t.Fatal(err)
	}
	w := &model.Weight{}
	got := (&rounder{codecs: map[*model.Weight]codec.Codec{w: c}}).round(w, x, 2, 4)
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
		run := func(m *model.Model, o Options) []float32 { return someLogits(t, m, o) }
		exact, rounded := run(m.With(decoded), Options{}), run(m.With(coded).RoundActivations(), Options{Rounding: RoundScheme})
		var most, size float64
		for i, v := range exact {
			most, size = max(most, math.Abs(float64(v-rounded[i]))), max(size, math.Abs(float64(v)))
		}
		if most < 1e-5*size || most > 0.2*size {
			t.Errorf("%s: logits of up to %v changed by up to %v", format, size, most)
		}
		plain := run(m.With(coded), Options{Rounding: RoundScheme})
		for i, v := range run(m.With(coded), Options{}) {
			if v != plain[i] {
				t.Fatalf("%s: a model that does not ask for rounded activations got them", format)
			}
		}
	}
}

// someLogits returns what a model predicts after each of a few tokens.
func someLogits(t *testing.T, m *model.Model, o Options) (out []float32) {
	t.Helper()
	e, err := Load(context.Background(), m, o)
	if err == nil {
		err = e.NewSession().Each(context.Background(), []int32{1, 5, 9, 2, 7}, func(_ int, l []float32) error {
			out = append(out, l...)
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRoundGGML puts one matrix after another in a format of ggml. The logits must be those of the matrix decoded, but for the rounding of
// its input, which must be there: in experts, in tied heads, and where other matrices read the same value.
func TestRoundGGML(t *testing.T) {
	formats := []string{"q4_0", "bf16", "f16", "q8_0"}
	for _, name := range []string{"llama", "mixtral", "gemma"} {
		m := models.Model(t, name, 1)
		exact := someLogits(t, m, Options{Rounding: RoundGGML}) // nothing to round beside float32
		if !slices.Equal(exact, someLogits(t, m, Options{})) {
			t.Errorf("%s: inputs of float32 matrices were rounded", name)
		}
		for i, w := range m.Graph.Weights {
			if w.Role == model.RoleVector || w.Role == model.RoleEmbed && name != "gemma" {
				continue // gemma's head is the embedding
			}
			format := formats[i%len(formats)]
			if m.Tensor(w).Cols()%32 != 0 {
				format = "bf16"
			}
			coded := converted(t, m.Tensor(w), format)
			exact := someLogits(t, m.With(map[*model.Weight]*tensor.Tensor{w: converted(t, coded, "f32")}), Options{})
			got := someLogits(t, m.With(map[*model.Weight]*tensor.Tensor{w: coded}), Options{Rounding: RoundGGML})
			var most, size float64
			for i, v := range exact {
				most, size = max(most, math.Abs(float64(v-got[i]))), max(size, math.Abs(float64(v)))
			}
			if most == 0 || most > 0.05*size {
				t.Errorf("%s, %s in %s: logits of up to %v changed by up to %v", name, w.Name, coded.Codec.Name(), size, most)
			}
		}
	}
}

// TestVecDot is the table of ggml's type traits.
func TestVecDot(t *testing.T) {
	for want, names := range map[string]string{
		"q8_k": "q2_k q3_k q4_k q5_k q6_k iq4_xs iq3_s iq2_xxs iq1_s tq1_0 tq2_0",
		"q8_0": "q4_0 q4_1 q5_0 q5_1 q8_0 iq4_nl mxfp4 nvfp4", "f16": "f16", "bf16": "bf16", "": "f32 int8 int4g128 fp8",
	} {
		for _, name := range strings.Fields(names) {
			c, err := codec.Lookup(name)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if v := codec.VecDot(c); v != nil {
				got = v.Name()
			}
			if got != want {
				t.Errorf("%s: multiplied with %q, want %q", name, got, want)
			}
		}
	}
}

// converted returns a tensor in another format.
func converted(t *testing.T, x *tensor.Tensor, format string) *tensor.Tensor {
	t.Helper()
	c, err := codec.Lookup(format)
	if err == nil {
		x, err = tensor.Convert(x, c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestRoundFast has all matrices in bfloat16. The logits are those of exact inputs but for the rounding of these, where the CPU does that at
// all, and the same bits for any split of the tokens.
func TestRoundFast(t *testing.T) {
	for _, name := range []string{"llama", "mixtral", "gemma"} {
		m := models.Model(t, name, 1)
		coded := map[*model.Weight]*tensor.Tensor{}
		for _, w := range m.Graph.Weights {
			if w.Role != model.RoleVector {
				coded[w] = converted(t, m.Tensor(w), "bf16")
			}
		}
		m = m.With(coded)
		exact := someLogits(t, m, Options{})
		for _, o := range []Options{{Rounding: RoundFast}, {Rounding: RoundFast, Soon: true}, {Rounding: RoundFast, Batch: 1}, {Rounding: RoundFast, Batch: 3}} {
			got := someLogits(t, m, o)
			var most, size float64
			for i, v := range exact {
				most, size = max(most, math.Abs(float64(v-got[i]))), max(size, math.Abs(float64(v)))
			}
			if most > 0.02*size {
				t.Errorf("%s, %+v: logits of up to %v changed by up to %v", name, o, size, most)
			}
			if first := someLogits(t, m, Options{Rounding: RoundFast}); !slices.Equal(first, got) {
				t.Errorf("%s, %+v: other bits than in one piece", name, o)
			}
		}
	}
}
