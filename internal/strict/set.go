package strict

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/parelm/pare/model/tensor"
)

// Set puts a value at a dotted path, as `--set stages.q4.quantize.format=q8_0` does: keys of mappings, and elements of
// lists by number or by their `name`. Missing keys are added, so that a misspelt one is found by Decode like any other.
// The value is YAML. origin is what errors about it name instead of a line.
func (d *Doc) Set(path, value, origin string, maxDepth int64) error {
	sub := &Doc{file: origin, inline: true}
	v := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	if strings.TrimSpace(value) != "" {
		var err error
		if v, err = sub.load([]byte(value)); err != nil {
			return err
		}
	}
	d.mark(v, origin)
	if err := d.plain(v, 1, maxDepth); err != nil {
		return err
	}
	at := d.root
	parts := strings.Split(path, ".")
	for i, part := range parts {
		if part == "" {
			return Errorf(tensor.ErrInvalid, origin, "", "the path has an empty part")
		}
		slot, err := d.slot(at, part, origin, strings.Join(parts[:i], "."))
		if err != nil {
			return err
		}
		if i == len(parts)-1 {
			*slot = v
			return nil
		}
		if (*slot).Kind == yaml.ScalarNode && (*slot).Tag == "!!null" {
			*slot = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
			d.mark(*slot, origin)
		}
		at = *slot
	}
	return nil
}

// slot returns where the value of a key is kept, making it where it is missing.
func (d *Doc) slot(n *yaml.Node, part, origin, done string) (**yaml.Node, error) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == part {
				return &n.Content[i+1], nil
			}
		}
		k := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: part}
		null := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
		d.mark(k, origin)
		d.mark(null, origin)
		n.Content = append(n.Content, k, null)
		return &n.Content[len(n.Content)-1], nil
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(part); err == nil && i >= 0 && i < len(n.Content) {
			return &n.Content[i], nil
		}
		var names []string
		for i, c := range n.Content {
			if name, ok := (Node{d: d, n: c}).Get("name"); ok {
				if name.n.Value == part {
					return &n.Content[i], nil
				}
				names = append(names, name.n.Value)
			}
		}
		return nil, Errorf(tensor.ErrInvalid, origin, "", "%s has no element %q%s", done, part, DidYouMean(part, names))
	}
	return nil, Errorf(tensor.ErrInvalid, origin, "", "%s is a single value and has no %q in it", done, part)
}

func (d *Doc) mark(n *yaml.Node, origin string) {
	d.origin[n] = origin
	for _, c := range n.Content {
		d.mark(c, origin)
	}
}
