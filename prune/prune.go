package prune

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/parelm/pare/model"
)

// Settings says what to take away. Ratios are the share that stays, above 0 and up to 1; 0 and 1 both mean all.
type Settings struct {
	// Depth is the share of layers kept. Those that change the residual stream least go first.
	Depth float64 `yaml:"depth"`
	// FFN is the share of feed-forward neurons kept in every layer.
	FFN float64 `yaml:"ffn"`
	// Heads is the share of attention heads kept in every layer: key/value heads with all their query heads.
	Heads float64 `yaml:"heads"`
	// Hidden is the share of residual stream channels kept.
	Hidden float64 `yaml:"hidden"`
	// Vocab are texts whose tokens stay, or .json files of token ids; all other tokens go, but for special ones and those
	// from which any text can still be made.
	Vocab []string `yaml:"vocab" path:"file"`
	// Criterion scores units: activation (default), magnitude or random.
	Criterion string `yaml:"criterion"`
	// Multiple rounds feed-forward and hidden widths to the nearest multiple. 0 chooses the largest of 256, 128, 64 and 32,
	// which block formats like, that moves the ratio by no more than 0.025; where there is none the ratio is exact.
	Multiple int `yaml:"multiple"`
	// NoRepair leaves the remaining weights as they are instead of letting them take over what was removed.
	NoRepair bool `yaml:"no_repair"`
	// Seed is used by the random criterion.
	Seed uint64 `yaml:"-"`
}

// Report says what went.
type Report struct {
	Parameters int64              `json:"parameters"`
	Before     int64              `json:"parameters_before"`
	Layers     []int              `json:"layers_removed,omitempty"`
	Influence  []float64          `json:"block_influence,omitempty"` // of every layer, 0 to 2
	Widths     map[string][2]int  `json:"widths,omitempty"`          // axis kind -> before, after
	Errors     map[string]float64 `json:"errors,omitempty"`          // relative output error of what was cut, by site
	Tokens     []int32            `json:"token_ids,omitempty"`       // former id of every token, where the vocabulary was trimmed
}

// Check returns an error for settings that make no sense for a configuration.
func (s *Settings) Check(c *model.Config) error {
	for _, r := range []struct {
		name string
		v    float64
	}{{"depth", s.Depth}, {"ffn", s.FFN}, {"heads", s.Heads}, {"hidden", s.Hidden}} {
		if !(r.v >= 0 && r.v <= 1) {
			return fmt.Errorf("%s is %v: the share that stays must be above 0 and at most 1", r.name, r.v)
		}
	}
	if s.Multiple < 0 {
		return fmt.Errorf("multiple is %d, must be positive", s.Multiple)
	}
	if _, ok := criteria[s.criterion()]; !ok {
		return fmt.Errorf("criterion %q is not known (known: %s)", s.Criterion, strings.Join(Criteria(), ", "))
	}
	if !s.NeedsSamples() && len(s.Vocab) == 0 {
		return fmt.Errorf("nothing to prune: give depth, ffn, heads or hidden a share below 1, or vocab a text")
	}
	return nil
}

// keep reports whether a ratio keeps everything.
func (s *Settings) keep(ratio float64) bool { return ratio == 0 || ratio == 1 }

func (s *Settings) criterion() string {
	if s.Criterion == "" {
		return "activation"
	}
	return s.Criterion
}

// width returns the size that a ratio makes of an axis.
func (s *Settings) width(size int, ratio float64) int {
	target := ratio * float64(size)
	round := func(m int) int {
		n := int(math.Round(target/float64(m))) * m
		return min(max(n, min(m, size), 1), size)
	}
	if s.Multiple > 0 {
		return round(s.Multiple)
	}
	for _, m := range []int{256, 128, 64, 32} {
		if n := round(m); math.Abs(float64(n)-target) <= 0.025*float64(size) && n%m == 0 {
			return n
		}
	}
	return round(1)
}

// Sizes returns the configuration that pruning will give, without touching any weight.
func (s *Settings) Sizes(c *model.Config) *model.Config {
	out := c.Clone()
	if !s.keep(s.Depth) {
		out.Layers = out.Layers[:layersKept(len(out.Layers), s.Depth)]
	}
	for i := range out.Layers {
		l := &out.Layers[i]
		if !s.keep(s.FFN) {
			l.FFN = s.width(l.FFN, s.FFN)
		}
		if !s.keep(s.Heads) {
			per := l.Heads / max(l.KVHeads, 1)
			l.KVHeads = max(1, int(math.Round(s.Heads*float64(l.KVHeads))))
			l.Heads = l.KVHeads * per
		}
	}
	if !s.keep(s.Hidden) {
		out.Hidden = s.width(out.Hidden, s.Hidden)
	}
	return out
}

// Run prunes m on calibration samples, which may be nil where NeedsSamples says so. The returned model reads its weights from m, which must stay open.
func Run(ctx context.Context, m *model.Model, samples [][]int32, s Settings) (*model.Model, *Report, error) {
	if err := s.Check(m.Config); err != nil {
		return nil, nil, err
	}
	r := &Report{Before: m.Graph.Parameters(), Widths: map[string][2]int{}, Errors: map[string]float64{}}
	var err error
	if !s.keep(s.Depth) {
		if m, err = depth(ctx, m, samples, &s, r); err != nil {
			return nil, nil, fmt.Errorf("prune depth: %w", err)
		}
	}
	if !s.keep(s.FFN) || !s.keep(s.Heads) {
		if m, err = width(ctx, m, samples, &s, r); err != nil {
			return nil, nil, fmt.Errorf("prune width: %w", err)
		}
	}
	if !s.keep(s.Hidden) {
		if m, err = hidden(ctx, m, samples, &s, r); err != nil {
			return nil, nil, fmt.Errorf("prune hidden: %w", err)
		}
	}
	if len(s.Vocab) > 0 {
		var err error
		if m, err = s.trim(ctx, m, r); err != nil {
			return nil, nil, fmt.Errorf("prune vocab: %w", err)
		}
	}
	r.Parameters = m.Graph.Parameters()
	return m, r, nil
}
