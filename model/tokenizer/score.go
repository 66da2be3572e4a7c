package tokenizer

import (
	"fmt"
	"math"
	"strings"
)

// parseScore reads a score with the rounding of the reference library's JSON reader, which is not always the nearest float64: digits
// are gathered in 64 bits, rounded, and then scaled by a power of ten. Scores of unigram pieces are sums that often tie in
// exact arithmetic, so the last bit decides which pieces win.
func parseScore(s string) (float64, error) {
	bad := fmt.Errorf("%q is not a number", clip(s, 30))
	rest, negative := strings.CutPrefix(s, "-")
	significand, exponent, digits := uint64(0), 0, 0
	fraction, full := false, false
	i := 0
	for ; i < len(rest); i++ {
		c := rest[i]
		if c == '.' && !fraction {
			fraction, full = true, false
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		digits++
		d := uint64(c - '0')
		if full = full || significand > (math.MaxUint64-d)/10; full {
			if !fraction {
				exponent++
			}
			continue // digits beyond 64 bits are dropped
		}
		significand = significand*10 + d
		if fraction {
			exponent--
		}
	}
	if digits == 0 {
		return 0, bad
	}
	if i < len(rest) {
		var e int
		if _, err := fmt.Sscanf(rest[i:], "e%d", &e); err != nil {
			if _, err := fmt.Sscanf(rest[i:], "E%d", &e); err != nil {
				return 0, bad
			}
		}
		exponent += max(-1e6, min(1e6, e))
	}
	f := float64(significand)
	for exponent < -308 && f != 0 {
		f /= 1e308
		exponent += 308
	}
	switch {
	case f == 0:
	case exponent > 308:
		return 0, bad
	case exponent >= 0:
		f *= math.Pow10(exponent)
	default:
		f /= math.Pow10(-exponent)
	}
	if math.IsInf(f, 0) {
		return 0, bad
	}
	if negative {
		f = -f
	}
	return f, nil
}
