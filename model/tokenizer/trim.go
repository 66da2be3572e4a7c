package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Trimming a vocabulary keeps the pieces that are wanted and those they rest on, and numbers them anew in the old order.
//
// A text whose pieces all stay is cut as before. For BPE this holds because no merge is ever undone: whatever is merged on
// the way to a final piece is a node of that piece's own derivation, and the derivations of pieces that stay are kept
// whole. The merges that go were never applied to such a text, so at every step the merge of lowest rank is the same one.
// A unigram model's best path and a greedy longest match stay the best and the longest when others are taken away.
//
// Other texts are still encoded, in smaller pieces: byte pieces stay, or where there are none every piece of one character.

// Trim returns a tokenizer of the wanted ids, those they rest on, and all special and added tokens. The second result
// gives the old id of every new one, in rising order. Wanted ids that are not in the vocabulary are an error.
func (t *Tokenizer) Trim(want []int32) (*Tokenizer, []int32, error) {
	s := t.spec
	if s.model.Type == "Greedy" {
		return nil, nil, s.unsupported("tokenizer", fmt.Errorf("a %s vocabulary cannot be trimmed: it has no form in tokenizer.json", s.model.Type))
	}
	keep := make([]bool, t.VocabSize())
	for _, id := range want {
		if id < 0 || int(id) >= len(keep) {
			return nil, nil, s.corrupt("vocab", "id %d is wanted, the vocabulary has %d", id, len(keep))
		}
		keep[id] = t.vocab.pieces[id] != ""
	}
	t.keepNeeded(keep)
	if s.model.Type == "BPE" {
		s.model.keepDerivations(keep)
	}
	var old []int32
	to := make([]int32, len(keep)) // new ids; -1 what goes
	for id, k := range keep {
		to[id] = -1
		if k {
			to[id] = int32(len(old))
			old = append(old, int32(id))
		}
	}
	n, err := s.renumbered(old, to)
	if err != nil {
		return nil, nil, err
	}
	small, err := n.build()
	return small, old, err
}

// keepNeeded marks what every vocabulary needs: special and added tokens, and the pieces from which any text can be made.
func (t *Tokenizer) keepNeeded(keep []bool) {
	m, n := &t.spec.model, t.named
	for _, id := range slices.Concat([]int32{n.bos, n.eos, n.unk, n.sep, n.pad, n.cls, n.mask, m.unk}, t.post.before, t.post.after) {
		if id >= 0 && int(id) < len(keep) {
			keep[id] = true
		}
	}
	for _, a := range t.added {
		keep[a.ID] = true
	}
	for id, p := range m.pieces {
		_, isByte := byteToken(p)
		one := false
		if !m.byteFallback {
			r := p
			if m.prefix != "" && len(p) > len(m.prefix) && p[:len(m.prefix)] == m.prefix {
				r = p[len(m.prefix):]
			} else if k := len(p) - len(m.suffix); m.suffix != "" && k > 0 && p[k:] == m.suffix {
				r = p[:k]
			}
			_, w := utf8.DecodeRuneInString(r)
			one = w > 0 && w == len(r)
		}
		if isByte && m.byteFallback || one {
			keep[id] = true
		}
		if id < len(m.kinds) && (m.kinds[id] == kindControl || m.kinds[id] == kindUnknown || m.kinds[id] == kindUserDefined) {
			keep[id] = true
		}
	}
}

// keepDerivations marks the pieces from which kept pieces are merged.
func (m *modelSpec) keepDerivations(keep []bool) {
	pairs := make(map[[2]int32]mergeSpec, len(m.merges))
	by := map[int32][]mergeSpec{} // merges by what they make, where a piece's own derivation is not looked for
	for _, x := range m.merges {
		pairs[[2]int32{x.left, x.right}] = x
		if m.prefix != "" || m.suffix != "" {
			by[x.merged] = append(by[x.merged], x)
		}
	}
	runes := map[rune]int32{}
	for id, p := range slices.Concat(m.pieces, m.loose) {
		if r, w := utf8.DecodeRuneInString(p); w == len(p) && w > 0 {
			runes[r] = int32(id)
		}
	}
	mark := func(id int32, queue []int32) []int32 {
		if int(id) < len(m.pieces) && !keep[id] {
			keep[id] = true
			queue = append(queue, id)
		}
		return queue
	}
	var queue []int32
	for id := range m.pieces {
		if keep[id] {
			queue = append(queue, int32(id))
		}
	}
	for len(queue) > 0 {
		id := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if m.prefix != "" || m.suffix != "" {
			for _, x := range by[id] {
				queue = mark(x.right, mark(x.left, queue))
			}
			continue
		}
		for _, part := range derivation(m.pieces[id], runes, pairs) {
			queue = mark(part, queue)
		}
	}
}

