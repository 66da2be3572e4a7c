package distill

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// encoded rounds values to a format.
func encoded(t *testing.T, name, format string, shape []int, v []float32) *tensor.Tensor {
	t.Helper()
	c, err := codec.Lookup(format)
	if err != nil {
		t.Fatal(err)
	}
	out, err := (&rounded{tensor.FromFloat32(name, shape, v), c}).Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// quantized rounds all matrices of a model.
func quantized(t *testing.T, m *model.Model, format string) *model.Model {
	t.Helper()
	tensors := map[*model.Weight]*tensor.Tensor{}
	for _, w := range m.Graph.Weights {
		if w.Role == model.RoleMatrix {
			v, err := m.Tensor(w).Float32()
			if err != nil {
				t.Fatal(err)
			}
			tensors[w] = encoded(t, w.Name, format, w.Shape(), v)
		}
	}
	return m.With(tensors)
}

// TestScaleGradients holds what Pull says against differences of what Encode makes of changed parameters. Whole numbers and
// halves move in jumps, so changes are as large as several of them, and must come to what the gradient says within one.
func TestScaleGradients(t *testing.T) {
	for _, format := range []string{"int4g32", "uint4g32", "int8", "q4_0", "q4_1", "q5_1", "q8_0", "iq4_nl", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs"} {
		const rows, cols = 2, 512
		r := rng.New(rng.Hash(format))
		v, grad := make([]float32, rows*cols), make([]float32, rows*cols)
		for i := range v {
			v[i], grad[i] = float32(r.Normal()), float32(r.Normal())
		}
		s, err := newScales(encoded(t, "w", format, []int{rows, cols}, v))
		if err != nil {
			t.Fatal(err)
		}
		value := func(p []float32) float64 { // the loss whose gradient is grad
			w, err := s.Encode(p)
			if err != nil {
				t.Fatal(err)
			}
			x, err := w.Float32()
			if err != nil {
				t.Fatal(err)
			}
			sum := 0.0
			for i := range x {
				sum += float64(x[i]) * float64(grad[i])
			}
			return sum
		}
		p, _ := s.Initial()
		same, err := s.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		if data, _ := same.ReadRaw(0, rows); !bytes.Equal(data, s.data) {
			t.Errorf("%s: unchanged parameters make other bytes", format)
		}
		got := s.Pull(p, grad)
		for i := range p {
			step := float32(0.125)
			if i >= s.atS { // by two whole numbers, inward
				r, at, list := s.layout.S, i-s.atS, func(c *codec.Scales) []int { return c.S }
				if i >= s.atT {
					r, at, list = s.layout.T, i-s.atT, func(c *codec.Scales) []int { return c.T }
				}
				was := s.layout.New()
				s.layout.Get(s.data[at/s.groups*s.block:], was)
				step = 2 / unit(r)
				if list(was)[at%s.groups]+2 > r[1] {
					step = -step
				}
			}
			q := slices.Clone(p)
			q[i] += step
			want := (value(q) - value(p)) / float64(step)
			if math.Abs(float64(got[i])-want) > 0.01*math.Abs(want)+1e-2 { // D and M are halves
				t.Errorf("%s: parameter %d of %d has gradient %g, differences say %g", format, i, len(p), got[i], want)
				break
			}
		}
	}
}

// TestTuneScales tunes what rounding to nearest made of a model. The divergence from the teacher falls by a quarter at least, codes stay,
// and the same again gives the same bytes, with breaks too.
func TestTuneScales(t *testing.T) {
	m := learned(t)
	teacher, err := Live(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"int4g16", "q4_0"} {
		student := quantized(t, m, format)
		s := quick()
		s.Tune, s.Steps, s.LearningRate, s.CheckpointEvery, s.Patience, s.Validation, s.EvalEvery = tuneScales, 30, 8e-3, 7, 50, 0.02, 5
		tuned, r, err := Run(t.Context(), student, teacher, text(4000, m.Config.Vocab), s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if first := *r.Points[4].Held; !(r.Best < 0.75*first) {
			t.Errorf("%s: the divergence on the validation text went from %.5f to %.5f", format, first, r.Best)
		}
		for _, w := range m.Graph.Weights {
			a, b := student.Tensor(w), tuned.Tensor(w)
			if a.Codec != b.Codec {
				t.Fatalf("%s is %s and was %s", w.Name, b.Codec.Name(), a.Codec.Name())
			}
			was, now := raw(t, a), raw(t, b)
			if n, _ := a.Codec.Block(); n == 1 {
				if (w.Role == model.RoleVector) == bytes.Equal(was, now) {
					t.Errorf("%s: norms change, what else is not quantized does not", w.Name)
				}
				continue
			}
			x, _ := newScales(a)
			y, _ := newScales(b)
			for i := range x.codes {
				if x.codes[i] != y.codes[i] {
					t.Fatalf("%s: a code changed", w.Name)
				}
			}
		}
		if format != "q4_0" {
			continue
		}
		c := newMemory()
		if _, _, err := Run(t.Context(), student, teacher, text(4000, m.Config.Vocab), s, Options{Checkpoints: dying{c, 3}}); !errors.Is(err, errStop) {
			t.Fatal(err)
		}
		again, r2, err := Run(t.Context(), student, teacher, text(4000, m.Config.Vocab), s, Options{Checkpoints: c})
		if err != nil {
			t.Fatal(err)
		}
		if r2.Resumed == 0 {
			t.Error("the run did not go on from its state")
		}
		for _, w := range m.Graph.Weights {
			if !bytes.Equal(raw(t, tuned.Tensor(w)), raw(t, again.Tensor(w))) {
				t.Errorf("%s: %s is another after a break", format, w.Name)
			}
		}
	}
}

// learned is a model that has learned something, whose rows are blocks of 32.
func learned(t *testing.T) *model.Model {
	t.Helper()
	c, err := model.NewConfig("llama", map[string]any{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
		"num_key_value_heads": 2, "vocab_size": 64, "max_position_embeddings": 64, "rms_norm_eps": 1e-5})
	if err != nil {
		t.Fatal(err)
	}
	s := quick()
	s.Steps, s.Validation = 80, 0
	m, _, err := Run(t.Context(), model.Random(c, 1), nil, text(4000, c.Vocab), s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func raw(t *testing.T, x *tensor.Tensor) []byte {
	t.Helper()
	b, err := x.ReadRaw(0, x.Rows())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRounding trains with rounding: what comes out is what the encoder makes of some weights, its loss is the one that was
// measured last, and it is closer to the teacher than weights rounded afterwards.
func TestRounding(t *testing.T) {
	m := learned(t)
	teacher, err := Live(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	q, err := codec.Lookup("q4_0")
	if err != nil {
		t.Fatal(err)
	}
	formats := map[*model.Weight]codec.Codec{}
	for _, w := range m.Graph.Weights {
		if w.Role == model.RoleMatrix {
			formats[w] = q
		}
	}
	s := quick()
	s.Steps, s.LearningRate, s.Validation, s.EvalEvery = 40, 3e-3, 0.02, 4
	out, r, err := Run(t.Context(), m, teacher, text(4000, m.Config.Vocab), s, Options{Formats: formats})
	if err != nil {
		t.Fatal(err)
	}
	for w, c := range formats {
		if out.Tensor(w).Codec != c {
			t.Fatalf("%s is %s", w.Name, out.Tensor(w).Codec.Name())
		}
	}
	s.Steps, s.LearningRate = 1, 1e-30 // look, and change nothing
	_, after, err := Run(t.Context(), out, teacher, text(4000, m.Config.Vocab), s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	last := *r.Points[len(r.Points)-1].Held
	if now := *after.Points[0].Held; math.Abs(now-last) > 1e-5*last {
		t.Errorf("the result has a validation loss of %g, training measured %g", now, last)
	}
	if first := *r.Points[3].Held; !(last < 0.75*first) {
		t.Errorf("the divergence went from %.5f to %.5f", first, last)
	}
}

// TestTuneErrors: what cannot be tuned says so.
func TestTuneErrors(t *testing.T) {
	m := models.Model(t, "llama", 1)
	s := quick()
	s.Tune = tuneScales
	if _, _, err := Run(t.Context(), m, nil, text(2000, m.Config.Vocab), s, Options{}); err == nil || !strings.Contains(err.Error(), "no weight of the student is quantized") {
		t.Error(err)
	}
	s.LoRA = &LoRA{}
	if _, _, err := Run(t.Context(), m, nil, text(2000, m.Config.Vocab), s, Options{}); err == nil || !strings.Contains(err.Error(), "choose one") {
		t.Error(err)
	}
	s = quick()
	s.Ignore = []string{"layers.9.attn.q"}
	if _, _, err := Run(t.Context(), m, nil, text(2000, m.Config.Vocab), s, Options{}); err == nil || !strings.Contains(err.Error(), "matches no weight") {
		t.Error(err)
	}
}

// TestFrozen trains some weights, by LoRA or in full, and leaves the others as they were, bit for bit.
func TestFrozen(t *testing.T) {
	m := models.Model(t, "llama", 1)
	before := weightsOf(t, m)
	for name, set := range map[string]func(s *Settings){
		"targets": func(s *Settings) { s.Targets, s.Ignore = []string{`re:\.attn\.`}, []string{`re:attn\.norm`} },
		"lora":    func(s *Settings) { s.Targets, s.LoRA = []string{`re:\.attn\.[qkvo]$`}, &LoRA{Rank: 2} },
	} {
		s := quick()
		set(&s)
		after, _ := mustRun(t, m, nil, s, Options{})
		for w := range before {
			trained := strings.Contains(w, ".attn.") && !strings.Contains(w, "norm")
			changed := false
			for i, v := range before[w] {
				changed = changed || math.Float32bits(v) != math.Float32bits(after[w][i])
			}
			if changed != trained {
				t.Errorf("%s: %s changed: %v", name, w, changed)
			}
		}
	}
}
