// Package ordered reads JSON values whose objects keep their keys in the order in which they stand: chat templates print them so, and
// texts that follow a JSON schema are written so.
package ordered

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Object is a JSON object.
type Object struct {
	Keys []string
	Vals map[string]any
}

// Get returns the value of a key, or nil.
func (o *Object) Get(key string) any { return o.Vals[key] }

// Twice says what becomes of a key that stands twice in an object.
type Twice int

const (
	Refused Twice = iota // an error
	Last                 // the last value counts, in the first one's place, as in Python
)

// Decode reads a text that is one JSON value: *Object, []any, string, json.Number, bool or nil. Values within more than depth others
// are an error.
func Decode(text string, depth int, twice Twice) (any, error) {
	r := &reader{d: json.NewDecoder(strings.NewReader(text)), depth: depth, twice: twice}
	r.d.UseNumber()
	v, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := r.d.Token(); err != io.EOF {
		return nil, fmt.Errorf("text follows the JSON value")
	}
	return v, nil
}

type reader struct {
	d     *json.Decoder
	depth int
	twice Twice
}

func (r *reader) value(depth int) (any, error) {
	if depth > r.depth {
		return nil, fmt.Errorf("JSON is nested deeper than %d", r.depth)
	}
	t, err := r.d.Token()
	if err != nil {
		return nil, err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if open == '[' {
		list := []any{}
		for r.d.More() {
			v, err := r.value(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := r.d.Token()
		return list, err
	}
	o := &Object{Vals: map[string]any{}}
	for r.d.More() {
		k, err := r.d.Token()
		if err != nil {
			return nil, err
		}
		key := k.(string) // inside an object the decoder gives string keys or an error
		_, dup := o.Vals[key]
		if dup && r.twice == Refused {
			return nil, fmt.Errorf("key %q stands twice", key)
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if !dup {
			o.Keys = append(o.Keys, key)
		}
		o.Vals[key] = v
	}
	_, err = r.d.Token()
	return o, err
}