// derivation returns the ids that the merging of a piece by itself passes through, in the plainest way: again and again
// the merge of lowest rank, leftmost first. A piece that merges do not reach has none.
func derivation(piece string, runes map[rune]int32, pairs map[[2]int32]mergeSpec) []int32 {
	var line, passed []int32
	for _, r := range piece {
		id, ok := runes[r]
		if !ok {
			return nil
		}
		line = append(line, id)
	}
	passed = append(passed, line...)
	for len(line) > 1 {
		best, at := mergeSpec{}, -1
		for i := range len(line) - 1 {
			if x, ok := pairs[[2]int32{line[i], line[i+1]}]; ok && (at < 0 || x.rank < best.rank) {
				best, at = x, i
			}
		}
		if at < 0 {
			break
		}
		line = slices.Replace(line, at, at+2, best.merged)
		passed = append(passed, best.merged)
	}
	return passed
}

// renumbered returns the spec with the ids of old alone, to[id] being the new id of each.
func (s *spec) renumbered(old, to []int32) (*spec, error) {
	n := *s
	m := &n.model
	m.pieces, m.kinds, m.scores, m.rawScores, m.merges = nil, nil, nil, nil, nil
	for _, id := range old {
		if int(id) >= len(s.model.pieces) {
			break // added tokens behind the model's own pieces
		}
		m.pieces = append(m.pieces, s.model.pieces[id])
		m.kinds = pick(m.kinds, s.model.kinds, id)
		m.scores = pick(m.scores, s.model.scores, id)
		m.rawScores = pick(m.rawScores, s.model.rawScores, id)
	}
	part := func(id int32) int32 { // loose runes stay, behind the pieces
		if k := int(id) - len(s.model.pieces); k >= 0 {
			return int32(len(m.pieces) + k)
		}
		return to[id]
	}
	for _, x := range s.model.merges {
		l, r, j := part(x.left), part(x.right), part(x.merged)
		if l >= 0 && r >= 0 && j >= 0 {
			m.merges = append(m.merges, mergeSpec{l, r, j, x.rank})
		}
	}
	if !m.sentencePiece { // ranks are places in the list
		for i := range m.merges {
			m.merges[i].rank = uint32(i)
		}
	}
	at := func(id int32) int32 {
		if id < 0 {
			return id
		}
		return to[id]
	}
	m.unk = at(m.unk)
	n.named = namedTokens{at(s.named.bos), at(s.named.eos), at(s.named.unk), at(s.named.sep), at(s.named.pad), at(s.named.cls), at(s.named.mask)}
	n.added = slices.Clone(s.added)
	for i := range n.added {
		n.added[i].ID = to[n.added[i].ID]
	}
	var err error
	if n.post, err = renumberPost(s.post, to); err != nil {
		return nil, s.unsupported("post_processor", err)
	}
	if s.gguf != nil {
		n.gguf = s.gguf.trim(old, at, m)
	}
	return &n, nil
}

func pick[T any](to, from []T, id int32) []T {
	if int(id) < len(from) {
		return append(to, from[id])
	}
	return to
}

// trim returns the values with the ids of old alone.
func (g *GGUF) trim(old []int32, at func(int32) int32, m *modelSpec) *GGUF {
	n := *g
	n.Tokens, n.Scores, n.Types, n.Merges = nil, nil, nil, nil
	for _, id := range old {
		n.Tokens = pick(n.Tokens, g.Tokens, id)
		n.Scores = pick(n.Scores, g.Scores, id)
		n.Types = pick(n.Types, g.Types, id)
	}
	if g.Merges != nil {
		for _, x := range m.merges {
			n.Merges = append(n.Merges, m.part(x.left)+" "+m.part(x.right))
		}
	}
	n.BOS, n.EOS, n.UNK, n.SEP, n.PAD, n.CLS, n.MASK = at(g.BOS), at(g.EOS), at(g.UNK), at(g.SEP), at(g.PAD), at(g.CLS), at(g.MASK)
	return &n
}

// renumberPost changes the ids within a post_processor component.
func renumberPost(raw json.RawMessage, to []int32) (json.RawMessage, error) {
	if isNull(raw) {
		return raw, nil
	}
	kind, err := typeOf(raw)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	set := func(key string, v any) {
		if b, e := json.Marshal(v); e == nil {
			fields[key] = b
		} else {
			err = e
		}
	}
	switch kind {
	case "Sequence":
		var list []json.RawMessage
		if err := json.Unmarshal(fields["processors"], &list); err != nil {
			return nil, err
		}
		for i := range list {
			if list[i], err = renumberPost(list[i], to); err != nil {
				return nil, err
			}
		}
		set("processors", list)
	case "BertProcessing", "RobertaProcessing":
		for _, key := range []string{"sep", "cls"} {
			var pair []json.RawMessage
			if err := json.Unmarshal(fields[key], &pair); err != nil {
				return nil, err
			}
			id, err := pairID(pair)
			if err != nil {
				return nil, err
			}
			set(key, []any{pair[0], to[id]})
		}
	case "TemplateProcessing":
		var special map[string]struct {
			ID     string   `json:"id"`
			IDs    []int32  `json:"ids"`
			Tokens []string `json:"tokens"`
		}
		if err := json.Unmarshal(fields["special_tokens"], &special); err != nil {
			return nil, err
		}
		for _, x := range special {
			for i, id := range x.IDs {
				if id < 0 || int(id) >= len(to) || to[id] < 0 {
					return nil, fmt.Errorf("special token %q has id %d, which is not in the vocabulary", x.ID, id)
				}
				x.IDs[i] = to[id]
			}
		}
		set("special_tokens", special)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}
