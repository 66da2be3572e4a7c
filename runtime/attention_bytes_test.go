package runtime

import (
	"math"
	"testing"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/model"
)

// What attention over bytes adds to the rounding of the bytes themselves is small, whether all positions have about the same weight or a few
// have nearly all of it: hardly anything with words, and no more than half as much again with bytes.
func TestAttendBytes(t *testing.T) {
	a := &model.Attention{Heads: 4, KVHeads: 1, HeadDim: 64, ValueDim: 64, Scale: 0.125}
	spec, err := specOf(a, cacheQ80)
	if err != nil {
		t.Fatal(err)
	}
	const depth = 1000
	for _, spread := range []float64{0.5, 1, 3, 8} { // of scores, as a multiple of what random ones have
		s := rng.New(7)
		c := &cache{spec: spec, memory: new(pageMemory)}
		keys, values := make([]float32, depth*64), make([]float32, depth*64)
		for i := range keys {
			keys[i], values[i] = float32(s.Normal()), float32(s.Normal())
		}
		for p := range depth {
			c.put(p, keys[p*64:][:64], values[p*64:][:64])
		}
		query := make([]float32, 4*64)
		for i := range query {
			query[i] = float32(spread * s.Normal())
		}
		stored, storedValues := make([]float32, depth*64), make([]float32, depth*64)
		for p := range depth {
			b, at := spec.bytes(c.pages[p/pageKeys], 0), p%pageKeys
			for d := range 64 {
				stored[p*64+d] = float32(b.keys[at/panel*panel*64+d/2*2*panel+2*(at%panel)+d%2]) * b.kd[d/32*pageKeys+at]
				storedValues[p*64+d] = float32(b.values[d/panel*panel*pageKeys+at/2*2*panel+2*(d%panel)+at%2]) * b.vd[d/32*pageKeys+at]
			}
		}
		exact := func(keys, values []float32) (out []float64) {
			for h := range 4 {
				score, top := make([]float64, depth), math.Inf(-1)
				for p := range depth {
					for d := range 64 {
						score[p] += 0.125 * float64(query[h*64+d]) * float64(keys[p*64+d])
					}
					top = max(top, score[p])
				}
				o, sum := make([]float64, 64), 0.0
				for p := range depth {
					w := math.Exp(score[p] - top)
					sum += w
					for d := range o {
						o[d] += w * float64(values[p*64+d])
					}
				}
				for _, v := range o {
					out = append(out, v/sum)
				}
			}
			return out
		}
		off := func(x func(i int) float64, from []float64) float64 { // root mean square, over that of from
			var e, n float64
			for i, v := range from {
				e, n = e+(v-x(i))*(v-x(i)), n+v*v
			}
			return math.Sqrt(e / n)
		}
		want := exact(stored, storedValues)
		bytes := off(func(i int) float64 { return want[i] }, exact(keys, values))
		for coarse, most := range map[bool]float64{false: 0.02, true: 1.5} {
			got := make([]float32, len(query))
			attendBytes(a, part{n: 1, pos: depth - 1}, c, 0, 0, 1, query, got, len(query), len(query), nil, coarse)
			if e := off(func(i int) float64 { return float64(got[i]) }, want); !(e <= most*bytes) {
				t.Errorf("scores spread by %v, coarse %v: off by %.3g, bytes by %.3g", spread, coarse, e, bytes)
			}
		}
	}
}
