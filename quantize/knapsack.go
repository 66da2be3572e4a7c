package quantize

import (
	"math"
	"sort"
)

// The budget problem: every item takes exactly one of its options, the bytes must stay within a bound, the sum of costs
// shall be least. It is the multiple-choice knapsack. Bytes are rounded up to one 65536th of the bound and the rounded
// problem is solved exactly by dynamic programming; then what rounding left over is spent by exact bytes, on the change that
// saves most per byte.

// option is one way to store an item.
type option struct {
	bytes int64
	cost  float64
}

// knapsackSteps is the number of steps of the rounded bound.
const knapsackSteps = 1 << 16

// knapsack returns the option of each item, or nil where even the smallest options do not fit.
func knapsack(items [][]option, bound int64) []int {
	var least int64
	for _, it := range items {
		m := it[0].bytes
		for _, o := range it {
			m = min(m, o.bytes)
		}
		least += m
	}
	if least > bound {
		return nil
	}
	chosen := solveRounded(items, bound)
	if chosen == nil { // fits exactly but not with every item rounded up
		chosen = make([]int, len(items))
		for i, it := range items {
			for k, o := range it {
				if o.bytes < it[chosen[i]].bytes {
					chosen[i] = k
				}
			}
		}
	}
	spend(items, chosen, bound)
	return chosen
}

// solveRounded is the dynamic program.
func solveRounded(items [][]option, bound int64) []int {
	unit := (bound + knapsackSteps - 1) / knapsackSteps
	size := int(bound / max(unit, 1))
	unit = max(unit, 1)
	best, next := make([]float64, size+1), make([]float64, size+1)
	taken := make([][]uint8, len(items))
	for i, it := range items {
		taken[i] = make([]uint8, size+1)
		for b := range next {
			next[b] = math.Inf(1)
		}
		for k, o := range it {
			n := int((o.bytes + unit - 1) / unit)
			for b := n; b <= size; b++ {
				if c := best[b-n] + o.cost; c < next[b] {
					next[b] = c
					taken[i][b] = uint8(k)
				}
			}
		}
		best, next = next, best
	}
	at := 0
	for b := range best {
		if best[b] < best[at] {
			at = b
		}
	}
	if math.IsInf(best[at], 1) {
		return nil
	}
	chosen := make([]int, len(items))
	for i := len(items) - 1; i >= 0; i-- {
		chosen[i] = int(taken[i][at])
		at -= int((items[i][chosen[i]].bytes + unit - 1) / unit)
	}
	return chosen
}

// spend uses up what is left of the bound.
func spend(items [][]option, chosen []int, bound int64) {
	left := bound
	for i, k := range chosen {
		left -= items[i][k].bytes
	}
	for {
		type step struct {
			item, option int
			rate         float64
		}
		var steps []step
		for i, k := range chosen {
			now := items[i][k]
			for n, o := range items[i] {
				more := o.bytes - now.bytes
				if o.cost < now.cost && more <= left || o.cost == now.cost && more < 0 {
					steps = append(steps, step{i, n, (now.cost - o.cost) / math.Max(float64(more), 1)})
				}
			}
		}
		if len(steps) == 0 {
			return
		}
		sort.SliceStable(steps, func(a, b int) bool { return steps[a].rate > steps[b].rate })
		s := steps[0]
		left -= items[s.item][s.option].bytes - items[s.item][chosen[s.item]].bytes
		chosen[s.item] = s.option
	}
}
