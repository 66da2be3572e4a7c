package model

import "math"

// alibiSlopes returns the slopes of Press et al. (2022) for any number of heads: a geometric sequence for the largest
// power of two below, then every other one of the next power's.
func alibiSlopes(heads int) []float64 {
	p := 1 << int(math.Log2(float64(heads)))
	var s []float64
	for i := 1; i <= p; i++ {
		s = append(s, math.Pow(2, -8*float64(i)/float64(p)))
	}
	for i := 1; len(s) < heads; i += 2 {
		s = append(s, math.Pow(2, -8*float64(i)/float64(2*p)))
	}
	return s
}

// mptSlopes returns MPT's slopes: those of the next power of two, the odd places first.
func mptSlopes(heads int, biasMax float64) []float64 {
	p := 1
	for p < heads {
		p *= 2
	}
	all := make([]float64, p)
	for i := range all {
		all[i] = math.Pow(2, -biasMax*float64(i+1)/float64(p))
	}
	if p == heads {
		return all
	}
	var s []float64
	for i := 1; i < p; i += 2 {
		s = append(s, all[i])
	}
	for i := 0; i < p; i += 2 {
		s = append(s, all[i])
	}
	return s[:heads]
}
