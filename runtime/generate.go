package runtime

import (
	"context"
	"errors"
	"slices"
)

// Stop says why a generation ended.
type Stop string

// The reasons.
const (
	StopLength  Stop = "length"  // as many tokens as asked for
	StopEOS     Stop = "eos"     // the model ended the text
	StopContext Stop = "context" // the context is full; nothing is dropped to make room
	StopCaller  Stop = "stop"    // the caller had enough
)

// ErrStop returned by the callback of Generate ends a generation without an error.
var ErrStop = errors.New("stop")

// Generate appends the prompt to the session and draws up to n tokens after it. emit sees each before the next is drawn.
// It ends early at one of the eos ids, which is not emitted.
func (s *Session) Generate(ctx context.Context, prompt []int32, n int, sampling Sampling, eos []int32, emit func(id int32) error) (Stop, error) {
	logits, err := s.Step(ctx, prompt)
	if err != nil {
		return "", err
	}
	for range n {
		id := sampling.Pick(logits, s.Len())
		if slices.Contains(eos, id) {
			return StopEOS, nil
		}
		if err := emit(id); errors.Is(err, ErrStop) {
			return StopCaller, nil
		} else if err != nil {
			return "", err
		}
		if s.Len() == s.e.context {
			return StopContext, nil
		}
		if logits, err = s.Step(ctx, []int32{id}); err != nil {
			return "", err
		}
	}
	return StopLength, nil
}
