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
	type size struct {
		name     string
		old, new int
	}
	sizes := []size{{"vocab", base.Vocab, c.Vocab}, {"hidden", base.Hidden, c.Hidden}, {"layers", len(base.Layers), len(c.Layers)},
		{"heads", b.Heads, l.Heads}, {"kv_heads", b.KVHeads, l.KVHeads}, {"head_dim", b.HeadDim, l.HeadDim},
		{"context", base.Context, c.Context}}
	if l, b := c.first(false), base.first(false); l != nil && b != nil {
		sizes = append(sizes, size{"ffn", b.FFN, l.FFN})
	}
	if l, b := c.first(true), base.first(true); l != nil && b != nil {
		ffn := "expert_ffn"
		if c.Family.key(ffn) == "" {
			ffn = "ffn"
		}
		sizes = append(sizes, size{ffn, b.FFN, l.FFN}, size{"experts", b.Experts, l.Experts}, size{"shared_ffn", b.Shared, l.Shared})
	}
	for _, v := range sizes {
		if err := set(v.name, v.old, v.new); err != nil {
			return nil, err
		}
	}
	if k := c.Family.key("head_dim"); k != "" && c.Hidden != l.Heads*l.HeadDim && !o.has(k) {
		o.set(k, l.HeadDim)
	}
	if err = c.sameAs(o); err == nil {
		return o, nil
	}
	// What follows a pattern must be spelled out once layers are gone.
	spell := []func(o *object){c.layerTypes, c.rotaryLayers, c.denseLayers}
	if c.Family.Spell != nil {
		spell = append(spell, func(o *object) { c.Family.Spell(c, o) })
	}
	for set := 1; set < 1<<len(spell); set++ {
		p := o.clone()
		for i, f := range spell {
			if set>>i&1 == 1 {
				f(p)
			}
		}
		if c.sameAs(p) == nil {
			return p, nil
		}
	}
	return nil, err
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

// layerTypes says which layers slide.
func (c *Config) layerTypes(o *object) {
	o.setTypedLayers(len(c.Layers), slidingLayers, func(i int) bool { return c.Layers[i].Window > 0 })
}

// rotaryLayers says which layers have a rotary embedding.
func (c *Config) rotaryLayers(o *object) {
	r := make([]int, len(c.Layers))
	for i := range r {
		if c.Layers[i].Rope != nil {
			r[i] = 1
		}
	}
	o.set("no_rope_layers", r)
}

// denseLayers says which layers are no mixtures of experts.
func (c *Config) denseLayers(o *object) {
	dense := []int{}
	for i := range c.Layers {
		if c.Layers[i].Experts == 0 {
			dense = append(dense, i)
		}
	}
	o.set("mlp_only_layers", dense)
	o.set("decoder_sparse_step", 1)
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
