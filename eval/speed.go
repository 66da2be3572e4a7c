package eval

import (
	"context"
	"math"
	"runtime/debug"
	"slices"
	"time"

	"github.com/parelm/pare/internal/peak"
	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/model"
	"github.com/parelm/pare/runtime"
)

// Speed is a rate in tokens a second over repetitions.
type Speed struct {
	Tokens          int     `json:"tokens"` // of one repetition
	TokensPerSecond float64 `json:"tokens_per_second"`
	StdDev          float64 `json:"stddev"`
}

// Benchmark is what it costs to run a model.
type Benchmark struct {
	Prefill     Speed
	Decode      Speed
	LoadSeconds float64
	PeakMemory  int64 // resident in the process while it ran; 0 where the system does not tell
}

// Bench opens the model at a path in a quiet process and measures it: reading a prompt of random ids, then writing one
// token at a time behind a short prompt. The rates are medians over the repetitions after one that does not count.
func Bench(ctx context.Context, path string, prompt, generate, repetitions int) (*Benchmark, error) {
	var b Benchmark
	e, err := b.Load(ctx, func() (*model.Model, error) { return model.Open(path) }, runtime.Options{})
	if err != nil {
		return nil, err
	}
	defer e.Model.Close()
	prompt, generate = min(prompt, e.Context()), min(generate, e.Context()-1)
	if b.Prefill, err = Prefill(ctx, e, prompt, repetitions); err != nil {
		return nil, err
	}
	if b.Decode, err = Decode(ctx, e, generate, 1, 0, repetitions); err != nil {
		return nil, err
	}
	b.PeakMemory = peak.Bytes()
	return &b, nil
}

// Load opens a model and loads it, timed, after which the process's peak memory counts anew.
func (b *Benchmark) Load(ctx context.Context, open func() (*model.Model, error), o runtime.Options) (*runtime.Engine, error) {
	debug.FreeOSMemory()
	peak.Reset()
	start := time.Now()
	m, err := open()
	if err != nil {
		return nil, err
	}
	e, err := runtime.Load(ctx, m, o)
	if err != nil {
		m.Close()
		return nil, err
	}
	b.LoadSeconds = time.Since(start).Seconds()
	return e, nil
}

// Prefill measures reading prompts of n random ids.
func Prefill(ctx context.Context, e *runtime.Engine, n, repetitions int) (Speed, error) {
	ids := randomIDs(e, n)
	s := e.NewSession()
	return repeat(n, repetitions, func() error {
		s.Reset()
		_, err := s.Step(ctx, ids)
		return err
	})
}

// Decode measures writing n tokens to each of batch sequences, one token of each at a time, behind depth tokens that are
// there already. The rate counts all that are written.
func Decode(ctx context.Context, e *runtime.Engine, n, batch, depth, repetitions int) (Speed, error) {
	ids := randomIDs(e, n)
	sessions, works := make([]*runtime.Session, batch), make([]*runtime.Work, batch)
	for i := range sessions {
		sessions[i] = e.NewSession()
		works[i] = &runtime.Work{Session: sessions[i], Logits: [][]float32{make([]float32, e.Vocab())}}
		if depth > 0 {
			if _, err := sessions[i].Step(ctx, randomIDs(e, depth)); err != nil {
				return Speed{}, err
			}
		}
	}
	return repeat(n*batch, repetitions, func() error {
		for _, s := range sessions {
			if err := s.Truncate(ctx, depth); err != nil {
				return err
			}
		}
		for i := range ids {
			for j, w := range works {
				at := (i + j) % n // sequences differ, as they would
				w.IDs = ids[at : at+1]
			}
			if err := e.StepBatch(ctx, works); err != nil {
				return err
			}
		}
		return nil
	})
}

func randomIDs(e *runtime.Engine, n int) []int32 {
	ids, s := make([]int32, n), rng.New(uint64(n))
	for i := range ids {
		ids[i] = int32(s.Intn(e.Vocab()))
	}
	return ids
}

// repeat times f and returns the median rate of n tokens a call.
func repeat(n, repetitions int, f func() error) (Speed, error) {
	var rates []float64
	for i := range max(repetitions, 1) + 1 {
		start := time.Now()
		if err := f(); err != nil {
			return Speed{}, err
		}
		if i > 0 {
			rates = append(rates, float64(n)/time.Since(start).Seconds())
		}
	}
	var mean, v float64
	for _, r := range rates {
		mean += r / float64(len(rates))
	}
	for _, r := range rates {
		v += (r - mean) * (r - mean)
	}
	slices.Sort(rates)
	return Speed{n, rates[len(rates)/2], math.Sqrt(v / float64(max(len(rates)-1, 1)))}, nil
}
