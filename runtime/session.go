package runtime

import (
	"context"
	"fmt"
)

// Session is one sequence: its tokens so far, their keys and values, and the recurrent states. Sessions of one engine
// must not run at the same time.
type Session struct {
	e      *Engine
	ids    []int32
	caches []*cache
	states [][]float32
}

// NewSession returns an empty sequence.
func (e *Engine) NewSession() *Session {
	s := &Session{e: e}
	for _, spec := range e.plan.caches {
		s.caches = append(s.caches, &cache{spec: spec})
	}
	for _, n := range e.plan.states {
		s.states = append(s.states, make([]float32, n))
	}
	return s
}

// Len returns the number of tokens so far.
func (s *Session) Len() int { return len(s.ids) }

// Reset forgets all tokens and keeps the memory.
func (s *Session) Reset() {
	s.ids = s.ids[:0]
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
	if n >= len(s.ids) {
		return nil
	}
	windowed := false
	for _, c := range s.caches {
		windowed = windowed || c.spec.window > 0 && len(s.ids) > c.spec.window
	}
	if len(s.states) > 0 || windowed {
		ids := append([]int32(nil), s.ids[:n]...)
		s.Reset()
		if n == 0 {
			return nil
		}
		_, err := s.Step(ctx, ids)
		return err
	}
	s.ids = s.ids[:n]
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
		all := append(append([]int32(nil), s.ids...), ids...)
		skip := len(s.ids)
		s.Reset()
		return s.each(ctx, all, from+skip, func(i int, logits []float32) error { return f(i-skip, logits) })
	}
	total := len(s.ids) + len(ids)
	for lo := 0; lo < len(ids); lo += s.e.batch {
		if err := ctx.Err(); err != nil {
			return err
		}
		hi := min(lo+s.e.batch, len(ids))
		if err := s.e.prepare(ctx, hi-lo); err != nil {
			return err
		}
		b := s.e.newBatch(ids[lo:hi], part{s: s, n: hi - lo, pos: len(s.ids), total: total})
		s.e.run(b, 0, s.e.Model.Graph.Layers)
		s.ids = append(s.ids, ids[lo:hi]...)
		if hi <= from {
			continue
		}
		if err := s.e.tail(b, max(from-lo, 0), func(r int, logits []float32) error { return f(lo+r, logits) }); err != nil {
			return err
		}
	}
	return nil
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
