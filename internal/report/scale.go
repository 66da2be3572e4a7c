package report

import (
	"fmt"
	"math"
	"strings"
)

// scale maps values to pixels, linearly or by their logarithms.
type scale struct {
	lo, hi float64 // values
	a, b   float64 // pixels of lo and hi
	log    bool
}

// at returns the pixel of a value.
func (s scale) at(v float64) float64 {
	lo, hi := s.lo, s.hi
	if s.log {
		lo, hi, v = math.Log(lo), math.Log(hi), math.Log(v)
	}
	return s.a + (v-lo)/(hi-lo)*(s.b-s.a)
}

// pad widens the range by shares of its length at either end.
func (s scale) pad(low, high float64) scale {
	if s.log {
		d := math.Log(s.hi / s.lo)
		s.lo, s.hi = s.lo*math.Exp(-low*d), s.hi*math.Exp(high*d)
		return s
	}
	d := s.hi - s.lo
	s.lo, s.hi = s.lo-low*d, s.hi+high*d
	return s
}

// ticks returns round values inside the range, about n of them.
func (s scale) ticks(n int) []float64 {
	if s.log {
		best := []float64{}
		for _, steps := range [][]float64{{1}, {1, 3}, {1, 2, 5}, {1, 1.5, 2, 3, 5, 7}, {1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9}} {
			t := s.decades(steps)
			if len(t) > n+1 {
				break
			}
			best = t
		}
		if len(best) >= 3 {
			return best
		}
	}
	step := niceStep((s.hi - s.lo) / float64(n))
	first := math.Ceil(s.lo / step)
	var t []float64
	for i := range 3 * n { // a bound, for ranges so narrow or so wide that floats end
		if v := (first + float64(i)) * step; v >= s.lo && v <= s.hi+1e-9*step {
			t = append(t, v)
		}
	}
	return t
}

func (s scale) decades(steps []float64) []float64 {
	var t []float64
	first := math.Floor(math.Log10(s.lo))
	for e := first; e <= math.Ceil(math.Log10(s.hi)) && e < first+700; e++ {
		for _, m := range steps {
			if v := m * math.Pow(10, e); v >= s.lo && v <= s.hi {
				t = append(t, v)
			}
		}
	}
	return t
}

// niceStep rounds a step up to 1, 2, 2.5 or 5 times a power of ten.
func niceStep(x float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(x)))
	for _, m := range []float64{1, 2, 2.5, 5, 10} {
		if m*p >= x*(1-1e-9) {
			return m * p
		}
	}
	return 10 * p
}

// figure formats x with n significant digits, without an exponent for everyday sizes and without trailing zeros.
func figure(x float64, n int) string {
	switch a := math.Abs(x); {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return fmt.Sprint(x)
	case a == 0:
		return "0"
	case a >= 1e7 || a < 1e-4:
		return fmt.Sprintf("%.*g", n, x)
	default:
		decimals := max(0, n-1-int(math.Floor(math.Log10(a))))
		s := fmt.Sprintf("%.*f", decimals, x)
		if strings.Contains(s, ".") {
			s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
		}
		return s
	}
}

// fixed formats x with n significant digits and keeps the zeros, for columns of figures.
func fixed(x float64, n int) string {
	a := math.Abs(x)
	if math.IsNaN(x) || math.IsInf(x, 0) || a >= 1e7 || a < 1e-6 && a > 0 {
		return fmt.Sprintf("%.*g", n, x)
	}
	if a == 0 {
		return "0"
	}
	return fmt.Sprintf("%.*f", max(0, n-1-int(math.Floor(math.Log10(a)))), x)
}

// Bytes formats a size for people: 1.23 MB, powers of 1000.
func Bytes(n int64) string { return size(float64(n)) }

// size is Bytes for figures that come as floats.
func size(n float64) string {
	unit := 0
	for n >= 999.5 && unit < 5 {
		n /= 1000
		unit++
	}
	return figure(n, 3) + " " + []string{"B", "kB", "MB", "GB", "TB", "PB"}[unit]
}

// Count formats a number of parameters or tokens: 6.45M.
func Count(n int64) string { return count(float64(n)) }

// count is Count for figures that come as floats.
func count(n float64) string {
	unit := 0
	for n >= 999.5 && unit < 4 {
		n /= 1000
		unit++
	}
	return figure(n, 3) + []string{"", "k", "M", "B", "T"}[unit]
}
