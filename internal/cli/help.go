package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func init() { cli.FlagStringer = flagLine }

// flagLine is a flag in the help: its names, what its value is called, what it does, its default.
func flagLine(f cli.Flag) string {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}
	var names []string
	for _, n := range f.Names() {
		names = append(names, flagName(n))
	}
	usage, value := d.GetUsage(), ""
	if before, rest, ok := strings.Cut(usage, "`"); ok {
		name, after, _ := strings.Cut(rest, "`")
		usage, value = before+name+after, " "+name
	} else if d.TakesValue() {
		value = " VALUE"
	}
	if s, ok := f.(cli.DocGenerationSliceFlag); ok && s.IsSliceFlag() {
		usage += "; may be repeated"
	}
	if text := d.GetDefaultText(); text != "" && d.TakesValue() {
		usage += " (default: " + text + ")"
	}
	return strings.Join(names, ", ") + value + "\t" + usage
}

// appHelp is what `pare --help` prints.
func appHelp() string {
	var b strings.Builder
	b.WriteString("pare: {{.Usage}}\n\nusage: pare VERB [flags] [arguments]\n")
	for _, group := range order {
		head := "\n" + group.category + "\n"
		for _, name := range group.names {
			if c := verbs[name]; c != nil {
				fmt.Fprintf(&b, "%s  %-10s %s\n", head, name, c.Usage)
				head = ""
			}
		}
	}
	b.WriteString(`
flags of every verb
{{range .VisibleFlags}}  {{.}}
{{end}}
start here
  pare run quickstart           the whole chain on a small model, in minutes
  pare recipes list             the recipes that come with pare
  pare VERB --help              flags and examples of a verb

exit codes: 0 ok, 1 failed, 2 usage or invalid recipe, 3 gate not met, 130 interrupted (run it again to go on)
`)
	return b.String()
}

// verbHelp is what `pare VERB --help` prints.
const verbHelp = `{{.HelpName}}: {{.Usage}}

usage: {{.HelpName}}{{if .VisibleFlags}} [flags]{{end}}{{if .ArgsUsage}} {{.ArgsUsage}}{{end}}
{{if .Description}}
{{.Description}}
{{end}}{{if .VisibleFlags}}
flags
{{range .VisibleFlags}}  {{.}}
{{end}}{{end}}
--json, --quiet, --log-level and --threads work here too: see pare --help
`
