package runtime

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/tiny/models"
)

// Samplers against slow computations of their own.

// softmax64 is e^x over its sum.
func softmax64(logits []float32) []float64 {
	var sum float64
	p := make([]float64, len(logits))
	for i, v := range logits {
		p[i] = math.Exp(float64(v))
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

func randomLogits(s *rng.Source, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(3 * s.Normal())
	}
	return out
}

// TestTypicalSlow: those whose surprise -ln p is nearest to the entropy, until they reach the probability.
func TestTypicalSlow(t *testing.T) {
	s := rng.New(21)
	for range 200 {
		logits := randomLogits(s, 2+s.Intn(80))
		how := Sampling{Temperature: 1, Typical: 0.05 + 0.9*s.Float64()}
		p := softmax64(logits)
		var entropy float64
		order := make([]int, len(p))
		for i, x := range p {
			entropy -= x * math.Log(x)
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int {
			x, y := math.Abs(-math.Log(p[a])-entropy), math.Abs(-math.Log(p[b])-entropy)
			if x < y {
				return -1
			}
			return 1
		})
		want, sum := map[int32]float64{}, 0.0
		for _, i := range order {
			want[int32(i)] = p[i]
			if sum += p[i]; sum >= how.Typical {
				break
			}
		}
		var w sampleScratch
		got := w.distribution(&how, logits, nil)
		if len(got) != len(want) {
			t.Fatalf("%v: %d tokens, want %d", how.Typical, len(got), len(want))
		}
		for _, c := range got {
			if q, ok := want[c.id]; !ok || math.Abs(c.p-q/sum) > 1e-9 {
				t.Fatalf("%v: token %d has %v, want %v", how.Typical, c.id, c.p, q/sum)
			}
		}
	}
}

// TestPenaltiesSlow counts the window anew for each token.
func TestPenaltiesSlow(t *testing.T) {
	s := rng.New(22)
	for round := range 60 {
		const vocab = 12
		how := Sampling{Repetition: 0.5 + s.Float64(), Presence: s.Normal(), Frequency: s.Normal(), LastN: s.Intn(3) * s.Intn(9),
			Bias: map[int32]float64{int32(s.Intn(vocab)): s.Normal()}}
		if round%3 == 0 {
			how.Repetition = 0
		}
		text := make([]int32, s.Intn(10))
		for i := range text {
			text[i] = int32(s.Intn(vocab))
		}
		prompt := len(text)
		sampler := NewSampler(how, nil, text)
		for range 25 {
			logits := randomLogits(s, vocab)
			from := 0
			if how.LastN > 0 {
				from = max(0, len(text)-how.LastN)
			}
			got := sampler.adjust(logits)
			for id := range int32(vocab) {
				want := float64(logits[id])
				if how.Repetition != 0 && slices.Contains(text[from:], id) {
					if want > 0 {
						want /= how.Repetition
					} else {
						want *= how.Repetition
					}
				}
				count := 0
				for i := max(from, prompt); i < len(text); i++ {
					if text[i] == id {
						count++
					}
				}
				if count > 0 {
					want -= how.Presence + how.Frequency*float64(count)
				}
				want += how.Bias[id]
				if math.Abs(float64(got[id])-want) > 1e-5 {
					t.Fatalf("round %d, %+v, text %v of which %d are prompt: token %d has %v, want %v", round, how, text, prompt, id, got[id], want)
				}
			}
			id := int32(s.Intn(vocab))
			text = append(text, id)
			if err := sampler.Accept(id); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestLogprobSlow: the logarithm of softmax, and all of it sorted.
func TestLogprobSlow(t *testing.T) {
	s := rng.New(23)
	for range 100 {
		logits := randomLogits(s, 2+s.Intn(60))
		p := softmax64(logits)
		order := make([]int32, len(p))
		for i := range order {
			order[i] = int32(i)
		}
		slices.SortStableFunc(order, func(a, b int32) int {
			if logits[a] > logits[b] {
				return -1
			}
			return 1
		})
		id, n := int32(s.Intn(len(p))), s.Intn(21)
		got, top := Logprob(logits, id, n)
		if math.Abs(got-math.Log(p[id])) > 1e-9 || len(top) != min(n, len(p)) {
			t.Fatalf("%v and %d tokens, want %v and %d", got, len(top), math.Log(p[id]), n)
		}
		for i, x := range top {
			if x.ID != order[i] || math.Abs(x.Logprob-math.Log(p[x.ID])) > 1e-9 {
				t.Fatalf("place %d: %+v, want token %d with %v", i, x, order[i], math.Log(p[order[i]]))
			}
		}
	}
}

// TestStopsSlow cuts random texts at random stop strings, however they come in pieces.
func TestStopsSlow(t *testing.T) {
	s := rng.New(24)
	word := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte("ab"[s.Intn(2)])
		}
		return b.String()
	}
	for range 2000 {
		text := word(s.Intn(30))
		var stops []string
		for range s.Intn(4) {
			stops = append(stops, word(1+s.Intn(5)))
		}
		want := text
		for end := range text { // the first place where a stop string is complete
			cut := -1
			for _, stop := range stops {
				if strings.HasSuffix(text[:end+1], stop) {
					cut = max(cut, len(stop))
				}
			}
			if cut >= 0 {
				want = text[:end+1-cut]
				break
			}
		}
		x := &Text{stops: stops}
		got, stopped := "", false
		for rest := text; rest != "" && !stopped; {
			n := 1 + s.Intn(min(4, len(rest)))
			var piece string
			piece, stopped = x.add(rest[:n])
			got, rest = got+piece, rest[n:]
			if !strings.HasPrefix(want, got) {
				t.Fatalf("%q with %q: gave %q too early", text, stops, got)
			}
		}
		if !stopped {
			got += x.held
		}
		if got != want {
			t.Fatalf("%q with %q: %q, want %q", text, stops, got, want)
		}
	}
}

// TestGuess: from the logits of the model itself a guess is the token that is drawn, however it is drawn and however far ahead.
func TestGuess(t *testing.T) {
	s := rng.New(25)
	for _, how := range []Sampling{{}, {Temperature: 1, Seed: 4}, {Temperature: 0.7, TopP: 0.8, MinP: 0.05, Seed: 5}, {Temperature: 1.5, TopK: 7, Seed: 6}} {
		a, b := NewSampler(how, nil, []int32{1, 2}), NewSampler(how, nil, []int32{1, 2})
		for ahead := range 20 {
			logits := randomLogits(s, 50)
			guess := a.Guess(logits, ahead)
			id, err := b.Next(logits)
			if err != nil || id != guess {
				t.Fatalf("%+v, %d ahead: %d %v, guessed %d", how, ahead, id, err, guess)
			}
			if err := b.Accept(id); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCopyFrom: what follows a copied beginning has the bits that follow it in the session that read it, with any cache; a
// session that cannot go back is copied whole or not at all.
func TestCopyFrom(t *testing.T) {
	ctx := context.Background()
	ids := make([]int32, 150)
	for i := range ids {
		ids[i] = int32(3 + i*7%40)
	}
	for _, c := range []struct {
		family, cache string
		n             int
		ok            bool
	}{
		{"llama", "f32", 100, true}, {"llama", "f16", 64, true}, {"llama", "bf16", 149, true}, {"llama", "f32", 150, true},
		{"mistral", "f32", 150, true}, {"mistral", "f32", 100, false}, {"mamba", "", 150, true}, {"mamba", "", 100, false},
	} {
		e, err := Load(ctx, models.Model(t, c.family, 1), Options{Context: 256, Cache: c.cache})
		if err != nil {
			t.Fatal(err)
		}
		from, to, fresh := e.NewSession(), e.NewSession(), e.NewSession()
		for s, n := range map[*Session][]int32{from: ids, to: ids[20:90], fresh: ids[:c.n]} {
			if _, err := s.Step(ctx, n); err != nil {
				t.Fatal(err)
			}
		}
		if ok := to.CopyFrom(from, c.n); ok != c.ok {
			t.Errorf("%s %s, %d of 150: %v", c.family, c.cache, c.n, ok)
		}
		if !c.ok {
			if to.Len() != 70 {
				t.Errorf("%s: a copy that fails leaves %d tokens", c.family, to.Len())
			}
			continue
		}
		got, err := to.Step(ctx, []int32{5, 6})
		if err != nil {
			t.Fatal(err)
		}
		want, err := fresh.Step(ctx, []int32{5, 6})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s %s, %d tokens: the copy goes on otherwise (%v)", c.family, c.cache, c.n, err)
		}
	}
}
