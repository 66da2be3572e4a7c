package grammar

import (
	"bytes"
	"slices"
)

// Vocabulary is the bytes of every token, as a trie. It is immutable and safe for concurrent use.
type Vocabulary struct {
	bytes [][]byte // by id; nil for tokens that are no text
	eos   []int32
	// The trie in the order of its texts: node i stands for byte char[i] at depth depth[i]; the nodes below it are
	// i+1 up to skip[i].
	char  []byte
	depth []int32
	skip  []int32
	toks  [][]int32 // the tokens that end at a node
	words int       // of a mask
}

// NewVocabulary takes the number of ids of a model's logits, the bytes of each id in the middle of a text, nil for ids
// that are no text, and the ids that end one.
func NewVocabulary(n int, bytesOf func(id int32) []byte, eos []int32) *Vocabulary {
	v := &Vocabulary{bytes: make([][]byte, n), eos: slices.Clone(eos), words: (n + 63) / 64}
	var order []int32
	for id := range int32(n) {
		if slices.Contains(eos, id) {
			continue
		}
		if b := bytesOf(id); len(b) > 0 {
			v.bytes[id] = b
			order = append(order, id)
		}
	}
	slices.SortFunc(order, func(a, b int32) int {
		if c := bytes.Compare(v.bytes[a], v.bytes[b]); c != 0 {
			return c
		}
		return int(a - b)
	})
	var last []byte
	var path []int32 // nodes of last
	for _, id := range order {
		b := v.bytes[id]
		k := 0
		for k < len(last) && k < len(b) && last[k] == b[k] {
			k++
		}
		v.close(path[k:])
		path = path[:k]
		for ; k < len(b); k++ {
			path = append(path, int32(len(v.char)))
			v.char = append(v.char, b[k])
			v.depth = append(v.depth, int32(k))
			v.skip = append(v.skip, 0)
			v.toks = append(v.toks, nil)
		}
		at := path[len(path)-1]
		v.toks[at] = append(v.toks[at], id)
		last = b
	}
	v.close(path)
	return v
}

func (v *Vocabulary) close(nodes []int32) {
	for _, n := range nodes {
		v.skip[n] = int32(len(v.char))
	}
}

// Matcher holds one text to a grammar. It is a runtime.Constraint.
type Matcher struct {
	v     *Vocabulary
	m     *machine
	state int32
	path  []int32 // scratch of the walk
	text  []byte  // so far, to find the state again when the machine starts over
	ended bool
}

// NewMatcher starts a text.
func (g *Grammar) NewMatcher(v *Vocabulary) *Matcher {
	m := newMachine(g)
	return &Matcher{v: v, m: m, state: m.start()}
}

// Done reports whether the text is complete and nothing can follow it.
func (x *Matcher) Done() bool {
	s := &x.m.states[x.state]
	return x.ended || s.accept && len(s.stacks) == 0
}

// Complete reports whether the text could end here.
func (x *Matcher) Complete() bool { return x.ended || x.m.states[x.state].accept }

// Allowed reports whether the token may come next: its bytes go on, or it ends a complete text.
func (x *Matcher) Allowed(id int32) bool { return !x.ended && x.after(id) != 0 }

// after returns the state after a token, 0 where it is not allowed; for one that ends the text, the state that is.
func (x *Matcher) after(id int32) int32 {
	if slices.Contains(x.v.eos, id) {
		if x.m.states[x.state].accept {
			return x.state
		}
		return 0
	}
	if id < 0 || int(id) >= len(x.v.bytes) || x.v.bytes[id] == nil {
		return 0
	}
	s := x.state
	for _, c := range x.v.bytes[id] {
		if s = x.m.step(s, c); s == 0 {
			return 0
		}
	}
	return s
}

// Mask has bit i set where token i may come next. It is shared: do not change it.
func (x *Matcher) Mask() []uint64 {
	if x.ended {
		return make([]uint64, x.v.words)
	}
	if mask, ok := x.m.masks[x.state]; ok {
		return mask
	}
	v := x.v
	mask := make([]uint64, v.words)
	x.path = append(x.path[:0], x.state)
	for i := 0; i < len(v.char); {
		d := int(v.depth[i])
		s := x.m.step(x.path[d], v.char[i])
		if s == 0 {
			i = int(v.skip[i])
			continue
		}
		x.path = append(x.path[:d+1], s)
		for _, id := range v.toks[i] {
			mask[id>>6] |= 1 << (id & 63)
		}
		i++
	}
	if x.m.states[x.state].accept {
		for _, id := range v.eos {
			if int(id) < len(v.bytes) && id >= 0 {
				mask[id>>6] |= 1 << (id & 63)
			}
		}
	}
	x.m.masks[x.state] = mask
	return mask
}

// Accept takes the next token. It is an error where that may not come.
func (x *Matcher) Accept(id int32) error {
	s := x.after(id)
	if err := x.Err(); err != nil {
		return err
	}
	if x.ended || s == 0 {
		return &Refused{ID: id, After: string(x.text[max(0, len(x.text)-40):])}
	}
	if slices.Contains(x.v.eos, id) {
		x.ended = true
		return nil
	}
	x.state, x.m.work = s, 0
	x.text = append(x.text, x.v.bytes[id]...)
	if x.m.full() {
		x.m.reset()
		x.state = x.m.start()
		for _, c := range x.text {
			x.state = x.m.step(x.state, c)
		}
	}
	return nil
}

// Err returns ErrAmbiguous where the grammar took too long; nothing is allowed then.
func (x *Matcher) Err() error {
	if x.m.work > maxWork {
		return ErrAmbiguous
	}
	return nil
}

// Match reports whether the grammar matches a whole text.
func (g *Grammar) Match(text string) bool {
	m := newMachine(g)
	s := m.start()
	for i := range len(text) {
		if s = m.step(s, text[i]); s == 0 {
			return false
		}
	}
	return m.states[s].accept
}
