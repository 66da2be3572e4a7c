package chat

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed templates/*.jinja
var builtin embed.FS

// Builtin returns a template that comes with pare: "chatml", or "plain" for models that were trained on no conversations.
func Builtin(name string) (*Template, error) {
	source, err := builtin.ReadFile("templates/" + name + ".jinja")
	if err != nil {
		return nil, fmt.Errorf("there is no built-in chat template %q (known: %s)", name, strings.Join(Builtins(), ", "))
	}
	return Parse(name, string(source))
}

// Builtins returns the names that Builtin knows.
func Builtins() []string {
	entries, err := fs.ReadDir(builtin, "templates")
	if err != nil {
		panic(err) // it is embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".jinja"))
	}
	return names
}
