package runtime

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/parelm/pare/internal/rng"
)

// Constraint says which tokens may come next: a grammar. It belongs to one sequence.
type Constraint interface {
	// Allowed reports whether id may come next.
	Allowed(id int32) bool
	// Mask has bit i set for every id i that may come next. It is valid until Accept.
	Mask() []uint64
	// Accept takes the next id. It is an error where that id may not come.
	Accept(id int32) error
}

// ErrStuck is the error of a constraint that allows no token of the vocabulary.
var ErrStuck = errors.New("the grammar allows no token of the vocabulary here")

// TokenProb is a token and the natural logarithm of its probability under the model, before any setting.
type TokenProb struct {
	ID      int32
	Logprob float64
}

// Sampler draws the tokens of one sequence: it knows the text so far, which penalties and constraints depend on.
type Sampler struct {
	how        Sampling
	constraint Constraint
	ids        []int32 // prompt and text
	prompt     int     // how many of them are prompt
	counts     map[int32]int
	known      map[int32]int
	scratch    sampleScratch
	adjusted   []float32
	watch      func(id int32, logits []float32)
}

// NewSampler returns a sampler of the text that follows a prompt. The constraint may be nil.
func NewSampler(how Sampling, constraint Constraint, prompt []int32) *Sampler {
	s := &Sampler{how: how, constraint: constraint, ids: slices.Clone(prompt), prompt: len(prompt)}
	if s.penalizes() {
		s.counts, s.known = map[int32]int{}, map[int32]int{}
		for i := s.from(len(s.ids)); i < len(s.ids); i++ {
			s.known[s.ids[i]]++
		}
	}
	return s
}

func (s *Sampler) penalizes() bool {
	return s.how.Presence != 0 || s.how.Frequency != 0 || s.how.Repetition != 0 && s.how.Repetition != 1
}

// from returns the first of n tokens that penalties look at.
func (s *Sampler) from(n int) int {
	if s.how.LastN > 0 {
		return max(0, n-s.how.LastN)
	}
	return 0
}

// Accept appends a token to the text. It is an error where the constraint does not allow it.
func (s *Sampler) Accept(id int32) error {
	if s.constraint != nil {
		if err := s.constraint.Accept(id); err != nil {
			return err
		}
	}
	s.ids = append(s.ids, id)
	if s.counts == nil {
		return nil
	}
	s.counts[id]++
	s.known[id]++
	if out := s.from(len(s.ids)) - 1; out >= 0 && s.how.LastN > 0 {
		old := s.ids[out]
		if s.known[old]--; s.known[old] == 0 {
			delete(s.known, old)
		}
		if out >= s.prompt {
			if s.counts[old]--; s.counts[old] == 0 {
				delete(s.counts, old)
			}
		}
	}
	return nil
}

// adjust applies penalties and bias; without any it returns the logits themselves.
func (s *Sampler) adjust(logits []float32) []float32 {
	if len(s.known) == 0 && len(s.how.Bias) == 0 {
		return logits
	}
	s.adjusted = append(s.adjusted[:0], logits...)
	out := s.adjusted
	for id := range s.known {
		if int(id) >= len(out) {
			continue
		}
		v := float64(out[id])
		if r := s.how.Repetition; r != 0 {
			if v > 0 {
				v /= r
			} else {
				v *= r
			}
		}
		if n := s.counts[id]; n > 0 {
			v -= s.how.Presence + s.how.Frequency*float64(n)
		}
		out[id] = float32(v)
	}
	for id, b := range s.how.Bias {
		if id >= 0 && int(id) < len(out) {
			out[id] += float32(b)
		}
	}
	return out
}

// Watch has f told of every token that is drawn and of the logits that it was drawn from, as the model gave them: before penalties,
// temperature and constraints. f may not keep them.
func (s *Sampler) Watch(f func(id int32, logits []float32)) { s.watch = f }

// drawn tells who watches.
func (s *Sampler) drawn(id int32, logits []float32, err error) (int32, error) {
	if err == nil && s.watch != nil {
		s.watch(id, logits)
	}
	return id, err
}

// Next draws the token that follows, from the logits after the last one. It does not accept it.
func (s *Sampler) Next(logits []float32) (int32, error) {
	id, err := s.next(logits)
	return s.drawn(id, logits, err)
}

func (s *Sampler) next(logits []float32) (int32, error) {
	l := s.adjust(logits)
	if s.how.Temperature <= 0 {
		return s.greedy(l)
	}
	c := s.scratch.distribution(&s.how, l, s.mask())
	if len(c) == 0 {
		return 0, s.stuck(l)
	}
	return draw(c, rng.New(s.how.Seed, uint64(len(s.ids)))), nil
}

func (s *Sampler) mask() []uint64 {
	if s.constraint == nil {
		return nil
	}
	return s.constraint.Mask()
}

func (s *Sampler) stuck(logits []float32) error {
	for i, v := range logits {
		if math.IsNaN(float64(v)) {
			return fmt.Errorf("logit %d is not a number", i)
		}
	}
	return ErrStuck
}

// greedy returns the likeliest allowed token. Most of the time that is the likeliest of all, which is cheap to check.
func (s *Sampler) greedy(l []float32) (int32, error) {
	id := argmax(l)
	if math.IsNaN(float64(l[id])) || math.IsNaN(float64(l[0])) {
		return 0, s.stuck(l)
	}
	if s.constraint == nil || s.constraint.Allowed(id) {
		return id, nil
	}
	mask, best := s.constraint.Mask(), int32(-1)
	for i, v := range l {
		if allowed(mask, i) && (best < 0 || v > l[best]) {
			best = int32(i)
		}
	}
	if best < 0 {
		return 0, s.stuck(l)
	}
	return best, nil
}

// Logprob returns the log probability of id under the logits, and the n likeliest tokens with theirs.
func Logprob(logits []float32, id int32, n int) (float64, []TokenProb) {
	best := float64(logits[argmax(logits)])
	var sum float64
	for _, v := range logits {
		sum += math.Exp(float64(v) - best)
	}
	norm := best + math.Log(sum)
	var top []TokenProb
	if n = min(n, len(logits)); n > 0 {
		c := make([]candidate, len(logits))
		for i, v := range logits {
			c[i] = candidate{id: int32(i), logit: float64(v)}
		}
		for _, x := range largest(c, n) {
			top = append(top, TokenProb{x.id, x.logit - norm})
		}
	}
	return float64(logits[id]) - norm, top
}
