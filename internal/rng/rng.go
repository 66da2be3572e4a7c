// Package rng gives random numbers that depend on a seed and a place alone, never on who asked before. Every item of work
// derives its own stream from (seed, stage, index), so results are the same for any order and any number of threads.
package rng

import "math"

// Source is a stream of random numbers. The zero value is a valid stream.
type Source struct{ state uint64 }

// New returns the stream of a seed and any number of indices.
func New(seed uint64, index ...uint64) *Source {
	s := mix(seed ^ 0x9e3779b97f4a7c15)
	for _, i := range index {
		s = mix(s + 0x9e3779b97f4a7c15*(i+1))
	}
	return &Source{s}
}

// Hash returns a number that stands for a name, to be used as an index.
func Hash(name string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return mix(h)
}

// mix is the finalizer of SplitMix64 (Steele, Lea & Flood 2014).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Uint64 returns the next 64 random bits.
func (s *Source) Uint64() uint64 {
	s.state += 0x9e3779b97f4a7c15
	return mix(s.state)
}

// Float64 returns a number in [0, 1).
func (s *Source) Float64() float64 { return float64(s.Uint64()>>11) / (1 << 53) }

// Intn returns a number in [0, n). n must be positive. The bias is below n/2^64.
func (s *Source) Intn(n int) int { return int(s.Uint64() % uint64(n)) }

// Normal returns a number from the standard normal distribution (Box & Muller 1958).
func (s *Source) Normal() float64 {
	u := 1 - s.Float64() // (0, 1]
	return math.Sqrt(-2*math.Log(u)) * math.Cos(2*math.Pi*s.Float64())
}

// Perm returns a permutation of [0, n).
func (s *Source) Perm(n int) []int {
	p := make([]int, n)
	for i := range p {
		j := s.Intn(i + 1)
		p[i], p[j] = p[j], i
	}
	return p
}
