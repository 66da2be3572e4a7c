package recipes

import (
	"embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	"github.com/parelm/pare/eval"
	"github.com/parelm/pare/internal/strict"
	"github.com/parelm/pare/model/tensor"
)

// Topic is the documentation of one mapping of a recipe: a kind of stage, an algorithm of one, or a part of the recipe
// itself. Everything in it comes from the struct that takes the keys.
type Topic struct {
	Name   string `json:"name"`
	Within string `json:"within,omitempty"` // the kind whose variant this is
	Doc    string `json:"doc,omitempty"`    // the comment of the struct
	Keys   []Key  `json:"keys"`
	// Choices are the values of a key that bring keys of their own; each is a topic too.
	Choices []Choice `json:"choices,omitempty"`
}

// Key is one key.
type Key struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Default string `json:"default,omitempty"`
	Range   string `json:"range,omitempty"`
	Doc     string `json:"doc,omitempty"`

	field strict.Field
}

// Choice is a value of a key that brings keys of its own.
type Choice struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	Doc   string `json:"doc,omitempty"`
}

//go:embed recipe.go
var ownSource embed.FS

// parts are the mappings that are no stages: those of a recipe, and the file of a task.
func parts() []Topic {
	docs := newDocs(ownSource)
	return []Topic{
		docs.topic("recipe", &Recipe{}),
		docs.topic("data", &Data{}),
		docs.topic("gate", &Gate{}),
		newDocs(eval.GoSource).topic("task", eval.NewTaskFile()),
	}
}

// Topics returns the names that Help knows: parts of a recipe, kinds of stages, algorithms.
func Topics() []string {
	names := []string{"recipe", "data", "gate", "task"}
	for _, k := range kindNames() {
		names = append(names, k)
		for _, v := range variants(kinds[k].New()) {
			if !slices.Contains(names, v.Value) {
				names = append(names, v.Value)
			}
		}
	}
	return names
}

func variants(s Stage) []Variant {
	if v, ok := s.(Variants); ok {
		return v.Variants()
	}
	return nil
}

// Help returns the documentation of a name; several topics where kinds share it.
func Help(name string) ([]Topic, error) {
	var found []Topic
	for _, t := range parts() {
		if t.Name == name {
			found = append(found, t)
		}
	}
	for _, kind := range kindNames() {
		k := kinds[kind]
		s := k.New()
		docs := newDocs(k.Sources...)
		if kind == name {
			t := docs.topic(kind, s)
			for _, v := range variants(s) {
				t.Choices = append(t.Choices, Choice{v.Key, v.Value, firstSentence(docs.variant(v).Doc)})
			}
			found = append(found, t)
		}
		for _, v := range variants(s) {
			if v.Value == name {
				t := docs.variant(v)
				t.Within = kind
				found = append(found, t)
			}
		}
	}
	if len(found) == 0 {
		return nil, strict.Errorf(tensor.ErrInvalid, "", "", "no help on %q%s", name, strict.DidYouMean(name, Topics()))
	}
	return found, nil
}

// docs finds the comments of types and fields in Go source.
type docs struct {
	types  map[string]string // "pkg.Type" -> comment
	fields map[string]string // "pkg.Type.Field" -> comment
}

func newDocs(sources ...fs.FS) *docs {
	d := &docs{map[string]string{}, map[string]string{}}
	for _, source := range sources {
		names, _ := fs.Glob(source, "*.go") // the pattern is good
		for _, name := range names {
			data, err := fs.ReadFile(source, name)
			if err != nil {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, data, parser.ParseComments|parser.SkipObjectResolution)
			if err == nil { // it was compiled, so it parses
				d.file(f)
			}
		}
	}
	return d
}

func (d *docs) file(f *ast.File) {
	for _, decl := range f.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		for _, spec := range gen.Specs {
			t := spec.(*ast.TypeSpec)
			name := f.Name.Name + "." + t.Name.Name
			if t.Doc != nil {
				d.types[name] = text(t.Doc)
			} else {
				d.types[name] = text(gen.Doc)
			}
			st, ok := t.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, field := range st.Fields.List {
				comment := text(field.Doc)
				if comment == "" {
					comment = text(field.Comment)
				}
				for _, id := range field.Names {
					d.fields[name+"."+id.Name] = comment
				}
			}
		}
	}
}

