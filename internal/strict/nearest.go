package strict

import (
	"fmt"
	"strings"
)

// Nearest returns the candidate that name was probably meant to be: the one with the fewest typing errors, or one that
// name begins; "" where none is near.
func Nearest(name string, candidates []string) string {
	low := strings.ToLower(name)
	best, bestDist := "", 1+max(1, (len([]rune(name))+1)/3)
	for _, c := range candidates {
		if d := distance(low, strings.ToLower(c)); d < bestDist {
			best, bestDist = c, d
		}
	}
	if best == "" && len(low) >= 3 {
		for _, c := range candidates {
			if lc := strings.ToLower(c); strings.HasPrefix(lc, low) || len(lc) >= 3 && strings.HasPrefix(low, lc) {
				return c
			}
		}
	}
	return best
}

// DidYouMean returns a hint in parentheses, or, for few candidates and none near, what there is, or nothing.
func DidYouMean(name string, candidates []string) string {
	if c := Nearest(name, candidates); c != "" {
		return fmt.Sprintf(" (did you mean %q?)", c)
	}
	if len(candidates) > 0 && len(candidates) <= 12 {
		return " (known: " + strings.Join(candidates, ", ") + ")"
	}
	return ""
}

// distance counts the typing errors between two words: letters missing, too much, wrong, or swapped with the next
// (optimal string alignment). Words longer than any key are far from everything.
func distance(a, b string) int {
	r, s := []rune(a), []rune(b)
	if len(r) > 64 || len(s) > 64 {
		return 64
	}
	var before, above []int
	row := make([]int, len(s)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(r); i++ {
		before, above, row = above, row, make([]int, len(s)+1)
		row[0] = i
		for j := 1; j <= len(s); j++ {
			wrong := 1
			if r[i-1] == s[j-1] {
				wrong = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+wrong)
			if i > 1 && j > 1 && r[i-1] == s[j-2] && r[i-2] == s[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(s)]
}
