package serve

import (
	"context"
	"log/slog"
	"slices"

	"github.com/parelm/pare/runtime"
)

// Speculative decoding (Leviathan, Kalman & Matias 2023) in a server: a small model drafts tokens of every text, the large
// one takes all of them in its next step and draws its own token after each, as it would alone; a drafted token counts only
// where it is the very token that was drawn. So no text changes, greedy or not, with a draft or without, whatever stands
// beside it. Drafts draw with the random numbers of the text (Sampler.Guess), so that drawn text gains as well.

// draftRows bounds the rows of a step with drafts: behind that, a row costs a processor what a step does.
const draftRows = 16

// guess drafts tokens for the tasks that write.
func (p *pool) guess(active []*slot) {
	if p.draft == nil {
		return
	}
	writers := 0
	for _, s := range active {
		if s.guess = s.guess[:0]; s.t.writes() && !s.t.full() {
			writers++
		}
	}
	if writers == 0 {
		return
	}
	chunk := p.o.Chunk
	if writers == 1 {
		chunk *= 8
	}
	var works []*runtime.Work
	var slots []*slot
	most := make(map[*slot]int)
	for _, s := range active {
		k := p.drafts(s, draftRows/writers-1)
		if k < 1 {
			continue
		}
		ids, all := p.unread(s, chunk)
		works, slots = append(works, &runtime.Work{Session: s.draft, IDs: ids}), append(slots, s)
		if all {
			most[s] = k
		}
	}
	for i := 0; len(works) > 0; i++ {
		if err := p.step(p.draft, works); err != nil {
			slog.Error("a draft failed", "error", err)
			for _, s := range slots { // the texts go on without
				s.draft, s.guess, s.t.draft = p.draft.NewSession(), s.guess[:0], 0
			}
			return
		}
		var next []*runtime.Work
		var left []*slot
		for j, s := range slots {
			if most[s] == 0 { // still reading
				continue
			}
			id := s.t.sampler.Guess(works[j].Logits[0], i)
			if s.guess = append(s.guess, id); len(s.guess) < most[s] && !slices.Contains(s.t.eos, id) {
				next, left = append(next, &runtime.Work{Session: s.draft, IDs: []int32{id}}), append(left, s)
			}
		}
		works, slots = next, left
	}
}

// drafts returns how many tokens may be drafted for a slot, at most k.
func (p *pool) drafts(s *slot, k int) int {
	t := s.t
	if !t.writes() || t.full() {
		return 0
	}
	k = min(k, t.draft, t.next, t.max-t.made-1, p.draft.Context()-len(t.ids))
	if k < 1 || !s.s.CanDraft(1+k) || !s.draft.CanDraft(max(0, len(t.ids)+k-s.draft.Len())) {
		return 0
	}
	return k
}

// unread prepares the draft's session: it returns the next tokens of the text that it has not read, at most n, and whether
// these are all.
func (p *pool) unread(s *slot, n int) (ids []int32, all bool) {
	have := known(s.draft, s.t.ids)
	if have == 0 || s.draft.Truncate(context.Background(), have) != nil {
		s.draft.Reset()
		have = 0
	}
	s.draft.Prompt(len(s.t.prompt))
	ids = s.t.ids[have:]
	if len(ids) > n {
		return ids[:n], false
	}
	return ids, true
}
