package quantize

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/parelm/pare/model"
	"github.com/parelm/pare/model/tensor"
)

// units of sizes as users write them.
var units = []struct {
	suffix string
	bytes  float64
}{{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"GIB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}

// ParseSize reads the setting of that key: 400MB, 1.5GiB or a number of bytes.
func ParseSize(key, text string) (int64, error) {
	upper := strings.ToUpper(strings.TrimSpace(text))
	for _, u := range units {
		number, ok := strings.CutSuffix(upper, u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(v > 0) || v*u.bytes > 1<<53 {
			break
		}
		return int64(v * u.bytes), nil
	}
	return 0, fmt.Errorf("%s is %q, want a size like 400MB, 1.5GiB or 123456789", key, text)
}

// checkBudget refuses budgets that say several things.
func (s *Settings) checkBudget() error {
	n := 0
	for _, given := range []bool{s.TargetBPW != 0, s.TargetSize != "", s.MaxKLD != 0} {
		if given {
			n++
		}
	}
	switch {
	case n > 1:
		return fmt.Errorf("target_bpw, target_size and max_kld: give one of them")
	case s.TargetBPW < 0 || s.MaxKLD < 0:
		return fmt.Errorf("target_bpw %g, max_kld %g: must be positive", s.TargetBPW, s.MaxKLD)
	case s.TargetSize != "":
		_, err := ParseSize("target_size", s.TargetSize)
		return err
	}
	return nil
}

// bound returns the bytes that all weights may take.
func (s *Settings) bound(ctx context.Context, m *model.Model, plan []Choice) (int64, error) {
	if s.TargetBPW > 0 {
		return int64(s.TargetBPW * float64(m.Graph.Parameters()) / 8), nil
	}
	size, err := ParseSize("target_size", s.TargetSize)
	if err != nil {
		return 0, err
	}
	// What a file holds beside the weights does not depend on the formats, but for some padding: a kilobyte is spare.
	zeros := map[*model.Weight]*tensor.Tensor{}
	for _, c := range plan {
		if c.Codec != nil {
			zeros[c.Weight] = model.Zeros(c.Weight, c.Codec)
		}
	}
	out := m.With(zeros)
	file, err := out.SizeGGUF(ctx, model.GGUFOptions{Mix: s.Format})
	if Packed(s.Format) {
		file, err = out.SizeHF(ctx)
	}
	if err != nil {
		return 0, err
	}
	return size - (file - out.Bytes()) - 1024, nil
}
