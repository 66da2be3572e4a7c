package strict

import (
	"fmt"
	"regexp"
	"strings"
)

// Pattern reads how recipes name weights: by canonical name or, after re:, by regular expression.
func Pattern(p string) (match func(name string) bool, err error) {
	expr, ok := strings.CutPrefix(p, "re:")
	if !ok {
		return func(name string) bool { return name == p }, nil
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", p, err)
	}
	return re.MatchString, nil
}
