package runtime

import (
	"context"
	"fmt"
	"slices"

	"github.com/parelm/pare/internal/simd"
)

// Session is one sequence: its tokens so far, their keys and values, and the recurrent states. Sessions of one engine
// must not run at the same time.
type Session struct {
	e      *Engine
	ids    []int32
	prompt []bool // of each token: whether it was computed as a prompt's are
	until  int    // tokens before this position are a prompt's
	caches []*cache
	states [][]float32
}

// NewSession returns an empty sequence.
func (e *Engine) NewSession() *Session {
	s, memory := &Session{e: e}, new(pageMemory)
	for _, spec := range e.plan.caches {
		s.caches = append(s.caches, &cache{spec: spec, memory: memory})
	}
	for _, n := range e.plan.states {
		s.states = append(s.states, make([]float32, n))
	}
	return s
}

// promptLeast is how long a prompt must be to be computed as one: with fewer rows, dequantizing weights for them takes the time.
const promptLeast = 32

// Prompt says that tokens before position total are of a prompt, those that are there already among them or not, until Truncate goes
// back or Prompt is called again. Options.Rounding may allow a prompt a faster arithmetic than text that is written token by token, and
// since it does not depend on how the prompt is cut into steps, neither do results. Tokens that nothing is said of are
// computed as if they were written.
func (s *Session) Prompt(total int) {
	if s.until = 0; s.e.fastPrompt(total) {
		s.until = total
	}
}

// fastPrompt reports whether a prompt that ends at position total is computed in another way than text that is written.
func (e *Engine) fastPrompt(total int) bool {
	return e.rounding == RoundFast && simd.PromptsFast() && total >= promptLeast
}

// Reusable returns how many of the first n tokens were computed as those of a prompt that ends at position total are: what was written
// token by token may have to be read again.
func (s *Session) Reusable(n, total int) int {
	fast := s.e.fastPrompt(total)
	for i, prompt := range s.prompt[:n] {
		if prompt != fast {
			return i
		}
	}
	return n
}

// Len returns the number of tokens so far.
func (s *Session) Len() int { return len(s.ids) }

// Reset forgets all tokens and keeps the memory.
func (s *Session) Reset() {
	s.ids, s.prompt, s.until = s.ids[:0], s.prompt[:0], 0
	for _, c := range s.caches {
		c.truncate(0)
	}
	for _, st := range s.states {
		clear(st)
	}
}

// Truncate forgets all tokens from n on. A recurrent model cannot go back, nor can a sliding window whose older keys are
// gone: those start over from the first n tokens.
func (s *Session) Truncate(ctx context.Context, n int) error {
	s.until = min(s.until, n)
	if n >= len(s.ids) {
		return nil
	}
	windowed := false
	for _, c := range s.caches {
		windowed = windowed || c.spec.window > 0 && len(s.ids) > c.spec.window
	}
	if len(s.states) > 0 || windowed {
		ids, prompt := slices.Clone(s.ids[:n]), slices.Clone(s.prompt[:n])
		s.Reset()
		if n == 0 {
			return nil
		}
		return s.steps(ctx, ids, prompt, n, nil)
	}
	s.ids, s.prompt = s.ids[:n], s.prompt[:n]
	for _, c := range s.caches {
		c.truncate(n)
	}
	return nil
}

// Step appends ids to the sequence and returns the logits after the last of them.
func (s *Session) Step(ctx context.Context, ids []int32) ([]float32, error) {
	var last []float32
	err := s.each(ctx, ids, len(ids)-1, func(_ int, logits []float32) error {
		last = append(last, logits...)
		return nil
	})
	return last, err
}

// Each appends ids to the sequence and calls f with the logits after each of them, in order. The slice is f's until it
// returns.
func (s *Session) Each(ctx context.Context, ids []int32, f func(i int, logits []float32) error) error {
	return s.each(ctx, ids, 0, f)
}

// each is Each for the ids from place from on.
func (s *Session) each(ctx context.Context, ids []int32, from int, f func(i int, logits []float32) error) error {
	if err := s.check(ids); err != nil {
		return err
	}
	if s.stale(len(ids)) { // frequencies change with the length: what is cached was rotated otherwise
		all, prompt := append(slices.Clone(s.ids), ids...), slices.Clone(s.prompt)
		for i := range ids {
			prompt = append(prompt, s.isPrompt(i))
		}
		skip, until := len(s.ids), s.until
		s.Reset()
		s.until = until
		return s.steps(ctx, all, prompt, from+skip, func(i int, logits []float32) error { return f(i-skip, logits) })
	}
	return s.steps(ctx, ids, nil, from, f)
}

// isPrompt reports whether the token i places on is a prompt's.
func (s *Session) isPrompt(i int) bool { return len(s.ids)+i < s.until }

// steps appends ids, each as a prompt's or not, which nil leaves to what Prompt said, and calls f with the logits of those from place
// from on.
func (s *Session) steps(ctx context.Context, ids []int32, prompt []bool, from int, f func(i int, logits []float32) error) error {
	total := len(s.ids) + len(ids)
	for lo, hi := 0, 0; lo < len(ids); lo = hi {
		if err := ctx.Err(); err != nil {
			return err
		}
		is := func(i int) bool {
			if prompt != nil {
				return prompt[i]
			}
			return s.isPrompt(i - lo)
		}
		for hi = lo + 1; hi < min(lo+s.e.batch, len(ids)) && is(hi) == is(lo); {
			hi++
		}
		if err := s.e.prepare(ctx, hi-lo); err != nil {
			return err
		}
		b := s.e.newBatch(ids[lo:hi], is(lo), part{s: s, n: hi - lo, pos: len(s.ids), total: total})
		s.e.run(b, 0, s.e.Model.Graph.Layers)
		s.add(ids[lo:hi], b.prompt)
		if hi <= from {
			continue
		}
		if err := s.e.tail(b, max(from-lo, 0), func(r int, logits []float32) error { return f(lo+r, logits) }); err != nil {
			return err
		}
	}
	return nil
}

// add notes tokens that have been computed.
func (s *Session) add(ids []int32, prompt bool) {
	s.ids = append(s.ids, ids...)
	for range ids {
		s.prompt = append(s.prompt, prompt)
	}
}

// check returns an error for ids that cannot be appended.
func (s *Session) check(ids []int32) error {
	if len(ids) == 0 {
		return fmt.Errorf("no tokens given")
	}
	if n := len(s.ids) + len(ids); n > s.e.context {
		return fmt.Errorf("%d tokens are over the context of %d", n, s.e.context)
	}
	for _, id := range ids {
		if id < 0 || int(id) >= s.e.Vocab() {
			return fmt.Errorf("token id %d: the vocabulary has %d", id, s.e.Vocab())
		}
	}
	return nil
}

// stale reports whether n more tokens change the rotary frequencies of those in the cache.
func (s *Session) stale(n int) bool {
	if len(s.ids) == 0 {
		return false
	}
	for i := range s.e.Model.Config.Layers {
		if r := s.e.Model.Config.Layers[i].Rope; r != nil && regime(r, len(s.ids)) != regime(r, len(s.ids)+n) {
			return true
		}
	}
	return false
}
