package quantize

import (
	"context"
	"math"
	"testing"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/tiny/models"
)

// TestKnapsack compares with trying everything.
func TestKnapsack(t *testing.T) {
	for seed := range uint64(200) {
		s := rng.New(seed)
		items := make([][]option, 1+s.Intn(5))
		var all int64
		for i := range items {
			for range 1 + s.Intn(4) {
				items[i] = append(items[i], option{int64(1 + s.Intn(50)), float64(s.Intn(100))})
			}
			all += 50
		}
		bound := int64(1 + s.Intn(int(all)))
		best := math.Inf(1)
		var walk func(i int, bytes int64, cost float64)
		walk = func(i int, bytes int64, cost float64) {
			if bytes > bound {
				return
			}
			if i == len(items) {
				best = min(best, cost)
				return
			}
			for _, o := range items[i] {
				walk(i+1, bytes+o.bytes, cost+o.cost)
			}
		}
		walk(0, 0, 0)
		chosen := knapsack(items, bound)
		if (chosen == nil) != math.IsInf(best, 1) {
			t.Fatalf("seed %d: %v, best cost %v", seed, chosen, best)
		}
		if chosen == nil {
			continue
		}
		var bytes int64
		var cost float64
		for i, k := range chosen {
			bytes += items[i][k].bytes
			cost += items[i][k].cost
		}
		if bytes > bound || cost != best {
			t.Errorf("seed %d: %d of %d bytes at %v, best is %v", seed, bytes, bound, cost, best)
		}
	}
}

// TestBudget asks for sizes and divergences.
func TestBudget(t *testing.T) {
	m := models.Model(t, "llama", 3)
	ctx := context.Background()
	for _, s := range []Settings{{Format: "q4_k_m", TargetBPW: 9}, {Format: "q4_k_m", TargetBPW: 11}, {Format: "w4a16", TargetBPW: 24}} {
		q, r, err := Run(ctx, m, s, &RTN{}, Options{Samples: samples})
		if err != nil {
			t.Fatal(err)
		}
		if bpw := 8 * float64(q.Bytes()) / float64(m.Graph.Parameters()); bpw > s.TargetBPW || r.Budget == nil || len(r.Budget.Rows) == 0 {
			t.Errorf("%v bits per weight asked, %v given", s.TargetBPW, bpw)
		}
	}
	loose, _, err := Run(ctx, m, Settings{Format: "q4_k_m", MaxKLD: 0.1}, &RTN{}, Options{Samples: samples})
	if err != nil {
		t.Fatal(err)
	}
	tight, _, err := Run(ctx, m, Settings{Format: "q4_k_m", MaxKLD: 0.001}, &RTN{}, Options{Samples: samples})
	if err != nil {
		t.Fatal(err)
	}
	if loose.Bytes() >= tight.Bytes() {
		t.Errorf("a divergence of 0.1 takes %d bytes, of 0.001 %d", loose.Bytes(), tight.Bytes())
	}
	if _, _, err := Run(ctx, m, Settings{Format: "q4_k_m", TargetBPW: 1}, &RTN{}, Options{Samples: samples}); err == nil {
		t.Error("one bit per weight passes")
	}
	for _, s := range []Settings{{Format: "q4_k_m", TargetBPW: 4, MaxKLD: 1}, {Format: "q4_k_m", TargetSize: "many"}, {Format: "q4_k_m", TargetBPW: -1}} {
		if _, err := Plan(m, s); err == nil {
			t.Errorf("%+v passes", s)
		}
	}
}
