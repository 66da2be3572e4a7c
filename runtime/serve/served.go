package serve

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/parelm/pare/model/chat"
	"github.com/parelm/pare/model/tokenizer"
	"github.com/parelm/pare/runtime"
	"github.com/parelm/pare/runtime/grammar"
)

// Model is what a server serves.
type Model struct {
	Name      string // as clients give it
	Engine    *runtime.Engine
	Tokenizer *tokenizer.Tokenizer
	Template  *chat.Template  // nil: /v1/chat/completions is refused
	EOS       []int32         // tokens that end a text
	Stops     []string        // strings that end a chat's turn, for templates without control tokens
	Draft     *runtime.Engine // of a smaller model with the same tokens, which drafts what Engine checks; nil for none
}

// check finds out whether the model can be served: it takes one token through each engine.
func (m *Model) check(ctx context.Context) error {
	if m.Engine == nil || m.Tokenizer == nil {
		return errors.New("a server needs an engine and a tokenizer")
	}
	if m.Draft != nil && m.Draft.Vocab() != m.Engine.Vocab() {
		return fmt.Errorf("the draft model has %d logits, the model %d: they do not share a vocabulary", m.Draft.Vocab(), m.Engine.Vocab())
	}
	for _, e := range []*runtime.Engine{m.Engine, m.Draft} {
		if e == nil {
			continue
		}
		logits, err := e.NewSession().Step(ctx, []int32{0})
		if err != nil {
			return err
		}
		for i, v := range logits {
			if math.IsNaN(float64(v)) {
				return fmt.Errorf("the model makes no numbers: logit %d is not one", i)
			}
		}
	}
	return nil
}

// served is a model in service, with the sessions over it and the requests that it answers.
type served struct {
	Model
	vocab *grammar.Vocabulary
	pool  *pool
	users sync.WaitGroup
}

// Use puts a model in the place of the one in service. The old one serves until the new one has been tried and its last
// answer is given; then Use returns, and nobody needs the old one any more. Where the new one fails, the old one stays.
func (s *Server) Use(ctx context.Context, m Model) error {
	if err := m.check(ctx); err != nil {
		return err
	}
	next := &served{Model: m}
	next.vocab = grammar.NewVocabulary(m.Engine.Vocab(), func(id int32) []byte {
		if m.Tokenizer.IsSpecial(id) || int(id) >= m.Tokenizer.VocabSize() {
			return nil
		}
		return m.Tokenizer.Bytes(id)
	}, m.EOS)
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return errDraining
	}
	next.pool = newPool(&next.Model, &s.o, s.m)
	old := s.now
	s.now = next
	s.all = append(s.all, next)
	s.mu.Unlock()
	if old == nil {
		return nil
	}
	old.users.Wait()
	old.pool.drain(context.Background()) // nobody is left to wait for
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, x := range s.all {
		if x == old {
			s.all = append(s.all[:i:i], s.all[i+1:]...)
			break
		}
	}
	return nil
}

// enter returns the model in service for a request, which must leave it with users.Done. A request that would find the
// queue full is refused before anything of it is read.
func (s *Server) enter() (*served, error) {
	s.mu.Lock()
	x, closing := s.now, s.closing
	if x != nil && !closing {
		x.users.Add(1)
	}
	s.mu.Unlock()
	switch {
	case closing:
		return nil, errDraining
	case x == nil:
		return nil, errLoading
	case x.pool.crowded():
		x.users.Done()
		return nil, errBusy
	}
	return x, nil
}

// serving returns the model in service, nil where there is none yet.
func (s *Server) serving() *served {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}
