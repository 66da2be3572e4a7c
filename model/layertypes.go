package model

// layer_types of config.json: "full_attention", or what else a family's layers may be.
const slidingLayers, convLayers, linearLayers = "sliding_attention", "conv", "linear_attention"

// typedLayers reads which layers are of a kind, the others being full attention. It is nil where the file does not say.
func (o *object) typedLayers(layers int, kind string) []bool {
	types := o.texts("layer_types")
	if types == nil {
		return nil
	}
	if len(types) != layers {
		o.fail(ErrInvalid, "layer_types", "has %d entries for %d layers", len(types), layers)
		return nil
	}
	is := make([]bool, layers)
	for i, t := range types {
		if is[i] = t == kind; !is[i] && t != "full_attention" {
			o.fail(ErrUnsupported, "layer_types", "layer %d is %q", i, clip(t))
		}
	}
	return is
}

// setTypedLayers says which layers are of a kind.
func (o *object) setTypedLayers(layers int, kind string, is func(i int) bool) {
	types := make([]string, layers)
	for i := range types {
		if types[i] = "full_attention"; is(i) {
			types[i] = kind
		}
	}
	o.set("layer_types", types)
}
