package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/report"
	"github.com/parelm/pare/internal/simd"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/recipes"
)

func init() {
	register(&cli.Command{
		Name: "run", Usage: "run a recipe; what an earlier run finished is reused",
		ArgsUsage: "RECIPE",
		Description: `RECIPE is a file, or the name of a recipe that comes with pare (pare recipes list).

Every stage makes an artifact in the output directory. A run makes only what is not there yet, so it
goes on where an interrupted one stopped, and a changed setting repeats only what depends on it. The
report is written beside the artifacts. Exit code 3 says that the recipe's gate is not met.

examples
  pare run quickstart
  pare run my.yaml --set seed=3 --set q4.format=q8_0 --out runs/3
  pare run my.yaml --json | jq .gate`,
		Flags:  recipeFlags(),
		Action: action(runRecipe),
	})
}

// recipeFlags are the flags of verbs that take a recipe.
func recipeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "set", Usage: "change the recipe: `KEY.PATH=VALUE`, or shorter STAGE.KEY=VALUE"},
		&cli.StringFlag{Name: "out", Aliases: []string{"o"}, Usage: "output directory `DIR`", DefaultText: "pare-out/NAME of the recipe"},
		&cli.StringFlag{Name: "memory", Usage: "the most memory `SIZE` a stage may need, such as 8GB", DefaultText: "what is available"},
		&cli.StringSliceFlag{Name: "workspace", Usage: "a further directory `DIR` that the recipe may read from"},
	}
}

// resolve turns an hf:// address into a local directory; the file of whoever can download sets it.
var resolve func(ctx context.Context, ref string) (string, error)

// loadRecipe reads the recipe and the options of the command line.
func loadRecipe(e *env, c *cli.Context) (*recipes.Recipe, recipes.Options, error) {
	ref, err := one(c, "one RECIPE")
	if err != nil {
		return nil, recipes.Options{}, err
	}
	o := recipes.Options{
		Out: c.String("out"), Workspace: c.StringSlice("workspace"), Resolve: resolve, Note: e.note,
		Command: c.Command.Name + " " + ref, Kernel: simd.Kernel(),
	}
	if m := c.String("memory"); m != "" {
		if o.Memory, err = strict.ParseBytes(m); err != nil {
			return nil, o, usage("--memory: %v", err)
		}
	}
	r, err := recipes.Load(ref, c.StringSlice("set")...)
	return r, o, err
}

func runRecipe(ctx context.Context, e *env, c *cli.Context) error {
	r, o, err := loadRecipe(e, c)
	if err != nil {
		return err
	}
	out, err := recipes.Run(ctx, r, o)
	if err != nil && !errors.Is(err, recipes.ErrGate) {
		return err
	}
	if e := e.print(out, func(w io.Writer) { printOutcome(w, out) }); e != nil {
		return e
	}
	return err
}

func printOutcome(w io.Writer, out *recipes.Outcome) {
	rows := [][]string{{"stage", "kind", "", "size", "time", "artifact"}}
	for _, a := range out.Artifacts {
		state := "made"
		if a.Reused {
			state = "reused"
		}
		rows = append(rows, []string{a.Name, a.Stage, state, report.Bytes(a.Bytes), report.Duration(a.Seconds), a.Path})
	}
	table(w, rows)
	if out.Gate != nil {
		fmt.Fprintln(w)
		for _, c := range out.Gate.Checks {
			fmt.Fprintf(w, "gate  %-8s %s\n", map[bool]string{true: "met", false: "NOT MET"}[c.OK], c.Text)
		}
	}
	if out.Headline != "" {
		fmt.Fprintf(w, "\n%s\n", out.Headline)
	}
	html, err := filepath.Abs(out.Report.HTML)
	if err != nil {
		html = out.Report.HTML
	}
	fmt.Fprintf(w, "\nreport: %s\n", html)
}
