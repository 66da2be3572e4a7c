package tokenizer

import "unicode/utf8"

// mappedTail runs the splits that stand behind the mapping of bytes, as Falcon's do: they see visible runes, so that a split by digits
// also cuts through a rune whose bytes happen to be written as ² or ¾. Most words hold no byte that such a split could
// match; they go on as bytes, and only the others are mapped, split, and mapped back.
type mappedTail struct {
	steps  []splitter
	active [256]bool // a split may match here
}

// newMappedTail returns nil if the steps are not all plain splits.
func newMappedTail(steps []splitter) *mappedTail {
	t := &mappedTail{steps: steps}
	for _, s := range steps {
		p, ok := s.(*patternSplit)
		if !ok || p.invert {
			return nil
		}
		for b, r := range runeOfByte {
			t.active[b] = t.active[b] || mayStart(p.scanner, r)
		}
	}
	return t
}

// mayStart reports whether a match can start with r.
func mayStart(sc scanner, r rune) bool {
	switch sc := sc.(type) {
	case setScanner:
		return sc.set.has(r)
	case *regexScanner:
		return sc.first[utf8.AppendRune(nil, r)[0]] != 0
	}
	return true
}

func (t *mappedTail) split(in piece, st *scanState, emit func(piece)) {
	i := 0
	for i < len(in.s) && !t.active[in.s[i]] {
		i++
	}
	if i == len(in.s) {
		emit(in)
		return
	}
	pieces := []piece{{mapBytes(in.s), in.first}}
	for _, step := range t.steps {
		var next []piece
		for _, p := range pieces {
			step.split(p, st, func(q piece) { next = append(next, q) })
		}
		pieces = next
	}
	var raw []byte
	for _, p := range pieces {
		raw, _ = unmapBytes(raw[:0], p.s)
		emit(piece{string(raw), p.first})
	}
}
