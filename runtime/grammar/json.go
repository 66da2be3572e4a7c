package grammar

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// object is a JSON object in the order of its keys: properties are written in the order of the schema.
type object struct {
	keys []string
	vals map[string]any
}

func (o *object) get(key string) any { return o.vals[key] }

func decode(raw []byte) (any, error) {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("text follows the JSON value")
	}
	return v, nil
}

const maxJSONDepth = 64

func decodeValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if open == '[' {
		list := []any{}
		for d.More() {
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	o := &object{vals: map[string]any{}}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return nil, err
		}
		key := k.(string) // inside an object the decoder gives string keys or an error
		if _, dup := o.vals[key]; dup {
			return nil, fmt.Errorf("key %q stands twice", key)
		}
		v, err := decodeValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		o.keys = append(o.keys, key)
		o.vals[key] = v
	}
	_, err = d.Token()
	return o, err
}

// encode writes a value as JSON without spaces, which is how constants must be written.
func encode(v any) (string, error) {
	switch x := v.(type) {
	case *object:
		var b strings.Builder
		b.WriteByte('{')
		for i, k := range x.keys {
			if i > 0 {
				b.WriteByte(',')
			}
			key, err := encode(k)
			if err != nil {
				return "", err
			}
			val, err := encode(x.vals[k])
			if err != nil {
				return "", err
			}
			b.WriteString(key + ":" + val)
		}
		return b.String() + "}", nil
	case []any:
		parts := make([]string, len(x))
		for i, v := range x {
			var err error
			if parts[i], err = encode(v); err != nil {
				return "", err
			}
		}
		return "[" + strings.Join(parts, ",") + "]", nil
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}
