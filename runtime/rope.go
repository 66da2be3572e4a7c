package runtime

import (
	"math"

	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/model"
)

// ropeTable holds the cosines and sines of a rotary embedding for the first positions.
type ropeTable struct {
	r         *model.Rope
	freq      []float64
	magnitude float64
	cos, sin  []float32 // position by position, Dim/2 each
}

// regime returns the sequence length that stands for all lengths with the same frequencies as n.
func regime(r *model.Rope, n int) int {
	limit := r.LengthDependent()
	switch {
	case limit == 0 || n <= limit:
		return 0
	case r.Scaling.Kind == "dynamic":
		return n
	}
	return limit + 1
}

// table returns the table of a sequence of n tokens.
func (e *Engine) table(r *model.Rope, n int) *ropeTable {
	g := regime(r, n)
	t := e.ropes[r]
	if t == nil || t.regime != g {
		freq, magnitude := r.Frequencies(max(g, 1))
		t = &cachedTable{regime: g, ropeTable: ropeTable{r: r, freq: freq, magnitude: magnitude}}
		e.ropes[r] = t
	}
	t.grow(n)
	return &t.ropeTable
}

// cachedTable is the last table used of a rotary embedding.
type cachedTable struct {
	ropeTable
	regime int
}

func (t *ropeTable) grow(n int) {
	half := len(t.freq)
	have := len(t.cos) / half
	if have >= n {
		return
	}
	n = max(n, 2*have)
	for p := have; p < n; p++ {
		magnitude := t.magnitude * t.r.Grown(p)
		for _, f := range t.freq {
			sin, cos := math.Sincos(float64(float32(p) * float32(f))) // float32 angles, as models were trained with
			t.cos = append(t.cos, float32(cos*magnitude))
			t.sin = append(t.sin, float32(sin*magnitude))
		}
	}
}

// rotate turns every head of a row.
func (t *ropeTable) rotate(row []float32, head, pos int) {
	half := len(t.freq)
	cos, sin := t.cos[pos*half:][:half], t.sin[pos*half:][:half]
	for h := 0; h < len(row); h += head {
		if x := row[h : h+2*half]; t.r.Interleaved {
			simd.RoPEPairs(x, cos, sin)
		} else {
			simd.RoPEHalf(x, cos, sin)
		}
	}
}
