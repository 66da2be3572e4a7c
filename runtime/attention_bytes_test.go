package runtime

import (
	"math"
	"slices"
	"testing"

	"github.com/parelm/pare/internal/rng"
	"github.com/parelm/pare/internal/simd"
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
		rounded, roundedValues := make([]float32, depth*64), make([]float32, depth*64)
		for p := range depth {
			k, v := storedAt(c, p)
			copy(rounded[p*64:], k)
			copy(roundedValues[p*64:], v)
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
		want := exact(rounded, roundedValues)
		bytes := off(func(i int) float64 { return want[i] }, exact(keys, values))
		for coarse, most := range map[bool]float64{false: 0.02, true: 1.5} {
			got := make([]float32, len(query))
			attendBytes(a, part{n: 1, pos: depth - 1}, c, 0, 0, 1, query, got, len(query), len(query), nil, coarse)
			e := off(func(i int) float64 { return float64(got[i]) }, want)
			t.Logf("scores spread by %v, coarse %v: off by %.3g, bytes by %.3g", spread, coarse, e, bytes)
			if !(e <= most*bytes) {
				t.Errorf("more than %v times what the bytes cost", most)
			}
		}
	}
}

// A row has the same bits alone and beside others, wherever they are cut, for heads of any number and width, with a window and without, and is near what
// the stored keys and values give in float32.
func TestAttendBytesCuts(t *testing.T) {
	s := rng.New(11)
	for _, shape := range [][3]int{{4, 4, 64}, {6, 2, 32}, {14, 2, 64}, {9, 3, 96}, {16, 1, 256}, {8, 2, 128}} {
		for _, window := range []int{0, 70, 300} {
			a := &model.Attention{Heads: shape[0], KVHeads: shape[1], HeadDim: shape[2], ValueDim: shape[2], Scale: 1 / math.Sqrt(float64(shape[2])), Window: window}
			spec, err := specOf(a, cacheQ80)
			if err != nil {
				t.Fatal(err)
			}
			const n = 40
			depth, width := 1+s.Intn(700), a.Heads*a.HeadDim
			random := func(n int) []float32 {
				x := make([]float32, n)
				for i := range x {
					x[i] = float32(s.Normal())
				}
				return x
			}
			c := &cache{spec: spec, memory: new(pageMemory)}
			for p := range depth + n {
				c.put(p, random(a.KVHeads*a.HeadDim), random(a.KVHeads*a.HeadDim))
			}
			query := random(n * width)
			want, plain := make([]float32, n*width), make([]float32, n*width)
			for kv := range a.KVHeads {
				attend(a, part{n: n, pos: depth}, decodedCache(c), kv, 0, n, query, plain, width, width, nil, false)
			}
			for _, coarse := range []bool{false, simd.BytesFast()} {
				for kv := range a.KVHeads {
					attendBytes(a, part{n: n, pos: depth}, c, kv, 0, n, query, want, width, width, nil, coarse)
				}
				var off, size float64
				for i, v := range want {
					off, size = off+float64((v-plain[i])*(v-plain[i])), size+float64(plain[i]*plain[i])
				}
				if e := math.Sqrt(off / size); !(e < 0.02) {
					t.Errorf("%v, window %d, behind %d, coarse %v: off by %.3g", shape, window, depth, coarse, e)
				}
				got := make([]float32, n*width)
				for lo := 0; lo < n; {
					hi := min(n, lo+1+s.Intn(12))
					for kv := range a.KVHeads {
						attendBytes(a, part{n: hi - lo, pos: depth + lo}, c, kv, 0, hi-lo, query[lo*width:], got[lo*width:], width, width, nil, coarse)
					}
					lo = hi
				}
				if !slices.Equal(got, want) {
					t.Errorf("%v, window %d, behind %d, coarse %v: other bits in pieces", shape, window, depth, coarse)
				}
			}
		}
	}
}

// decodedCache returns a cache of float32 of what a cache of bytes holds.
func decodedCache(c *cache) *cache {
	spec := c.spec
	spec.kind = cacheF32
	out := &cache{spec: spec, memory: new(pageMemory)}
	for pos := range len(c.pages) * pageKeys {
		k, v := storedAt(c, pos)
		out.put(pos, k, v)
	}
	return out
}

// storedAt returns a position's keys and values of all heads in a cache of bytes.
func storedAt(c *cache, pos int) (k, v []float32) {
	spec, at := &c.spec, pos%pageKeys
	for h := range spec.kvHeads {
		b := spec.bytes(c.pages[pos/pageKeys], h)
		for d := range spec.keyDim {
			k = append(k, float32(b.keys[at/panel*panel*spec.keyDim+d/2*2*panel+2*(at%panel)+d%2])*b.kd[d/32*pageKeys+at])
		}
		for d := range spec.valueDim {
			v = append(v, float32(b.values[d/panel*panel*pageKeys+at/2*2*panel+2*(d%panel)+at%2])*b.vd[d/32*pageKeys+at])
		}
	}
	return k, v
}
