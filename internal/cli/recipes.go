package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/recipes"
)

func init() {
	sub := func(name, usage, args, description string, do cli.ActionFunc) *cli.Command {
		return &cli.Command{Name: name, Usage: usage, ArgsUsage: args, Description: description, Action: do, CustomHelpTemplate: verbHelp}
	}
	register(&cli.Command{
		Name: "recipes", Usage: "list recipes, show one, explain every key, print the JSON schema",
		ArgsUsage: "[list | show NAME | help [TOPIC] | schema]",
		Description: `  list        the recipes that come with pare (this is what pare recipes does alone)
  show NAME   the text of one, to copy and change
  help TOPIC  every key of a stage, an algorithm, or a part of the recipe, with its default
  schema      the JSON schema of recipes, for editors

examples
  pare recipes show quickstart > my.yaml
  pare recipes help quantize
  pare recipes help gptq
  pare recipes schema > pare.schema.json`,
		Action: action(listRecipes),
		Subcommands: []*cli.Command{
			sub("list", "list the recipes that come with pare", "", "", action(listRecipes)),
			sub("show", "print the text of a recipe that comes with pare", "NAME", "", action(showRecipe)),
			sub("help", "explain the keys of a stage, an algorithm, or a part of the recipe", "[TOPIC]", "", action(helpRecipe)),
			sub("schema", "print the JSON schema of recipes", "", "", action(recipeSchema)),
		},
	})
}

func listRecipes(_ context.Context, e *env, c *cli.Context) error {
	if c.NArg() > 0 {
		return usage("%s takes no arguments", c.Command.HelpName)
	}
	type item struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	}
	items := []item{}
	for _, name := range recipes.Builtin() {
		r, err := recipes.Load(name)
		if err != nil {
			return err
		}
		items = append(items, item{name, r.Description})
	}
	return e.print(struct {
		Recipes []item `json:"recipes"`
	}{items}, func(w io.Writer) {
		rows := [][]string{}
		for _, i := range items {
			rows = append(rows, []string{i.Name, i.Description})
		}
		table(w, rows)
	})
}

func showRecipe(_ context.Context, e *env, c *cli.Context) error {
	name, err := one(c, "the NAME of a recipe that comes with pare")
	if err != nil {
		return err
	}
	text, err := recipes.Text(name)
	if err != nil {
		return err
	}
	return e.print(struct {
		Name   string `json:"name"`
		Recipe string `json:"recipe"`
	}{name, string(text)}, func(w io.Writer) { w.Write(text) })
}

func helpRecipe(_ context.Context, e *env, c *cli.Context) error {
	if c.NArg() == 0 {
		topics := recipes.Topics()
		return e.print(struct {
			Topics []string `json:"topics"`
		}{topics}, func(w io.Writer) {
			fmt.Fprintf(w, "pare recipes help TOPIC explains every key of:\n  %s\n", strings.Join(topics, "\n  "))
		})
	}
	name, err := one(c, "at most one TOPIC")
	if err != nil {
		return err
	}
	topics, err := recipes.Help(name)
	if err != nil {
		return err
	}
	return e.print(topics, func(w io.Writer) {
		for i, t := range topics {
			if i > 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprint(w, t)
		}
	})
}

func recipeSchema(_ context.Context, e *env, c *cli.Context) error {
	if c.NArg() > 0 {
		return usage("%s takes no arguments", c.Command.HelpName)
	}
	text, err := recipes.Schema()
	if err != nil {
		return err
	}
	if _, err := e.out.Write(text); err != nil { // JSON already, with --json or without
		return fmt.Errorf("the result could not be printed: %w", err)
	}
	return nil
}
