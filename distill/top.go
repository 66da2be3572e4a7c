package distill

import (
	"math"
	"slices"

	"github.com/parelm/pare/internal/train"
)

// top is one of the answers of topWant for a batch.
type top struct {
	topWant
	ids        []int32
	kept, tail []float32
	best       []int32 // scratch
}

type tops []*top

// newTops makes the arrays that are wanted and adds them to the batch.
func newTops(b *train.Batch, w *want, rows int) tops {
	var out tops
	for _, x := range w.top {
		ids, kept, tail := topNames(x.k, x.temperature)
		if b.Inputs[kept] != nil {
			continue // two losses ask for the same
		}
		t := &top{topWant: x, ids: make([]int32, rows*x.k), kept: make([]float32, rows*x.k), tail: make([]float32, rows)}
		b.Inputs[ids], b.Inputs[kept], b.Inputs[tail] = t.ids, t.kept, t.tail
		out = append(out, t)
	}
	return out
}

func (t tops) row(at int, logits []float32) {
	for _, x := range t {
		x.row(at, logits)
	}
}

// floor stands for the logarithm of 0: its exponential is 0 in float32, and it can be multiplied by 0.
const floor = -1e4

// row takes the k largest logits of a row, largest first and of equal ones the lower ids, with ln p of each and of the rest.
func (t *top) row(at int, logits []float32) {
	t.best = largest(t.best[:0], logits, t.k)
	peak := float64(logits[t.best[0]])
	var all, rest float64
	kept := map[int32]bool{}
	for _, id := range t.best {
		kept[id] = true
	}
	for i, z := range logits {
		e := math.Exp((float64(z) - peak) / t.temperature)
		all += e
		if !kept[int32(i)] {
			rest += e
		}
	}
	norm := math.Log(all)
	for i, id := range t.best {
		t.ids[at*t.k+i] = id
		t.kept[at*t.k+i] = float32(max(floor, (float64(logits[id])-peak)/t.temperature-norm))
	}
	t.tail[at] = float32(max(floor, math.Log(rest)-norm))
}

// set takes the k largest of a row from those that a cache keeps, largest first, with p of each; the rest is the tail.
func (t *top) set(at int, ids []int32, p []float32) {
	rest := 1.0
	for i := range t.k {
		t.ids[at*t.k+i] = ids[i]
		t.kept[at*t.k+i] = float32(max(floor, math.Log(float64(p[i]))))
		rest -= float64(p[i])
	}
	t.tail[at] = float32(max(floor, math.Log(max(0, rest))))
}

// largest appends the ids of the k largest values, largest first; of equal ones the lower ids come first. It keeps a heap
// whose root is the smallest of those kept.
func largest(heap []int32, v []float32, k int) []int32 {
	worse := func(a, b int32) bool { return v[a] < v[b] || v[a] == v[b] && a > b }
	for i := range v {
		id := int32(i)
		switch {
		case len(heap) < k:
			heap = append(heap, id)
			for c := len(heap) - 1; c > 0 && worse(heap[c], heap[(c-1)/2]); c = (c - 1) / 2 {
				heap[c], heap[(c-1)/2] = heap[(c-1)/2], heap[c]
			}
		case worse(heap[0], id):
			heap[0] = id
			for p := 0; ; {
				c := 2*p + 1
				if c+1 < k && worse(heap[c+1], heap[c]) {
					c++
				}
				if c >= k || !worse(heap[c], heap[p]) {
					break
				}
				heap[p], heap[c] = heap[c], heap[p]
				p = c
			}
		}
	}
	slices.SortFunc(heap, func(a, b int32) int {
		if worse(b, a) {
			return -1
		}
		return 1
	})
	return heap
}
