package torch

import (
	"slices"
	"strings"

	"github.com/parelm/pare/model/tensor"
)

// stateNames are the keys under which training programs put the weights, in the order of preference.
var stateNames = []string{"state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights"}

// stateDict finds the dictionary of weights: the value itself, or one that it holds under a key or attribute, not more than
// two levels down. Dictionaries of optimizers are passed over.
func stateDict(v any, file string) (*dict, error) {
	if d, ok := v.(*dict); ok && tensors(d) > 0 {
		return d, nil
	}
	names, found := candidates(v, "", 2)
	for _, want := range stateNames {
		if i := slices.Index(names, want); i >= 0 {
			return found[i], nil
		}
	}
	switch len(found) {
	case 0:
		if r, ok := v.(*record); ok {
			return nil, tensor.Errorf(tensor.ErrUnsupported, file, "pickle", "is an object of class %s without a state dict: save model.state_dict()", r.class)
		}
		return nil, tensor.Errorf(tensor.ErrUnsupported, file, "pickle", "holds no dictionary of tensors")
	case 1:
		return found[0], nil
	}
	return nil, tensor.Errorf(tensor.ErrUnsupported, file, "pickle", "holds several dictionaries of tensors, %s: save the one that is the model", strings.Join(names, ", "))
}

// tensors counts the tensors in a dictionary that have a name.
func tensors(d *dict) int {
	n := 0
	for i, k := range d.keys {
		if _, ok := k.(string); !ok {
			continue
		}
		if _, ok := d.values[i].(*strided); ok {
			n++
		}
	}
	return n
}

// candidates lists dictionaries of tensors below v with their names.
func candidates(v any, prefix string, depth int) (names []string, found []*dict) {
	if r, ok := v.(*record); ok {
		v = r.state
	}
	if t, ok := v.(tuple); ok && len(t) == 2 { // the state of an object with slots
		v = t[0]
	}
	d, ok := v.(*dict)
	if !ok || depth == 0 {
		return nil, nil
	}
	for i, k := range d.keys {
		key, ok := k.(string)
		if !ok || strings.Contains(strings.ToLower(key), "optim") {
			continue
		}
		if below, ok := d.values[i].(*dict); ok && tensors(below) > 0 {
			names = append(names, prefix+key)
			found = append(found, below)
			continue
		}
		n, f := candidates(d.values[i], prefix+key+".", depth-1)
		names, found = append(names, n...), append(found, f...)
	}
	return names, found
}

// notes collects the plain values beside the weights: numbers, strings and flags at the top and in dictionaries and objects
// one level down, under names such as "config.n_layer".
func notes(v any, prefix string, depth int, out map[string]any) {
	if r, ok := v.(*record); ok {
		v = r.state
	}
	d, ok := v.(*dict)
	if !ok || tensors(d) > 0 {
		return
	}
	for i, k := range d.keys {
		key, ok := k.(string)
		if !ok || len(out) >= maxNotes {
			continue
		}
		switch x := d.values[i].(type) {
		case bool, int64, float64, string:
			out[prefix+key] = x
		case *dict, *record:
			if depth > 0 {
				notes(x, prefix+key+".", depth-1, out)
			}
		}
	}
}

const maxNotes = 1000

// weights makes the tensors of a state dict. Of a name that occurs twice the last counts, as in Python.
func (a *archive) weights(d *dict) ([]*tensor.Tensor, error) {
	var list []*tensor.Tensor
	at := map[string]int{}
	for i, k := range d.keys {
		s, ok := d.values[i].(*strided)
		if !ok {
			continue // counters and the like
		}
		name, ok := k.(string)
		if !ok {
			return nil, tensor.Errorf(tensor.ErrUnsupported, a.path, "pickle", "a tensor's key is no string")
		}
		t, err := a.view(name, s)
		if err != nil {
			return nil, err
		}
		if j, dup := at[name]; dup {
			list[j] = t
			continue
		}
		at[name] = len(list)
		list = append(list, t)
	}
	if len(list) == 0 {
		return nil, tensor.Errorf(tensor.ErrUnsupported, a.path, "pickle", "holds no tensors")
	}
	return list, nil
}
