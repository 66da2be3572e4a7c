package cpu

import (
	"reflect"
	"sync"
)

// Arena is working memory that several programs share: they run one after the other, and a run leaves nothing there that the
// next could need. Arrays that were given away to a run and did not become outputs serve as outputs of later runs, so a
// training loop makes no garbage of the size of its model.
type Arena struct {
	mu     sync.Mutex
	memory map[DType]any
	pool   [][]float32
	spare  map[arraySize]*spares
}

// arraySize is the size of an array.
type arraySize struct {
	d DType
	n int
}

// spares are arrays of one size that nobody holds.
type spares struct {
	free []any
	most int // outputs of that size of a run; more are not kept
}

// NewArena returns an arena without memory.
func NewArena() *Arena { return &Arena{memory: map[DType]any{}, spare: map[arraySize]*spares{}} }

// reserve makes room for a program.
func (a *Arena) reserve(sizes map[DType]int) {
	for d, n := range sizes {
		if m := a.memory[d]; m == nil || reflect.ValueOf(m).Len() < n {
			a.memory[d] = nil // so that both need not be there at once
			a.memory[d] = makeData(d, n)
		}
	}
}

// output returns an array for an output. What it holds is anything.
func (a *Arena) output(s Shape) *Buffer {
	if p := a.spare[arraySize{s.DType, s.Len()}]; p != nil && len(p.free) > 0 {
		data := p.free[len(p.free)-1]
		p.free = p.free[:len(p.free)-1]
		return &Buffer{s, data}
	}
	return NewBuffer(s)
}

// recycle keeps the arrays of donated inputs that are not among the outputs, as many of a size as outputs have it.
func (a *Arena) recycle(inputs []*Buffer, donate []bool, outputs []*Buffer) {
	count := map[arraySize]int{}
	held := map[uintptr]int{}
	for _, o := range outputs {
		count[arraySize{o.Shape.DType, o.Shape.Len()}]++
		held[reflect.ValueOf(o.Data).Pointer()]++
	}
	for k, n := range count {
		p := a.spare[k]
		if p == nil {
			p = &spares{}
			a.spare[k] = p
		}
		p.most = max(p.most, n)
	}
	for _, in := range inputs {
		held[reflect.ValueOf(in.Data).Pointer()]++
	}
	for i, in := range inputs {
		p := a.spare[arraySize{in.Shape.DType, in.Shape.Len()}]
		if i < len(donate) && donate[i] && p != nil && len(p.free) < p.most && held[reflect.ValueOf(in.Data).Pointer()] == 1 {
			p.free = append(p.free, in.Data)
		}
	}
}

// Take gives the array of a buffer that nobody will use any more to the arena, which keeps as many of a size as outputs have it.
func (a *Arena) Take(b *Buffer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.spare[arraySize{b.Shape.DType, b.Shape.Len()}]; p != nil && len(p.free) < p.most {
		p.free = append(p.free, b.Data)
	}
}

// release frees everything.
func (a *Arena) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.memory, a.pool, a.spare = map[DType]any{}, nil, map[arraySize]*spares{}
}
