package model

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/parelm/pare/model/tensor"
)

// configJSON returns the config.json of a configuration: the one it was read from with the sizes that changed. It is an
// error when the dialect cannot say what the configuration is, such as widths that differ between layers; the result is
// read back to be sure.
func (c *Config) configJSON() (*object, error) {
	o := c.hf.clone()
	o.defaults = nil
	base, err := c.Family.read(o.clone())
	if err != nil {
		return nil, err
	}
	if c.kept != nil {
		o.keepLayers(len(base.Layers), c.kept)
	}
	set := func(name string, old, new int) error {
		if old == new {
			return nil
		}
		k := c.Family.key(name)
		if k == "" {
			return tensor.Errorf(ErrUnsupported, "config.json", "", "%s derives %s from other sizes and cannot change it to %d",
				c.Family.Name, name, new)
		}
		o.set(k, new)
		return nil
	}
	if !c.Uniform() {
		return nil, tensor.Errorf(ErrUnsupported, "config.json", "", "holds one width for all layers; these differ between layers: write GGUF, or prune evenly")
	}
	l, b := &c.Layers[0], &base.Layers[0]
	for _, v := range []struct {
		name     string
		old, new int
	}{{"vocab", base.Vocab, c.Vocab}, {"hidden", base.Hidden, c.Hidden}, {"layers", len(base.Layers), len(c.Layers)},
		{"heads", b.Heads, l.Heads}, {"kv_heads", b.KVHeads, l.KVHeads}, {"head_dim", b.HeadDim, l.HeadDim},
		{"ffn", b.FFN, l.FFN}, {"experts", b.Experts, l.Experts}, {"context", base.Context, c.Context}} {
		if err := set(v.name, v.old, v.new); err != nil {
			return nil, err
		}
	}
	if k := c.Family.key("head_dim"); k != "" && c.Hidden != l.Heads*l.HeadDim && !o.has(k) {
		o.set(k, l.HeadDim)
	}
	if err := c.sameAs(o); err != nil {
		o.set("layer_types", c.layerTypes()) // windows that follow a pattern must be spelled out once layers are gone
		if c.sameAs(o) != nil {
			return nil, err
		}
	}
	return o, nil
}

// sameAs reads o back and compares.
func (c *Config) sameAs(o *object) error {
	back, err := c.Family.read(o.clone())
	if err != nil {
		return err
	}
	a, b := *c, *back
	a.hf, b.hf, a.kept = nil, nil, nil
	if !reflect.DeepEqual(a, b) {
		return tensor.Errorf(ErrUnsupported, "config.json", "", "cannot express the model: %s", difference(&a, &b))
	}
	return nil
}

// difference names the first field in which two configurations differ.
func difference(a, b *Config) string {
	x, y := reflect.ValueOf(*a), reflect.ValueOf(*b)
	for i := range x.NumField() {
		f := x.Type().Field(i)
		if f.Name == "Layers" || !f.IsExported() || f.Name == "Family" {
			continue
		}
		if !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			return fmt.Sprintf("%s is %v and would read back as %v", f.Name, x.Field(i), y.Field(i))
		}
	}
	for i := range a.Layers {
		if i < len(b.Layers) && reflect.DeepEqual(a.Layers[i], b.Layers[i]) {
			continue
		}
		return fmt.Sprintf("layer %d would read back different", i)
	}
	return "layers would be added"
}

func (c *Config) layerTypes() []string {
	t := make([]string, len(c.Layers))
	for i := range t {
		t[i] = "full_attention"
		if c.Layers[i].Window > 0 {
			t[i] = "sliding_attention"
		}
	}
	return t
}

// keepLayers cuts the lists of one entry a layer down to the kept layers, and renumbers lists of layers.
func (o *object) keepLayers(count int, layers []int) {
	for _, k := range []string{"layer_types", "no_rope_layers"} {
		var list []json.RawMessage
		if json.Unmarshal(o.vals[k], &list) != nil || len(list) != count {
			continue
		}
		kept := make([]json.RawMessage, 0, len(layers))
		for _, l := range layers {
			kept = append(kept, list[l])
		}
		o.set(k, kept)
	}
	var dense []int
	if json.Unmarshal(o.vals["mlp_only_layers"], &dense) == nil && len(dense) > 0 {
		kept := []int{}
		for i, l := range layers {
			if slices.Contains(dense, l) {
				kept = append(kept, i)
			}
		}
		o.set("mlp_only_layers", kept)
	}
}
