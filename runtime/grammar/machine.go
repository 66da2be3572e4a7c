package grammar

import (
	"encoding/binary"
	"slices"
)

// machine is the automaton of one grammar, made as texts ask for it. It belongs to one goroutine.
type machine struct {
	g      *Grammar
	stacks []frame            // interned stacks; 0 is the empty one
	frames map[frame]int32    // their ids
	states []state            // interned sets of stacks; 0 is the dead one
	ids    map[string]int32   // their ids, by content
	masks  map[int32][]uint64 // tokens that may come in a state
	seen   map[frame]bool
	work   int // places looked at since the last token
	key    []byte
}

// frame is a stack: a place in the grammar on top of another stack.
type frame struct{ at, below int32 }

// state is a set of stacks. Each has a byte set on top.
type state struct {
	stacks []int32
	accept bool
	next   *[256]int32 // -1: not made yet
}

// maxStates bounds the memory of a machine: with 1 KiB for each state's steps, 16 MiB. It starts over when full.
//
// maxWork bounds the time between two tokens: a grammar so ambiguous that it takes more (some tenths of a second) is
// refused while it runs, for nothing else tells.
const (
	maxWork   = 4 << 20
	maxStates = 1 << 14
	maxMasks  = 1 << 10
)

func newMachine(g *Grammar) *machine {
	m := &machine{g: g}
	m.reset()
	return m
}

func (m *machine) reset() {
	m.stacks = []frame{{-1, -1}}
	m.frames = map[frame]int32{}
	m.states = []state{{}}
	m.ids = map[string]int32{"": 0}
	m.masks = map[int32][]uint64{}
}

// start returns the state before any byte.
func (m *machine) start() int32 {
	m.seen = map[frame]bool{}
	set := map[int32]bool{}
	accept := false
	for _, at := range m.g.rules[m.g.root] {
		m.expand(at, 0, set, &accept)
	}
	return m.intern(set, accept)
}

func (m *machine) push(at, below int32) int32 {
	f := frame{at, below}
	id, ok := m.frames[f]
	if !ok {
		id = int32(len(m.stacks))
		m.stacks = append(m.stacks, f)
		m.frames[f] = id
	}
	return id
}

// expand adds to set the stacks that place at on top of below stands for: those with a byte set on top.
func (m *machine) expand(at, below int32, set map[int32]bool, accept *bool) {
	if m.work++; m.work > maxWork || m.seen[frame{at, below}] {
		return
	}
	m.seen[frame{at, below}] = true
	switch s := m.g.symbols[at]; s.kind {
	case symSet:
		set[m.push(at, below)] = true
	case symEnd:
		if below == 0 {
			*accept = true
			return
		}
		f := m.stacks[below]
		m.expand(f.at, f.below, set, accept)
	case symRule:
		if m.g.symbols[at+1].kind != symEnd { // else what follows is what follows below: loops do not grow the stack
			below = m.push(at+1, below)
		}
		for _, a := range m.g.rules[s.arg] {
			m.expand(a, below, set, accept)
		}
	}
}

func (m *machine) intern(set map[int32]bool, accept bool) int32 {
	if len(set) == 0 && !accept {
		return 0
	}
	stacks := make([]int32, 0, len(set))
	for s := range set {
		stacks = append(stacks, s)
	}
	slices.Sort(stacks)
	m.key = m.key[:0]
	for _, s := range stacks {
		m.key = binary.LittleEndian.AppendUint32(m.key, uint32(s))
	}
	if accept {
		m.key = append(m.key, 1)
	}
	if id, ok := m.ids[string(m.key)]; ok {
		return id
	}
	id := int32(len(m.states))
	m.states = append(m.states, state{stacks: stacks, accept: accept})
	m.ids[string(m.key)] = id
	return id
}

// step returns the state after a byte, 0 where it is not allowed.
func (m *machine) step(id int32, c byte) int32 {
	s := &m.states[id]
	if s.next != nil {
		if n := s.next[c]; n >= 0 {
			return n
		}
	} else {
		s.next = new([256]int32)
		for i := range s.next {
			s.next[i] = -1
		}
	}
	next := s.next
	m.seen = map[frame]bool{}
	set := map[int32]bool{}
	accept := false
	for _, k := range s.stacks {
		f := m.stacks[k]
		if b := &m.g.sets[m.g.symbols[f.at].arg]; b[c>>6]>>(c&63)&1 != 0 {
			m.expand(f.at+1, f.below, set, &accept)
		}
	}
	n := m.intern(set, accept)
	next[c] = n
	return n
}

// full reports whether the machine should start over.
func (m *machine) full() bool { return len(m.states) > maxStates || len(m.masks) > maxMasks }
