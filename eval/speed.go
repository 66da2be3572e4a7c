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
	// Ceiling is the rate in bytes a second at which the same threads read the weights and do nothing with them, the median of
	// passes between the tokens that were timed, and OfCeiling how much of it the median token reached. Both are 0 where tokens are
	// not written one at a time.
	Ceiling   float64 `json:"ceiling,omitempty"`
	OfCeiling float64 `json:"of_ceiling,omitempty"`
}

// Benchmark is what it costs to run a model.
type Benchmark struct {
	Prefill     Speed
	Decode      Speed
	LoadSeconds float64
	FirstToken  float64 // seconds from opening the file to the logits of one token, of a load with Options.Soon
	PeakMemory  int64   // resident in the process while it ran; 0 where the system does not tell
}

// Bench opens the model at a path in a quiet process and measures it: reading a prompt of random ids, then writing one
// token at a time behind a short prompt. The rates are medians over the repetitions after one that does not count.
func Bench(ctx context.Context, path string, prompt, generate, repetitions int) (*Benchmark, error) {
	var b Benchmark
	e, err := b.Load(ctx, func() (*model.Model, error) { return model.Open(path) }, runtime.Options{Rounding: runtime.RoundFast})
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

// Load opens a model and loads it, timed; the process's peak memory counts anew from its start. With Options.Soon it times the
// first token as well, and loads the model after it.
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
	if o.Soon {
		opened := time.Since(start)
		if _, err = e.NewSession().Step(ctx, []int32{0}); err == nil {
			b.FirstToken = time.Since(start).Seconds()
			start = time.Now().Add(-opened)
			err = e.Ready(ctx)
		}
		if err != nil {
			m.Close()
			return nil, err
		}
	}
	b.LoadSeconds = time.Since(start).Seconds()
	return e, nil
}

// Prefill measures reading prompts of n random ids.
func Prefill(ctx context.Context, e *runtime.Engine, n, repetitions int) (Speed, error) {
	ids := randomIDs(e, n)
	s := e.NewSession()
	return repeat(n, repetitions, func(bool) (time.Duration, error) {
		s.Reset()
		s.Prompt(n)
		start := time.Now()
		_, err := s.Step(ctx, ids)
		return time.Since(start), err
	})
}

// ceilingEvery is after how many tokens of a single sequence its weights are read alone. Other programs come and go: what
// is to be compared must be measured in turns, and often.
const ceilingEvery = 8

// Decode measures writing n tokens to each of batch sequences, one token of each at a time, behind depth tokens that are
// there already. The rate counts all that are written.
func Decode(ctx context.Context, e *runtime.Engine, n, batch, depth, repetitions int) (Speed, error) {
	ids := randomIDs(e, n)
	sessions, works := make([]*runtime.Session, batch), make([]*runtime.Work, batch)
	for i := range sessions {
		sessions[i] = e.NewSession()
		works[i] = &runtime.Work{Session: sessions[i], Reuse: true}
		if depth > 0 {
			sessions[i].Prompt(depth)
			if _, err := sessions[i].Step(ctx, randomIDs(e, depth)); err != nil {
				return Speed{}, err
			}
		}
	}
	var tokens, reads []float64 // seconds
	var readBytes int64
	speed, err := repeat(n*batch, repetitions, func(counts bool) (took time.Duration, err error) {
		for _, s := range sessions {
			if err := s.Truncate(ctx, depth); err != nil {
				return 0, err
			}
		}
		for i := range ids {
			for j, w := range works {
				at := (i + j) % n // sequences differ, as they would
				w.IDs = ids[at : at+1]
			}
			start := time.Now()
			if err := e.StepBatch(ctx, works); err != nil {
				return 0, err
			}
			d := time.Since(start)
			took += d
			if batch > 1 || !counts {
				continue
			}
			tokens = append(tokens, d.Seconds())
			if i%ceilingEvery == min(n, ceilingEvery)/2 {
				start := time.Now()
				readBytes = e.ReadWeights()
				reads = append(reads, time.Since(start).Seconds())
			}
		}
		return took, nil
	})
	if err == nil && len(reads) > 0 {
		_, tokenBytes := e.Kernels()
		speed.Ceiling = float64(readBytes) / median(reads)
		speed.OfCeiling = float64(tokenBytes) / median(tokens) / speed.Ceiling
	}
	return speed, err
}

func randomIDs(e *runtime.Engine, n int) []int32 {
	ids, s := make([]int32, n), rng.New(uint64(n))
	for i := range ids {
		ids[i] = int32(s.Intn(e.Vocab()))
	}
	return ids
}

// median returns the middle one of values, which are sorted.
func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// repeat calls f, which says how long it took, once not to be counted and then as often as told, and returns the median rate of n
// tokens a call.
func repeat(n, repetitions int, f func(counts bool) (time.Duration, error)) (Speed, error) {
	var rates []float64
	for i := range max(repetitions, 1) + 1 {
		took, err := f(i > 0)
		if err != nil {
			return Speed{}, err
		}
		if i > 0 {
			rates = append(rates, float64(n)/took.Seconds())
		}
	}
	var mean, v float64
	for _, r := range rates {
		mean += r / float64(len(rates))
	}
	for _, r := range rates {
		v += (r - mean) * (r - mean)
	}
	return Speed{Tokens: n, TokensPerSecond: median(rates), StdDev: math.Sqrt(v / float64(max(len(rates)-1, 1)))}, nil
}
