package runtime

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/parelm/pare/internal/tiny"
	"github.com/parelm/pare/internal/tiny/models"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/codec"
	"github.com/parelm/pare/model/tensor"
)

// rounded returns m with its matrices in a coarse format: a draft that is often right and often wrong.
func rounded(t *testing.T, m *model.Model, format string) *model.Model {
	t.Helper()
	c, err := codec.Lookup(format)
	if err != nil {
		t.Fatal(err)
	}
	changed := map[*model.Weight]*tensor.Tensor{}
	for _, w := range m.Graph.Weights {
		shape := w.Shape()
		if w.Role == model.RoleVector || shape[len(shape)-1]%32 != 0 {
			continue
		}
		v, err := m.Tensor(w).Float32()
		if err != nil {
			t.Fatal(err)
		}
		q, err := tensor.Convert(tensor.FromFloat32(w.Name, shape, v), c)
		if err != nil {
			t.Fatal(err)
		}
		data, err := q.ReadRaw(0, q.Rows())
		if err != nil {
			t.Fatal(err)
		}
		changed[w] = tensor.FromBytes(w.Name, c, shape, data)
	}
	return m.With(changed)
}

func load(t *testing.T, m *model.Model, o Options) *Engine {
	t.Helper()
	e, err := Load(context.Background(), m, o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func stories(t *testing.T) *model.Model {
	t.Helper()
	m, err := model.Open(tiny.Shared(t, "assets", "models", "stories260K"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// TestSpeculation: greedy text with a quantized draft is that of the target alone, for any length of drafts, with stops
// and with settings that make the text depend on its past.
func TestSpeculation(t *testing.T) {
	ctx := context.Background()
	m := stories(t)
	target, draft := load(t, m, Options{}), load(t, rounded(t, m, "q4_0"), Options{})
	var worst, best float64 = 1, 0
	for _, prompt := range [][]int32{{1, 403, 407, 261, 378}, {1}} {
		for _, how := range []Sampling{{}, {Repetition: 1.3, LastN: 20}} {
			for _, k := range []int{1, 3, 30} {
				for _, n := range []int{1, 2, 80} {
					generate := func(sp *Speculation, eos []int32) (got []int32, stop Stop, s *Session) {
						s = target.NewSession()
						sampler := NewSampler(how, nil, prompt)
						emit := func(id int32) error { got = append(got, id); return nil }
						var err error
						if sp == nil {
							stop, err = s.GenerateWith(ctx, prompt, n, sampler, eos, emit)
						} else {
							stop, err = sp.Generate(ctx, s, prompt, n, sampler, eos, emit)
						}
						if err != nil {
							t.Fatal(err)
						}
						return got, stop, s
					}
					want, _, _ := generate(nil, nil)
					sp := &Speculation{Draft: draft.NewSession(), K: k}
					got, stop, _ := generate(sp, nil)
					if !slices.Equal(got, want) || stop != StopLength {
						t.Fatalf("k %d, n %d: speculation changes the text: %v, want %v (%s)", k, n, got, want, stop)
					}
					if n == 80 && sp.Drafted > 0 {
						rate := float64(sp.Accepted) / float64(sp.Drafted)
						worst, best = min(worst, rate), max(best, rate)
						eos := []int32{want[50]}
						a, stopA, sa := generate(nil, eos)
						b, stopB, sb := generate(&Speculation{Draft: draft.NewSession(), K: k}, eos)
						if !slices.Equal(a, b) || stopA != StopEOS || stopB != StopEOS || !slices.Equal(sa.ids, sb.ids) {
							t.Fatalf("another end: %d and %d tokens, %s and %s, sessions of %d and %d", len(a), len(b), stopA, stopB, sa.Len(), sb.Len())
						}
					}
				}
			}
		}
	}
	t.Logf("%.0f to %.0f %% of the drafted tokens stayed", 100*worst, 100*best)
	if best < 0.3 || worst > 0.999 {
		t.Error("the draft is never right, or never wrong: this test shows nothing")
	}
	full := &Speculation{Draft: draft.NewSession(), K: 5}
	count := 0
	stop, err := full.Generate(ctx, target.NewSession(), []int32{1}, 10000, NewSampler(Sampling{}, nil, nil), nil, func(int32) error { count++; return nil })
	if err != nil || stop != StopContext || count != target.Context() {
		t.Errorf("%s after %d tokens, %v", stop, count, err)
	}
}

// TestSpeculationDistribution draws the first two tokens after a prompt many times with and without a draft.
func TestSpeculationDistribution(t *testing.T) {
	ctx := context.Background()
	m := models.Model(t, "llama", 3)
	target, draft := load(t, m, Options{}), load(t, models.Model(t, "llama", 4), Options{}) // a draft that knows nothing
	const n = 1500
	for _, how := range []Sampling{{Temperature: 1}, {Temperature: 0.7, TopK: 5}} {
		type pair [3]int32
		count := func(speculate bool) map[pair]int {
			out := map[pair]int{}
			for seed := range uint64(n) {
				how.Seed = seed
				var got pair
				i := 0
				emit := func(id int32) error { got[i] = id % 4; i++; return nil } // few cells, so that counts are large
				sampler := NewSampler(how, nil, []int32{1, 2})
				var err error
				if speculate {
					_, err = (&Speculation{Draft: draft.NewSession(), K: 2}).Generate(ctx, target.NewSession(), []int32{1, 2}, 3, sampler, nil, emit)
				} else {
					_, err = target.NewSession().GenerateWith(ctx, []int32{1, 2}, 3, sampler, nil, emit)
				}
				if err != nil {
					t.Fatal(err)
				}
				out[got]++
			}
			return out
		}
		a, b := count(false), count(true)
		var chi, cells float64 // two-sample chi-squared over cells of some size
		for k := range a {
			if x, y := float64(a[k]), float64(b[k]); x+y >= 20 {
				chi += (x - y) * (x - y) / (x + y)
				cells++
			}
		}
		if limit := cells + 5*math.Sqrt(2*cells); chi > limit || cells < 20 {
			t.Errorf("chi squared %.1f over %.0f cells, the limit is %.1f", chi, cells, limit)
		}
	}
}

func TestSpeculationRefuses(t *testing.T) {
	ctx := context.Background()
	e := load(t, models.Model(t, "llama", 1), Options{Context: 12})
	emit := func(int32) error { return nil }
	run := func(draft *Session, prompt []int32) error {
		_, err := (&Speculation{Draft: draft}).Generate(ctx, e.NewSession(), prompt, 3, NewSampler(Sampling{}, nil, prompt), nil, emit)
		return err
	}
	if err := run(nil, []int32{1}); err == nil {
		t.Error("no draft is taken")
	}
	if err := run(e.NewSession(), make([]int32, 12)); err == nil {
		t.Error("a prompt over the context is taken")
	}
	short := load(t, models.Model(t, "llama", 1), Options{Context: 6})
	if err := run(short.NewSession(), []int32{1}); err == nil {
		t.Error("a draft with a shorter context is taken")
	}
	if err := run(load(t, models.Model(t, "mamba", 1), Options{}).NewSession(), []int32{1}); err == nil {
		t.Error("a recurrent draft is taken")
	}
}
