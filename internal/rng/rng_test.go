package rng

import (
	"math"
	"testing"
)

func TestStreams(t *testing.T) {
	if first, again := New(1, 2).Uint64(), New(1, 2).Uint64(); first != again {
		t.Error("the same place gives different numbers")
	}
	seen := map[uint64]bool{}
	for seed := range uint64(20) {
		for i := range uint64(20) {
			for j := range uint64(20) {
				seen[New(seed, i, j).Uint64()] = true
			}
		}
	}
	if len(seen) != 8000 {
		t.Errorf("%d of 8000 neighbouring streams are distinct", len(seen))
	}
}

func TestMoments(t *testing.T) {
	s, n := New(7), 200000
	var sum, square, uniform float64
	for range n {
		v := s.Normal()
		sum += v
		square += v * v
		uniform += s.Float64()
	}
	if m := sum / float64(n); math.Abs(m) > 0.01 {
		t.Errorf("normal mean %v", m)
	}
	if v := square / float64(n); math.Abs(v-1) > 0.015 {
		t.Errorf("normal variance %v", v)
	}
	if u := uniform / float64(n); math.Abs(u-0.5) > 0.005 {
		t.Errorf("uniform mean %v", u)
	}
}

func TestPerm(t *testing.T) {
	p := New(3).Perm(50)
	seen := make([]bool, 50)
	for _, v := range p {
		seen[v] = true
	}
	for i, ok := range seen {
		if !ok {
			t.Fatalf("%d is missing from %v", i, p)
		}
	}
}
