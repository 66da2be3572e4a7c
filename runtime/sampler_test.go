package runtime

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/model/tokenizer"
)

// slow is the distribution by its definition: everything sorted, filters one after the other.
func slow(s Sampling, logits []float32, ok func(i int) bool) map[int32]float64 {
	var c []candidate
	for i, v := range logits {
		if ok(i) {
			c = append(c, candidate{id: int32(i), logit: float64(v)})
		}
	}
	slices.SortFunc(c, likelier)
	if s.TopK > 0 && s.TopK < len(c) {
		c = c[:s.TopK]
	}
	if s.Typical > 0 && s.Typical < 1 {
		c = typical(c, s.Typical)
	}
	weigh(c, 1)
	if s.TopP > 0 && s.TopP < 1 {
		sum := 0.0
		for i := range c {
			if sum += c[i].p; sum >= s.TopP {
				c = c[:i+1]
				break
			}
		}
	}
	c = slices.DeleteFunc(c, func(x candidate) bool { return x.logit < c[0].logit+math.Log(s.MinP) })
	weigh(c, s.Temperature)
	out := map[int32]float64{}
	for _, x := range c {
		out[x.id] = x.p
	}
	return out
}

// TestDistribution compares the fast filters with their definition, on random logits with ties.
func TestDistribution(t *testing.T) {
	s := rng.New(11)
	for round := range 400 {
		logits := make([]float32, 1+s.Intn(300))
		for i := range logits {
			logits[i] = float32(math.Round(s.Normal()*8) / 4)
		}
		how := Sampling{Temperature: 0.1 + 2*s.Float64(), TopK: s.Intn(3) * s.Intn(40), TopP: float64(s.Intn(2)) * s.Float64(), MinP: float64(s.Intn(2)) * s.Float64() / 4,
			Typical: float64(s.Intn(2)) * s.Float64()}
		var mask []uint64
		if s.Intn(2) == 0 {
			mask = make([]uint64, (len(logits)+63)/64)
			for i := range logits {
				if i == 0 || s.Intn(3) > 0 {
					mask[i>>6] |= 1 << (i & 63)
				}
			}
		}
		want := slow(how, logits, func(i int) bool { return allowed(mask, i) })
		var w sampleScratch
		got := w.distribution(&how, logits, mask)
		if len(got) != len(want) {
			t.Fatalf("round %d, %+v: %d candidates, want %d", round, how, len(got), len(want))
		}
		for _, c := range got {
			if math.Abs(c.p-want[c.id]) > 1e-9 {
				t.Fatalf("round %d, %+v: token %d has %v, want %v", round, how, c.id, c.p, want[c.id])
			}
		}
	}
}

