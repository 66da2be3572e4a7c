package grammar

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// integer compiles the bounds of an integer to its digits.
func (s *schema) integer(o *object, where string) node {
	bound := func(key string, def, off int64) int64 {
		v := o.Get(key)
		if v == nil {
			return def
		}
		x, _ := v.(json.Number)
		n, err := strconv.ParseInt(string(x), 10, 64)
		if err != nil || n > 1e15 || n < -1e15 {
			s.fail(where, "%s is %v: want an integer up to 1e15", key, v)
			return def
		}
		return n + off
	}
	lo := max(bound("minimum", math.MinInt64, 0), bound("exclusiveMinimum", math.MinInt64, 1))
	hi := min(bound("maximum", math.MaxInt64, 0), bound("exclusiveMaximum", math.MaxInt64, -1))
	if lo == math.MinInt64 && hi == math.MaxInt64 {
		return ref("integer")
	}
	const most = 9_999_999_999_999_999 // 16 digits, as many as an integer without bounds has
	lo, hi = max(lo, -most), min(hi, most)
	if lo > hi {
		return s.fail(where, "no integer is between %d and %d", lo, hi)
	}
	var out alt
	if lo < 0 {
		out = append(out, seq{"-", between(max(1, -hi), -lo)})
	}
	if hi >= 0 {
		out = append(out, between(max(0, lo), hi))
	}
	return s.fresh(out)
}

// between is the digits of lo to hi, neither negative: lengths one by one, then digit by digit.
func between(lo, hi int64) node {
	var out alt
	for lo <= hi {
		a := strconv.FormatInt(lo, 10)
		top, err := strconv.ParseInt(strings.Repeat("9", len(a)), 10, 64)
		if err != nil {
			top = hi
		}
		top = min(top, hi)
		out = append(out, digits(a, strconv.FormatInt(top, 10)))
		lo = top + 1
	}
	return out
}

// digits is the numbers from a to b, of one length.
func digits(a, b string) node {
	if a == b {
		return a
	}
	n := len(a) - 1
	d := func(lo, hi byte) node { return chars(rune(lo), rune(hi)) }
	if n == 0 {
		return d(a[0], b[0])
	}
	if a[0] == b[0] {
		return seq{a[:1], digits(a[1:], b[1:])}
	}
	zeros, nines := strings.Repeat("0", n), strings.Repeat("9", n)
	lo, hi := a[0], b[0]
	var out alt
	if a[1:] != zeros {
		out = append(out, seq{a[:1], digits(a[1:], nines)})
		lo++
	}
	if b[1:] != nines {
		out = append(out, seq{b[:1], digits(zeros, b[1:])})
		hi--
	}
	if lo <= hi {
		out = append(out, seq{d(lo, hi), rep{chars('0', '9'), n, n}})
	}
	return out
}
