package runtime

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// in returns m with those of its matrices in a format whose columns allow that.
func in(t *testing.T, m *model.Model, format string) *model.Model {
	t.Helper()
	coded := map[*model.Weight]*tensor.Tensor{}
	for _, w := range m.Graph.Weights {
		if w.Role != model.RoleVector && m.Tensor(w).Cols()%32 == 0 {
			coded[w] = converted(t, m.Tensor(w), format)
		}
	}
	return m.With(coded)
}

// TestPrompt reads a prompt and some tokens after it: their logits are near those of kernels that round otherwise, and have the same bits
// however the prompt is cut, in one batch with others or alone, with a draft's tokens checked together or one by one.
func TestPrompt(t *testing.T) {
	defer func(n int) { brainDim = n }(brainDim)
	brainDim = 1 // small models have narrow heads
	formats, caches := []string{"f32", "q8_0", "bf16", "q4_0", "q5_1"}, []string{"f32", "f16", "bf16"}
	for i, name := range models.Names() {
		promptCase{in(t, models.Model(t, name, 1), formats[i%len(formats)]), formats[i%len(formats)], caches[i%len(caches)]}.run(t, name)
	}
	for i, more := range []string{`"model_type":"llama"`, `"model_type":"mistral","sliding_window":70`} {
		promptCase{in(t, headsOf32(t, more), formats[i]), formats[i], "q8_0"}.run(t, more)
	}
}

type promptCase struct {
	m             *model.Model
	format, cache string
}

func (c promptCase) run(t *testing.T, name string) {
	t.Run(name+"/"+c.format+"/"+c.cache, func(t *testing.T) {
		ctx, m := context.Background(), c.m
		load := func(o Options) *Engine {
			t.Helper()
			o.Cache = c.cache
			e, err := Load(ctx, m, o)
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		e := load(Options{Rounding: RoundFast})
		s := rng.New(3)
		var text []int32
		const more = 6
		prompt := min(100, e.context-more)
		for range prompt + more {
			text = append(text, int32(s.Intn(e.Vocab())))
		}
		// read returns the logits after the prompt and after each token behind it.
		read := func(e *Engine, cut func() int) (all []float32) {
			t.Helper()
			x := e.NewSession()
			x.Prompt(prompt)
			for x.Len() < prompt {
				l, err := x.Step(ctx, text[x.Len():min(prompt, x.Len()+cut())])
				if err != nil {
					t.Fatal(err)
				}
				all = l
			}
			for _, id := range text[prompt:] {
				l, err := x.Step(ctx, []int32{id})
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, l...)
			}
			return all
		}
		whole := func() int { return prompt }
		want := read(e, whole)
		plain := read(load(Options{}), whole)
		var most, size float64
		for i, v := range plain {
			most, size = max(most, math.Abs(float64(v-want[i]))), max(size, math.Abs(float64(v)))
		}
		if most > 0.04*size {
			t.Errorf("logits of up to %v changed by up to %v", size, most)
		}
		other := simd.PromptsFast() || c.cache == "q8_0" && simd.BytesFast() || c.cache != "q8_0" && simd.BrainsFast() && len(e.plan.caches) > 0
		if fast := !slices.Equal(plain, want); fast != other && c.format != "bf16" {
			t.Errorf("other bits than without: %v, another arithmetic here: %v", fast, other)
		}
		if lengthDependent(m) {
			return
		}
		for i := range 6 {
			o := Options{Rounding: RoundFast, Batch: 1 + s.Intn(40), Soon: i%2 == 1}
			if got := read(load(o), func() int { return 1 + s.Intn(30) }); !slices.Equal(got, want) {
				t.Fatalf("in pieces, batches of %d: other bits", o.Batch)
			}
		}
		// Beside another session that writes, and the tokens behind the prompt in one step.
		x, y := e.NewSession(), e.NewSession()
		x.Prompt(prompt)
		var got []float32
		for x.Len() < len(text) {
			n := min(len(text)-x.Len(), 1+s.Intn(25))
			a, b := &Work{Session: x, IDs: text[x.Len() : x.Len()+n], All: true}, &Work{Session: y, IDs: text[y.Len() : y.Len()+1]}
			if err := e.StepBatch(ctx, []*Work{b, a}); err != nil {
				t.Fatal(err)
			}
			for i, l := range a.Logits {
				if x.Len()-n+i >= prompt-1 {
					got = append(got, l...)
				}
			}
		}
		if !slices.Equal(got, want) {
			t.Fatal("beside another session: other bits")
		}
		if n := x.Reusable(len(text), len(text)); simd.PromptsFast() && n != prompt || !simd.PromptsFast() && n != len(text) {
			t.Errorf("a prompt of %d tokens can reuse %d of a session that wrote %d of them", len(text), n, more)
		}
		if n := x.Reusable(len(text), promptLeast-1); simd.PromptsFast() && n != 0 {
			t.Errorf("a short prompt can reuse %d tokens of a long one", n)
		}
		if len(x.states) > 0 {
			return
		}
		// A second session takes the prompt over; the first goes back and writes again.
		if y.CopyFrom(x, prompt-1) {
			y.Prompt(prompt)
			l, err := y.Step(ctx, text[prompt-1:prompt])
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(l, want[:len(l)]) {
				t.Error("a copied prompt: other bits")
			}
		}
		if err := x.Truncate(ctx, prompt); err != nil {
			t.Fatal(err)
		}
		l, err := x.Step(ctx, text[prompt:prompt+1])
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(l, want[len(l):2*len(l)]) {
			t.Error("after going back: other bits")
		}
	})
}
