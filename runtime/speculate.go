package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/parelm/pare/internal/rng"
)

// Speculation lets a small model draft what a large one then checks in one step (Leviathan, Kalman & Matias 2023; Chen
// et al. 2023). With k drafted tokens, target logits come for all of them at the price of little more than one.
//
// Greedy text is that of the target alone: a drafted token stays only where it is the target's own choice, and what
// follows the first that is not comes from the target. Drawn text has the target's distribution: a token x drafted with
// probability q(x) stays with probability min(1, p(x)/q(x)); the first that does not is replaced by a draw from
// max(0, p-q), normalized.
type Speculation struct {
	Draft *Session // of a model with the same vocabulary
	K     int      // how many tokens to draft at a time; 0 means 4

	Drafted, Accepted int // counts so far
}

// Generate is Session.GenerateWith on the target session, with the draft's help.
func (sp *Speculation) Generate(ctx context.Context, target *Session, prompt []int32, n int, sampler *Sampler, eos []int32, emit func(id int32) error) (Stop, error) {
	if err := sp.check(target, prompt); err != nil {
		return "", err
	}
	for _, s := range []*Session{target, sp.Draft} {
		s.Prompt(s.Len() + len(prompt))
	}
	logits, err := target.Step(ctx, prompt)
	if err != nil {
		return "", err
	}
	pending := slices.Clone(prompt) // what the draft has not read
	ids, stop, err := sp.settle(sampler, nil, nil, [][]float32{logits}, eos, n, emit)
	for made := len(ids); err == nil && stop == ""; made += len(ids) {
		if target.Len() == target.e.context {
			return StopContext, nil
		}
		last := ids[len(ids)-1]
		pending = append(pending, last)
		k := max(min(sp.k(), n-made-1, target.e.context-target.Len()-1), 0)
		var draft []int32
		var q [][]candidate
		if draft, q, err = sp.draft(ctx, sampler, pending, k); err != nil {
			return "", err
		}
		pending = pending[:0]
		start := target.Len()
		rows := make([][]float32, 0, k+1)
		err = target.Each(ctx, append([]int32{last}, draft...), func(_ int, l []float32) error {
			rows = append(rows, slices.Clone(l))
			return nil
		})
		if err != nil {
			return "", err
		}
		ids, stop, err = sp.settle(sampler, draft, q, rows, eos, n-made, emit)
		keep := start + max(1, len(ids)) // the token before ids, and all of ids but the last, which nobody has read
		if stop == StopEOS {
			keep = start + 1 + len(ids)
		}
		if err == nil {
			if pending, err = sp.rewind(ctx, target, keep); err != nil {
				return "", err
			}
		}
	}
	return stop, err
}

func (sp *Speculation) k() int {
	if sp.K > 0 {
		return sp.K
	}
	return 4
}

func (sp *Speculation) check(target *Session, prompt []int32) error {
	d := sp.Draft
	switch {
	case d == nil:
		return fmt.Errorf("speculation has no draft session")
	case d.e.Vocab() != target.e.Vocab():
		return fmt.Errorf("the draft model has %d logits, the target %d: they do not share a vocabulary", d.e.Vocab(), target.e.Vocab())
	case d.Len() != target.Len():
		return fmt.Errorf("the draft session has %d tokens, the target's %d", d.Len(), target.Len())
	case d.e.context < target.e.context:
		return fmt.Errorf("the draft's context of %d is below the target's of %d", d.e.context, target.e.context)
	case len(d.states)+len(target.states) > 0:
		return fmt.Errorf("a recurrent model cannot take a drafted token back: no speculation with it")
	}
	return target.fits(prompt)
}

// draft gives the draft model what it has not read and draws k tokens from it, with their distributions. Penalties and
// constraints are left to the target: any draft is right, a likely one is fast.
func (sp *Speculation) draft(ctx context.Context, sampler *Sampler, pending []int32, k int) (ids []int32, q [][]candidate, err error) {
	logits, err := sp.Draft.Step(ctx, pending)
	for i := range k {
		if err != nil {
			return nil, nil, err
		}
		id := argmax(logits)
		if how := &sampler.how; how.Temperature > 0 {
			var w sampleScratch
			c := w.distribution(how, logits, nil)
			if len(c) == 0 {
				break
			}
			id = draw(c, rng.New(how.Seed, uint64(len(sampler.ids)+i), 1))
			q = append(q, c)
		}
		ids = append(ids, id)
		if i+1 < k {
			logits, err = sp.Draft.Step(ctx, []int32{id})
		}
	}
	return ids, q, err
}

// settle decides on drafted tokens from the target's logits before and after each, emits those that stay and the
// target's own that follows them, at most n. It returns what it emitted, and why to stop, if so.
func (sp *Speculation) settle(sampler *Sampler, draft []int32, q [][]candidate, rows [][]float32, eos []int32, n int, emit func(id int32) error) (ids []int32, stop Stop, err error) {
	for i, logits := range rows {
		if len(ids) == n {
			return ids, StopLength, nil
		}
		id, err := int32(0), error(nil)
		switch {
		case i == len(draft) || sampler.how.Temperature <= 0:
			id, err = sampler.Next(logits)
		default:
			id, err = sampler.checked(logits, draft[i], q[i])
		}
		if err != nil {
			return ids, "", err
		}
		if slices.Contains(eos, id) {
			return ids, StopEOS, nil
		}
		if err := sampler.Accept(id); err != nil {
			return ids, "", err
		}
		ids = append(ids, id)
		if err := emit(id); errors.Is(err, ErrStop) {
			return ids, StopCaller, nil
		} else if err != nil {
			return ids, "", err
		}
		if i < len(draft) {
			sp.Drafted++
			if id != draft[i] {
				break
			}
			sp.Accepted++
		}
	}
	if len(ids) == n {
		return ids, StopLength, nil
	}
	return ids, "", nil
}

// checked keeps a drafted token with probability min(1, p/q), else draws from what p has more than q.
func (s *Sampler) checked(logits []float32, drafted int32, q []candidate) (int32, error) {
	id, err := s.check(logits, drafted, q)
	return s.drawn(id, logits, err)
}

func (s *Sampler) check(logits []float32, drafted int32, q []candidate) (int32, error) {
	p := s.scratch.distribution(&s.how, s.adjust(logits), s.mask())
	if len(p) == 0 {
		return 0, s.stuck(logits)
	}
	of := make(map[int32]float64, len(q))
	for _, c := range q {
		of[c.id] = c.p
	}
	r := rng.New(s.how.Seed, uint64(len(s.ids)), 2)
	var sum float64
	for i := range p {
		if p[i].id == drafted && r.Float64()*of[drafted] < p[i].p {
			return drafted, nil
		}
	}
	for i := range p {
		p[i].p = max(0, p[i].p-of[p[i].id])
		sum += p[i].p
	}
	if sum <= 0 { // p and q are equal but for rounding
		return drafted, nil
	}
	for i := range p {
		p[i].p /= sum
	}
	return draw(p, r), nil
}

// rewind takes the tokens behind the first keep out of both sessions. It returns what the draft has not read of those.
func (sp *Speculation) rewind(ctx context.Context, target *Session, keep int) ([]int32, error) {
	if err := target.Truncate(ctx, keep); err != nil {
		return nil, err
	}
	d := sp.Draft
	if err := d.Truncate(ctx, min(d.Len(), keep)); err != nil {
		return nil, err
	}
	return slices.Clone(target.ids[d.Len():keep]), nil
}
