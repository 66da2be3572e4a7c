package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/measure"
	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/prune"
)

func init() {
	register(&cli.Command{
		Name: "prune", Usage: "take layers, neurons, heads, channels or tokens away",
		ArgsUsage: "MODEL",
		Description: modelHelp + `
Ratios are the share that stays: --depth 0.5 keeps half of the layers. What goes is chosen on the calibration text,
and the remaining weights take over what it did as far as least squares can. --vocab keeps the tokens that a text
uses; any other text is still read and written, in smaller pieces.

examples
  pare prune ./model --depth 0.75 --calib text.txt -o ./model-shallow
  pare prune ./model --ffn 50% --heads 0.5 --calib text.txt -o ./model-narrow
  pare prune ./model --vocab domain.txt -o ./model-trimmed`,
		Flags: append(append(outFlags("the pruned model"), calibFlags()...),
			&cli.StringFlag{Name: "depth", Usage: "the share `X` of layers kept"},
			&cli.StringFlag{Name: "ffn", Usage: "the share `X` of feed-forward neurons kept in every layer"},
			&cli.StringFlag{Name: "heads", Usage: "the share `X` of attention heads kept in every layer"},
			&cli.StringFlag{Name: "hidden", Usage: "the share `X` of residual stream channels kept"},
			&cli.StringSliceFlag{Name: "vocab", Usage: "keep the tokens of the text `FILE`, or of a .json file of token ids"},
			&cli.StringFlag{Name: "criterion", Usage: "how units are scored: `C` is one of " + strings.Join(prune.Criteria(), ", "), DefaultText: "activation"},
			setFlag(),
		),
		Action: action(pruneModel),
	})
}

func pruneModel(ctx context.Context, e *env, c *cli.Context) error {
	ref, err := one(c, "one MODEL")
	if err != nil {
		return err
	}
	s := prune.Settings{Criterion: c.String("criterion"), Vocab: c.StringSlice("vocab"), Seed: c.Uint64("seed")}
	if err := set(c, &s); err != nil {
		return err
	}
	asked := false
	for name, x := range map[string]*float64{"depth": &s.Depth, "ffn": &s.FFN, "heads": &s.Heads, "hidden": &s.Hidden} {
		if c.String(name) != "" {
			if *x, err = ratio(name, c.String(name)); err != nil {
				return err
			}
		}
		asked = asked || *x != 0
	}
	if !asked && len(s.Vocab) == 0 {
		return usage("%s wants something to take away: --depth, --ffn, --heads, --hidden or --vocab", c.Command.HelpName)
	}
	t, m, err := targetAndModel(ctx, e, c, ref)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := s.Check(m.Config); err != nil {
		return usage("%v", err)
	}
	var text [][]int32
	if s.NeedsSamples() {
		if text, err = samples(ctx, c, m); err != nil {
			return err
		}
	}
	how := made(c, m, &s)
	small, r, err := prune.Run(ctx, m, text, s)
	if err != nil {
		return err
	}
	n, err := write(ctx, t, small, "", how)
	if err != nil {
		return err
	}
	type removed struct {
		Parameters int64             `json:"parameters"`
		Layers     []int             `json:"layers"`
		Widths     map[string][2]int `json:"widths"`
		Tokens     []int32           `json:"token_ids,omitempty"` // the former id of every token that stays
	}
	v := struct {
		written
		Removed removed `json:"removed"`
	}{Removed: removed{r.Before - r.Parameters, append([]int{}, r.Layers...), r.Widths, r.Tokens}}
	about := measure.Describe("", small)
	v.written = written{t.Path, n, about.Format, about.Parameters, about.BitsPerWeight}
	return e.print(&v, func(w io.Writer) {
		v.print(w)
		fmt.Fprintf(w, "  parameters  %s -> %s\n", report.Count(r.Before), report.Count(r.Parameters))
		if len(r.Layers) > 0 {
			fmt.Fprintf(w, "  layers      %d -> %d, without %s\n", len(m.Config.Layers), len(small.Config.Layers), strings.Trim(fmt.Sprint(r.Layers), "[]"))
		}
		for _, kind := range sorted(keys(r.Widths)) {
			fmt.Fprintf(w, "  %-11s %d -> %d\n", kind, r.Widths[kind][0], r.Widths[kind][1])
		}
	})
}
