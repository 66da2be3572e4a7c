package strict

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/parelm/pare/model/tensor"
)

// Node is a value somewhere in a document.
type Node struct {
	d    *Doc
	n    *yaml.Node
	path string // how a user would name it: stages[2].quantize.format
}

// Pair is a key of a mapping with its value.
type Pair struct {
	Key   string
	Value Node
	key   Node
}

// Errorf returns an error about the key.
func (p Pair) Errorf(class error, format string, args ...any) error {
	return p.key.Errorf(class, format, args...)
}

// Unknown returns the error for a key that is none of the known ones.
func (p Pair) Unknown(known []string) error {
	return p.Errorf(tensor.ErrInvalid, "unknown key%s", DidYouMean(p.Key, known))
}

// Errorf returns an error of one of tensor's classes at this place.
func (n Node) Errorf(class error, format string, args ...any) error {
	return Errorf(class, n.d.place(n.n), n.path, format, args...)
}

// Path returns the name of the place: stages[2].quantize.format.
func (n Node) Path() string { return n.path }

// Named returns the same place under a name that tells the user more.
func (n Node) Named(path string) Node { n.path = path; return n }

func (n Node) child(c *yaml.Node, key string) Node {
	if n.path != "" {
		key = n.path + "." + key
	}
	return Node{n.d, c, key}
}

// null reports an empty value: `key:` with nothing behind it, or ~, or no node at all.
func (n Node) null() bool { return n.n == nil || n.n.Kind == yaml.ScalarNode && n.n.Tag == "!!null" }

// Overridden reports a value that does not come from the file.
func (n Node) Overridden() bool { return n.d != nil && n.d.origin[n.n] != "" }

// IsMap reports a mapping.
func (n Node) IsMap() bool { return n.n != nil && n.n.Kind == yaml.MappingNode }

// IsList reports a list.
func (n Node) IsList() bool { return n.n != nil && n.n.Kind == yaml.SequenceNode }

// what describes the value for messages.
func (n Node) what() string {
	switch {
	case n.IsMap():
		return "a mapping"
	case n.IsList():
		return "a list"
	case n.null():
		return "nothing"
	case n.quoted():
		return fmt.Sprintf("the text %q", clip(n.n.Value))
	}
	return clip(n.n.Value)
}

func (n Node) quoted() bool {
	return n.n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
}

// clip keeps a foreign value short enough for one line.
func clip(s string) string {
	s = strings.NewReplacer("\n", "\\n", "\r", "\\r", "\x1b", "\\x1b").Replace(s)
	if r := []rune(s); len(r) > 60 {
		return string(r[:57]) + "..."
	}
	return s
}

// Pairs returns the keys of a mapping in their order. Keys are scalars and not repeated.
func (n Node) Pairs() ([]Pair, error) {
	if n.null() {
		return nil, nil
	}
	if !n.IsMap() {
		return nil, n.Errorf(tensor.ErrInvalid, "want a mapping of keys to values, found %s", n.what())
	}
	var pairs []Pair
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.n.Content); i += 2 {
		k, v := n.n.Content[i], n.n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			return nil, Node{n.d, k, n.path}.Errorf(tensor.ErrInvalid, "a key must be a plain name")
		}
		key := n.child(k, k.Value)
		if f := first[k.Value]; f != nil {
			return nil, key.Errorf(tensor.ErrInvalid, "given twice, first at %s", n.d.place(f))
		}
		first[k.Value] = k
		pairs = append(pairs, Pair{k.Value, n.child(v, k.Value), key})
	}
	return pairs, nil
}

// List returns the elements of a list; a single value stands for a list of one, nothing for an empty one.
func (n Node) List() []Node {
	if n.null() {
		return nil
	}
	if !n.IsList() {
		return []Node{n}
	}
	list := make([]Node, len(n.n.Content))
	for i, c := range n.n.Content {
		list[i] = Node{n.d, c, fmt.Sprintf("%s[%d]", n.path, i)}
	}
	return list
}

// Get returns the value of a key of a mapping.
func (n Node) Get(key string) (Node, bool) {
	if n.IsMap() {
		for i := 0; i+1 < len(n.n.Content); i += 2 {
			if n.n.Content[i].Value == key {
				return n.child(n.n.Content[i+1], key), true
			}
		}
	}
	return Node{}, false
}

// Text returns a scalar as it is written.
func (n Node) Text() (string, error) {
	if n.n.Kind != yaml.ScalarNode || n.null() {
		return "", n.Errorf(tensor.ErrInvalid, "want a text, found %s", n.what())
	}
	return n.n.Value, nil
}
