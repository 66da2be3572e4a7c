package strict

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/parelm/pare/model/tensor"
)

// Doc is a parsed document that has only mappings, lists and plain scalars in it.
type Doc struct {
	file   string
	root   *yaml.Node
	origin map[*yaml.Node]string // where a node came from that is not in the file
	inline bool                  // one value from a command line: it has no lines worth naming
}

// Parse reads one YAML (or JSON) document whose nesting is at most maxDepth. The caller has bounded len(data).
func Parse(file string, data []byte, maxDepth int64) (*Doc, error) {
	d := &Doc{file: file, origin: map[*yaml.Node]string{}}
	root, err := d.load(data)
	if err != nil {
		return nil, err
	}
	d.root = root
	return d, d.plain(root, 1, maxDepth)
}

// load parses data and returns the node of its only document.
func (d *Doc) load(data []byte) (root *yaml.Node, err error) {
	defer func() { // the parser has panicked on hostile input before: CVE-2022-28948
		if p := recover(); p != nil {
			root, err = nil, Errorf(tensor.ErrCorrupt, d.file, "", "not YAML: %v", p)
		}
	}()
	if !utf8.Valid(data) {
		bad := 0
		for rest := data; ; bad++ {
			r, n := utf8.DecodeRune(rest)
			if r == utf8.RuneError && n <= 1 {
				break
			}
			rest, bad = rest[n:], bad+n-1
		}
		return nil, Errorf(tensor.ErrCorrupt, d.at(lineOf(data, bad)), "", "byte 0x%02x is not UTF-8", data[bad])
	}
	var n yaml.Node
	if err := yaml.Load(data, &n); err != nil {
		return nil, d.syntax(data, err)
	}
	if n.Kind != yaml.DocumentNode || len(n.Content) != 1 {
		return nil, Errorf(tensor.ErrInvalid, d.file, "", "is empty")
	}
	return n.Content[0], nil
}

// syntax turns the parser's error into one that names a line and says what to do about the common mistakes.
func (d *Doc) syntax(data []byte, err error) error {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		return Errorf(tensor.ErrCorrupt, d.file, "", "not YAML: %v", err)
	}
	msg := strings.TrimPrefix(le.Message, "yaml: ")
	switch {
	case strings.Contains(msg, "no documents"):
		return Errorf(tensor.ErrInvalid, d.file, "", "is empty")
	case strings.Contains(msg, "found multiple"):
		return Errorf(tensor.ErrUnsupported, d.file, "", "holds more than one document: only one is read, take out the --- lines")
	case strings.Contains(msg, "exceeded max depth"):
		return Errorf(tensor.ErrTooLarge, d.file, "", "is nested too deep: %s", msg)
	}
	line := le.Mark.Line
	if line == 0 {
		line = lineOf(data, le.Mark.Index)
	}
	if text := lineText(data, line); strings.HasPrefix(strings.TrimLeft(text, " "), "\t") {
		msg = "indented with a tab: YAML wants spaces"
	} else if le.ContextMsg != "" {
		msg = le.ContextMsg + ": " + msg
	}
	return Errorf(tensor.ErrCorrupt, d.at(line), "", "not YAML: %s", msg)
}

func lineOf(data []byte, index int) int {
	return 1 + bytes.Count(data[:min(max(index, 0), len(data))], []byte{'\n'})
}

func lineText(data []byte, line int) string {
	lines := bytes.SplitN(data, []byte{'\n'}, line+1)
	if line < 1 || line > len(lines) {
		return ""
	}
	return string(lines[line-1])
}

// at names a line the way editors and terminals make clickable.
func (d *Doc) at(line int) string {
	if d.inline {
		return d.file
	}
	return fmt.Sprintf("%s:%d", d.file, line)
}

// place says where a node came from.
func (d *Doc) place(n *yaml.Node) string {
	if o := d.origin[n]; o != "" {
		return o
	}
	return d.at(n.Line)
}

// plain refuses everything in a document that is not plain data.
func (d *Doc) plain(n *yaml.Node, depth, maxDepth int64) error {
	refuse := func(what string) error {
		return Errorf(tensor.ErrUnsupported, d.place(n), "", "%s", what)
	}
	switch {
	case depth > maxDepth:
		return Errorf(tensor.ErrTooLarge, d.place(n), "", "nested deeper than %d levels", maxDepth)
	case n.Kind == yaml.AliasNode:
		return refuse(fmt.Sprintf("alias *%s: aliases are not supported, write the value out", n.Value))
	case n.Anchor != "":
		return refuse(fmt.Sprintf("anchor &%s: anchors are not supported", n.Anchor))
	case n.Style&yaml.TaggedStyle != 0:
		return refuse(fmt.Sprintf("tag %s: tags are not supported", n.Tag))
	case n.Kind == yaml.ScalarNode && n.Tag == "!!merge":
		return refuse("merge key <<: not supported, write the values out")
	}
	for _, c := range n.Content {
		if err := d.plain(c, depth+1, maxDepth); err != nil {
			return err
		}
	}
	return nil
}

// Root returns the document's only value.
func (d *Doc) Root() Node { return Node{d, d.root, ""} }
