package cli

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/parelm/pare/internal/strict"
)

// arrange puts a command line into the order that urfave/cli understands: global flags, verb, the verb's flags,
// arguments. Users write flags where they please. Unknown verbs and flags are told here, with the nearest known one.
func arrange(app *cli.App, args []string) ([]string, error) {
	a := &arranger{globals: flagTable(app.Flags)}
	out := args[:min(1, len(args))]
	rest, err := a.split(args[min(1, len(args)):], app.Commands, "pare")
	if err != nil {
		return nil, err
	}
	return append(append(append([]string{}, out...), a.global...), rest...), nil
}

type arranger struct {
	globals map[string]cli.Flag
	global  []string // flags for in front
}

// flagTable maps every name of the flags, and the help flag.
func flagTable(flags []cli.Flag) map[string]cli.Flag {
	table := map[string]cli.Flag{}
	for _, f := range append([]cli.Flag{cli.HelpFlag}, flags...) {
		for _, n := range f.Names() {
			table[n] = f
		}
	}
	return table
}

// split arranges what stands behind a verb (or behind pare itself), whose own verbs are commands.
func (a *arranger) split(args []string, commands []*cli.Command, verb string) ([]string, error) {
	own := map[string]cli.Flag{}
	return a.level(args, commands, own, verb)
}

func (a *arranger) level(args []string, commands []*cli.Command, own map[string]cli.Flag, verb string) ([]string, error) {
	var flags, words []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			words = append(words, args[i+1:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			if len(commands) > 0 && len(words) == 0 {
				sub, err := a.verb(arg, args[i+1:], commands, verb)
				return append(flags, sub...), err
			}
			words = append(words, arg)
			continue
		}
		name, _, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		f, isOwn := own[name]
		if !isOwn {
			f = a.globals[name]
		}
		if f == nil {
			// A number that begins with a minus is an argument where no flag is called so.
			if strings.Trim(arg, "-.0123456789e,") == "" {
				words = append(words, arg)
				continue
			}
			arg, _, _ = strings.Cut(arg, "=")
			return nil, usage("%s has no flag %s%s", verb, arg, a.nearest(name, own))
		}
		take := []string{arg}
		if b, ok := f.(cli.DocGenerationFlag); ok && b.TakesValue() && !joined {
			if i+1 == len(args) {
				return nil, usage("%s wants a value", flagName(name))
			}
			i++
			take = append(take, args[i])
		}
		if isOwn || name == "help" || name == "h" {
			flags = append(flags, take...)
		} else {
			a.global = append(a.global, take...)
		}
	}
	if len(words) > 0 {
		words = append([]string{"--"}, words...)
	}
	return append(flags, words...), nil
}

// verb arranges the rest of the line behind a verb's name.
func (a *arranger) verb(name string, rest []string, commands []*cli.Command, parent string) ([]string, error) {
	var names []string
	for _, c := range commands {
		if c.Name == name {
			out, err := a.level(rest, c.Subcommands, flagTable(c.Flags), parent+" "+name)
			return append([]string{name}, out...), err
		}
		names = append(names, c.Name)
	}
	if name == "help" && parent == "pare" {
		if len(rest) == 0 {
			return []string{"--help"}, nil
		}
		return a.verb(rest[0], []string{"--help"}, commands, parent)
	}
	hint := strict.DidYouMean(name, names)
	if !strings.Contains(hint, "did you mean") {
		hint = "; see pare --help"
	}
	return nil, usage("%s has no verb %q%s", parent, name, hint)
}

func (a *arranger) nearest(name string, own map[string]cli.Flag) string {
	var names []string
	for _, table := range []map[string]cli.Flag{own, a.globals} {
		for n := range table {
			if len(n) > 1 {
				names = append(names, n)
			}
		}
	}
	if c := strict.Nearest(name, sorted(names)); c != "" {
		return " (did you mean --" + c + "?)"
	}
	return ""
}

func flagName(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
