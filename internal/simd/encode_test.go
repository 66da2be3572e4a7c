package simd

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// encodeRows are eight groups of n values each of many kinds: what weights look like, and what they should not.
func encodeRows(r *rand.Rand, n int) [][]float32 {
	var rows [][]float32
	for kind := range 400 {
		x := make([]float32, 8*n)
		for i := range x {
			g := i / n
			v := float32(r.NormFloat64())
			switch (kind + g) % 13 {
			case 1:
				v = 0
			case 2:
				v = 0.25 // all the same
			case 3:
				v = -0.25 - v*1e-7 // far from zero, close together
			case 4:
				v = max(v, -v)
			case 5:
				v *= 1e-16
			case 6:
				v *= 1e-38
			case 7:
				v *= 1e30
			case 8:
				v = float32(r.IntN(5) - 2)
			case 9:
				if i%n != 3 {
					v = 0
				}
			case 10:
				v = float32(math.Copysign(0, -1))
			case 11:
				v = v * v * v * v * v
			case 12:
				v *= 3e38
			}
			x[i] = v
		}
		rows = append(rows, x)
	}
	return rows
}

func sameBits(a, b []float32) bool {
	for i, v := range a {
		if math.Float32bits(v) != math.Float32bits(b[i]) && (v == v || b[i] == b[i]) {
			return false
		}
	}
	return true
}

// TestSearches expects every implementation to find the bits that plain Go finds.
func TestSearches(t *testing.T) {
	was := inUse()
	defer use(was)
	type answer struct {
		scale, minus, inverse, least, sum [8]float32
		codes                             string
	}
	for _, n := range []int{16, 32} {
		rows := encodeRows(rand.New(rand.NewPCG(4, uint64(n))), n)
		run := func(x []float32, k int) (out []answer) {
			r := rand.New(rand.NewPCG(uint64(k), 8))
			groups, w := make([]float32, len(x)), make([]float32, len(x))
			Groups8(groups, x)
			for g := range 8 {
				for i := range n {
					if groups[8*i+g] != x[g*n+i] {
						t.Fatal("groups are not side by side")
					}
				}
			}
			WeighSpread8(w, groups)
			spread := append([]float32(nil), w...)
			keep := func(f *Fit8, codes string) {
				out = append(out, answer{f.Scale, f.Minus, f.Inverse, f.Least, f.SumW, codes})
			}
			for _, nmax := range []int{3, 15, 31} {
				for _, grid := range []AffineGrid{{-1, 0.1, 20, false}, {-0.9, 0.05, 36, false}, {-0.5, 0.1, 15, true}} {
					f := &Fit8{}
					FitAffine8(f, groups, w, nmax, grid)
					keep(f, "")
				}
			}
			for i := range w {
				w[i] = r.Float32() * spread[i]
			}
			for _, nmax := range []int{4, 8, 16, 32} {
				f := &Fit8{}
				FitSymmetric8(f, groups, w, nmax)
				keep(f, "")
				f = &Fit8{}
				FitDescend8(f, groups, nmax)
				codes := ""
				for g := range 8 {
					l := make([]uint8, n)
					f.Codes(l, g, nmax)
					codes += fmt.Sprint(l)
				}
				keep(&Fit8{Scale: f.Scale}, codes)
			}
			f := &Fit8{}
			FitIQ4(f, groups, w)
			keep(f, "")
			return out
		}
		for k, x := range rows {
			use(generic)
			want := run(x, k)
			everyImplementation(t, func(t *testing.T) {
				for j, a := range run(x, k) {
					b := want[j]
					for _, p := range [][2][8]float32{{a.scale, b.scale}, {a.minus, b.minus}, {a.inverse, b.inverse}, {a.least, b.least}, {a.sum, b.sum}} {
						if !sameBits(p[0][:], p[1][:]) {
							t.Fatalf("n=%d row %d search %d: %v, want %v\n%v", n, k, j, p[0], p[1], x)
						}
					}
					if a.codes != b.codes {
						t.Fatalf("n=%d row %d search %d: codes %s, want %s", n, k, j, a.codes, b.codes)
					}
				}
			})
		}
	}
}

// TestRounding expects every implementation to give the codes that plain Go gives, and not to touch what is not theirs.
func TestRounding(t *testing.T) {
	was := inUse()
	defer use(was)
	r := rand.New(rand.NewPCG(5, 6))
	inf := float32(math.Inf(1))
	for round := range 300 {
		x := random(r, 64)
		for i := range x {
			switch x[i] *= 40; {
			case round%5 == 1:
				x[i] = float32(math.Round(float64(2*x[i]))) / 2 // middles
			case round%5 == 2 && i%7 == 0:
				x[i] *= 1e30
			case round%7 == 3 && i%9 == 0:
				x[i] = []float32{inf, -inf, inf - inf, 0}[i%4]
			}
		}
		importance := random(r, 64)
		run := func() (all []byte) {
			l := make([]uint8, 64)
			for _, s := range []float32{1, 0.37, -2, 1e-30, 0} {
				RoundMul(l, x, s, 0.25, 0, 15)
				all = append(all, l...)
				RoundDiv(l, x, s, 0, -32, 31)
				all = append(all, l...)
				RoundIQ4(l, x, s)
				all = append(all, l...)
			}
			q := make([]byte, 68)
			EncodeQ8_0(q, x)
			w := make([]float32, 61)
			WeighImportance(w, importance[:61], x[:61], 0.5)
			return append(append(all, q...), fmt.Sprint(w)...)
		}
		use(generic)
		want := run()
		everyImplementation(t, func(t *testing.T) {
			if got := run(); !bytes.Equal(got, want) {
				for i := range got {
					if got[i] != want[i] {
						t.Fatalf("round %d: byte %d is %d, want %d", round, i, got[i], want[i])
					}
				}
			}
		})
	}
}
