package runtime

import (
	"context"
	"errors"
	"fmt"
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

// ErrContext is the error of a prompt that leaves no room for a token after it: nothing is cut off silently.
var ErrContext = errors.New("the prompt does not fit the context")

// fits returns ErrContext where the prompt is too long.
func (s *Session) fits(prompt []int32) error {
	if n := s.Len() + len(prompt); n >= s.e.context {
		return fmt.Errorf("%w: it has %d tokens, the model's context is %d; nothing is cut off silently", ErrContext, n, s.e.context)
	}
	return nil
}

// Generate appends the prompt to the session and draws up to n tokens after it. emit sees each before the next is drawn.
// It ends early at one of the eos ids, which is not emitted. A prompt that leaves no room is ErrContext.
func (s *Session) Generate(ctx context.Context, prompt []int32, n int, how Sampling, eos []int32, emit func(id int32) error) (Stop, error) {
	return s.GenerateWith(ctx, prompt, n, NewSampler(how, nil, append(slices.Clone(s.ids), prompt...)), eos, emit)
}

// GenerateWith is Generate with a sampler of the caller's, which knows the text so far, prompt included.
func (s *Session) GenerateWith(ctx context.Context, prompt []int32, n int, sampler *Sampler, eos []int32, emit func(id int32) error) (Stop, error) {
	if err := s.fits(prompt); err != nil {
		return "", err
	}
	s.Prompt(s.Len() + len(prompt))
	logits, err := s.Step(ctx, prompt)
	if err != nil {
		return "", err
	}
	for range n {
		id, err := sampler.Next(logits)
		if err != nil {
			return "", err
		}
		if slices.Contains(eos, id) {
			return StopEOS, nil
		}
		if err := sampler.Accept(id); err != nil {
			return "", err
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