func text(c *ast.CommentGroup) string {
	if c == nil {
		return ""
	}
	return strings.Join(strings.Fields(c.Text()), " ")
}

// topic documents the keys that structs take.
func (d *docs) topic(name string, targets ...any) Topic {
	t := Topic{Name: name}
	if len(targets) > 0 {
		t.Doc = rename(d.types[reflect.TypeOf(targets[0]).Elem().String()], reflect.TypeOf(targets[0]).Elem().Name(), name)
	}
	for _, f := range strict.Fields(targets...) {
		doc := rename(d.fields[f.Struct.String()+"."+f.Go], f.Go, f.Key)
		k := Key{Name: f.Key, Type: f.TypeName(), Range: f.Range(), Doc: doc, field: f}
		if !f.Value.IsZero() {
			k.Default = fmt.Sprint(strict.Plain(f.Value))
		}
		switch {
		case f.Tag.Get("ref") != "":
			k.Type = strings.Replace(k.Type, "text", "model", 1)
		case f.Tag.Get("data") != "", f.Tag.Get("path") != "":
			k.Type = strings.Replace(k.Type, "text", "file", 1)
		}
		if role := f.Tag.Get("data"); role != "" && k.Default == "" {
			k.Default = "data." + role
		}
		if f.Tag.Get("ref") == "all" {
			k.Default = "all models before"
		}
		t.Keys = append(t.Keys, k)
	}
	return t
}

// variant documents the keys of one algorithm.
func (d *docs) variant(v Variant) Topic {
	if v.Settings == nil {
		return Topic{Name: v.Value}
	}
	return d.topic(v.Value, v.Settings)
}

// rename lets a Go comment, which begins with the Go name, begin with the key: "GroupSize is ..." with "group_size is ...".
func rename(doc, from, to string) string {
	if rest, ok := strings.CutPrefix(doc, from+" "); ok {
		return to + " " + rest
	}
	return doc
}

// firstSentence returns the text up to its first full stop.
func firstSentence(s string) string {
	if i := strings.Index(s, ". "); i >= 0 {
		return s[:i+1]
	}
	return s
}

// String formats the topic for a terminal of 80 to 120 columns.
func (t Topic) String() string {
	var b strings.Builder
	b.WriteString(t.Name)
	if t.Within != "" {
		fmt.Fprintf(&b, " (%s)", t.Within)
	}
	b.WriteString("\n")
	if t.Doc != "" {
		b.WriteString(wrap(t.Doc, "  ") + "\n")
	}
	width := 0
	for _, k := range t.Keys {
		width = max(width, len(k.Name))
	}
	for _, k := range t.Keys {
		facts := k.Type
		if k.Range != "" {
			facts += ", " + k.Range
		}
		if k.Default != "" {
			facts += ", default " + k.Default
		}
		fmt.Fprintf(&b, "\n  %-*s  %s\n", width, k.Name, facts)
		if k.Doc != "" {
			b.WriteString(wrap(k.Doc, "      ") + "\n")
		}
	}
	if len(t.Choices) > 0 {
		b.WriteString("\n")
	}
	for _, c := range t.Choices {
		line := fmt.Sprintf("%s: %s", c.Key, c.Value)
		if c.Doc != "" {
			line += " - " + c.Doc
		}
		fmt.Fprintf(&b, "%s\n", wrap(line, "  "))
	}
	return b.String()
}

// wrap breaks text into lines of at most 100 columns.
func wrap(text, indent string) string {
	var b strings.Builder
	col := 0
	for _, word := range strings.Fields(text) {
		switch {
		case col == 0:
			b.WriteString(indent)
			col = len(indent)
		case col+1+len(word) > 100:
			b.WriteString("\n" + indent)
			col = len(indent)
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(word)
		col += len(word)
	}
	return b.String()
}
