package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/recipes"
)

func init() {
	register(&cli.Command{
		Name: "plan", Usage: "say what a run would do: stages, sizes, memory, time, what is there already",
		ArgsUsage: "RECIPE",
		Description: `Reads the recipe and its inputs, checks everything that can be checked before work begins, and prints
exactly what pare run would do. Nothing is written.

examples
  pare plan quickstart
  pare plan my.yaml --set slim.ffn=0.5
  pare plan my.yaml --resolved          the recipe with every default written out
  pare plan my.yaml --details           and what is decided for each tensor`,
		Flags: append(recipeFlags(),
			&cli.BoolFlag{Name: "resolved", Usage: "print the recipe with every default and every --set written out"},
			&cli.BoolFlag{Name: "details", Usage: "print what every stage decided"}),
		Action: action(planRecipe),
	})
}

func planRecipe(ctx context.Context, e *env, c *cli.Context) error {
	r, o, err := loadRecipe(e, c)
	if err != nil {
		return err
	}
	if c.Bool("resolved") {
		text, err := r.Resolved()
		if err != nil {
			return err
		}
		return e.print(struct {
			Recipe string `json:"recipe"`
		}{string(text)}, func(w io.Writer) { w.Write(text) })
	}
	p, err := recipes.NewPlan(ctx, r, o)
	if err != nil {
		return err
	}
	return e.print(p, func(w io.Writer) { printPlan(w, p, c.Bool("details")) })
}

func printPlan(w io.Writer, p *recipes.Plan, details bool) {
	rows := [][]string{{"stage", "kind", "from", "", "output", "memory", "time", "artifact"}}
	todo := 0
	for _, s := range p.Stages {
		row := []string{s.Name, s.Kind, s.From, "reuse", report.Bytes(s.Output), "", "", s.Path}
		if !s.Cached {
			todo++
			row[3], row[4], row[5], row[6] = "run", about(s.Output > 0, report.Bytes(s.Output)), about(s.PeakMemory > 0, report.Bytes(s.PeakMemory)), about(s.Seconds > 0, "~"+report.Duration(s.Seconds))
		}
		rows = append(rows, row)
	}
	table(w, rows)
	if details {
		for _, s := range p.Stages {
			for i, line := range s.Details {
				if i == 0 {
					fmt.Fprintf(w, "\n%s\n", s.Name)
				}
				fmt.Fprintf(w, "  %s\n", line)
			}
		}
	}
	if todo == 0 {
		fmt.Fprintf(w, "\nnothing to do: everything is in %s\n", p.Out)
	} else {
		fmt.Fprintf(w, "\n%d of %d stages to run into %s: %s more on disk, %s of memory, about %s\n", todo, len(p.Stages), p.Out,
			about(p.Disk > 0, report.Bytes(p.Disk)), about(p.Memory > 0, report.Bytes(p.Memory)), about(p.Seconds > 0, report.Duration(p.Seconds)))
	}
	for _, warning := range p.Warnings {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
}

// about is an estimate, or a question mark where there is none.
func about(known bool, text string) string {
	if !known {
		return "?"
	}
	return text
}
