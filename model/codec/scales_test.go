package codec

import (
	"bytes"
	"math"
	"testing"

	"github.com/parelm/pare/internal/rng"
)

// TestScales takes blocks of every format with scales apart: what Get says and the codes give the values that Decode gives,
// Put writes the same bytes again, and other parameters decode to what they say.
func TestScales(t *testing.T) {
	names := append(Names(), "int4g32", "uint4g32", "int8g64", "uint8g64")
	for _, with := range []string{"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs"} {
		if c, err := Lookup(with); err != nil {
			t.Fatal(err)
		} else if _, err := ScalesOf(c); err != nil {
			t.Error(err)
		}
	}
	for _, name := range names {
		c, err := Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		l, err := ScalesOf(c)
		if err != nil {
			continue
		}
		values, size := c.Block()
		if l.Group*l.Groups != values {
			t.Errorf("%s: %d groups of %d are no block of %d", name, l.Groups, l.Group, values)
		}
		r := rng.New(rng.Hash(name))
		x, block := make([]float32, values), make([]byte, size)
		for i := range x {
			x[i] = float32(r.Normal()) + 0.3
		}
		c.Encode(block, x, nil)
		codes, unit := make([]float32, values), bytes.Clone(block)
		l.Put(unit, l.New())
		c.Decode(codes, unit)
		s := l.New()
		l.Get(block, s)
		check := func(block []byte) {
			t.Helper()
			got := make([]float32, values)
			c.Decode(got, block)
			for i, q := range codes {
				want := float64(s.D)*float64(s.S[i/l.Group])*float64(q) - float64(s.M)*float64(s.T[i/l.Group])
				if math.Abs(float64(got[i])-want) > 1e-6*(1+math.Abs(want)) {
					t.Fatalf("%s: value %d is %g, its parameters say %g", name, i, got[i], want)
				}
			}
		}
		check(block)
		same := bytes.Clone(block)
		l.Put(same, s)
		if !bytes.Equal(same, block) {
			t.Errorf("%s: Put after Get writes another block", name)
		}
		s.D *= 1.25
		if l.Min {
			s.M *= 0.5
		} else if l.Tied() {
			s.M = s.D
		}
		for g := range s.S {
			s.S[g] = l.S[0] + r.Intn(l.S[1]-l.S[0]+1)
			s.T[g] = l.T[0] + r.Intn(l.T[1]-l.T[0]+1)
		}
		l.Put(same, s)
		l.Get(same, s) // D and M as they were rounded
		check(same)
	}
}
