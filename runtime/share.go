package runtime

import (
	"slices"

	"github.com/parelm/pare/internal/rng"
)

// What a server needs of sessions beside each other: one takes over what another has read, and goes back after a draft.

// CopyFrom makes the first n tokens of another session of the same engine, with their keys and values, all that this one
// holds. It reports false, and changes nothing, where that session could not be cut to n tokens either.
func (s *Session) CopyFrom(from *Session, n int) bool {
	if s == from || s.e != from.e || n <= 0 || n > len(from.ids) || !from.CanTruncate(n) {
		return false
	}
	s.ids, s.prompt, s.until = append(s.ids[:0], from.ids[:n]...), append(s.prompt[:0], from.prompt[:n]...), 0
	for i, c := range s.caches {
		c.truncate(0)
		c.copyFrom(from.caches[i], n)
	}
	for i := range s.states {
		copy(s.states[i], from.states[i])
	}
	return true
}

// copyFrom copies the pages of positions [0,n) into an empty cache.
func (c *cache) copyFrom(from *cache, n int) {
	for p := range (n + pageKeys - 1) / pageKeys {
		if src := from.pages[p]; src == nil { // it has left the window
			c.pages = append(c.pages, nil)
		} else {
			copy(c.page(p*pageKeys), src)
		}
	}
}

// CanDraft reports whether the session can take n more tokens and then forget any of them without computing anything again.
func (s *Session) CanDraft(n int) bool {
	total := len(s.ids) + n
	if len(s.states) > 0 || total > s.e.context || s.stale(n) {
		return false
	}
	return !slices.ContainsFunc(s.caches, func(c *cache) bool { return c.spec.window > 0 && total > c.spec.window })
}

// Guess is what the logits of a draft model, which stand for the token ahead places after the next, suggest as that token.
// It is drawn with the random number that Next will use there, so that likely guesses are right also where text is not
// greedy; penalties and constraints are left to Next. Text that keeps a guess only where Next draws the same is the text
// that Next writes alone.
func (s *Sampler) Guess(logits []float32, ahead int) int32 {
	if s.how.Temperature > 0 {
		if c := s.scratch.distribution(&s.how, logits, nil); len(c) > 0 {
			return draw(c, rng.New(s.how.Seed, uint64(len(s.ids)+ahead)))
		}
	}
	return argmax(logits)
}