func TestPenalties(t *testing.T) {
	logits := []float32{2, 1.9, -1, 0}
	next := func(s *Sampler) int32 {
		id, err := s.Next(logits)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	accept := func(s *Sampler, ids ...int32) {
		for _, id := range ids {
			if err := s.Accept(id); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s := NewSampler(Sampling{Repetition: 1.2}, nil, []int32{0}); next(s) != 1 {
		t.Error("a token of the prompt is not made rarer")
	}
	if s := NewSampler(Sampling{Presence: 1}, nil, []int32{0}); next(s) != 0 {
		t.Error("presence looks at the prompt")
	}
	s := NewSampler(Sampling{Presence: 1}, nil, nil)
	accept(s, 0)
	if next(s) != 1 {
		t.Error("presence does nothing")
	}
	s = NewSampler(Sampling{Frequency: 0.07}, nil, nil)
	accept(s, 0)
	if next(s) != 0 {
		t.Error("a frequency of one weighs too much")
	}
	accept(s, 0)
	if next(s) != 1 {
		t.Error("a frequency of two weighs too little")
	}
	s = NewSampler(Sampling{Repetition: 1.2, LastN: 2}, nil, []int32{0, 3})
	if next(s) != 1 {
		t.Error("the window does not reach the prompt")
	}
	accept(s, 3)
	if next(s) != 0 {
		t.Error("the window does not move")
	}
	if got := NewSampler(Sampling{Repetition: 2}, nil, []int32{2}).adjust(logits)[2]; got != -2 {
		t.Errorf("a negative logit becomes %v", got)
	}
	if s := NewSampler(Sampling{Bias: map[int32]float64{3: 100, 99: 1}}, nil, nil); next(s) != 3 {
		t.Error("bias does nothing")
	}
	if !slices.Equal(logits, []float32{2, 1.9, -1, 0}) {
		t.Error("the logits are changed")
	}
	for _, bad := range []Sampling{{Temperature: -1}, {Temperature: math.NaN()}, {TopP: 2}, {MinP: -1}, {Typical: 2}, {TopK: -1}, {Presence: 1e9}, {Bias: map[int32]float64{1: math.Inf(1)}}} {
		if bad.Check() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// only is a constraint to some tokens.
type only []int32

func (o only) Allowed(id int32) bool { return slices.Contains(o, id) }
func (o only) Accept(id int32) error {
	if !o.Allowed(id) {
		return errors.New("no")
	}
	return nil
}
func (o only) Mask() []uint64 {
	m := make([]uint64, 1)
	for _, id := range o {
		m[0] |= 1 << id
	}
	return m
}

func TestConstraint(t *testing.T) {
	logits := []float32{3, 2, 1, 0}
	for _, how := range []Sampling{{}, {Temperature: 0.01}} {
		if id, err := NewSampler(how, only{2, 3}, nil).Next(logits); id != 2 || err != nil {
			t.Errorf("%+v: %d %v", how, id, err)
		}
		if _, err := NewSampler(how, only{}, nil).Next(logits); !errors.Is(err, ErrStuck) {
			t.Errorf("%+v: %v", how, err)
		}
		if _, err := NewSampler(how, nil, nil).Next([]float32{float32(math.NaN()), float32(math.NaN())}); err == nil || !strings.Contains(err.Error(), "not a number") {
			t.Errorf("%+v: %v", how, err)
		}
	}
}

func TestLogprob(t *testing.T) {
	logits := []float32{1, 3, 2}
	p, top := Logprob(logits, 2, 2)
	sum := math.Exp(1.0-3) + 1 + math.Exp(2.0-3)
	if want := -1 - math.Log(sum); math.Abs(p-want) > 1e-12 || len(top) != 2 || top[0].ID != 1 || top[1].ID != 2 || top[1].Logprob != p {
		t.Errorf("%v %v", p, top)
	}
}

// TestText cuts a text at stop strings, wherever tokens end, and never gives a part of one.
func TestText(t *testing.T) {
	tok, err := tokenizer.Open(tiny.Shared(t, "assets", "tokenizers", "gpt2"))
	if err != nil {
		t.Fatal(err)
	}
	const text = "Hello wörld 🙂🙂 stop here.\nUser: and more STOP"
	ids, err := tok.Encode(text, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		stops []string
		want  string
	}{
		{nil, text},
		{[]string{"\nUser:"}, "Hello wörld 🙂🙂 stop here."},
		{[]string{"nothing", "ö"}, "Hello w"},
		{[]string{"🙂 s"}, "Hello wörld 🙂"},
		{[]string{"STOPP", "and more STOP!"}, text},
		{[]string{"Hello"}, ""},
		{[]string{"more", " and more"}, "Hello wörld 🙂🙂 stop here.\nUser:"},
	} {
		x := NewText(tok, c.stops)
		var got strings.Builder
		for _, id := range ids {
			s, stopped := x.Push(id)
			got.WriteString(s)
			if !strings.HasPrefix(c.want, got.String()) {
				t.Fatalf("%q: gave %q too early", c.stops, got.String())
			}
			if stopped {
				break
			}
		}
		s, _ := x.Flush()
		got.WriteString(s)
		if got.String() != c.want {
			t.Errorf("%q: %q, want %q", c.stops, got.String(), c.want)
		}
	}
}
