package quantize

import (
	"bytes"
	"math"
	"testing"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/model/codec"
)

// TestGrids rounds values one at a time in every format that allows it: what round returns must be what the block
// decodes to, and no code of the same block may be nearer.
func TestGrids(t *testing.T) {
	want := map[string]int{"q8_0": 8, "q4_0": 4, "q4_1": 4, "q5_0": 5, "q5_1": 5, "q2_k": 2, "q3_k": 3, "q4_k": 4, "q5_k": 5, "q6_k": 6,
		"iq4_nl": 4, "iq4_xs": 4, "mxfp4": 4, "int4g32": 0, "uint4g64": 0, "int8g128": 0, "int4": 0}
	for name, bits := range want {
		c, err := codec.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		g, err := gridOf(c)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if g.bits != bits {
			t.Errorf("%s: %d bits a code, want %d", name, g.bits, bits)
		}
		n := g.values
		if n == 0 {
			n = 96
		}
		for seed := range uint64(20) {
			checkGrid(t, name, g, n, seed)
		}
	}
	for _, name := range []string{"f16", "iq2_xxs"} {
		if c, err := codec.Lookup(name); err == nil {
			if _, err := gridOf(c); err == nil {
				t.Errorf("%s passes for a grid", name)
			}
		}
	}
}

func checkGrid(t *testing.T, name string, g *grid, n int, seed uint64) {
	t.Helper()
	s := rng.New(seed)
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(s.Normal())
	}
	cell := g.fit(x, nil)
	size, err := codec.RowBytes(g.c, n)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]float32, n)
	for i, v := range x {
		got[i] = cell.round(i, v+0.1*float32(s.Normal()))
		x[i] = v
	}
	data := make([]byte, size)
	cell.put(data)
	back := make([]float32, n)
	g.c.Decode(back, data)
	var plain, err2 float64
	enc, dec := make([]byte, size), make([]float32, n)
	g.c.Encode(enc, x, nil)
	g.c.Decode(dec, enc)
	for i := range back {
		if d := math.Abs(float64(back[i] - got[i])); d > 1e-5*math.Max(1, math.Abs(float64(got[i]))) {
			t.Fatalf("%s: value %d decodes to %v, round said %v", name, i, back[i], got[i])
		}
		plain += math.Pow(float64(dec[i]-x[i]), 2)
		err2 += math.Pow(float64(back[i]-x[i]), 2)
	}
	// Rounded without the noise, the block must be as good as the encoder's own.
	again := g.fit(x, nil)
	var own float64
	for i, v := range x {
		own += math.Pow(float64(again.round(i, v)-v), 2)
	}
	if own > plain*1.001 {
		t.Errorf("%s: nearest codes have squared error %v, the encoder %v", name, own, plain)
	}
	again.put(data)
	if name == "int4g32" && !bytes.Equal(data, enc) {
		t.Errorf("%s: rounding one by one differs from encoding", name)
	}
}
