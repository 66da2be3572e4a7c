package strict

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v4"
)

// Mapping is YAML to be written, with its keys in the order they were added.
type Mapping struct{ node yaml.Node }

// Add appends a key. A value is a *Mapping, a []*Mapping, or plain data as Plain returns it.
func (m *Mapping) Add(key string, value any) {
	m.node.Kind = yaml.MappingNode
	m.node.Content = append(m.node.Content, scalar(key), encode(value))
}

// AddFields appends the fields of structs with their values; zero ones are left out where skipZero says so.
func (m *Mapping) AddFields(skipZero bool, targets ...any) {
	m.node.Kind = yaml.MappingNode
	for _, f := range Fields(targets...) {
		if !skipZero || !f.Value.IsZero() {
			m.Add(f.Key, Plain(f.Value))
		}
	}
}

// Bytes returns the YAML text.
func (m *Mapping) Bytes() ([]byte, error) {
	var b bytes.Buffer
	d, err := yaml.NewDumper(&b, yaml.WithIndent(2))
	if err != nil {
		return nil, err
	}
	if err := d.Dump(&m.node); err != nil {
		return nil, err
	}
	return b.Bytes(), d.Close()
}

func scalar(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	return n
}

func encode(v any) *yaml.Node {
	switch v := v.(type) {
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "~"}
	case *Mapping:
		if v.node.Kind == 0 {
			v.node.Kind, v.node.Style = yaml.MappingNode, yaml.FlowStyle
		}
		return &v.node
	case []*Mapping:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, m := range v {
			n.Content = append(n.Content, encode(m))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, e := range v {
			n.Content = append(n.Content, encode(e))
		}
		return n
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			n.Content = append(n.Content, scalar(k), encode(v[k]))
		}
		return n
	case string:
		return scalar(v)
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(v)}
	switch reflect.ValueOf(v).Kind() {
	case reflect.Bool:
		n.Tag = "!!bool"
	case reflect.Float32, reflect.Float64:
		n.Tag = "!!float"
	case reflect.String:
		n.Tag = "!!str"
	default:
		n.Tag = "!!int"
	}
	return n
}
